/* Attention by squared scores: sums of products of two key columns, in double. The state keeps
 * the high and the low half of every sum. */
#include <math.h>

#include "kernels/host.h"

/* One column c of the values (c == V: the ones) for one token; sums[j] of every query head. */
static void square_column(const struct op *op, float *S, int32_t c, const float *k, float v,
                          const float *q, int32_t per, double *sums)
{
    int32_t d = op->p.square.d, step = (op->p.square.V + 1) * 2;
    float *at = S + 2 * c;
    for (int32_t j = 0; j < per; j++)
        sums[j] = 0;
    for (int32_t a = 0; a < d; a++)
        for (int32_t b = a; b < d; b++, at += step) {
            double sum = (double)at[0] + at[1] + (double)k[a] * k[b] * v;
            at[0] = (float)sum;
            at[1] = isfinite(at[0]) ? (float)(sum - at[0]) : 0;
            for (int32_t j = 0; j < per; j++)
                sums[j] += (double)q[j * d + a] * q[j * d + b] * (a == b ? 1 : 2) * sum;
        }
}

static void square_token(const struct host_step *s, const struct op *op, int32_t h, int32_t t,
                         float *S)
{
    int32_t d = op->p.square.d, V = op->p.square.V;
    int32_t per = op->p.square.heads / op->p.square.kv_heads;
    const float *q = host_row(s, op->in[SQUARE_q], t) + (int64_t)h * per * d;
    const float *k = host_row(s, op->in[SQUARE_k], t) + (int64_t)h * d;
    const float *v = host_row(s, op->in[SQUARE_v], t) + (int64_t)h * V;
    float *out = host_row(s, op->out, t) + (int64_t)h * per * V;
    double weight[LIMIT_SQUARE_PER], sums[LIMIT_SQUARE_PER];
    square_column(op, S, V, k, 1, q, per, weight);
    for (int32_t c = 0; c < V; c++) {
        square_column(op, S, c, k, v[c], q, per, sums);
        for (int32_t j = 0; j < per; j++)
            out[j * V + c] = (float)(sums[j] / (weight[j] + op->p.square.eps));
    }
}

void ref_square(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t H = op->p.square.kv_heads, d = op->p.square.d;
    int64_t from, to, size = (int64_t)d * (d + 1) * (op->p.square.V + 1);
    host_share((int64_t)b->n_seqs * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t q = (int32_t)(i / H), h = (int32_t)(i % H);
        float *S = host_state(s, op->section, b->slots[q]) + h * size;
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++)
            square_token(s, op, h, t, S);
    }
}
