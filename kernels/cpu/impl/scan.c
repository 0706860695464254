/* SCAN, LOGSUM and WKV: recurrences inside a channel. Sixteen channels are sixteen lanes; a
 * channel's states are turned into lanes once per call and stay in cache over the tokens, so a sum
 * over the states is the chain that ref takes. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"
#include "kernels/cpu/impl/vmath.h"

#define STATES_MAX 256 /* 2 x 16 KiB of stack; published models have 16 to 128 */

/* p [n][N] to lanes [N][16], zeros past n; and back. */
static void to_lanes(float (*d)[LANES], const float *p, int n, int N)
{
    for (int i = 0; i < N; i++)
        for (int c = 0; c < LANES; c++)
            d[i][c] = c < n ? p[c * N + i] : 0;
}
static void from_lanes(float *p, float (*const d)[LANES], int n, int N)
{
    for (int c = 0; c < n; c++)
        for (int i = 0; i < N; i++)
            p[c * N + i] = d[i][c];
}

static void scan_channels(const struct host_step *s, const struct op *op, int q, int64_t c,
                          int left)
{
    int N = op->p.scan.N, n = MIN(left, LANES);
    float *state = host_state(s, op->section, s->batch->slots[q]) + c * N;
    const float *D = host_vec(s, op->w[1]);
    _Alignas(64) float h[STATES_MAX][LANES], a[STATES_MAX][LANES];
    to_lanes(h, state, n, N);
    to_lanes(a, host_vec(s, op->w[0]) + c * N, n, N);
    v16 d = D ? load_left(D + c, left) : v16_zero();
    for (int32_t t = s->batch->cu_seqlens[q]; t < s->batch->cu_seqlens[q + 1]; t++) {
        const float *B = host_row(s, op->in[2], t), *C = host_row(s, op->in[3], t);
        v16 x = load_left(host_row(s, op->in[0], t) + c, left);
        v16 dt = load_left(host_row(s, op->in[1], t) + c, left);
        v16 y = D ? v16_mul(d, x) : v16_zero();
        for (int i = 0; i < N; i++) {
            /* dt A with its rounding error: exp would multiply it by up to 80 */
            v16 A = v16_load(a[i]), p = v16_mul(dt, A), low = v16_fma(dt, A, v16_neg(p));
            v16 in = v16_mul(v16_mul(dt, v16_set1(B[i])), x);
            v16 now = v16_fma(v16_exp2part(p, low), v16_load(h[i]), in);
            v16_store(h[i], now);
            y = v16_fma(v16_set1(C[i]), now, y);
        }
        store_left(host_row(s, op->out, t) + c, left, y);
    }
    from_lanes(state, h, n, N);
}

static void logsum_channels(const struct host_step *s, const struct op *op, int q, int64_t c,
                            int left)
{
    float *state = host_state(s, op->section, s->batch->slots[q]) + c;
    int64_t width = op->in[0].width;
    v16 z = s->batch->pos[q] ? load_left(state, left) : v16_set1(-INFINITY);
    for (int32_t t = s->batch->cu_seqlens[q]; t < s->batch->cu_seqlens[q + 1]; t++) {
        v16 x = load_left(host_row(s, op->in[0], t) + c, left), hi = v16_max(z, x);
        v16 apart = v16_neg(v16_abs(v16_sub(z, x)));
        v16 now = v16_add(hi, v16_log1p(v16_exp(apart)));
        now = v16_add(now, v16_sub(hi, hi)); /* an infinite sum is NaN, as in ref */
        float *out = host_row(s, op->out, t) + c;
        store_left(out, left, v16_exp(v16_sub(x, now)));
        store_left(out + width, left, v16_exp(v16_sub(z, now)));
        z = now;
    }
    store_left(state, left, z);
}

INLINE v16 below(v16 x, v16 top) { return v16_exp(v16_sub(x, top)); }
/* The larger exponent; a k that is no number spoils the sums, not the maximum. */
INLINE v16 top_of(v16 m, v16 k) { return v16_select(v16_nan(k), m, v16_max(m, k)); }

/* Sums p of e^(k - m) v and q of e^(k - m), m their largest exponent. */
static void wkv_channels(const struct host_step *s, const struct op *op, int i, int64_t c,
                         int left)
{
    int64_t width = op->out.width;
    float *state = host_state(s, op->section, s->batch->slots[i]) + c;
    v16 decay = load_left(host_vec(s, op->w[0]) + c, left);
    v16 bonus = load_left(host_vec(s, op->w[1]) + c, left);
    v16 p = v16_zero(), q = v16_zero(), m = v16_set1(-INFINITY);
    if (s->batch->pos[i] > 0) {
        p = load_left(state, left);
        q = load_left(state + width, left);
        m = load_left(state + 2 * width, left);
    }
    for (int32_t t = s->batch->cu_seqlens[i]; t < s->batch->cu_seqlens[i + 1]; t++) {
        v16 k = load_left(host_row(s, op->in[0], t) + c, left);
        v16 v = load_left(host_row(s, op->in[1], t) + c, left), now = v16_add(bonus, k);
        v16 top = top_of(m, now), old = below(m, top), own = below(now, top);
        v16 num = v16_fma(old, p, v16_mul(own, v)), den = v16_fma(old, q, own);
        store_left(host_row(s, op->out, t) + c, left, v16_div(num, den));
        m = v16_add(m, decay);
        top = top_of(m, k);
        old = below(m, top);
        own = below(k, top);
        p = v16_fma(old, p, v16_mul(own, v));
        q = v16_fma(old, q, own);
        m = top;
    }
    store_left(state, left, p);
    store_left(state + width, left, q);
    store_left(state + 2 * width, left, m);
}

/* Deals (sequence, 16 channels) to the threads. */
typedef void channels_fn(const struct host_step *s, const struct op *op, int q, int64_t c,
                         int left);
static void each_channels(const struct host_step *s, const struct op *op, int64_t width, int ith,
                          int nth, channels_fn *f)
{
    int64_t item = 0;
    for (int q = 0; q < s->batch->n_seqs; q++)
        for (int64_t c = 0; c < width; c += LANES)
            if (item++ % nth == ith)
                f(s, op, q, c, (int)MIN(width - c, INT32_MAX));
}

void FN(scan)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    if (op->p.scan.N > STATES_MAX)
        ref_scan(s, op, ith, nth);
    else
        each_channels(s, op, op->out.width, ith, nth, scan_channels);
}

void FN(logsum)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_channels(s, op, op->in[0].width, ith, nth, logsum_channels);
}

void FN(wkv)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_channels(s, op, op->out.width, ith, nth, wkv_channels);
}
