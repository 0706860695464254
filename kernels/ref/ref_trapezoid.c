/* K9 and the rotation that goes with it (Mamba-3). */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

static void trapezoid_token(const struct host_step *s, const struct op *op, int32_t h, int32_t t,
                            float *S, float *k_before, float *v_before)
{
    int32_t K = op->p.trapezoid.K, V = op->p.trapezoid.V;
    const float *q = host_row(s, op->in[TRAPEZOID_q], t) + (int64_t)h * K;
    const float *k = host_row(s, op->in[TRAPEZOID_k], t) + (int64_t)h * K;
    const float *v = host_row(s, op->in[TRAPEZOID_v], t) + (int64_t)h * V;
    float alpha = host_row(s, op->in[TRAPEZOID_alpha], t)[h];
    float now = host_row(s, op->in[TRAPEZOID_now], t)[h];
    float before = host_row(s, op->in[TRAPEZOID_before], t)[h];
    float *out = host_row(s, op->out, t) + (int64_t)h * V;
    memset(out, 0, (size_t)V * sizeof *out);
    for (int32_t i = 0; i < K; i++)
        for (int32_t c = 0; c < V; c++) {
            float x = fmaf(before * k_before[i], v_before[c], alpha * S[(int64_t)i * V + c]);
            x = fmaf(now * k[i], v[c], x);
            S[(int64_t)i * V + c] = x;
            out[c] = fmaf(q[i], x, out[c]);
        }
    memcpy(k_before, k, (size_t)K * sizeof *k);
    memcpy(v_before, v, (size_t)V * sizeof *v);
}

void ref_trapezoid(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t H = op->p.trapezoid.heads, K = op->p.trapezoid.K, V = op->p.trapezoid.V;
    int64_t from, to;
    host_share((int64_t)b->n_seqs * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t q = (int32_t)(i / H), h = (int32_t)(i % H);
        float *S = host_state(s, op->section, b->slots[q]);
        float *k = S + (int64_t)H * K * V, *v = k + (int64_t)H * K;
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++)
            trapezoid_token(s, op, h, t, S + (int64_t)h * K * V, k + (int64_t)h * K,
                            v + (int64_t)h * V);
    }
}

/* Pair i of every part's head h, by one angle. */
static void rotate_pair(const struct op *op, float *x, double theta, int32_t h, int32_t i)
{
    double cs = cos(theta), sn = sin(theta);
    for (int32_t part = 0; part < op->p.rotate.parts; part++) {
        float *y = x + ((int64_t)part * op->p.rotate.heads + h) * op->p.rotate.head + 2 * i;
        double e = y[0], o = y[1];
        y[0] = (float)(e * cs - o * sn);
        y[1] = (float)(e * sn + o * cs);
    }
}

void ref_rotate(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t H = op->p.rotate.heads, A = op->p.rotate.angles;
    int64_t from, to;
    host_share((int64_t)b->n_seqs * H, ith, nth, &from, &to);
    for (int64_t j = from; j < to; j++) {
        int32_t q = (int32_t)(j / H), h = (int32_t)(j % H);
        float *theta = host_state(s, op->section, b->slots[q]) + (int64_t)h * A;
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
            const float *more = host_row(s, op->in[ROTATE_angles], t) + (int64_t)h * A;
            for (int32_t i = 0; i < A; i++) {
                double x = fmod((double)theta[i] + more[i], 6.283185307179586);
                theta[i] = (float)(x < 0 ? x + 6.283185307179586 : x);
                rotate_pair(op, host_row(s, op->out, t), theta[i], h, i);
            }
        }
    }
}
