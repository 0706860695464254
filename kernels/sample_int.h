/* What sample.c, sample_cut.c and sample_shape.c share. */
#ifndef RECURD_SAMPLE_INT_H
#define RECURD_SAMPLE_INT_H

#include "kernels/sample.h"
#include "kernels/softmax.h"

/* 32 buckets a nat: a bucket spans 3 % in probability, a few dozen tokens of a real vocabulary. */
#define BUCKETS_PER_NAT 32
#define BUCKETS ((int32_t)SOFTMAX_FAR * BUCKETS_PER_NAT + 1)

struct bucket {
    uint64_t sum;
    int32_t n;
};

/* The candidates of one row and how the cut is described. */
struct cut {
    const float *x, *w;
    float max, scale;
    int32_t n;    /* candidates in found */
    int32_t last; /* the last token kept; -1 = all */
};

/* The tokens that top_k (0 = off) and top_p (SAMPLE_ALL = off) leave of those with a weight, in
 * s->sorted, by id. Returns their number. total: the sum of all weights; s->tops: of c->x. */
int32_t sample_cut(struct sampler *s, struct cut *c, int32_t top_k, uint64_t top_p,
                   uint64_t total);
/* Whether a comes before b in the order of preference. */
static inline bool sample_before(const float *x, int32_t a, int32_t b)
{
    float xa = softmax_tame(x[a]), xb = softmax_tame(x[b]);
    return xa > xb || (xa == xb && a < b);
}

/* By (x descending, id ascending). */
void sample_sort(const float *x, int32_t *v, int32_t n);
/* Step 9 among the first n of s->sorted, by s->weights; among all, by s->weights and s->sums. */
int32_t sample_listed(const struct sampler *s, int32_t n, uint64_t uniform);
int32_t sample_any(const struct sampler *s, uint64_t total, uint64_t uniform);

/* The draw of a row with a shape. x: edited by step 3, s->edited itself. */
int32_t sample_shaped(struct sampler *s, const float *x, float max, const struct sample_row *r,
                      double *surprise);

/* part * whole / 2^64, rounded down. */
static inline uint64_t sample_share(uint64_t part, uint64_t whole)
{
    uint64_t p0 = part & UINT32_MAX, p1 = part >> 32, w0 = whole & UINT32_MAX, w1 = whole >> 32;
    uint64_t middle = (p0 * w0 >> 32) + (p1 * w0 & UINT32_MAX) + (p0 * w1 & UINT32_MAX);
    return p1 * w1 + (p1 * w0 >> 32) + (p0 * w1 >> 32) + (middle >> 32);
}

#endif
