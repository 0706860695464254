/* Expressions: constructors. See the header. */
#include "models/text/constrain/expr.h"

#include <stdlib.h>
#include <string.h>

static const struct expr never = {.kind = EXPR_NEVER};

static void *take(struct automaton *a, size_t count, size_t size)
{
    void *p = a->err.code ? NULL : arena_array(&a->arena, count, size);
    if (!p)
        err_set(&a->err, E_RANGE, "the grammar needs more than %zu bytes", a->arena.max);
    return p;
}

static const struct expr *make(struct automaton *a, const struct expr *from)
{
    struct expr *x = take(a, 1, sizeof *x);
    if (!x)
        return &never;
    *x = *from;
    return x;
}

const struct expr *expr_never(struct automaton *a)
{
    (void)a;
    return &never;
}

static const struct expr *text_of(struct automaton *a, const char *text, size_t n, int32_t chars)
{
    char *copy = take(a, n + 1, 1);
    if (!copy || n > INT32_MAX)
        return &never;
    if (n)
        memcpy(copy, text, n);
    return make(a, &(struct expr){.kind = EXPR_TEXT, .text = copy, .n = (int32_t)n, .min = chars});
}

static int32_t chars_of(const char *p, size_t n)
{
    int32_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)p[i] & 0xC0) != 0x80;
    return chars;
}

const struct expr *expr_text(struct automaton *a, const char *text, size_t n)
{
    return text_of(a, text, n, chars_of(text, n));
}

const struct expr *expr_escape(struct automaton *a, const char *text)
{
    return text_of(a, text, strlen(text), 1);
}

const struct expr *expr_str(struct automaton *a, const char *text)
{
    return expr_text(a, text, strlen(text));
}

const struct expr *expr_rule(struct automaton *a, int32_t rule)
{
    return make(a, &(struct expr){.kind = EXPR_RULE, .rule = rule});
}

static const struct expr *with_kids(struct automaton *a, const struct expr *from,
                                    const struct expr *const *kids, int32_t n)
{
    struct expr x = *from;
    const struct expr **copy = take(a, (size_t)n, sizeof *copy);
    if (!copy)
        return &never;
    if (n)
        memcpy(copy, kids, (size_t)n * sizeof *copy);
    x.kids = copy;
    x.n = n;
    return make(a, &x);
}

const struct expr *expr_repeat(struct automaton *a, const struct expr *x, int32_t min, int32_t max)
{
    return with_kids(a, &(struct expr){.kind = EXPR_REPEAT, .min = min, .max = max}, &x, 1);
}

const struct expr *expr_seq(struct automaton *a, const struct expr *const *kids, int32_t n)
{
    return n == 1 ? kids[0] : with_kids(a, &(struct expr){.kind = EXPR_SEQ}, kids, n);
}

const struct expr *expr_alt(struct automaton *a, const struct expr *const *kids, int32_t n)
{
    return n == 1 ? kids[0] : with_kids(a, &(struct expr){.kind = EXPR_ALT}, kids, n);
}

void expr_list_add(struct automaton *a, struct expr_list *l, const struct expr *x)
{
    if (l->n == l->cap) {
        int32_t cap = MAX(2 * l->cap, 8);
        const struct expr **p = take(a, (size_t)cap, sizeof *p);
        if (!p)
            return;
        if (l->n)
            memcpy(p, l->p, (size_t)l->n * sizeof *p);
        l->p = p;
        l->cap = cap;
    }
    l->p[l->n++] = x;
}

/* ---- sets of characters --------------------------------------------------------------- */

void char_set_add(struct automaton *a, struct char_set *s, int32_t lo, int32_t hi)
{
    if (lo > hi)
        return;
    if (s->n == s->cap) {
        int32_t cap = MAX(2 * s->cap, 8);
        struct char_range *p = take(a, (size_t)cap, sizeof *p);
        if (!p)
            return;
        if (s->n)
            memcpy(p, s->p, (size_t)s->n * sizeof *p);
        s->p = p;
        s->cap = cap;
    }
    s->p[s->n++] = (struct char_range){lo, hi};
}

static int by_lo(const void *x, const void *y)
{
    const struct char_range *a = x, *b = y;
    return (a->lo > b->lo) - (a->lo < b->lo);
}

void char_set_normalize(struct char_set *s)
{
    if (s->n == 0)
        return;
    qsort(s->p, (size_t)s->n, sizeof *s->p, by_lo);
    int32_t n = 1;
    for (int32_t i = 1; i < s->n; i++) {
        if (s->p[i].lo <= s->p[n - 1].hi + 1)
            s->p[n - 1].hi = MAX(s->p[n - 1].hi, s->p[i].hi);
        else
            s->p[n++] = s->p[i];
    }
    s->n = n;
}

void char_set_not(struct automaton *a, struct char_set *s)
{
    struct char_set out = {0};
    int32_t at = 0;
    char_set_normalize(s);
    for (int32_t i = 0; i < s->n; i++) {
        char_set_add(a, &out, at, s->p[i].lo - 1);
        at = s->p[i].hi + 1;
    }
    char_set_add(a, &out, at, CHAR_MAX_CODE);
    *s = out;
}

void char_set_remove(struct automaton *a, struct char_set *s, int32_t lo, int32_t hi)
{
    struct char_set out = {0};
    for (int32_t i = 0; i < s->n; i++) {
        char_set_add(a, &out, s->p[i].lo, MIN(s->p[i].hi, lo - 1));
        char_set_add(a, &out, MAX(s->p[i].lo, hi + 1), s->p[i].hi);
    }
    *s = out;
}

const struct expr *expr_class(struct automaton *a, const struct char_range *r, int32_t n)
{
    struct char_set s = {0};
    for (int32_t i = 0; i < n; i++)
        char_set_add(a, &s, r[i].lo, MIN(r[i].hi, CHAR_MAX_CODE));
    char_set_normalize(&s);
    char_set_remove(a, &s, 0xD800, 0xDFFF);
    if (s.n == 0)
        return &never;
    return make(a, &(struct expr){.kind = EXPR_CLASS, .ranges = s.p, .n = s.n});
}

/* ---- texts that share their beginnings ------------------------------------------------ */

struct text { const char *p; size_t n; };

static int by_bytes(const void *x, const void *y)
{
    const struct text *a = x, *b = y;
    int c = memcmp(a->p, b->p, MIN(a->n, b->n));
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

/* Levels at which texts part; what parts deeper is not shared. */
#define BRANCH_DEPTH 48

/* Sorted texts that agree in their first `at` bytes: what follows. Each level has fewer texts
 * than the one above, and they differ there. */
static const struct expr *branch(struct automaton *a, const struct text *t, int32_t n, size_t at,
                                 int depth)
{
    struct expr_list alts = {0};
    for (int32_t i = 0, j; i < n && !a->err.code; i = j) {
        if (t[i].n == at) {
            j = i + 1;
            while (j < n && t[j].n == at) /* the same text again */
                j++;
            expr_list_add(a, &alts, expr_text(a, "", 0));
            continue;
        }
        size_t same = at + 1;
        j = i + 1;
        while (depth < BRANCH_DEPTH && j < n && t[j].p[at] == t[i].p[at])
            j++;
        while (same < t[i].n && same < t[j - 1].n && t[i].p[same] == t[j - 1].p[same])
            same++;
        const struct expr *head = expr_text(a, t[i].p + at, same - at);
        const struct expr *tail = t[j - 1].n == same ? NULL
                                                     : branch(a, t + i, j - i, same, depth + 1);
        expr_list_add(a, &alts, tail ? EXPR_SEQ(a, head, tail) : head);
    }
    return expr_alt(a, alts.p, alts.n);
}

const struct expr *expr_texts(struct automaton *a, const char *const *texts, const size_t *lengths,
                              int32_t n)
{
    struct text *t = n ? take(a, (size_t)n, sizeof *t) : NULL;
    if (!t)
        return &never;
    for (int32_t i = 0; i < n; i++)
        t[i] = (struct text){texts[i], lengths[i]};
    qsort(t, (size_t)n, sizeof *t, by_bytes);
    return branch(a, t, n, 0, 0);
}

/* ---- how long -------------------------------------------------------------------------- */

void expr_length(const struct expr *x, int64_t *min, int64_t *max)
{
    int64_t lo = 0, hi = 0;
    *min = *max = 0;
    switch (x->kind) {
    case EXPR_NEVER:
        break;
    case EXPR_TEXT:
        *min = *max = x->min;
        break;
    case EXPR_CLASS:
        *min = *max = 1;
        break;
    case EXPR_SEQ:
    case EXPR_ALT:
        for (int32_t i = 0; i < x->n; i++) {
            expr_length(x->kids[i], &lo, &hi);
            bool seq = x->kind == EXPR_SEQ;
            *min = seq ? *min + lo : i == 0 ? lo : MIN(*min, lo);
            *max = seq ? *max + hi : MAX(*max, hi);
        }
        break;
    case EXPR_REPEAT:
        expr_length(x->kids[0], &lo, &hi);
        *min = lo * x->min;
        *max = x->max == REPEAT_FOREVER ? (hi ? EXPR_LENGTH_ANY : 0) : hi * x->max;
        break;
    case EXPR_RULE:
        *max = EXPR_LENGTH_ANY;
        break;
    }
    *min = MIN(*min, EXPR_LENGTH_ANY);
    *max = MIN(*max, EXPR_LENGTH_ANY);
}

/* A sequence of which one part varies: that one takes up the difference. */
static const struct expr *seq_within(struct automaton *a, const struct expr *x, int64_t least,
                                     int64_t most)
{
    struct expr_list parts = {0};
    int32_t varies = -1;
    for (int32_t i = 0; i < x->n; i++) {
        int64_t lo, hi;
        expr_length(x->kids[i], &lo, &hi);
        if (lo != hi && varies >= 0)
            return NULL;
        if (lo != hi)
            varies = i;
        else {
            least -= lo;
            most -= lo;
        }
    }
    for (int32_t i = 0; i < x->n; i++) {
        const struct expr *one = x->kids[i];
        if (i == varies && !(one = expr_within(a, one, least, most)))
            return NULL;
        expr_list_add(a, &parts, one);
    }
    return expr_seq(a, parts.p, parts.n);
}

const struct expr *expr_within(struct automaton *a, const struct expr *x, int64_t least,
                               int64_t most)
{
    int64_t lo, hi, min, max;
    struct expr_list alts = {0};
    expr_length(x, &lo, &hi);
    if (least <= lo && (hi <= most || most >= EXPR_LENGTH_ANY))
        return x;
    if (hi < least || lo > most)
        return expr_never(a);
    switch (x->kind) {
    case EXPR_SEQ:
        return seq_within(a, x, least, most);
    case EXPR_ALT:
        for (int32_t i = 0; i < x->n; i++) {
            const struct expr *one = expr_within(a, x->kids[i], least, most);
            if (!one)
                return NULL;
            expr_list_add(a, &alts, one);
        }
        return expr_alt(a, alts.p, alts.n);
    case EXPR_REPEAT:
        expr_length(x->kids[0], &lo, &hi);
        if (lo != hi || lo == 0)
            return NULL;
        min = MAX((int64_t)x->min, (MAX(least, 0) + lo - 1) / lo);
        max = most >= EXPR_LENGTH_ANY ? x->max : MIN((int64_t)x->max, most / lo);
        return min > max ? expr_never(a) : expr_repeat(a, x->kids[0], (int32_t)min, (int32_t)max);
    default:
        return NULL;
    }
}
