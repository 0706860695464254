/* Timers: a binary heap of moments, embedded in what waits for them. Thread: one. */
#ifndef RECURD_LOAD_TIMER_H
#define RECURD_LOAD_TIMER_H

#include "base/base.h"

/* Owner: the struct it is embedded in; starts as all zeros. */
struct timer {
    uint64_t at_ns; /* clock_now_ns() */
    size_t pos;     /* place in the heap + 1; 0 = not set */
    void (*fire)(struct timer *t, uint64_t now);
    void *arg;
};

struct timers {
    struct timer **heap;
    size_t n, cap;
};

/* Sets or moves the timer; E_NOMEM. */
int timer_set(struct timers *ts, struct timer *t, uint64_t at_ns) MUST_USE;
void timer_clear(struct timers *ts, struct timer *t); /* also when it is not set */
uint64_t timer_next(const struct timers *ts);         /* UINT64_MAX when none is set */
void timer_run(struct timers *ts, uint64_t now);      /* fires all that are due */
void timer_free(struct timers *ts);

#endif
