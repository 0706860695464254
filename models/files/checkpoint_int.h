/* What the kinds of checkpoints share: not for others. */
#ifndef RECURD_CHECKPOINT_INT_H
#define RECURD_CHECKPOINT_INT_H

#include "models/files/checkpoint.h"

struct checkpoint_kind {
    /* As checkpoint_read; the range was checked against the tensor. */
    int (*read)(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n, void *dst,
                struct err *e);
    /* As checkpoint_read_int; NULL: there are no integer tensors. */
    int (*read_int)(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                    int64_t *dst, struct err *e);
    /* Descriptor of the i-th file that tensors are read from; -1 past the last. NULL: none. */
    int (*file)(const struct checkpoint *c, size_t i);
    void (*close)(struct checkpoint *c); /* what the kind itself holds */
};

struct checkpoint {
    const struct checkpoint_kind *kind;
    struct tensor **all, **by_name; /* in the kind's order, and sorted */
    size_t n;
};

int checkpoint_file(const struct checkpoint *c, size_t i); /* the kind's `file` */

/* Fills both lists from n tensors that lie `stride` bytes apart and stay there. Names that are
 * there twice are neighbours in by_name. E_NOMEM. */
int checkpoint_index(struct checkpoint *c, void *first, size_t stride, size_t n) MUST_USE;

#endif
