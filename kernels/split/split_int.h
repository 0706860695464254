/* What split.c and step.c share. */
#ifndef RECURD_SPLIT_INT_H
#define RECURD_SPLIT_INT_H

#include <pthread.h>

#include "kernels/numerics.h"
#include "kernels/split/cut.h"
#include "kernels/split/split.h"

/* Owner: whoever opened it. Thread: the loader's, then the engine's; put: the loaders'. */
struct split {
    struct device base;
    struct device *devices[SPLIT_MAX];
    int n;
    pthread_mutex_t put[SPLIT_MAX]; /* around put_weight where a device wants one at a time */
    struct part parts[SPLIT_MAX];
    bool loaded, lost;
    struct capacity cap;
    char numerics[NUMERICS_TEXT];
    struct state_copy *copies;
    int32_t n_copies;
    /* step.c */
    int32_t piece;            /* rows of a piece */
    float **rows;             /* [act] on the host, [cap.tokens][stride]; NULL: it never crosses */
    int32_t n_rows;           /* of that list */
    struct crossing tail;     /* what the ops on rows of logits read of the last part's tokens */
    bool apart;               /* in the last part they come after all others: run on their own */
    int32_t *cu_seqlens;      /* of the piece that is run … */
    int64_t *pos;
};

/* Three faces of one: with slots in host memory; without, and with states that travel beside the
 * steps or not. */
extern const struct backend backend_split_host, backend_split, backend_split_plain;

/* step.c. After the parts were loaded; on failure s can be freed. */
int split_step_init(struct split *s, struct err *e) MUST_USE;
void split_step_free(struct split *s);
int split_step(struct split *s, const struct batch *b, struct err *e) MUST_USE;

#endif
