/* Whether a finished plan may run: the last word before a device gets it.
 *
 * Kernels trust a plan. What the builder and its passes promise, and what a plan made by hand may
 * break, is checked here once: that every index is in range, every view inside its activation and
 * written before it is read, every operand as ops.def names it and as wide as op_params.h says,
 * every state section of the kind and size its op wants and of no other op, every parameter within
 * what the device's kernels support, and no two activations in the same memory at the same time.
 * Any thread; pure. */
#ifndef RECURD_VALIDATE_H
#define RECURD_VALIDATE_H

#include "base/err.h"
#include "kernels/plan.h"

/* Parameters a device's kernels have fixed room for (LIMIT_* of base/limits.h). */
struct op_limits {
    int32_t conv_size;   /* CONV */
    int32_t mesa_K;      /* MESA */
    int32_t path_dk;     /* PATH: columns of a key */
    int32_t parallax_dv; /* PARALLAX: columns of a value */
    int32_t sparse_d;    /* NSA, MOBA: columns of a key or value */
    int32_t topk;        /* TOPK, EXPERTS: chosen ones, and ranges they are chosen from */
    int32_t square_per;  /* SQUARE: query heads of a key head */
    int32_t matrix_rows; /* EXPERTS, BLOCKS: rows of each matrix are a multiple of it */
    bool f16_states;     /* DECAY, DELTA: sections of F16 */
};

/* limits: of the device (backend.limits); NULL: what holds on all is checked alone. c: the capacity
 * the plan was laid out for; NULL: it was not yet, and offsets in the arena mean nothing.
 * E_UNSUPPORTED: a parameter beyond a limit; E_RANGE: a plan that contradicts itself. The sentence
 * names layer, op and operand. */
int plan_validate(const struct plan *p, const struct op_limits *limits, const struct capacity *c,
                  struct err *e) MUST_USE;
/* One part of that, before anything is loaded: E_UNSUPPORTED where a section is of F16 and the
 * device keeps every state in float32. */
int plan_validate_states(const struct plan *p, const struct op_limits *limits,
                         struct err *e) MUST_USE;

#endif
