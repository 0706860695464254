/* The time of a step by its rows, and what follows from it. Engine thread. */
#include "scheduler/pace.h"

#include <math.h>

static int32_t class_of(int32_t rows)
{
    int32_t i = 0;
    while (i < PACE_CLASSES - 1 && (INT64_C(1) << (i + 1)) <= rows)
        i++;
    return i;
}

static bool is_known(const struct pace_class *c) { return c->ns > 0 && c->age < c->keep; }

/* The nearest point of `seen` with rows <= `rows`, or with more (above), of those that are known;
 * late: or were. */
static const struct pace_class *point(const struct pace_class *seen, double rows, bool above,
                                      bool late)
{
    const struct pace_class *found = NULL;
    for (int32_t k = 0; k < PACE_CLASSES; k++) {
        const struct pace_class *c = &seen[k];
        if (c->ns == 0 || (!late && !is_known(c)) || (c->rows > rows) != above)
            continue;
        if (!above || !found)
            found = c;
    }
    return found;
}

static double between(const struct pace_class *below, double y0, const struct pace_class *above,
                      double rows)
{
    return y0 + (MAX(above->ns, y0) - y0) * (rows - below->rows) / (above->rows - below->rows);
}

/* The time of `rows` rows on the line through the known points beside it. */
static double expected(const struct pace_class *seen, double rows)
{
    bool late = !point(seen, rows, false, false) && !point(seen, rows, true, false);
    const struct pace_class *below = point(seen, rows, false, late);
    const struct pace_class *above = point(seen, rows, true, late);
    double y0 = 0;
    if (!below) /* fewer rows than ever take no longer than the fewest there were */
        return above ? above->ns : 0;
    for (int32_t k = 0; k < PACE_CLASSES; k++) /* more rows never take less */
        if (seen[k].rows <= rows && (late || is_known(&seen[k])))
            y0 = MAX(y0, seen[k].ns);
    if (above)
        return between(below, y0, above, rows);
    /* At most, as a step has a part that does not grow; and what was true once may be still. */
    double most = y0 * rows / below->rows;
    above = point(seen, rows, true, true);
    return above && above->ns > y0 ? MIN(most, between(below, y0, above, rows)) : most;
}

/* The time of any step of so many rows; where only those apart were seen, at most. */
static double any(const struct pace *p, double rows)
{
    double all = expected(p->all, rows);
    return all > 0 ? all : expected(p->alone, rows);
}

/* Steps of one row a sequence that have kernels of their own. */
static bool is_apart(const struct pace *p, double rows) { return rows <= p->single_rows; }

/* Of p->alone: no class has steps of both kinds. */
static int32_t alone_class(const struct pace *p, int32_t rows)
{
    int32_t c = class_of(rows), least = class_of(p->single_rows) + 1;
    return !p->single_rows || is_apart(p, rows) ? c : MIN(MAX(c, least), PACE_CLASSES - 1);
}

/* The time of `rows` rows that run alone, of streams or (rows 1) of one row. Both times are at
 * least that, where both are of the same kind of steps. */
static double alone(const struct pace *p, double rows)
{
    double a = expected(p->alone, rows), b = expected(p->all, rows);
    if (a > 0 && is_apart(p, rows))
        return a;
    return a > 0 && b > 0 ? MIN(a, b) : MAX(a, b);
}

/* The same of those that come first: streams, or the rows of short prompts. */
static double first_alone(const struct pace *p, double rows, bool streams)
{
    double all = is_apart(p, rows) && !streams ? expected(p->all, rows) : 0;
    return all > 0 ? all : alone(p, rows);
}

/* What a step of `rows` rows, of class c, that took ns counts as. A page fault, another process, a
 * machine that slept: none of it says much about the next step. If it lasts, those say so, too. */
static double bounded(const struct pace_class *seen, const struct pace_class *c, double rows,
                      double ns)
{
    double guess = expected(seen, rows);
    for (int32_t k = 0; k < PACE_CLASSES && !is_known(c); k++)
        if (is_known(&seen[k]) && seen[k].rows > rows)
            return MIN(ns, seen[k].ns);
    return guess > 0 ? MIN(ns, PACE_JUMP * guess) : ns;
}

/* Into class c of `seen`. rises, falls: how much of a longer or shorter time than expected counts;
 * rises 0 = a longer one says nothing, not even that it was seen. */
static void learn(struct pace_class *seen, struct pace_class *c, double x, double took,
                  double rises, double falls)
{
    double y = bounded(seen, c, x, took);
    bool is_strange = c->ns == 0 || took > PACE_JUMP * c->ns;
    double share = !is_known(c) ? 1 : y < expected(seen, x) ? falls : rises;
    if (is_strange)
        c->keep = PACE_YOUNG;
    if (share == 0)
        return;
    c->rows += (x - c->rows) * share;
    c->ns += (y - c->ns) * share;
    c->keep = is_strange ? PACE_YOUNG : MIN(2 * c->keep, PACE_AGE);
    c->age = 0;
    for (int32_t k = 0; k < PACE_CLASSES; k++) /* fewer rows take no longer */
        if (seen[k].rows <= x)
            seen[k].ns = MIN(seen[k].ns, y);
}

static double most_of(const struct pace *p, int32_t base, bool streams, bool calm)
{
    if (base == 0)
        return MAX((double)p->target_ns, PACE_ALONE * alone(p, 1));
    if (p->target_ns)
        return (double)p->target_ns;
    double most = PACE_SHARED * first_alone(p, base, streams);
    double calmly = PACE_CALM * alone(p, 1) / sqrt(base);
    return calm ? MAX(most, MIN(calmly, (double)PACE_FELT_NS)) : most;
}

/* What the step leaves: a debt of its length if nothing came first, else what it took less than it
 * might. Who comes next waited for one such step, at most. */
static void settle(struct pace *p, double took)
{
    double debt = MAX(PACE_ALONE * alone(p, 1), MAX(-p->saved, p->base == 0 ? took : 0));
    if (p->target_ns) {
        p->saved = 0;
    } else if (p->trial > 0) {
        return; /* what it might have taken is not known */
    } else if (p->base == 0) {
        p->saved = MAX(MIN(p->saved, 0) - took, -debt);
    } else {
        double most = most_of(p, p->base, p->streams, false);
        double enough = any(p, p->base + PACE_LEAST); /* for any step of the least */
        p->saved = MIN(p->saved + most - took, enough);
        p->saved = MAX(p->saved, p->calm ? MIN(most - took, 0) : -debt); /* one step, at most */
    }
}

void pace_note(struct pace *p, int32_t rows, bool single, uint64_t took_ns)
{
    double x = MAX(rows, 1), took = (double)MAX(took_ns, 1);
    bool apart = single && is_apart(p, x), is_alone = rows == MAX(p->base, 1);
    settle(p, MIN(took, PACE_JUMP * expected(apart ? p->alone : p->all, x)));
    for (int32_t k = 0; k < PACE_CLASSES; k++) {
        p->all[k].age += p->all[k].age < PACE_AGE;
        p->alone[k].age += p->alone[k].age < PACE_AGE;
    }
    /* Much makes a step longer than it has to be, nothing makes one shorter. */
    if (!apart)
        learn(p->all, &p->all[class_of(rows)], x, took, 0.125, 0.5);
    /* Between steps with others it is slower than alone: that says nothing. Nor does a row that the
     * device makes otherwise, if such a one was ever seen. */
    struct pace_class *c = &p->alone[alone_class(p, rows)];
    if (apart || (is_alone && (!is_apart(p, x) || (rows <= 1 && c->ns == 0))))
        learn(p->alone, c, x, took, p->trial > 0 ? 0.5 : p->passed > 0 ? 0 : 0.125, 0.5);
    else if (is_alone && rows <= 1)
        c->age = 0, c->keep = MIN(2 * c->keep, PACE_AGE);
    p->trial -= p->trial > 0;
}

uint64_t pace_ns(const struct pace *p, int32_t rows)
{
    return (uint64_t)any(p, MAX(rows, 1));
}

uint64_t pace_most(const struct pace *p, int32_t base, bool calm)
{
    return (uint64_t)most_of(p, base, p->streams, calm);
}

/* The most rows, of those from lo to hi, that take at most `most`; lo if none do. Times grow with
 * rows. */
static int32_t rows_in(const struct pace *p, double most, int32_t lo, int32_t hi)
{
    while (lo < hi) {
        int32_t mid = lo + (hi - lo + 1) / 2;
        if (any(p, mid) <= most)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

int32_t pace_first(const struct pace *p, int32_t decode, int32_t budget)
{
    /* Half of the time that is not the streams', so the others get the other half. */
    double most = (most_of(p, decode, true, false) + (decode ? alone(p, decode) : 0)) / 2;
    if (!is_known(&p->alone[alone_class(p, MAX(decode, 1))]))
        return decode;
    return rows_in(p, most, decode, budget);
}

uint64_t pace_prompts_ns(const struct pace *p, int32_t streams, int64_t rows, int32_t budget)
{
    int32_t step = budget;
    if (streams > 0) /* theirs is most of a step's time, and a row of it each */
        step = rows_in(p, most_of(p, streams, true, true), streams + PACE_LEAST, budget);
    int64_t each = MAX(MIN((int64_t)step - streams, rows), 1);
    double ns = any(p, (double)(each + streams));
    return (uint64_t)(ns * (double)rows / (double)each);
}

/* Of the time of a row, what a step of `more` rows saves beside one of `rows`: as seen, or as far
 * as the line from fewer rows goes on. */
static double saves(const struct pace *p, int32_t rows, int32_t more, bool seen)
{
    double t = any(p, rows), then = any(p, more);
    if (!seen) {
        const struct pace_class *few = point(p->all, rows / 2, false, true);
        double x = few ? few->rows : 1, y = few ? few->ns : alone(p, 1);
        then = t + (t - y) / (rows - x) * (more - rows);
    }
    return 1 - then / more / (t / rows);
}

/* Rows of a step of prompts alone: where twice as many are worth it, these, as long as nobody feels
 * it. A device with kernels for few rows has others for many: what these make of more than were
 * ever seen is tried, as no line leads there. */
static int32_t rows_alone(const struct pace *p, double most, int32_t budget)
{
    int32_t rows = rows_in(p, most, PACE_LEAST, budget);
    for (bool seen = true; seen && rows < budget;) {
        int32_t more = rows_in(p, PACE_FELT_NS, rows, (int32_t)MIN(INT64_C(2) * rows, budget));
        seen = point(p->all, (rows + more) / 2.0, true, false);
        bool worth = saves(p, rows, more, seen) >= PACE_WORTH * (more - rows) / rows;
        if (more < PACE_FLAT * rows || !(worth || (!seen && p->single_rows)))
            break;
        rows = more;
    }
    return rows;
}

/* Rows of a step in which `first` come first. */
static int32_t rows_with(const struct pace *p, int32_t first, int32_t budget)
{
    double most = most_of(p, p->base, p->streams, false);
    if (p->target_ns)
        return rows_in(p, most, first + PACE_LEAST, budget);
    if (first == 0)
        return rows_alone(p, most, budget);
    double now = p->calm ? most_of(p, p->base, true, true) : most + MIN(p->saved, 0);
    int32_t rows = rows_in(p, now, first, budget);
    if (rows >= first + PACE_LEAST)
        return rows;
    double least = any(p, first + PACE_LEAST);
    if (least > most + p->saved)
        return first;
    /* Where a step takes so long whatever it has, it takes along what costs little more: as was
     * seen, or as there must be, when more is not explained by its rows. */
    double each = first_alone(p, p->base, p->streams) / MAX(p->base, 1);
    double extra = least - each * (first + PACE_LEAST);
    rows = rows_in(p, PACE_FLAT * least, first + PACE_LEAST, budget);
    if (p->streams && extra > 0)
        rows = MAX(rows, (int32_t)MIN((double)budget, first + extra / 2 / each));
    if (p->single_rows && !is_known(&p->all[class_of(first + PACE_MANY)]))
        rows = MIN(first + PACE_MANY, budget); /* tried: the line from fewer rows says too much */
    return rows >= first + PACE_MANY ? rows : first + PACE_LEAST;
}

int32_t pace_rows(struct pace *p, int32_t decode, int32_t first, bool calm, int32_t n_others,
                  int32_t budget)
{
    int32_t rows = budget;
    p->base = decode ? decode : first;
    p->streams = decode > 0;
    p->calm = calm && decode > 0 && first == decode;
    p->calm = p->calm && pace_most(p, decode, true) > pace_most(p, decode, false);
    if (n_others > 0 && first + PACE_LEAST < budget) {
        if (!is_known(&p->alone[alone_class(p, MAX(decode, 1))]) && p->trial == 0)
            p->trial = PACE_TRIAL;
        if (first > 0 && p->passed >= PACE_PATIENCE)
            rows = first + PACE_LEAST;
        else
            rows = p->trial > 0 ? MAX(first, 1) : rows_with(p, first, budget);
    }
    p->passed = n_others > 0 && rows == first ? p->passed + 1 : 0;
    return rows;
}
