/* K8: two decayed rank-1 states and a positive definite solve per head and token. */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

/* x = (A + diag(lambda + bound))^-1 q by Cholesky in double; L is [K][K] of work, x starts as q. */
static void solve(const float *A, const float *lambda, float bound, double *L, double *x, int32_t K)
{
    for (int32_t i = 0; i < K; i++) {
        for (int32_t j = 0; j <= i; j++) {
            double sum = (double)A[(int64_t)i * K + j] + (i == j ? (double)lambda[i] + bound : 0);
            for (int32_t k = 0; k < j; k++)
                sum -= L[(int64_t)i * K + k] * L[(int64_t)j * K + k];
            L[(int64_t)i * K + j] = i == j ? sqrt(sum) : sum / L[(int64_t)j * K + j];
        }
    }
    for (int32_t i = 0; i < K; i++) {
        for (int32_t k = 0; k < i; k++)
            x[i] -= L[(int64_t)i * K + k] * x[k];
        x[i] /= L[(int64_t)i * K + i];
    }
    for (int32_t i = K - 1; i >= 0; i--) {
        for (int32_t k = i + 1; k < K; k++)
            x[i] -= L[(int64_t)k * K + i] * x[k];
        x[i] /= L[(int64_t)i * K + i];
    }
}

/* S = alpha S + beta k y^T, rows of y as wide as V. */
static void update(float *S, const float *k, const float *y, float alpha, float beta, int32_t K,
                   int32_t V)
{
    for (int32_t i = 0; i < K; i++)
        for (int32_t c = 0; c < V; c++)
            S[(int64_t)i * V + c] = fmaf(beta * k[i], y[c], alpha * S[(int64_t)i * V + c]);
}

static void mesa_token(const struct host_step *s, const struct op *op, int32_t h, int32_t t,
                       float *A, float *B, double *work)
{
    int32_t K = op->p.mesa.K, V = op->p.mesa.V;
    const float *q = host_row(s, op->in[MESA_q], t) + (int64_t)h * K;
    const float *k = host_row(s, op->in[MESA_k], t) + (int64_t)h * K;
    const float *v = host_row(s, op->in[MESA_v], t) + (int64_t)h * V;
    float alpha = host_row(s, op->in[MESA_alpha], t)[h];
    float beta = host_row(s, op->in[MESA_beta], t)[h];
    float *out = host_row(s, op->out, t) + (int64_t)h * V;
    double *x = work + (int64_t)K * K;
    update(A, k, k, alpha, beta, K, K);
    update(B, k, v, alpha, beta, K, V);
    for (int32_t i = 0; i < K; i++)
        x[i] = q[i];
    solve(A, host_vec(s, op->w[MESA_lambda]) + (int64_t)h * K, op->p.mesa.bound, work, x, K);
    for (int32_t c = 0; c < V; c++) {
        double sum = 0;
        for (int32_t i = 0; i < K; i++)
            sum += x[i] * B[(int64_t)i * V + c];
        out[c] = (float)sum;
    }
}

/* Largest head whose work fits a thread's stack: 256 x 256 doubles are 512 KiB. */

void ref_mesa(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t H = op->p.mesa.heads, K = op->p.mesa.K, V = op->p.mesa.V;
    double work[LIMIT_MESA_K * (LIMIT_MESA_K + 1)];
    int64_t from, to;
    ASSERT(K <= LIMIT_MESA_K);
    host_share((int64_t)b->n_seqs * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t q = (int32_t)(i / H), h = (int32_t)(i % H);
        float *A = host_state(s, op->section, b->slots[q]), *B = A + (int64_t)H * K * K;
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++)
            mesa_token(s, op, h, t, A + (int64_t)h * K * K, B + (int64_t)h * K * V, work);
    }
}
