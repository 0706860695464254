/* A byte-level byte-pair tokenizer as lists: what a GGUF file holds of it, whatever file it was
 * read from. Thread: any, after tokenizer_open. */
#ifndef RECURD_BPE_EXPORT_H
#define RECURD_BPE_EXPORT_H

#include "models/text/gguf_vocab.h"
#include "models/text/tokenizer.h"

struct bpe_export;

/* *out = NULL (and 0): t is no such tokenizer. E_UNSUPPORTED where no name says how its texts are
 * cut. t must live longer. */
int bpe_export_open(struct bpe_export **out, const struct tokenizer *t, struct err *e) MUST_USE;
void bpe_export_close(struct bpe_export *x);

const struct gguf_pre *bpe_export_pre(const struct bpe_export *x);

enum bpe_kind { BPE_NONE, BPE_WORD, BPE_SPECIAL, BPE_ADDED };
/* Token id as the vocabulary writes it; BPE_NONE and n = 0: the id is free. Lives until the next
 * call. */
enum bpe_kind bpe_export_token(struct bpe_export *x, int32_t id, const char **text, size_t *n);
/* Whether an added token swallows the white space before it, behind it. */
bool bpe_export_strips(const struct bpe_export *x, int32_t id, bool behind);
/* Merges "left right", the best first; NULL past the last. Lives until the next call. */
size_t bpe_export_merges(const struct bpe_export *x);
const char *bpe_export_merge(struct bpe_export *x, size_t i, size_t *n);

#endif
