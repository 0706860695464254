/* MESA: two decayed rank-1 states and a Cholesky solve per head and token. The states are ref's to
 * the bit; the factor is kept turned, so that a column of it is a run of doubles, and each of its
 * elements is one chain over the columns before it. A work item is a head of a sequence. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"

#define K_MAX LIMIT_MESA_K
#define D8 8      /* lanes of doubles */

/* S = alpha S + beta k y^T, rows of n columns. */
static void update(float *S, const float *k, const float *y, float alpha, float beta, int K, int n)
{
    v16 a = v16_set1(alpha);
    for (int i = 0; i < K; i++) {
        v16 b = v16_set1(beta * k[i]);
        float *row = S + (int64_t)i * n;
        for (int c = 0; c < n; c += LANES) {
            v16 old = v16_mul(a, load_left(row + c, n - c));
            store_left(row + c, n - c, v16_fma(b, load_left(y + c, n - c), old));
        }
    }
}

#define PANEL_COLUMNS 16 /* 17 KB of a head of 128: they stay in the first-level cache */
#define CHAINS (V16_REGS == 32 ? 8 : 4) /* sums at a time: as many as hide the latency */

/* n vectors of column k from i on take off what columns [j0, j1) account for. */
INLINE void take_off(double *L, int stride, int k, int i, int n, int j0, int j1)
{
    d8 x[CHAINS];
    UNROLL for (int v = 0; v < n; v++)
        x[v] = d8_load(L + k * stride + i + v * D8);
    for (int j = j0; j < j1; j++) {
        const double *column = L + j * stride;
        d8 by = d8_set1(column[k]);
        UNROLL for (int v = 0; v < n; v++)
            x[v] = d8_fnma(d8_load(column + i + v * D8), by, x[v]);
    }
    UNROLL for (int v = 0; v < n; v++)
        d8_store(L + k * stride + i + v * D8, x[v]);
}

/* All of column k from the vector on that holds its diagonal. */
static void take_off_all(double *L, int stride, int K, int k, int j0, int j1)
{
    for (int i = k / D8 * D8; i < K; i += CHAINS * D8)
        switch (MIN((K - i + D8 - 1) / D8, CHAINS)) {
        case 1: take_off(L, stride, k, i, 1, j0, j1); break;
        case 2: take_off(L, stride, k, i, 2, j0, j1); break;
        case 3: take_off(L, stride, k, i, 3, j0, j1); break;
        case 4: take_off(L, stride, k, i, 4, j0, j1); break;
#if V16_REGS == 32
        case 5: take_off(L, stride, k, i, 5, j0, j1); break;
        case 6: take_off(L, stride, k, i, 6, j0, j1); break;
        case 7: take_off(L, stride, k, i, 7, j0, j1); break;
        case 8: take_off(L, stride, k, i, 8, j0, j1); break;
#endif
        }
}

/* The lower half of A, turned: column k from the vector on that holds its diagonal, zeros behind
 * K. Eight rows at a time are eight runs to read and whole lines to write. */
static void turn(const float *A, int K, int stride, double *L)
{
    for (int i = 0; i < K; i += D8)
        for (int k = 0; k < MIN(i + D8, K); k++)
            for (int r = 0; r < D8; r++)
                L[k * stride + i + r] = i + r < K ? A[(int64_t)(i + r) * K + k] : 0;
}

/* Cholesky factor of A + diag(lambda + bound), below its diagonal: column k at L + k stride, zeros
 * from its first vector to the diagonal; inverse: of the diagonal. */
static void factor(const float *A, const float *lambda, float bound, int K, int stride, double *L,
                   double *inverse)
{
    turn(A, K, stride, L);
    for (int k = 0; k < K; k++)
        L[k * stride + k] += (double)lambda[k] + bound;
    for (int j0 = 0; j0 < K; j0 += PANEL_COLUMNS) {
        int j1 = MIN(j0 + PANEL_COLUMNS, K);
        for (int k = j0; k < j1; k++) {
            double *column = L + k * stride;
            take_off_all(L, stride, K, k, j0, k);
            inverse[k] = 1 / sqrt(column[k]);
            for (int i = k / D8 * D8; i <= k; i++)
                column[i] = 0;
            for (int i = k / D8 * D8; i < K; i += D8)
                d8_store(column + i, d8_mul(d8_load(column + i), d8_set1(inverse[k])));
        }
        for (int k = j1; k < K; k++)
            take_off_all(L, stride, K, k, j0, j1);
    }
}

/* x := (L L^T)^-1 x; zeros behind K. */
static void solve(const double *L, const double *inverse, double *x, int K, int stride)
{
    for (int k = 0; k < K; k++) {
        x[k] *= inverse[k];
        for (int i = k / D8 * D8; i < K; i += D8)
            d8_store(x + i, d8_fnma(d8_load(L + k * stride + i), d8_set1(x[k]), d8_load(x + i)));
    }
    for (int k = K - 1; k >= 0; k--) {
        double t[D8];
        d8 sum = d8_set1(0);
        for (int i = k / D8 * D8; i < K; i += D8)
            sum = d8_fma(d8_load(L + k * stride + i), d8_load(x + i), sum);
        d8_store(t, sum);
        x[k] -= ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
        x[k] *= inverse[k];
    }
}

/* out = B^T x, 16 columns at a time. */
static void read_out(const float *B, const double *x, int K, int V, float *out)
{
    for (int c = 0; c < V; c += LANES) {
        d8 low = d8_set1(0), high = d8_set1(0);
        for (int i = 0; i < K; i++) {
            v16 row = load_left(B + (int64_t)i * V + c, V - c);
            d8 by = d8_set1(x[i]);
            low = d8_fma(by, d8_low(row), low);
            high = d8_fma(by, d8_high(row), high);
        }
        store_left(out + c, V - c, v16_doubles(low, high));
    }
}

static void mesa_head(const struct host_step *s, const struct op *op, int q, int h)
{
    const struct batch *b = s->batch;
    int H = op->p.mesa.heads, K = op->p.mesa.K, V = op->p.mesa.V;
    int stride = (K + D8 - 1) / D8 * D8 + D8; /* no power of two: columns lie in different sets */
    const float *lambda = host_vec(s, op->w[0]) + (int64_t)h * K;
    float *A = host_state(s, op->section, b->slots[q]), *B = A + (int64_t)H * K * K;
    _Alignas(64) double L[K_MAX * (K_MAX + D8)], inverse[K_MAX], x[K_MAX + D8];
    A += (int64_t)h * K * K;
    B += (int64_t)h * K * V;
    for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
        const float *query = host_row(s, op->in[0], t) + (int64_t)h * K;
        const float *k = host_row(s, op->in[1], t) + (int64_t)h * K;
        const float *v = host_row(s, op->in[2], t) + (int64_t)h * V;
        float alpha = host_row(s, op->in[3], t)[h], beta = host_row(s, op->in[4], t)[h];
        update(A, k, k, alpha, beta, K, K);
        update(B, k, v, alpha, beta, K, V);
        for (int i = 0; i < stride; i++)
            x[i] = i < K ? query[i] : 0;
        factor(A, lambda, op->p.mesa.bound, K, stride, L, inverse);
        solve(L, inverse, x, K, stride);
        read_out(B, x, K, V, host_row(s, op->out, t) + (int64_t)h * V);
    }
}

void FN(mesa)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int item = 0;
    ASSERT(op->p.mesa.K <= K_MAX);
    for (int q = 0; q < s->batch->n_seqs; q++)
        for (int h = 0; h < op->p.mesa.heads; h++)
            if (item++ % nth == ith)
                mesa_head(s, op, q, h);
}
