/* What the attention ops share: rows that are cached, and a softmax that is summed as it goes. */
#ifndef RECURD_REF_KV_H
#define RECURD_REF_KV_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/host.h"

/* Operand `part` (1..5) of the cached row of sequence q at position p: from this batch, the ring
 * or the pages. NULL when the op has no such operand. */
static inline const float *kv_part(const struct host_step *s, const struct op *op, int32_t q,
                                   int64_t p, int part)
{
    const struct batch *b = s->batch;
    int32_t window =
        s->plan->sections[op->section].kind == SECTION_FIXED ? op->p.attention.window : 0;
    if (!view_given(op->in[part]))
        return NULL;
    if (p >= b->pos[q])
        return host_row(s, op->in[part], b->cu_seqlens[q] + (int32_t)(p - b->pos[q]));
    int64_t row = 0, before = 0;
    for (int i = 1; i < 6; i++) {
        before += i < part ? op->in[i].width : 0;
        row += op->in[i].width;
    }
    const float *x = window ? host_state(s, op->section, b->slots[q]) + (p % window) * row
                            : host_page_row(s, op->section, q, p);
    return x + before;
}

/* Position of a row in its sequence. */
static inline int64_t kv_position(const struct host_step *s, int32_t row)
{
    int32_t q = s->row_seq[row];
    return s->batch->pos[q] + (row - s->batch->cu_seqlens[q]);
}

static inline double kv_dot(const float *a, const float *b, int32_t n)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* Softmax-weighted sum of vectors that arrive one by one. The maximum never falls below the lowest
 * float once there is a score: then one of -inf has the weight 0 wherever it comes, and only when
 * all are -inf is the result 0 / 0. */
struct soft {
    double max, sum; /* max -inf: no vector yet */
};
static inline struct soft soft_start(float *out, int32_t n)
{
    memset(out, 0, (size_t)n * sizeof *out);
    return (struct soft){-INFINITY, 0};
}
static inline void soft_add(struct soft *s, double score, const float *v, float *out, int32_t n)
{
    double higher = fmax(fmax(s->max, score), -FLT_MAX);
    double keep = exp(s->max - higher), e = exp(score - higher);
    for (int32_t i = 0; i < n; i++)
        out[i] = (float)(out[i] * keep + e * v[i]);
    s->sum = s->sum * keep + e;
    s->max = higher;
}
static inline void soft_end(const struct soft *s, float *out, int32_t n)
{
    for (int32_t i = 0; i < n && s->max > -INFINITY; i++)
        out[i] = (float)(out[i] / s->sum);
}

#endif
