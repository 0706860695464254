/* What constrains a text while it is written, as the engine sees it: it says which tokens may come
 * next, and is told which came. What lies behind it (a grammar) is none of the scheduler's
 * business.
 *
 * Owner: a request; every sequence has its own. Thread: whoever made it until the request is
 * submitted, the engine afterwards; the last reference to the request frees it. */
#ifndef RECURD_SCHEDULER_CONSTRAIN_H
#define RECURD_SCHEDULER_CONSTRAIN_H

#include "base/err.h"

struct constraint;

struct constrain_state {
    bool whole; /* the text may end here: eos and stop ids are allowed, too */
    bool more;  /* some token may follow */
};

struct constraint_ops {
    /* words: [(vocab + 31) / 32] bit i % 32 of word i / 32 = token i may come next. Called while
     * the device computes the logits that are masked. */
    int (*mask)(struct constraint *c, uint32_t *words, struct constrain_state *out, struct err *e);
    /* The text goes on with this token: one that the mask allowed. */
    int (*accept)(struct constraint *c, int32_t token, struct err *e);
    /* Another text that stands where this one stands; NULL = no memory. */
    struct constraint *(*clone)(const struct constraint *c);
    void (*free)(struct constraint *c);
};

/* The first member of what implements it. */
struct constraint { const struct constraint_ops *ops; };

#endif
