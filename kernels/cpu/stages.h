/* A plan as stages: ops that share no data, which the threads of the pool work on without waiting
 * for each other. They meet between stages alone, so a model of small products spends its time on
 * them and not at barriers.
 *
 * Stages are the levels of ../phases.h. One comes after every one that it needs, so in the order of
 * stages a plan computes what it does in its own. */
#ifndef RECURD_STAGES_H
#define RECURD_STAGES_H

#include "base/err.h"
#include "kernels/plan.h"

/* Only so many ops in a row are looked at together, so that the work is linear in the plan. */
#define STAGES_SPAN 128

/* Owner: the caller. Thread: any. */
struct stages {
    int32_t *ops;   /* [n_ops] those of stage i: from first[i], before first[i + 1] */
    int32_t *first; /* [n + 1] */
    int32_t *next;  /* [n_ops] the op behind each in that order; behind the last the first */
    int32_t n;
};

/* c: what p is laid out for. E_NOMEM; then nothing is held. */
int stages_find(struct stages *out, const struct plan *p, const struct capacity *c,
                struct err *e) MUST_USE;
void stages_free(struct stages *x);

#endif
