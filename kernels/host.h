/* What a kernel on the host sees: the step's batch and plain pointers into host memory.
 *
 * ref/ and cpu/ share this signature, so every variant of an op is called, compared and timed
 * the same way. Kernels are pure: they read views and weights, write their output view and their
 * own state section, keep nothing. Thread `ith` of `nth` does its share; between two ops that share
 * data all threads meet. No output element may depend on nth, on the other rows or on the batch. */
#ifndef RECURD_HOST_H
#define RECURD_HOST_H

#include "kernels/plan.h"

/* Rows of a MATRIX come in panels of 16 outputs with the inputs along, zero-padded at the end:
 *   BF16: [panel][ceil(cols/2)][16 rows][2]   one 64-byte line = two inputs of 16 outputs
 *   F16:  [panel][cols][16 rows]
 *   F32:  [panel][cols][16 rows]
 *   blocks (formats.def): [panel] the values of all blocks, then the scales of all blocks:
 *     values [block][line][16 rows] uint32: 32 / bits values a line, the first in the low bits.
 *       Where bits does not divide 32, the last values of a group (16 values of 6 bits; 32 of 3
 *       and 5) are cut into twos of bits, which fill the upper ends of the group's lines.
 *     scales [block]: d [16], m [16] as far as the head has them, then each byte of sub-scales [16]
 * A VECTOR is plain float32, zero-padded to 16. Base addresses are 64-byte aligned. */
#define PANEL 16
/* Values of so many bits whose lines belong together. */
static inline int panel_group(int bits)
{
    return bits == 3 || bits == 5 ? 32 : bits == 6 ? 16 : 32 / bits;
}
struct host_weight {
    enum weight_role role;
    enum dtype dtype;
    int64_t rows, cols;
    size_t bytes;
    void *data;
};

struct host_step {
    const struct plan *plan;
    const struct batch *batch;
    const struct host_weight *weights; /* [plan->n_weights] */
    const int32_t *row_seq;            /* [n_tokens] sequence of each row */
    float *arena, *slots, *pages;
    const int32_t *next; /* [n_ops] the op that is run after this one; NULL: the plan's next */
};

typedef void host_kernel(const struct host_step *s, const struct op *op, int ith, int nth);

static inline float *host_row(const struct host_step *s, struct view v, int32_t row)
{
    const struct act *a = &s->plan->acts[v.act];
    return s->arena + a->offset + (int64_t)row * a->stride + v.col;
}
static inline int32_t host_stride(const struct host_step *s, struct view v)
{
    return s->plan->acts[v.act].stride;
}
static inline int32_t host_rows(const struct host_step *s, const struct op *op)
{
    return op->rows == ROWS_LOGITS ? s->batch->n_logits : s->batch->n_tokens;
}
/* NULL when w < 0. */
static inline const float *host_vec(const struct host_step *s, int32_t w)
{
    return w < 0 ? NULL : s->weights[w].data;
}
/* The op's FIXED section in a slot. */
static inline float *host_state(const struct host_step *s, int32_t section, int32_t slot)
{
    return s->slots + (int64_t)slot * s->plan->slot_floats + s->plan->sections[section].offset;
}
/* The op's PAGED row of a sequence at a position. */
static inline float *host_page_row(const struct host_step *s, int32_t section, int32_t seq,
                                   int64_t pos)
{
    const struct section *x = &s->plan->sections[section];
    int32_t page = s->batch->pages[(int64_t)seq * s->batch->pages_per_seq + pos / PAGE_TOKENS];
    return s->pages + (int64_t)page * PAGE_TOKENS * s->plan->page_token_floats + x->offset +
           (pos % PAGE_TOKENS) * x->elems;
}
/* Share [*from, *to) of n items for thread ith of nth. */
static inline void host_share(int64_t n, int ith, int nth, int64_t *from, int64_t *to)
{
    *from = n * ith / nth;
    *to = n * (ith + 1) / nth;
}

#define OP(KIND, name, rows, sections, cost, factor, what) host_kernel ref_##name;
#include "kernels/ops.def"

/* ---- packing (pack.c) ------------------------------------------------------------------ */

/* Bytes of a packed weight. false = overflow. */
bool pack_bytes(const struct weight *w, size_t *bytes);
/* Bytes of one panel of 16 rows, and where in it the scales begin. */
size_t panel_bytes(enum dtype t, int64_t cols);
size_t panel_scales_at(enum dtype t, int64_t cols);
/* Writes rows [row0, row0 + n) from a row-major source of any format into the panels: its blocks as
 * they are when the weight has the same format, otherwise decoded and encoded again. */
void pack_rows(struct host_weight *w, int64_t row0, int64_t n, const void *src, enum dtype type);
/* One element of a packed matrix, as float32: the definition, for ref and for single rows. */
float panel_at(const struct host_weight *w, int64_t row, int64_t col);
/* A block of a row, taken apart. */
void panel_parts(const struct host_weight *w, int64_t row, int64_t block, struct format_parts *p);
/* Columns [col, col + n) of a row of blocks, from the start of a block. */
void panel_row(const struct host_weight *w, int64_t row, int64_t col, int64_t n, float *out);

#endif
