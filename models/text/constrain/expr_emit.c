/* From expressions to automata. See expr.h.
 *
 * A repetition is a chain of copies while that is small. Beyond, its body becomes a rule, and the
 * count a handful of rules that double: a{1000000} costs 40 of them. "At most n" is cut so that
 * no text has two ways through it: either the first half is there in full, or less than it. */
#include "base/limits.h"
#include "models/text/constrain/expr.h"

#define COPIES 64       /* of states: a longer chain calls a rule */
#define CHAIN 64        /* of calls: a longer one doubles */
#define DEPTH (LIMIT_JSON_DEPTH + LIMIT_REGEX_DEPTH + 64) /* of expressions: their parsers' own */

static void emit(struct automaton *a, const struct expr *x, int32_t from, int32_t to, int depth);

/* ---- characters ----------------------------------------------------------------------- */

/* Where the last 1, 2 and 3 bytes of a character may be any: -1 = not yet made. */
struct tails { int32_t any[4]; };

static int encode(int32_t c, uint8_t *b)
{
    if (c < 0x80) {
        b[0] = (uint8_t)c;
        return 1;
    }
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n; i-- > 1; c >>= 6)
        b[i] = (uint8_t)(0x80 | (c & 0x3F));
    b[0] = (uint8_t)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | c);
    return n;
}

/* A state from which any n continuation bytes lead to `to`. */
static int32_t any_tail(struct automaton *a, struct tails *t, int n, int32_t to)
{
    if (n == 0)
        return to;
    if (t->any[n] < 0) {
        int32_t next = any_tail(a, t, n - 1, to);
        t->any[n] = automaton_state(a);
        automaton_byte_range(a, t->any[n], next, 0x80, 0xBF);
    }
    return t->any[n];
}

/* All texts of n bytes from lo to hi whose continuation bytes are in order: the first bytes'
 * ends are split off until everything behind is free. */
static void emit_bytes(struct automaton *a, const uint8_t *lo, const uint8_t *hi, int n,
                       struct tails *t, int32_t from, int32_t to)
{
    bool from_start = true, to_end = true;
    for (int i = 1; i < n; i++) {
        from_start &= lo[i] == 0x80;
        to_end &= hi[i] == 0xBF;
    }
    if (n == 1 || (from_start && to_end)) {
        automaton_byte_range(a, from, any_tail(a, t, n - 1, to), lo[0], hi[0]);
        return;
    }
    static const uint8_t first[3] = {0x80, 0x80, 0x80}, last[3] = {0xBF, 0xBF, 0xBF};
    bool one = lo[0] == hi[0];
    int low = lo[0] + !from_start, high = hi[0] - !to_end;
    if (one || !from_start) {
        int32_t next = automaton_state(a);
        automaton_byte_range(a, from, next, lo[0], lo[0]);
        emit_bytes(a, lo + 1, one ? hi + 1 : last, n - 1, t, next, to);
    }
    if (one)
        return;
    automaton_byte_range(a, from, low <= high ? any_tail(a, t, n - 1, to) : from, low, high);
    if (!to_end) {
        int32_t next = automaton_state(a);
        automaton_byte_range(a, from, next, hi[0], hi[0]);
        emit_bytes(a, first, hi + 1, n - 1, t, next, to);
    }
}

static void emit_class(struct automaton *a, const struct expr *x, int32_t from, int32_t to)
{
    static const int32_t most[] = {0x7F, 0x7FF, 0xFFFF, CHAR_MAX_CODE};
    struct tails t = {{-1, -1, -1, -1}};
    for (int32_t i = 0; i < x->n && !a->err.code; i++) {
        int32_t at = x->ranges[i].lo;
        for (size_t k = 0; k < ARRAY_LEN(most) && at <= x->ranges[i].hi; k++) {
            uint8_t lo[4], hi[4];
            if (at > most[k])
                continue;
            int32_t end = MIN(x->ranges[i].hi, most[k]);
            int n = encode(at, lo);
            (void)encode(end, hi);
            emit_bytes(a, lo, hi, n, &t, from, to);
            at = end + 1;
        }
    }
}

/* ---- repetition ----------------------------------------------------------------------- */

/* States that a copy of x takes, roughly. */
static int64_t weight(const struct expr *x, int depth)
{
    int64_t sum = 1;
    if (depth > DEPTH)
        return COPIES;
    switch (x->kind) {
    case EXPR_TEXT:
        return x->n;
    case EXPR_CLASS:
        return x->n + (x->ranges[x->n - 1].hi > 0x7F ? 8 : 0);
    case EXPR_SEQ:
    case EXPR_ALT:
        for (int32_t i = 0; i < x->n && sum <= COPIES; i++)
            sum += weight(x->kids[i], depth + 1);
        return sum;
    case EXPR_REPEAT:
        sum = weight(x->kids[0], depth + 1) *
              MIN(x->max == REPEAT_FOREVER ? x->min + 1 : x->max, COPIES);
        return MIN(sum, LIMIT_GRAMMAR_STATES);
    case EXPR_NEVER:
    case EXPR_RULE:
        break;
    }
    return 1;
}

/* Rules that repeat one body: exactly 2^i times, and at most n times for the few n that occur. */
struct powers {
    const struct expr *body;
    int32_t exact[32], n_exact;
    struct { int32_t n, rule; } most[64];
    int32_t n_most;
};

static int32_t power(struct automaton *a, struct powers *p, int32_t i)
{
    while (p->n_exact <= i) {
        int32_t k = p->n_exact++, r = automaton_rule(a, "repetition");
        int32_t start = automaton_start(a, r), end = automaton_end(a, r);
        p->exact[k] = r;
        if (k == 0) {
            emit(a, p->body, start, end, 0);
        } else {
            int32_t middle = automaton_state(a);
            automaton_call(a, start, middle, p->exact[k - 1]);
            automaton_call(a, middle, end, p->exact[k - 1]);
        }
    }
    return p->exact[i];
}

static void emit_exactly(struct automaton *a, struct powers *p, int32_t n, int32_t from,
                         int32_t to)
{
    for (int32_t i = 0; n >> i; i++) {
        if (!(n >> i & 1))
            continue;
        int32_t next = n >> i == 1 ? to : automaton_state(a);
        automaton_call(a, from, next, power(a, p, i));
        from = next;
    }
    if (n == 0)
        automaton_empty(a, from, to);
}

/* The rule of at most n >= 1 times. */
static int32_t at_most(struct automaton *a, struct powers *p, int32_t n)
{
    for (int32_t i = 0; i < p->n_most; i++)
        if (p->most[i].n == n)
            return p->most[i].rule;
    int32_t r = automaton_rule(a, "repetition"), half = n / 2 + n % 2;
    int32_t start = automaton_start(a, r), end = automaton_end(a, r), middle = end;
    ASSERT(p->n_most < (int32_t)ARRAY_LEN(p->most)); /* two of each power of two at most */
    p->most[p->n_most].n = n;
    p->most[p->n_most++].rule = r;
    if (n > half)
        middle = automaton_state(a);
    emit_exactly(a, p, half, start, middle);
    if (n > half)
        automaton_call(a, middle, end, at_most(a, p, n - half));
    if (half > 1)
        automaton_call(a, start, end, at_most(a, p, half - 1));
    else
        automaton_empty(a, start, end);
    return r;
}

static void emit_loop(struct automaton *a, const struct expr *x, int32_t from, int32_t to,
                      int depth)
{
    int32_t loop = automaton_state(a);
    automaton_empty(a, from, loop);
    emit(a, x, loop, loop, depth + 1);
    automaton_empty(a, loop, to);
}

static void emit_repeat(struct automaton *a, const struct expr *x, int32_t from, int32_t to,
                        int depth)
{
    const struct expr *body = x->kids[0];
    bool forever = x->max == REPEAT_FOREVER;
    int32_t copies = forever ? x->min : x->max;
    if (copies > 1 && body->kind != EXPR_RULE && weight(body, 0) * copies > COPIES) {
        int32_t r = automaton_rule(a, "repeated");
        emit(a, body, automaton_start(a, r), automaton_end(a, r), depth + 1);
        body = expr_rule(a, r);
    }
    if (copies > CHAIN) {
        struct powers p = {.body = body};
        int32_t middle = automaton_state(a);
        emit_exactly(a, &p, x->min, from, middle);
        if (forever)
            emit_loop(a, body, middle, to, depth);
        else if (x->max > x->min)
            automaton_call(a, middle, to, at_most(a, &p, x->max - x->min));
        else
            automaton_empty(a, middle, to);
        return;
    }
    for (int32_t i = 0; i < copies; i++) {
        if (i >= x->min)
            automaton_empty(a, from, to);
        int32_t next = automaton_state(a);
        emit(a, body, from, next, depth + 1);
        from = next;
    }
    if (forever)
        emit_loop(a, body, from, to, depth);
    else
        automaton_empty(a, from, to);
}

/* ---- all ------------------------------------------------------------------------------ */

static void emit(struct automaton *a, const struct expr *x, int32_t from, int32_t to, int depth)
{
    if (depth > DEPTH)
        err_set(&a->err, E_RANGE, "the grammar is nested deeper than %d levels", DEPTH);
    if (a->err.code)
        return;
    switch (x->kind) {
    case EXPR_NEVER:
        return;
    case EXPR_TEXT:
        automaton_text(a, from, to, x->text, (size_t)x->n);
        return;
    case EXPR_CLASS:
        emit_class(a, x, from, to);
        return;
    case EXPR_SEQ:
        for (int32_t i = 0; i < x->n; i++) {
            int32_t next = i + 1 == x->n ? to : automaton_state(a);
            emit(a, x->kids[i], from, next, depth + 1);
            from = next;
        }
        if (x->n == 0)
            automaton_empty(a, from, to);
        return;
    case EXPR_ALT:
        for (int32_t i = 0; i < x->n; i++)
            emit(a, x->kids[i], from, to, depth + 1);
        return;
    case EXPR_REPEAT:
        emit_repeat(a, x, from, to, depth);
        return;
    case EXPR_RULE:
        automaton_call(a, from, to, x->rule);
        return;
    }
}

void expr_emit(struct automaton *a, const struct expr *x, int32_t from, int32_t to)
{
    emit(a, x, from, to, 0);
}

void expr_define(struct automaton *a, int32_t rule, const struct expr *x)
{
    emit(a, x, automaton_start(a, rule), automaton_end(a, rule), 0);
}
