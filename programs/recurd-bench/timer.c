/* Timers: a binary heap of moments. heap[t->pos - 1] == t for every set timer. Thread: one. */
#include "programs/recurd-bench/timer.h"

#include "base/err.h"
#include "base/mem.h"

static void place(struct timers *ts, size_t i, struct timer *t)
{
    ts->heap[i] = t;
    t->pos = i + 1;
}

static void sift(struct timers *ts, size_t i, struct timer *t)
{
    while (i > 0 && t->at_ns < ts->heap[(i - 1) / 2]->at_ns) {
        place(ts, i, ts->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t kid = 2 * i + 1;
        if (kid + 1 < ts->n && ts->heap[kid + 1]->at_ns < ts->heap[kid]->at_ns)
            kid++;
        if (kid >= ts->n || ts->heap[kid]->at_ns >= t->at_ns)
            break;
        place(ts, i, ts->heap[kid]);
        i = kid;
    }
    place(ts, i, t);
}

int timer_set(struct timers *ts, struct timer *t, uint64_t at_ns)
{
    t->at_ns = at_ns;
    if (t->pos) {
        sift(ts, t->pos - 1, t);
        return 0;
    }
    if (ts->n == ts->cap) {
        size_t cap = ts->cap ? ts->cap * 2 : 64; /* grows to the number of open requests */
        struct timer **heap = mem_realloc(ts->heap, cap * sizeof *heap);
        if (!heap)
            return E_NOMEM;
        ts->heap = heap;
        ts->cap = cap;
    }
    ts->n++;
    sift(ts, ts->n - 1, t);
    return 0;
}

void timer_clear(struct timers *ts, struct timer *t)
{
    if (!t->pos)
        return;
    size_t i = t->pos - 1;
    struct timer *last = ts->heap[--ts->n];
    t->pos = 0;
    if (last != t)
        sift(ts, i, last);
}

uint64_t timer_next(const struct timers *ts)
{
    return ts->n ? ts->heap[0]->at_ns : UINT64_MAX;
}

void timer_run(struct timers *ts, uint64_t now)
{
    while (ts->n && ts->heap[0]->at_ns <= now) {
        struct timer *t = ts->heap[0];
        timer_clear(ts, t);
        t->fire(t, now);
    }
}

void timer_free(struct timers *ts)
{
    mem_free(ts->heap);
    *ts = (struct timers){0};
}
