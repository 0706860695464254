/* Activations that only products of many rows on tensor cores read: whoever makes one writes it as
 * they want it, as bf16 (pair_at of src/mma.clh), and no launch packs it.
 *
 * One op writes such an activation, a norm, an elementwise program or a product, and that all of
 * its columns; every reader is a product of all its columns in bf16, and all of them, and the
 * writer if it is one, make their product by the same instruction; nothing outside the plan reads
 * it. In steps of `from` rows and more its packed rows lie in its place in the arena, and nobody
 * makes its float32 numbers; steps of fewer rows have these, as anywhere else.
 *
 * A product by wgmma whose activation is none of its own (lower/linear.c) writes none. In steps of
 * tune.wgmma_rows rows and more it leaves *bare* sums, and whoever packs them adds what follows a
 * sum: one launch for both.
 * Tuning word packs=0: products pack what they read, as it would be without them. */
#ifndef RECURD_OCL_PACKED_H
#define RECURD_OCL_PACKED_H

#include "kernels/opencl/launches.h"

#define OCL_PACKED_PAST 256 /* rows that a tile of a product may read past the last packed one */

struct ocl_packed {
    int32_t from;   /* beyond OCL_BUNDLE_ROWS (bundle.h); 0: never */
    bool cores;     /* as wgmma reads it; else mma.sync */
    int64_t at;     /* its first pair, from the arena's begin: 128 bytes, or a multiple of it */
    int64_t rows_p; /* room for so many rows: a multiple of 8 */
    const struct op *bare; /* not NULL: nothing of this, but bare sums of this product */
};

/* How the activation whose columns are the view is packed; NULL: in no step. */
const struct ocl_packed *ocl_packed(const struct ocl_model *m, struct view v);
/* The product that leaves bare sums there, or NULL. */
const struct op *ocl_bare(const struct ocl_model *m, struct view v);
/* Finds out, before ops are lowered and with the layouts of weights there. The arena has room for
 * OCL_PACKED_PAST rows of 32 bytes more. E_NOMEM. */
int ocl_packed_init(struct ocl_model *m, struct err *e) MUST_USE;
/* Whether something outside the plan's ops reads it: logits, another part of a split model. */
static inline bool ocl_is_result(const struct ocl_model *m, const struct act *a)
{
    return a->last >= (m->plan == &m->own ? m->phases.n_phases : m->plan->n_ops);
}

/* ---- what ops can (lower/) ---- */

/* From how many rows on a product reads nothing but packed rows, and which; 0: never. */
int32_t ocl_linear_packed_from(const struct ocl_model *m, const struct op *op, bool *cores);
/* From how many rows on the op can write its outputs packed; 0: it cannot. */
int32_t ocl_norm_packs_from(const struct ocl_model *m, const struct op *op);
int32_t ocl_ew_packs_from(const struct ocl_model *m, const struct op *op);
/* cores: as wgmma reads them. */
int32_t ocl_linear_packs_from(const struct ocl_model *m, const struct op *op, bool cores);
/* Whether a product can leave bare sums to others by wgmma. */
bool ocl_linear_bares(const struct ocl_model *m, const struct op *op);

#endif
