/* Expressions over text, as the front ends build them, and their automata.
 *
 * Characters are code points; an automaton reads their UTF-8. Constructors never fail half-way:
 * after a fault (kept in the automaton's `err`) they return an expression that matches nothing.
 * Everything lives in the automaton's arena until it is finished. */
#ifndef RECURD_EXPR_H
#define RECURD_EXPR_H

#include "models/text/constrain/automaton.h"

#define CHAR_MAX_CODE 0x10FFFF
#define REPEAT_FOREVER INT32_MAX

enum expr_kind { EXPR_NEVER, EXPR_TEXT, EXPR_CLASS, EXPR_SEQ, EXPR_ALT, EXPR_REPEAT, EXPR_RULE };

struct char_range { int32_t lo, hi; };

struct expr {
    enum expr_kind kind;
    int32_t n;               /* bytes of text, ranges, or children */
    const char *text;
    const struct char_range *ranges;
    const struct expr **kids;
    int32_t min, max;        /* of EXPR_REPEAT; max may be REPEAT_FOREVER; min of EXPR_TEXT: how
                                many characters it stands for */
    int32_t rule;
};

const struct expr *expr_never(struct automaton *a);
const struct expr *expr_text(struct automaton *a, const char *text, size_t n);
const struct expr *expr_str(struct automaton *a, const char *text);
/* Text that is the escape of one character, and counts as one. */
const struct expr *expr_escape(struct automaton *a, const char *text);
const struct expr *expr_rule(struct automaton *a, int32_t rule);
const struct expr *expr_repeat(struct automaton *a, const struct expr *x, int32_t min, int32_t max);
/* n expressions after each other, or any of them; the array is copied. */
const struct expr *expr_seq(struct automaton *a, const struct expr *const *kids, int32_t n);
const struct expr *expr_alt(struct automaton *a, const struct expr *const *kids, int32_t n);
#define EXPR_SEQ(a, ...)                                                                         \
    expr_seq(a, (const struct expr *const[]){__VA_ARGS__},                                       \
             (int32_t)ARRAY_LEN(((const struct expr *const[]){__VA_ARGS__})))
#define EXPR_ALT(a, ...)                                                                         \
    expr_alt(a, (const struct expr *const[]){__VA_ARGS__},                                       \
             (int32_t)ARRAY_LEN(((const struct expr *const[]){__VA_ARGS__})))
/* Characters in any of the ranges (sorted and joined here; surrogates are left out). */
const struct expr *expr_class(struct automaton *a, const struct char_range *r, int32_t n);
/* One of n texts, which are shared as far as they agree. The arrays are only read. */
const struct expr *expr_texts(struct automaton *a, const char *const *texts, const size_t *lengths,
                              int32_t n);

/* A growing set of ranges. out of char_set_not is what none of them holds. */
struct char_set {
    struct char_range *p;
    int32_t n, cap;
};
void char_set_add(struct automaton *a, struct char_set *s, int32_t lo, int32_t hi);
void char_set_normalize(struct char_set *s);
void char_set_not(struct automaton *a, struct char_set *s);
/* s without what is in [lo, hi]. */
void char_set_remove(struct automaton *a, struct char_set *s, int32_t lo, int32_t hi);

/* A growing list of expressions. */
struct expr_list {
    const struct expr **p;
    int32_t n, cap;
};
void expr_list_add(struct automaton *a, struct expr_list *l, const struct expr *x);

/* Edges that pass from `from` to `to` on what x matches. */
void expr_emit(struct automaton *a, const struct expr *x, int32_t from, int32_t to);
/* Defines a rule: its whole text. */
void expr_define(struct automaton *a, int32_t rule, const struct expr *x);

/* The fewest and the most characters that x may have, at most EXPR_LENGTH_ANY; a rule may have
 * any number. */
void expr_length(const struct expr *x, int64_t *min, int64_t *max);
#define EXPR_LENGTH_ANY INT32_MAX
/* x, of least … most characters; NULL: two of its parts or more vary in length, and that cannot
 * be expressed. */
const struct expr *expr_within(struct automaton *a, const struct expr *x, int64_t least,
                               int64_t most);

#endif
