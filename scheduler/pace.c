/* The time of a step by its rows, and what follows from it. Engine thread. */
#include "scheduler/pace.h"

static int32_t class_of(int32_t rows)
{
    int32_t i = 0;
    while (i < PACE_CLASSES - 1 && (INT64_C(1) << (i + 1)) <= rows)
        i++;
    return i;
}

static bool is_known(const struct pace_class *c) { return c->ns > 0 && c->age < c->keep; }

/* The time of `rows` rows on the line through the known points beside it. */
static double expected(const struct pace *p, double rows)
{
    const struct pace_class *below = NULL, *above = NULL;
    double y0 = 0;
    for (int32_t k = 0; k < PACE_CLASSES; k++) {
        const struct pace_class *c = &p->seen[k];
        if (!is_known(c))
            continue;
        if (c->rows <= rows) {
            below = c;
            y0 = MAX(y0, c->ns); /* more rows never take less */
        } else if (!above) {
            above = c;
        }
    }
    if (!below) /* fewer rows than ever take no longer than the fewest there were */
        return above ? above->ns : 0;
    if (!above) /* at most: a step has a part that does not grow */
        return y0 * rows / below->rows;
    return y0 + (MAX(above->ns, y0) - y0) * (rows - below->rows) / (above->rows - below->rows);
}

/* What a step of `rows` rows, of class c, that took ns counts as. A page fault, another process, a
 * machine that slept: none of it says much about the next step. If it lasts, those say so, too. */
static double bounded(const struct pace *p, const struct pace_class *c, double rows, double ns)
{
    double guess = expected(p, rows);
    for (int32_t k = 0; k < PACE_CLASSES && !is_known(c); k++)
        if (is_known(&p->seen[k]) && p->seen[k].rows > rows)
            return MIN(ns, p->seen[k].ns);
    return guess > 0 ? MIN(ns, PACE_JUMP * guess) : ns;
}

void pace_note(struct pace *p, int32_t rows, uint64_t took_ns)
{
    struct pace_class *c = &p->seen[class_of(MAX(rows, 1))];
    double x = MAX(rows, 1), took = (double)MAX(took_ns, 1), y = bounded(p, c, x, took);
    bool is_strange = c->ns == 0 || took > PACE_JUMP * c->ns;
    /* Much makes a step longer than it has to be, nothing makes one shorter. */
    double share = !is_known(c) ? 1 : y < expected(p, x) ? 0.5 : 0.125;
    for (int32_t k = 0; k < PACE_CLASSES; k++)
        p->seen[k].age += p->seen[k].age < PACE_AGE;
    c->rows += (x - c->rows) * share;
    c->ns += (y - c->ns) * share;
    c->keep = is_strange ? PACE_YOUNG : MIN(2 * c->keep, PACE_AGE);
    c->age = 0;
    for (int32_t k = 0; k < PACE_CLASSES; k++) /* fewer rows take no longer */
        if (p->seen[k].rows <= x)
            p->seen[k].ns = MIN(p->seen[k].ns, y);
}

uint64_t pace_ns(const struct pace *p, int32_t rows)
{
    return (uint64_t)expected(p, MAX(rows, 1));
}

uint64_t pace_most(const struct pace *p, int32_t decode)
{
    if (decode > 0)
        return p->target_ns ? p->target_ns
                            : (uint64_t)(PACE_SHARED * expected(p, decode));
    return MAX(p->target_ns, (uint64_t)(PACE_ALONE * expected(p, 1)));
}

int32_t pace_rows(const struct pace *p, int32_t decode, int32_t n_prompts, int32_t budget)
{
    int32_t least = decode + PACE_LEAST;
    if (n_prompts == 0 || least >= budget)
        return budget;
    if (!is_known(&p->seen[class_of(MAX(decode, 1))]))
        return MAX(decode, 1);
    double most = (double)pace_most(p, decode);
    int32_t lo = least, hi = budget; /* times grow with rows: the largest that fits */
    while (lo < hi) {
        int32_t mid = lo + (hi - lo + 1) / 2;
        if (expected(p, mid) <= most)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}
