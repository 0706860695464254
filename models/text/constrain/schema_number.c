/* Numbers between two bounds, as decimal text, exactly.
 *
 * Digits are compared from the left: as long as a number agrees with a bound it is tight there,
 * and once it differs to the right side it is free. A number of fewer or more digits before the
 * point than a bound has is free from the start.
 *
 * Readers keep numbers as doubles. Beside a bound that is itself left out, a number has so few
 * digits that it cannot be rounded to the bound. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/text/constrain/schema_int.h"

#define DIGITS 16 /* before the point, and behind it, where nothing else says so */
#define EXACT 15  /* digits of decimals that are different doubles */

/* v's shortest text that is read as v. False: it has more than `most` digits, and what is written
 * is rounded to the inside. */
static bool shortest(char *text, size_t cap, double v, int most, bool low)
{
    for (int digits = EXACT; digits <= most; digits++) {
        snprintf(text, cap, "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v)
            return true;
    }
    double outside = strtod(text, NULL), step = fabs(v) * 1e-14;
    if (low ? outside < v : outside > v)
        snprintf(text, cap, "%.*e", most - 1, low ? v + step : v - step);
    return false;
}

bool decimal_of(struct automaton *a, double v, bool low, bool open, struct decimal *out)
{
    char text[64];
    *out = (struct decimal){.there = true, .negative = v < 0, .open = open};
    if (!shortest(text, sizeof text, fabs(v), open ? EXACT : 17, low != out->negative))
        out->open = false;
    const char *e = strchr(text, 'e');
    int exponent = e ? (int)strtol(e + 1, NULL, 10) : 0, n = 0;
    char digits[32];
    for (const char *p = text; e && p < e && n < 24; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (!e || exponent > DIGITS || n - 1 - exponent > 20) {
        err_set(&a->err, E_RANGE, "the bound %.17g has more digits than can be enforced", v);
        return false;
    }
    for (int i = 0; i <= MAX(exponent, 0); i++) /* digit i of the whole part */
        out->whole[out->n_whole++] = exponent < 0 || i >= n ? '0' : digits[i];
    for (int i = exponent + 1; i < 0; i++)
        out->part[out->n_part++] = '0';
    for (int i = MAX(exponent + 1, 0); i < n; i++)
        out->part[out->n_part++] = digits[i];
    if (out->n_part == 1 && out->part[0] == '0')
        out->n_part = 0;
    return true;
}

/* One search: magnitudes of n digits before the point. */
struct range {
    struct automaton *a;
    const struct decimal *low, *high; /* of the magnitude; not there = none */
    bool integer;
    int n;
    int most; /* digits in all; 0: as many as DIGITS says */
};

static char digit_at(const struct range *r, const struct decimal *d, int at)
{
    if (at < r->n)
        return d->whole[at];
    return at - r->n < d->n_part ? d->part[at - r->n] : '0';
}

static bool rest_is_zero(const struct range *r, const struct decimal *d, int at)
{
    for (; at < r->n + d->n_part; at++)
        if (digit_at(r, d, at) != '0')
            return false;
    return true;
}

static const struct expr *digits(struct automaton *a, char lo, char hi, int min, int max)
{
    const struct expr *x = expr_class(a, &(struct char_range){lo, hi}, 1);
    return min == 1 && max == 1 ? x : expr_repeat(a, x, min, max);
}

/* How many digits may follow `at` of them. */
static int room(const struct range *r, int at)
{
    return r->most ? MAX(r->most - at, 0) : DIGITS;
}

/* Any part behind the point, or none. */
static const struct expr *any_part(const struct range *r)
{
    int most = room(r, r->n);
    if (r->integer || most == 0)
        return expr_str(r->a, "");
    return expr_repeat(r->a, EXPR_SEQ(r->a, expr_str(r->a, "."), digits(r->a, '0', '9', 1, most)),
                       0, 1);
}

/* What may follow at digit `at` when nothing is tight any more. */
static const struct expr *free_rest(const struct range *r, int at)
{
    struct automaton *a = r->a;
    if (at < r->n)
        return EXPR_SEQ(a, digits(a, '0', '9', r->n - at, r->n - at), any_part(r));
    if (at == r->n)
        return any_part(r);
    return digits(a, '0', '9', 0, room(r, at));
}

static bool may_end(const struct range *r, int at, bool low, bool high)
{
    if (at < r->n)
        return false;
    if (low && (!rest_is_zero(r, r->low, at) || r->low->open))
        return false;
    return !high || !rest_is_zero(r, r->high, at) || !r->high->open;
}

static const struct expr *tight(const struct range *r, int at, bool low, bool high);

/* The digit at `at`, and what follows it. */
static const struct expr *digit_then(const struct range *r, int at, bool low, bool high)
{
    struct automaton *a = r->a;
    struct expr_list alts = {0};
    char least = at == 0 && r->n > 1 ? '1' : '0', most = '9';
    char l = low ? digit_at(r, r->low, at) : least, h = high ? digit_at(r, r->high, at) : most;
    if (low && high && l == h)
        return EXPR_SEQ(a, digits(a, l, l, 1, 1), tight(r, at + 1, true, true));
    if (low)
        expr_list_add(a, &alts, EXPR_SEQ(a, digits(a, l, l, 1, 1), tight(r, at + 1, true, false)));
    if (high && h >= least)
        expr_list_add(a, &alts, EXPR_SEQ(a, digits(a, h, h, 1, 1), tight(r, at + 1, false, true)));
    char from = (char)(low ? l + 1 : least), to = (char)(high ? h - 1 : most);
    if (from <= to)
        expr_list_add(a, &alts, EXPR_SEQ(a, digits(a, from, to, 1, 1), free_rest(r, at + 1)));
    return expr_alt(a, alts.p, alts.n);
}

/* Digits behind the low bound's own that make it larger: zeros, one that is none, others. */
static const struct expr *some_above(const struct range *r, int at)
{
    struct automaton *a = r->a;
    struct expr_list alts = {0};
    int zeros = 0;
    while (zeros < at && digit_at(r, r->low, zeros) == '0')
        zeros++;
    if (!r->most)
        return EXPR_SEQ(a, digits(a, '0', '0', 0, DIGITS), digits(a, '1', '9', 1, 1),
                        digits(a, '0', '9', 0, DIGITS));
    int most = zeros == at ? MAX(room(r, at), 1) : room(r, at - zeros);
    for (int i = 0; i < most; i++)
        expr_list_add(a, &alts, EXPR_SEQ(a, digits(a, '0', '0', i, i), digits(a, '1', '9', 1, 1),
                                         digits(a, '0', '9', 0, most - 1 - i)));
    return expr_alt(a, alts.p, alts.n);
}

/* All bounds' digits are used up: what may follow. */
static const struct expr *tight_end(const struct range *r, int at, bool low, bool high)
{
    struct automaton *a = r->a;
    const struct expr *dot = expr_str(a, at == r->n ? "." : "");
    const struct expr *zeros = digits(a, '0', '0', at == r->n, DIGITS);
    struct expr_list alts = {0};
    if (may_end(r, at, low, high))
        expr_list_add(a, &alts, EXPR_ALT(a, expr_str(a, ""), EXPR_SEQ(a, dot, zeros)));
    if (low && !high) /* above the bound by some digit that is not 0 */
        expr_list_add(a, &alts, EXPR_SEQ(a, dot, some_above(r, at)));
    return expr_alt(a, alts.p, alts.n);
}

static const struct expr *tight(const struct range *r, int at, bool low, bool high)
{
    struct automaton *a = r->a;
    int parts = MAX(low ? r->low->n_part : 0, high ? r->high->n_part : 0);
    if (!low && !high)
        return free_rest(r, at);
    if (r->integer && at == r->n)
        return may_end(r, at, low, high) ? expr_str(a, "") : expr_never(a);
    if (at >= r->n + parts)
        return tight_end(r, at, low, high);
    const struct expr *more = digit_then(r, at, low, high);
    if (at == r->n)
        more = EXPR_SEQ(a, expr_str(a, "."), more);
    return may_end(r, at, low, high) ? EXPR_ALT(a, expr_str(a, ""), more) : more;
}

/* Magnitudes between two bounds that are not negative. */
static const struct expr *magnitude(struct automaton *a, const struct decimal *low,
                                    const struct decimal *high, bool integer, int most)
{
    struct expr_list alts = {0};
    int first = low->there ? low->n_whole : 1;
    int last = high->there ? high->n_whole : MAX(DIGITS, first);
    for (int n = first; n <= last; n++) {
        struct range r = {a, low, high, integer, n, most};
        bool at_low = low->there && n == low->n_whole, at_high = high->there && n == high->n_whole;
        expr_list_add(a, &alts, at_low || at_high ? tight(&r, 0, at_low, at_high)
                                                  : digit_then(&r, 0, false, false));
    }
    return expr_alt(a, alts.p, alts.n);
}

const struct expr *number_between(struct automaton *a, const struct decimal *low,
                                  const struct decimal *high, bool integer)
{
    static const struct decimal zero = {.there = true, .n_whole = 1, .whole = "0"}, none = {0};
    struct expr_list alts = {0};
    int most = !integer && (low->open || high->open) ? EXACT : 0;
    bool below = !low->there || low->negative, above = !high->there || !high->negative;
    if (above)
        expr_list_add(a, &alts, magnitude(a, low->there && !low->negative ? low : &zero, high,
                                          integer, most));
    if (below) {
        const struct decimal *largest = low->there ? low : &none;
        const struct decimal *least = high->there && high->negative ? high : &zero;
        static const struct decimal one = {.there = true, .n_whole = 1, .whole = "1"};
        if (integer && least == &zero)
            least = &one; /* no -0 */
        bool open = high->there && !high->negative && high->open && high->n_part == 0 &&
                    high->n_whole == 1 && high->whole[0] == '0';
        struct decimal above_zero = zero; /* -0 is 0: not below an open bound of 0 */
        above_zero.open = open;
        expr_list_add(a, &alts, EXPR_SEQ(a, expr_str(a, "-"),
                                         magnitude(a, open ? &above_zero : least, largest, integer,
                                                   most)));
    }
    return expr_alt(a, alts.p, alts.n);
}
