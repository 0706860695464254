/* The time of a step by its rows, and what follows from it. Engine thread. */
#include "scheduler/pace.h"

static int32_t class_of(int32_t rows)
{
    int32_t i = 0;
    while (i < PACE_CLASSES - 1 && (INT64_C(1) << (i + 1)) <= rows)
        i++;
    return i;
}

void pace_note(struct pace *p, int32_t rows, uint64_t ns)
{
    int32_t i = class_of(MAX(rows, 1));
    /* As if it had been a power of two: within a class time grows with the rows at most. */
    uint64_t base = UINT64_C(1) << i, scaled = ns * base / (uint64_t)MAX(rows, 1);
    uint64_t *at = &p->ns[i];
    for (int32_t k = 0; k < PACE_CLASSES; k++)
        p->age[k] += p->age[k] < PACE_AGE;
    p->age[i] = 0;
    /* A page fault or another process makes a step longer, nothing makes one shorter. */
    if (*at == 0)
        *at = MAX(scaled, 1);
    else if (scaled < *at)
        *at -= (*at - scaled) / 2;
    else
        *at += (scaled - *at) / 8;
}

uint64_t pace_ns(const struct pace *p, int32_t rows)
{
    int32_t below = -1, above = -1, i = class_of(MAX(rows, 1));
    uint64_t y0 = 0;
    for (int32_t k = 0; k < PACE_CLASSES; k++) {
        if (p->ns[k] && k <= i) {
            below = k;
            y0 = MAX(y0, p->ns[k]); /* more rows never take less */
        }
        if (p->ns[k] && k > i && above < 0)
            above = k;
    }
    if (below < 0) /* fewer rows than ever take no longer than the fewest there were */
        return above < 0 ? 0 : p->ns[above];
    uint64_t x0 = UINT64_C(1) << below;
    if (above < 0)
        return y0 * (uint64_t)MAX(rows, 1) / x0;
    uint64_t x1 = UINT64_C(1) << above, y1 = MAX(p->ns[above], y0);
    return y0 + (y1 - y0) * ((uint64_t)MAX(rows, 1) - x0) / (x1 - x0);
}

int32_t pace_rows(const struct pace *p, int32_t decode, int32_t n_prompts, int32_t budget)
{
    int32_t least = decode + MAX(n_prompts, PACE_LEAST), base = class_of(MAX(decode, 1));
    if (n_prompts == 0 || least >= budget)
        return budget;
    if (!p->ns[base] || p->age[base] >= PACE_AGE)
        return MAX(decode, 1);
    uint64_t most = decode ? PACE_SHARED * pace_ns(p, decode) : PACE_ALONE * pace_ns(p, 1);
    int32_t lo = least, hi = budget; /* times grow with rows: the largest that fits */
    while (lo < hi) {
        int32_t mid = lo + (hi - lo + 1) / 2;
        if (pace_ns(p, mid) <= most)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}
