/* From float32 to blocks: what --quantize and the tests make. Q8_0 is rounding; the others search
 * the scale that leaves the least squared error, weighted by the square of the value (large weights
 * matter most to a product), over a few candidates around the obvious one. */
#include "kernels/formats.h"

#include <math.h>
#include <string.h>

static void put_u16(uint8_t *p, uint16_t h)
{
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

static float largest(const float *x, int n)
{
    float m = 0;
    for (int i = 0; i < n; i++)
        m = fmaxf(m, fabsf(x[i]));
    return m;
}

static int clamp_round(float v, int low, int high)
{
    return v <= (float)low ? low : v >= (float)high ? high : (int)lrintf(v);
}

/* As ggml: d = max / 127, q = round half away from zero. */
static void encode_q8_0(const float *x, uint8_t *b)
{
    float d = largest(x, 32) / 127, inverse = d > 0 ? 1 / d : 0;
    put_u16(b, f16_of_f32(d));
    for (int i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
}

/* The best s of x ~ s q, q whole numbers of [-half, half - 1]; candidates shrink or stretch the one
 * that makes the largest value -half. */
static float symmetric_scale(const float *x, int n, int half)
{
    float peak = 0, best = 0, best_gain = -1;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(peak))
            peak = x[i];
    if (fabsf(peak) < 1e-30f)
        return 0;
    for (int k = -9; k <= 9; k++) {
        float inverse = -((float)half + 0.1f * (float)k) / peak, xq = 0, qq = 0;
        for (int i = 0; i < n; i++) {
            float q = (float)clamp_round(x[i] * inverse, -half, half - 1), weight = x[i] * x[i];
            xq += weight * x[i] * q;
            qq += weight * q * q;
        }
        if (qq > 0 && xq * xq > best_gain * qq) { /* the error falls by xq^2 / qq */
            best_gain = xq * xq / qq;
            best = xq / qq;
        }
    }
    return best;
}

static void encode_q4_0(const float *x, uint8_t *b)
{
    uint16_t h = f16_of_f32(symmetric_scale(x, 32, 8));
    float d = f32_of_f16(h), inverse = d != 0 ? 1 / d : 0;
    put_u16(b, h);
    for (int i = 0; i < 16; i++)
        b[2 + i] = (uint8_t)((clamp_round(x[i] * inverse, -8, 7) + 8) |
                             (clamp_round(x[16 + i] * inverse, -8, 7) + 8) << 4);
}

static void encode_q6_k(const float *x, uint8_t *b)
{
    float scale[16], peak = 0;
    memset(b, 0, 210);
    for (int j = 0; j < 16; j++) {
        scale[j] = symmetric_scale(x + 16 * j, 16, 32);
        if (fabsf(scale[j]) > fabsf(peak))
            peak = scale[j];
    }
    uint16_t h = f16_of_f32(-peak / 128);
    float d = f32_of_f16(h), inverse = d != 0 ? 1 / d : 0;
    put_u16(b + 208, h);
    for (int j = 0; j < 16; j++) {
        int s = clamp_round(scale[j] * inverse, -128, 127);
        float step = d * (float)s, per = step != 0 ? 1 / step : 0;
        b[192 + j] = (uint8_t)(int8_t)s;
        for (int k = 0; k < 16; k++) {
            int i = 16 * j + k, q = clamp_round(x[i] * per, -32, 31) + 32;
            b[i / 128 * 64 + i % 64] |= (uint8_t)((q & 15) << i / 64 % 2 * 4);
            b[128 + i / 128 * 32 + i % 32] |= (uint8_t)(q >> 4 << i / 32 % 4 * 2);
        }
    }
}

/* The best s >= 0 and m >= 0 of x ~ s q - m, q of [0, 15]: each candidate of s rounds the values,
 * which then say the best s and m (two normal equations). */
static void affine_scale(const float *x, int n, float *s_out, float *m_out)
{
    float low = 0, high = x[0], mean = 0, best = INFINITY;
    for (int i = 0; i < n; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
        mean += x[i] * x[i] / (float)n;
    }
    mean = sqrtf(mean);
    *s_out = 0;
    *m_out = -low;
    if (!(high > low))
        return;
    for (int k = -10; k <= 10; k++) {
        float inverse = (15 + 0.1f * (float)k) / (high - low);
        float w = 0, wx = 0, wq = 0, wqq = 0, wxq = 0, error = 0;
        for (int i = 0; i < n; i++) {
            float q = (float)clamp_round((x[i] - low) * inverse, 0, 15);
            float weight = mean + fabsf(x[i]);
            w += weight, wx += weight * x[i], wq += weight * q;
            wqq += weight * q * q, wxq += weight * x[i] * q;
        }
        float det = w * wqq - wq * wq, s = 0, m = -1;
        if (det > 0) {
            s = (w * wxq - wx * wq) / det;
            m = -(wqq * wx - wq * wxq) / det;
        }
        if (m < 0) { /* minima are subtracted only; a constant block has none either */
            m = 0;
            s = wqq > 0 ? wxq / wqq : 0;
        }
        for (int i = 0; i < n && s > 0; i++) {
            float q = (float)clamp_round((x[i] + m) / s, 0, 15), e = s * q - m - x[i];
            error += (mean + fabsf(x[i])) * e * e;
        }
        if (s > 0 && error < best) {
            best = error;
            *s_out = s;
            *m_out = m;
        }
    }
}

static void encode_q4_k(const float *x, uint8_t *b)
{
    float s[8], m[8];
    uint8_t q[256];
    for (int j = 0; j < 8; j++)
        affine_scale(x + 32 * j, 32, &s[j], &m[j]);
    uint16_t hd = f16_of_f32(largest(s, 8) / 63), hm = f16_of_f32(largest(m, 8) / 63);
    float d = f32_of_f16(hd), dmin = f32_of_f16(hm);
    memset(b, 0, 16);
    put_u16(b, hd);
    put_u16(b + 2, hm);
    for (int j = 0; j < 8; j++) {
        int sc = d > 0 ? clamp_round(s[j] / d, 0, 63) : 0;
        int mn = dmin > 0 ? clamp_round(m[j] / dmin, 0, 63) : 0;
        float step = d * (float)sc, add = dmin * (float)mn;
        for (int k = 0; k < 32; k++)
            q[32 * j + k] =
                step > 0 ? (uint8_t)clamp_round((x[32 * j + k] + add) / step, 0, 15) : 0;
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
