/* A vocabulary of words with scores as a list: what a GGUF file holds of it. */
#ifndef RECURD_PLAMO_H
#define RECURD_PLAMO_H

#include "models/text/tokenizer.h"

enum plamo_kind { PLAMO_NONE, PLAMO_WORD, PLAMO_BYTE, PLAMO_SPECIAL, PLAMO_ADDED };

struct plamo_word {
    enum plamo_kind kind; /* PLAMO_NONE: the id is free, and the rest is not set */
    const char *text;     /* the bytes it stands for, a special token's name; borrowed from t */
    size_t n;
    double score;         /* rounded to 10^-4, as texts are cut by it; a byte's is 0 */
};

/* False: t is no such tokenizer. id: of t. Thread: any, after tokenizer_open. */
bool plamo_export(const struct tokenizer *t, int32_t id, struct plamo_word *out);

#endif
