/* What a tokenizer.json does to a text before the merges: normalisers and pre-tokenizers, both a
 * list of small steps over pieces of text. Written while loading, then read-only: any thread. */
#ifndef RECURD_BPE_STEPS_H
#define RECURD_BPE_STEPS_H

#include "base/buf.h"
#include "base/err.h"
#include "models/text/unicode.h"

enum step_kind {
    STEP_SPLIT,   /* cuts pieces where the pattern matches */
    STEP_REPLACE, /* every match becomes `text` */
    STEP_PREPEND, /* `text` goes before pieces */
    STEP_BYTES,   /* each byte becomes the printable character that byte-level BPE writes for it */
    STEP_UNICODE, /* a Unicode normal form */
};

enum split_behavior {
    SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_WITH_PREVIOUS, SPLIT_WITH_NEXT, SPLIT_CONTIGUOUS,
};

enum prepend_when {
    PREPEND_ALWAYS,
    PREPEND_UNLESS_THERE, /* to pieces that do not begin with it */
    PREPEND_FIRST,        /* the same, but only to the first piece of a whole text */
};

struct step {
    enum step_kind kind;
    void *pattern; /* pcre2_code */
    enum split_behavior behavior;
    bool invert;   /* what the pattern does not match counts as the match */
    enum prepend_when when;
    enum unicode_form form;
    char text[64];
};

#define STEPS_MAX 16 /* the longest published list has 6, a Metaspace counting as 3 */
struct steps {
    struct step p[STEPS_MAX];
    size_t n;
};

struct piece {
    uint32_t begin, end; /* in text */
};
/* Owner: one call of encode. */
struct pieces {
    struct buf text;
    struct piece *p;
    size_t n, cap;
};

/* Adds a zeroed step; NULL past STEPS_MAX (recorded in e). */
struct step *steps_add(struct steps *s, enum step_kind kind, const char *name, struct err *e);
/* Compiles the pattern of a split or replace step; literal: not an expression but the text.
 * E_UNSUPPORTED for what PCRE2 would read differently. */
int step_compile(struct step *s, const char *pattern, bool literal, const char *name,
                 struct err *e) MUST_USE;
void steps_free(struct steps *s);

int pieces_init(struct pieces *p, const char *text, size_t n, struct err *e) MUST_USE;
void pieces_free(struct pieces *p);
/* start: nothing was encoded before this text. */
int steps_run(const struct steps *s, struct pieces *p, bool start, struct err *e) MUST_USE;

/* The character byte-level BPE writes for a byte, and back (-1: it writes no byte so). */
uint32_t step_char_of_byte(unsigned char byte);
int step_byte_of_char(uint32_t c);

#endif
