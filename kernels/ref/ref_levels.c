/* K7: states over a binary partition of the past. */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

/* One head, one token at position pos; levels: S_1 first, `step` floats apart. */
static void fenwick_token(const struct op *op, float *levels, int64_t step, int64_t pos,
                          const float *q, const float *k, const float *v, float alpha,
                          const float *lambda, float *out)
{
    int32_t K = op->p.fenwick.K, V = op->p.fenwick.V, L = op->p.fenwick.levels, into = 1;
    while ((pos >> (into - 1)) & 1)
        into++; /* levels 0 … into-1 merge into this one after the token */
    for (int32_t c = 0; c < V; c++)
        out[c] = 0;
    for (int32_t i = 0; i < K; i++) {
        for (int32_t c = 0; c < V; c++) {
            float now = k[i] * v[c], merged = now;
            out[c] = fmaf(lambda[0] * q[i], now, out[c]);
            for (int32_t l = 1; l < L; l++) {
                if (!((pos >> (l - 1)) & 1))
                    continue;
                float *S = levels + (l - 1) * step + (int64_t)i * V + c;
                *S *= alpha;
                out[c] = fmaf(lambda[l] * q[i], *S, out[c]);
                if (l < into)
                    merged += *S;
            }
            if (into < L)
                levels[(into - 1) * step + (int64_t)i * V + c] = merged;
        }
    }
}

void ref_fenwick(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t H = op->p.fenwick.heads, K = op->p.fenwick.K, V = op->p.fenwick.V;
    int32_t L = op->p.fenwick.levels;
    int64_t from, to, size = (int64_t)K * V;
    host_share((int64_t)b->n_seqs * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t q = (int32_t)(i / H), h = (int32_t)(i % H);
        float *levels = host_state(s, op->section, b->slots[q]) + h * size;
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++)
            fenwick_token(op, levels, H * size, b->pos[q] + (t - b->cu_seqlens[q]),
                          host_row(s, op->in[FENWICK_q], t), host_row(s, op->in[FENWICK_k], t),
                          host_row(s, op->in[FENWICK_v], t) + (int64_t)h * V,
                          host_row(s, op->in[FENWICK_alpha], t)[h],
                          host_row(s, op->in[FENWICK_lambda], t) + (int64_t)h * L,
                          host_row(s, op->out, t) + (int64_t)h * V);
    }
}
