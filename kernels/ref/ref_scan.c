/* Recurrences that stay within a channel: K3, running logsumexp, K4, and "is this token 0". */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

void ref_rnn(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int64_t from, to;
    host_share(op->out.width, ith, nth, &from, &to);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        float *h = host_state(s, op->section, b->slots[q]);
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
            const float *f = host_row(s, op->in[RNN_factor], t);
            const float *i = host_row(s, op->in[RNN_input], t);
            float *out = host_row(s, op->out, t);
            for (int64_t c = from; c < to; c++)
                out[c] = h[c] = fmaf(f[c], h[c], i[c]);
        }
    }
}

void ref_logsum(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t width = op->in[LOGSUM_x].width;
    int64_t from, to;
    host_share(width, ith, nth, &from, &to);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        float *z = host_state(s, op->section, b->slots[q]);
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
            bool fresh = b->pos[q] + (t - b->cu_seqlens[q]) == 0;
            const float *x = host_row(s, op->in[LOGSUM_x], t);
            float *out = host_row(s, op->out, t);
            for (int64_t c = from; c < to; c++) {
                double before = fresh ? -INFINITY : z[c], m = fmax(before, x[c]);
                float now = (float)(m + log(exp(before - m) + exp(x[c] - m)));
                out[c] = (float)exp((double)x[c] - now);
                out[width + c] = (float)exp(before - now);
                z[c] = now;
            }
        }
    }
}

void ref_wkv(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    const float *decay = host_vec(s, op->w[WKV_decay]), *bonus = host_vec(s, op->w[WKV_bonus]);
    int32_t width = op->out.width;
    int64_t from, to;
    host_share(width, ith, nth, &from, &to);
    for (int32_t i = 0; i < b->n_seqs; i++) {
        float *p = host_state(s, op->section, b->slots[i]), *q = p + width, *m = q + width;
        for (int32_t t = b->cu_seqlens[i]; t < b->cu_seqlens[i + 1]; t++) {
            bool fresh = b->pos[i] + (t - b->cu_seqlens[i]) == 0;
            const float *k = host_row(s, op->in[WKV_k], t), *v = host_row(s, op->in[WKV_v], t);
            float *out = host_row(s, op->out, t);
            for (int64_t c = from; c < to; c++) {
                double before = fresh ? -INFINITY : m[c], now = (double)bonus[c] + k[c];
                double top = fmax(before, now), old = exp(before - top), own = exp(now - top);
                double sum = fresh ? 0 : p[c], mass = fresh ? 0 : q[c];
                out[c] = (float)((old * sum + own * v[c]) / (old * mass + own));
                before += decay[c];
                top = fmax(before, k[c]);
                old = exp(before - top);
                own = exp(k[c] - top);
                p[c] = (float)(old * sum + own * v[c]);
                q[c] = (float)(old * mass + own);
                m[c] = (float)top;
            }
        }
    }
}

void ref_scan(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    const float *A = host_vec(s, op->w[SCAN_A]), *D = host_vec(s, op->w[SCAN_D]);
    int32_t N = op->p.scan.N;
    int64_t from, to;
    host_share(op->out.width, ith, nth, &from, &to);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        float *state = host_state(s, op->section, b->slots[q]);
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
            const float *x = host_row(s, op->in[SCAN_x], t), *dt = host_row(s, op->in[SCAN_dt], t);
            const float *B = host_row(s, op->in[SCAN_B], t), *C = host_row(s, op->in[SCAN_C], t);
            float *out = host_row(s, op->out, t);
            for (int64_t c = from; c < to; c++) {
                float *h = state + c * N, y = D ? D[c] * x[c] : 0;
                for (int32_t n = 0; n < N; n++) {
                    h[n] =
                        fmaf((float)exp((double)dt[c] * A[c * N + n]), h[n], dt[c] * B[n] * x[c]);
                    y = fmaf(C[n], h[n], y);
                }
                out[c] = y;
            }
        }
    }
}

void ref_first(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int64_t from, to;
    host_share(b->n_tokens, ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        int32_t q = s->row_seq[t];
        host_row(s, op->out, (int32_t)t)[0] = b->pos[q] == 0 && t == b->cu_seqlens[q];
    }
}
