/* Whole numbers between two bounds that k divides, as decimal text.
 *
 * As in schema_number.c a number is tight at a bound while their digits agree; its remainder is
 * that of the digits so far. Once it is free, what may follow depends on how many digits are left
 * and on the remainder alone: states that all numbers share. */
#include <string.h>

#include "models/text/constrain/schema_int.h"

#define DIGITS 16

struct multiples {
    struct automaton *a;
    int k, n;         /* digits of the numbers in work */
    int32_t *free;    /* [DIGITS + 1][k] 0 = not made yet */
    int32_t end;
    const struct decimal *low, *high; /* of magnitudes */
};

static int32_t free_state(struct multiples *m, int left, int rest)
{
    int32_t *s = &m->free[left * m->k + rest];
    if (*s || m->a->err.code)
        return *s;
    *s = automaton_state(m->a);
    if (left == 0 && rest == 0)
        automaton_empty(m->a, *s, m->end);
    for (int d = 0; d < 10 && left > 0; d++)
        automaton_byte_range(m->a, *s, free_state(m, left - 1, (rest * 10 + d) % m->k), '0' + d,
                             '0' + d);
    return *s;
}

/* Digit `at` and those behind it. low, high: the number is tight there. */
static void emit_digits(struct multiples *m, int at, int rest, bool low, bool high, int32_t from)
{
    if (!low && !high && (at > 0 || m->n == 1)) {
        automaton_empty(m->a, from, free_state(m, m->n - at, rest));
        return;
    }
    if (at == m->n) {
        if (rest == 0)
            automaton_empty(m->a, from, m->end);
        return;
    }
    int least = low ? m->low->whole[at] - '0' : at == 0 && m->n > 1;
    int most = high ? m->high->whole[at] - '0' : 9;
    for (int d = least; d <= most && !m->a->err.code; d++) {
        bool l = low && d == least, h = high && d == most;
        int32_t to = l || h ? automaton_state(m->a)
                            : free_state(m, m->n - at - 1, (rest * 10 + d) % m->k);
        automaton_byte_range(m->a, from, to, '0' + d, '0' + d);
        if (l || h)
            emit_digits(m, at + 1, (rest * 10 + d) % m->k, l, h, to);
    }
}

static void emit_magnitudes(struct multiples *m, const struct decimal *low,
                            const struct decimal *high, int32_t from)
{
    m->low = low;
    m->high = high;
    int last = high->there ? high->n_whole : MAX(DIGITS, low->n_whole);
    for (m->n = low->n_whole; m->n <= MIN(last, DIGITS) && !m->a->err.code; m->n++)
        emit_digits(m, 0, 0, m->n == low->n_whole, high->there && m->n == last, from);
}

void multiples_between(struct automaton *a, int k, const struct decimal *low,
                       const struct decimal *high, int32_t from, int32_t to)
{
    static const struct decimal zero = {.there = true, .n_whole = 1, .whole = "0"};
    static const struct decimal one = {.there = true, .n_whole = 1, .whole = "1"}, none = {0};
    struct multiples m = {.a = a, .k = k, .end = to};
    m.free = arena_array(&a->arena, (DIGITS + 1) * (size_t)k, sizeof *m.free);
    if (!m.free) {
        err_set(&a->err, E_RANGE, "multipleOf: no room for %d remainders", k);
        return;
    }
    memset(m.free, 0, (DIGITS + 1) * (size_t)k * sizeof *m.free);
    int32_t minus = automaton_state(a);
    automaton_byte_range(a, from, minus, '-', '-');
    if (!high->there || !high->negative)
        emit_magnitudes(&m, low->there && !low->negative ? low : &zero, high, from);
    if (!low->there || low->negative) /* no -0 */
        emit_magnitudes(&m, high->there && high->negative ? high : &one,
                        low->there ? low : &none, minus);
}
