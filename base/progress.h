/* How far something long has come, and whether it is still wanted. The one who works writes, any
 * thread reads or asks it to stop; no lock. */
#ifndef RECURD_PROGRESS_H
#define RECURD_PROGRESS_H

#include "base/base.h"
#include "base/err.h"

/* All zero is a valid beginning. Members are atomic; use the calls. */
struct progress {
    const char *what;     /* of the stage, a literal: "weights" */
    uint64_t done, total; /* of the stage, in its own units; total 0 = it cannot say */
    uint64_t since_ns;    /* when the stage began */
    int stopped;
};

/* In all calls p may be NULL: nobody wants to know. */
void progress_stage(struct progress *p, const char *what, uint64_t total);
void progress_add(struct progress *p, uint64_t n);
void progress_stop(struct progress *p);
bool progress_is_stopped(const struct progress *p);
/* 0, or E_CLOSED after progress_stop. */
int progress_check(const struct progress *p, struct err *e) MUST_USE;

struct progress_view {
    const char *what; /* never NULL */
    double share;     /* of the stage: 0 … 1; 0 where it cannot say */
    bool known;       /* it can */
    uint64_t done, total;
    uint64_t left_s;  /* of the stage, if it goes on as it did; 0 = not known */
};
void progress_view(const struct progress *p, struct progress_view *out);

#endif
