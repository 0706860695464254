/* From float32 to blocks: what --quantize and the tests make. Q8_0 is rounding; the others search
 * the scale that leaves the least squared error, weighted by the square of the value (large weights
 * matter most to a product), over a few candidates around the obvious one. */
#include "kernels/formats.h"

#include <math.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static void put_u16(uint8_t *p, uint16_t h)
{
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

static float largest(const float *x, int n)
{
    float m = 0;
    for (int i = 0; i < n; i++)
        m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
    return m;
}

static int clamp_round(float v, int low, int high)
{
    return v <= (float)low ? low : v >= (float)high ? high : (int)lrintf(v);
}

/* ---- four lanes ---------------------------------------------------------------------------
 *
 * A search is a few sums over a run of values. Four runs, or four candidates of one, are searched
 * side by side, each lane in the order of the search alone: the bits do not depend on it. */

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

static inline f4 pick(i4 mask, f4 yes, f4 no)
{
    return (f4)((mask & (i4)yes) | (~mask & (i4)no));
}

static inline f4 splat(float x)
{
    return (f4){x, x, x, x};
}

static inline f4 abs4(f4 x)
{
    return (f4)((i4)x & 0x7fffffff);
}

/* To the nearest whole number of [low, high]: the sum has no room for a fraction. */
static inline f4 clamp_round4(f4 v, float low, float high)
{
    const float shift = 12582912; /* 1.5 * 2^23 */
#ifdef __SSE2__ /* the same in an instruction each */
    v = _mm_min_ps(_mm_max_ps(v, splat(low)), splat(high));
#else
    v = pick(v <= splat(low), splat(low), v);
    v = pick(v >= splat(high), splat(high), v);
#endif
    return (v + shift) - shift;
}

/* Lane j of out[i]: element i of run j. */
static void side_by_side(const float *x, int n, f4 *out)
{
    for (int i = 0; i < n; i++)
        out[i] = (f4){x[i], x[n + i], x[2 * n + i], x[3 * n + i]};
}

/* n values times `by` as whole numbers of [low, high], less low; what overflows is 0. */
static void round_run(const float *x, int n, float by, float low, float high, uint8_t *q)
{
    f4 v;
    for (int i = 0; i < n; i += 4) {
        memcpy(&v, x + i, sizeof v);
        v *= by;
        v = clamp_round4(pick(v == v, v, splat(0)), low, high) - low;
        for (int j = 0; j < 4; j++)
            q[i + j] = (uint8_t)v[j];
    }
}

/* ---- formats ------------------------------------------------------------------------------ */

/* As ggml: d = max / 127, q = round half away from zero. */
static void encode_q8_0(const float *x, uint8_t *b)
{
    float d = largest(x, 32) / 127, inverse = d > 0 && isfinite(1 / d) ? 1 / d : 0;
    put_u16(b, f16_of_f32(d));
    for (int i = 0; i < 32; i++) {
        float v = x[i] * inverse, whole = (float)(int)v, rest = v - whole;
        b[2 + i] = (uint8_t)(int8_t)((int)whole + (rest >= 0.5f) - (rest <= -0.5f));
    }
}

/* The best s of x ~ s q, q whole numbers of [-8, 7], for a run of 32; candidates shrink or stretch
 * the one that makes the largest value -8. */
static float symmetric_scale(const float *x)
{
    float peak = 0, best = 0, best_gain = -1;
    for (int i = 0; i < 32; i++)
        if (fabsf(x[i]) > fabsf(peak))
            peak = x[i];
    if (fabsf(peak) < 1e-30f)
        return 0;
    for (int k = -9; k <= 9; k += 4) {
        f4 inverse = splat(0), xq = splat(0), qq = splat(0);
        for (int j = 0; j < 4; j++)
            inverse[j] = -(8 + 0.1f * (float)(k + j)) / peak;
        for (int i = 0; i < 32; i++) {
            f4 q = clamp_round4(x[i] * inverse, -8, 7);
            float xx = x[i] * x[i];
            xq += xx * x[i] * q;
            qq += xx * q * q;
        }
        for (int j = 0; j < 4 && k + j <= 9; j++)
            if (qq[j] > 0 && xq[j] * xq[j] > best_gain * qq[j]) { /* the error falls so much */
                best_gain = xq[j] * xq[j] / qq[j];
                best = xq[j] / qq[j];
            }
    }
    return best;
}

static void encode_q4_0(const float *x, uint8_t *b)
{
    uint16_t h = f16_of_f32(symmetric_scale(x));
    float d = f32_of_f16(h), inverse = d != 0 ? 1 / d : 0;
    uint8_t q[32];
    put_u16(b, h);
    round_run(x, 32, inverse, -8, 7, q);
    for (int i = 0; i < 16; i++)
        b[2 + i] = (uint8_t)(q[i] | q[16 + i] << 4);
}

/* The same of four runs of 16, q of [-half, half - 1]. */
static void symmetric_scale4(const float *src, int half, float *out)
{
    f4 x[16], xx[16], xxx[16], peak = splat(0), best = splat(0), best_gain = splat(-1);
    side_by_side(src, 16, x);
    for (int i = 0; i < 16; i++) {
        peak = pick(abs4(x[i]) > abs4(peak), x[i], peak);
        xx[i] = x[i] * x[i];
        xxx[i] = xx[i] * x[i];
    }
    i4 none = abs4(peak) < splat(1e-30f);
    peak = pick(none, splat(1), peak);
    for (int k = -9; k <= 9; k++) {
        f4 inverse = -((float)half + 0.1f * (float)k) / peak, xq = splat(0), qq = splat(0);
        for (int i = 0; i < 16; i++) {
            f4 q = clamp_round4(x[i] * inverse, (float)-half, (float)(half - 1));
            xq += xxx[i] * q;
            qq += xx[i] * q * q;
        }
        i4 better = (qq > splat(0)) & (xq * xq > best_gain * qq);
        f4 safe = pick(better, qq, splat(1));
        best_gain = pick(better, xq * xq / safe, best_gain);
        best = pick(better, xq / safe, best);
    }
    best = pick(none, splat(0), best);
    memcpy(out, &best, sizeof best);
}

static void encode_q6_k(const float *x, uint8_t *b)
{
    float scale[16], peak = 0;
    uint8_t q[256];
    for (int j = 0; j < 16; j += 4)
        symmetric_scale4(x + 16 * j, 32, scale + j);
    for (int j = 0; j < 16; j++)
        if (fabsf(scale[j]) > fabsf(peak))
            peak = scale[j];
    uint16_t h = f16_of_f32(-peak / 128);
    float d = f32_of_f16(h), inverse = d != 0 ? 1 / d : 0;
    put_u16(b + 208, h);
    for (int j = 0; j < 16; j++) {
        int s = clamp_round(scale[j] * inverse, -128, 127);
        float step = d * (float)s, per = step != 0 ? 1 / step : 0;
        b[192 + j] = (uint8_t)(int8_t)s;
        round_run(x + 16 * j, 16, per, -32, 31, q + 16 * j);
    }
    for (int half = 0; half < 2; half++) {
        const uint8_t *of = q + 128 * half;
        for (int i = 0; i < 64; i++)
            b[64 * half + i] = (uint8_t)((of[i] & 15) | of[64 + i] << 4);
        for (int i = 0; i < 32; i++)
            b[128 + 32 * half + i] =
                (uint8_t)(of[i] >> 4 | of[32 + i] >> 4 << 2 | of[64 + i] >> 4 << 4 |
                          of[96 + i] >> 4 << 6);
    }
}

/* Four runs of 32, their weights and weighted values, and the sums of those. */
struct runs { f4 x[32], weight[32], weighted[32], low, w, wx; };

/* A candidate: each run rounds its values by `inverse`, which then say the best s and m (two normal
 * equations). */
static inline void solve(const struct runs *r, f4 inverse, f4 *s_out, f4 *m_out)
{
    f4 w = r->w, wx = r->wx, wq = splat(0), wqq = wq, wxq = wq;
    for (int i = 0; i < 32; i++) {
        f4 q = clamp_round4((r->x[i] - r->low) * inverse, 0, 15);
        f4 weighted = r->weight[i] * q;
        wq += weighted;
        wqq += weighted * q;
        wxq += r->weighted[i] * q;
    }
    f4 det = w * wqq - wq * wq, safe = pick(det > splat(0), det, splat(1));
    f4 s = pick(det > splat(0), (w * wxq - wx * wq) / safe, splat(0));
    f4 m = pick(det > splat(0), -(wqq * wx - wq * wxq) / safe, splat(-1));
    f4 by = pick(wqq > splat(0), wqq, splat(1));
    f4 alone = pick(wqq > splat(0), wxq / by, splat(0));
    i4 flat = m < splat(0); /* minima are subtracted only; a constant block has none either */
    *s_out = pick(flat, alone, s);
    *m_out = pick(flat, splat(0), m);
}

static void prepare(struct runs *r, const float *src, f4 *high)
{
    f4 mean = splat(0);
    side_by_side(src, 32, r->x);
    r->low = r->w = r->wx = splat(0);
    *high = r->x[0];
    for (int i = 0; i < 32; i++) {
        r->low = pick(r->x[i] < r->low, r->x[i], r->low);
        *high = pick(r->x[i] > *high, r->x[i], *high);
        mean += r->x[i] * r->x[i] / splat(32);
    }
    for (int j = 0; j < 4; j++)
        mean[j] = sqrtf(mean[j]);
    for (int i = 0; i < 32; i++) {
        r->weight[i] = mean + abs4(r->x[i]);
        r->weighted[i] = r->weight[i] * r->x[i];
        r->w += r->weight[i];
        r->wx += r->weighted[i];
    }
}

/* The best s >= 0 and m >= 0 of x ~ s q - m, q of [0, 15], of four runs of 32. */
static void affine_scale4(const float *src, float *s_out, float *m_out)
{
    struct runs r;
    f4 high, best = splat(INFINITY), best_s = splat(0);
    prepare(&r, src, &high);
    i4 wide = high > r.low;
    f4 best_m = -r.low, range = pick(wide, high - r.low, splat(1));
    for (int k = -10; k <= 10; k++) {
        f4 s, m, error = splat(0);
        solve(&r, (15 + 0.1f * (float)k) / range, &s, &m);
        i4 fine = wide & (s > splat(0));
        s = pick(fine, s, splat(1));
        for (int i = 0; i < 32; i++) {
            f4 e = s * clamp_round4((r.x[i] + m) / s, 0, 15) - m - r.x[i];
            error += r.weight[i] * e * e;
        }
        i4 better = fine & (error < best);
        best = pick(better, error, best);
        best_s = pick(better, s, best_s);
        best_m = pick(better, m, best_m);
    }
    memcpy(s_out, &best_s, sizeof best_s);
    memcpy(m_out, &best_m, sizeof best_m);
}

static void encode_q4_k(const float *x, uint8_t *b)
{
    float s[8], m[8];
    uint8_t q[256];
    affine_scale4(x, s, m);
    affine_scale4(x + 128, s + 4, m + 4);
    uint16_t hd = f16_of_f32(largest(s, 8) / 63), hm = f16_of_f32(largest(m, 8) / 63);
    float d = f32_of_f16(hd), dmin = f32_of_f16(hm);
    memset(b, 0, 16);
    put_u16(b, hd);
    put_u16(b + 2, hm);
    for (int j = 0; j < 8; j++) {
        int sc = d > 0 ? clamp_round(s[j] / d, 0, 63) : 0;
        int mn = dmin > 0 ? clamp_round(m[j] / dmin, 0, 63) : 0;
        float step = d * (float)sc, add = dmin * (float)mn;
        f4 v = splat(0);
        for (int k = 0; k < 32; k += 4) {
            memcpy(&v, x + 32 * j + k, sizeof v);
            v = step > 0 ? (v + add) / step : splat(0);
            v = clamp_round4(pick(v == v, v, splat(0)), 0, 15);
            for (int i = 0; i < 4; i++)
                q[32 * j + k + i] = (uint8_t)v[i];
        }
        if (j < 4) {
            b[4 + j] |= (uint8_t)sc;
            b[8 + j] |= (uint8_t)mn;
        } else {
            b[8 + j] = (uint8_t)((sc & 15) | (mn & 15) << 4);
            b[j] |= (uint8_t)(sc >> 4 << 6);
            b[4 + j] |= (uint8_t)(mn >> 4 << 6);
        }
    }
    for (int i = 0; i < 128; i++)
        b[16 + i] = (uint8_t)(q[i / 32 * 64 + i % 32] | q[i / 32 * 64 + 32 + i % 32] << 4);
}

static void encode_f32(const float *x, uint8_t *b) { memcpy(b, x, 4); }
static void encode_f16(const float *x, uint8_t *b) { put_u16(b, f16_of_f32(*x)); }
static void encode_bf16(const float *x, uint8_t *b) { put_u16(b, bf16_of_f32(*x)); }

typedef void encode_fn(const float *x, uint8_t *block);
static encode_fn *const encoders[DTYPES] = {
    [DTYPE_F32] = encode_f32, [DTYPE_F16] = encode_f16, [DTYPE_BF16] = encode_bf16,
    [DTYPE_Q8_0] = encode_q8_0, [DTYPE_Q4_0] = encode_q4_0, [DTYPE_Q4_K] = encode_q4_k,
    [DTYPE_Q6_K] = encode_q6_k,
};

bool format_encodes(enum dtype t)
{
    return encoders[t] != NULL;
}

void format_encode(enum dtype t, const float *src, int64_t n, void *dst)
{
    const struct weight_format *f = &formats[t];
    uint8_t *b = dst;
    float last[FORMAT_BLOCK_MAX];
    ASSERT(encoders[t]);
    for (int64_t at = 0; at < n; at += f->block, b += f->bytes) {
        int m = (int)MIN(n - at, f->block);
        if (m == f->block) {
            encoders[t](src + at, b);
            continue;
        }
        memset(last, 0, sizeof last);
        memcpy(last, src + at, (size_t)m * sizeof *last);
        encoders[t](last, b);
    }
}
