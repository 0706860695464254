/* The formats of weights: the table, the order of bytes in files, and the values.
 *
 * Block layouts are those of GGUF files (github.com/ggml-org/ggml, docs/gguf and ggml-common.h);
 * FP8 is e4m3 with a float32 scale a block, as checkpoints with weight_scale_inv have it. */
#include "kernels/formats.h"

#include <string.h>

const struct weight_format formats[DTYPES] = {
#define FORMAT(ID, name, block, bytes, st, gguf, bits, run, head, sub, map, center) \
    {#name, block, bytes, st, gguf, bits, run, HEAD_##head, SUB_##sub, MAP_##map, center},
#include "kernels/formats.def"
#undef FORMAT
};

const int8_t format_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1, 13, 25, 38, 53, 69, 89, 113};
/* e2m1 times two; the scale is halved. */
const int8_t format_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

const char *dtype_name(enum dtype t)
{
    ASSERT((unsigned)t < DTYPES);
    return formats[t].name;
}

int format_of_safetensors(const char *name)
{
    for (int i = 0; i < DTYPES; i++)
        if (formats[i].safetensors && strcmp(formats[i].safetensors, name) == 0)
            return i;
    return -1;
}

int format_of_gguf(int64_t type)
{
    for (int i = 0; i < DTYPES; i++)
        if (formats[i].gguf >= 0 && formats[i].gguf == type)
            return i;
    return -1;
}

size_t format_bytes(enum dtype t, int64_t n)
{
    const struct weight_format *f = &formats[t];
    return (size_t)((n + f->block - 1) / f->block) * (size_t)f->bytes;
}

bool format_fits(enum dtype t, int64_t cols)
{
    return t == DTYPE_FP8 || cols % formats[t].block == 0;
}

int format_head_bytes(enum dtype t)
{
    static const int bytes[] = {[HEAD_NONE] = 0, [HEAD_F16] = 2, [HEAD_F16_MIN] = 4,
                                [HEAD_E8M0] = 1, [HEAD_F32] = 4};
    return bytes[formats[t].head];
}

int format_sub_bytes(enum dtype t)
{
    const struct weight_format *f = &formats[t];
    return f->sub == SUB_NONE ? 0 : f->block / f->run * (f->sub == SUB_PAIR ? 2 : 1);
}

/* ---- numbers ---------------------------------------------------------------------------- */

static uint32_t bits_of(float f)
{
    union { float f; uint32_t u; } x = {f};
    return x.u;
}
static float float_of(uint32_t u)
{
    union { uint32_t u; float f; } x = {u};
    return x.f;
}

/* In integers, so that flush-to-zero modes cannot touch a subnormal. */
float f32_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, frac = h & 1023;
    if (exp == 31)
        return float_of(sign | 0x7f800000 | frac << 13);
    if (exp)
        return float_of(sign | (exp + 112) << 23 | frac << 13);
    if (!frac)
        return float_of(sign);
    int shift = __builtin_clz(frac) - 21; /* its leading one to the implicit place */
    return float_of(sign | (uint32_t)(113 - shift) << 23 | (frac << shift & 1023) << 13);
}

uint16_t f16_of_f32(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
    if (mag > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (mag >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000) { /* below 2^-14: adding 0.5 leaves the denormal's bits, rounded */
        uint32_t r = bits_of(float_of(mag) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | r);
    }
    uint32_t r = mag + 0xfff + (mag >> 13 & 1);
    return (uint16_t)(sign | (r - (112u << 23)) >> 13);
}

uint16_t f16_kept(float f)
{
    return f16_of_f32(f > F16_LARGEST ? F16_LARGEST : f < -F16_LARGEST ? -F16_LARGEST : f);
}

uint16_t bf16_of_f32(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Sign, 4 bits of exponent (bias 7), 3 of fraction; all ones is a NaN, there is no infinity. */
static float f32_of_e4m3(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24, mag = b & 0x7f;
    if (mag == 0x7f)
        return float_of(sign | 0x7fc00000);
    float f = mag < 8 ? (float)mag * 0x1p-9f : float_of((mag << 20) + (120u << 23));
    return float_of(sign | bits_of(f));
}

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* ---- blocks in files -------------------------------------------------------------------- */

/* n bytes, low nibbles first: n values, then n more. */
static void nibbles(const uint8_t *b, int n, uint8_t *q)
{
    for (int i = 0; i < n; i++) {
        q[i] = b[i] & 15;
        q[n + i] = b[i] >> 4;
    }
}

static void split_head(const uint8_t *b, int n, struct format_parts *p)
{
    memcpy(p->head, b, (size_t)n);
}

static void split_4bit(const uint8_t *b, int head, struct format_parts *p)
{
    split_head(b, head, p);
    nibbles(b + head, 16, p->q);
}

static void split_5bit(const uint8_t *b, int head, struct format_parts *p)
{
    uint32_t high = u16_at(b + head) | (uint32_t)u16_at(b + head + 2) << 16;
    split_head(b, head, p);
    nibbles(b + head + 4, 16, p->q);
    for (int i = 0; i < 32; i++)
        p->q[i] |= (uint8_t)((high >> i & 1) << 4);
}

static void split_q8_0(const uint8_t *b, struct format_parts *p)
{
    split_head(b, 2, p);
    for (int i = 0; i < 32; i++)
        p->q[i] = b[2 + i] ^ 0x80; /* + 128 */
}

/* Two bits each, four values of every 32 bytes. */
static void two_bits(const uint8_t *b, uint8_t *q)
{
    for (int i = 0; i < 256; i++)
        q[i] = b[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
}

static void split_q2_k(const uint8_t *b, struct format_parts *p)
{
    memcpy(p->sub, b, 16);
    two_bits(b + 16, p->q);
    split_head(b + 80, 4, p);
}

static void split_q3_k(const uint8_t *b, struct format_parts *p)
{
    const uint8_t *s = b + 96;
    two_bits(b + 32, p->q);
    for (int i = 0; i < 256; i++)
        p->q[i] |= (uint8_t)((b[i % 32] >> i / 32 & 1) << 2);
    for (int j = 0; j < 16; j++) {
        int low = s[j % 8] >> j / 8 * 4 & 15, high = s[8 + j % 4] >> j / 4 * 2 & 3;
        p->sub[j] = (uint8_t)(low + high * 16 - 32);
    }
    split_head(b + 108, 2, p);
}

/* 8 scales and 8 minima of 6 bits in 12 bytes. */
static void six_bits(const uint8_t *s, uint8_t *sub)
{
    for (int j = 0; j < 4; j++) {
        sub[j] = s[j] & 63;
        sub[8 + j] = s[4 + j] & 63;
        sub[4 + j] = (uint8_t)((s[8 + j] & 15) | s[j] >> 6 << 4);
        sub[12 + j] = (uint8_t)(s[8 + j] >> 4 | s[4 + j] >> 6 << 4);
    }
}

static void split_q4_k(const uint8_t *b, struct format_parts *p)
{
    split_head(b, 4, p);
    six_bits(b + 4, p->sub);
    for (int i = 0; i < 4; i++)
        nibbles(b + 16 + 32 * i, 32, p->q + 64 * i);
}

static void split_q5_k(const uint8_t *b, struct format_parts *p)
{
    split_head(b, 4, p);
    six_bits(b + 4, p->sub);
    for (int i = 0; i < 4; i++)
        nibbles(b + 48 + 32 * i, 32, p->q + 64 * i);
    for (int i = 0; i < 256; i++)
        p->q[i] |= (uint8_t)((b[16 + i % 32] >> i / 32 & 1) << 4);
}

static void split_q6_k(const uint8_t *b, struct format_parts *p)
{
    for (int n = 0; n < 2; n++)
        nibbles(b + 64 * n, 64, p->q + 128 * n);
    for (int i = 0; i < 256; i++)
        p->q[i] |= (uint8_t)((b[128 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3) << 4);
    memcpy(p->sub, b + 192, 16);
    split_head(b + 208, 2, p);
}

static void split_iq4_xs(const uint8_t *b, struct format_parts *p)
{
    split_head(b, 2, p);
    for (int j = 0; j < 8; j++) {
        int low = b[4 + j / 2] >> j % 2 * 4 & 15, high = u16_at(b + 2) >> 2 * j & 3;
        p->sub[j] = (uint8_t)(low + high * 16 - 32);
        nibbles(b + 8 + 16 * j, 16, p->q + 32 * j);
    }
}

void format_split(enum dtype t, const uint8_t *b, struct format_parts *p)
{
    switch (t) {
    case DTYPE_Q8_0: split_q8_0(b, p); break;
    case DTYPE_IQ4_NL:
    case DTYPE_Q4_0: split_4bit(b, 2, p); break;
    case DTYPE_Q4_1: split_4bit(b, 4, p); break;
    case DTYPE_MXFP4: split_4bit(b, 1, p); break;
    case DTYPE_Q5_0: split_5bit(b, 2, p); break;
    case DTYPE_Q5_1: split_5bit(b, 4, p); break;
    case DTYPE_Q2_K: split_q2_k(b, p); break;
    case DTYPE_Q3_K: split_q3_k(b, p); break;
    case DTYPE_Q4_K: split_q4_k(b, p); break;
    case DTYPE_Q5_K: split_q5_k(b, p); break;
    case DTYPE_Q6_K: split_q6_k(b, p); break;
    case DTYPE_IQ4_XS: split_iq4_xs(b, p); break;
    case DTYPE_FP8:
        memcpy(p->q, b, 128);
        split_head(b + 128, 4, p);
        break;
    default: base_assert_failed("a format with blocks", __FILE__, __LINE__);
    }
}

/* ---- values ----------------------------------------------------------------------------- */

/* The scale of a block, and its second number (F16_MIN). */
static float head_value(enum format_head h, const uint8_t *b, float *m)
{
    float f;
    *m = 0;
    switch (h) {
    case HEAD_F16_MIN:
        *m = f32_of_f16(u16_at(b + 2));
        return f32_of_f16(u16_at(b));
    case HEAD_F16: return f32_of_f16(u16_at(b));
    case HEAD_E8M0: /* 2^(b - 128): half of 2^(b - 127), as FP4 is stored doubled */
        return float_of(b[0] < 2 ? 0x00200000u << b[0] : (uint32_t)(b[0] - 1) << 23);
    case HEAD_F32: memcpy(&f, b, sizeof f); return f;
    case HEAD_NONE: break;
    }
    return 1;
}

/* What multiplies the mapped values of run j, and what is added to them. */
static float run_scale(const struct weight_format *f, const struct format_parts *p, int j,
                       float *add)
{
    float m, d = head_value(f->head, p->head, &m);
    int s = p->sub[j], t = 0;
    *add = m;
    if (f->sub == SUB_NONE)
        return d;
    if (f->sub == SUB_SIGNED)
        return d * (float)(int8_t)s;
    if (f->sub == SUB_PAIR)
        t = p->sub[f->block / f->run + j];
    else
        t = s >> 4, s &= 15;
    *add = -(m * (float)t);
    return d * (float)s;
}

static float map_value(const struct weight_format *f, uint8_t q)
{
    switch (f->map) {
    case MAP_IQ4: return format_iq4[q & 15];
    case MAP_FP4: return format_fp4[q & 15];
    case MAP_E4M3: return f32_of_e4m3(q);
    default: return (float)(q - f->center);
    }
}

static float value_of(const struct weight_format *f, float scale, float add, uint8_t q)
{
    float v = scale * map_value(f, q);
    return f->head == HEAD_F16_MIN ? v + add : v;
}

float format_number(enum dtype t, uint8_t q) { return map_value(&formats[t], q); }

void format_scale(enum dtype t, const struct format_parts *p, int j, float *scale, float *add)
{
    *scale = run_scale(&formats[t], p, j, add);
}

float format_value(enum dtype t, const struct format_parts *p, int i)
{
    float add, scale = run_scale(&formats[t], p, i / formats[t].run, &add);
    return value_of(&formats[t], scale, add, p->q[i]);
}

void format_values(enum dtype t, const struct format_parts *p, int n, float *out)
{
    const struct weight_format *f = &formats[t];
    for (int i = 0; i < n; i += f->run) {
        float add, scale = run_scale(f, p, i / f->run, &add);
        for (int k = i; k < MIN(n, i + f->run); k++)
            out[k] = value_of(f, scale, add, p->q[k]);
    }
}

static void decode_plain(enum dtype t, const uint8_t *src, int64_t n, float *dst)
{
    if (t == DTYPE_F32) {
        memcpy(dst, src, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = u16_at(src + 2 * i);
        dst[i] = t == DTYPE_BF16 ? f32_of_bf16(h) : f32_of_f16(h);
    }
}

void format_decode(enum dtype t, const void *src, int64_t n, float *dst)
{
    const struct weight_format *f = &formats[t];
    const uint8_t *b = src;
    struct format_parts p;
    if (format_plain(t)) {
        decode_plain(t, src, n, dst);
        return;
    }
    for (int64_t at = 0; at < n; at += f->block, b += f->bytes) {
        int m = (int)MIN(n - at, f->block);
        format_split(t, b, &p);
        format_values(t, &p, m, dst + at);
    }
}

/* In runs of a constant length, without an exit, so that the compiler makes vectors of them. */
#define RUN 512

static bool finite_halves(const uint8_t *src, int64_t n, uint16_t exponent)
{
    for (int64_t at = 0; at < n; at += RUN) {
        uint16_t h[RUN] = {0}, bad = 0;
        memcpy(h, src + 2 * at, (size_t)MIN(n - at, RUN) * sizeof *h);
        for (int i = 0; i < RUN; i++)
            bad |= (uint16_t)((h[i] & exponent) == exponent);
        if (bad)
            return false;
    }
    return true;
}

static bool finite_floats(const uint8_t *src, int64_t n)
{
    for (int64_t at = 0; at < n; at += RUN) {
        uint32_t u[RUN] = {0}, bad = 0;
        memcpy(u, src + 4 * at, (size_t)MIN(n - at, RUN) * sizeof *u);
        for (int i = 0; i < RUN; i++)
            bad |= (u[i] & 0x7f800000) == 0x7f800000;
        if (bad)
            return false;
    }
    return true;
}

/* Where a block has its head of one or two float16; -1: it has another. Every value of a block is a
 * multiple of them that stays finite, so it is finite if they are. */
static int halves_at(enum dtype t, int *n)
{
    *n = formats[t].head == HEAD_F16_MIN ? 2 : 1;
    if (formats[t].head != HEAD_F16 && formats[t].head != HEAD_F16_MIN)
        return -1;
    return t == DTYPE_Q2_K ? 80 : t == DTYPE_Q3_K ? 108 : t == DTYPE_Q6_K ? 208 : 0;
}

bool format_finite(enum dtype t, const void *src, int64_t n)
{
    int count, at;
    if (t == DTYPE_F32)
        return finite_floats(src, n);
    if (format_plain(t))
        return finite_halves(src, n, t == DTYPE_BF16 ? 0x7f80 : 0x7c00);
    if ((at = halves_at(t, &count)) < 0)
        return false;
    const uint8_t *end = (const uint8_t *)src + format_bytes(t, n);
    for (const uint8_t *b = src; b < end; b += formats[t].bytes)
        for (int i = 0; i < count; i++)
            if ((u16_at(b + at + 2 * i) & 0x7c00) == 0x7c00)
                return false;
    return true;
}

void format_join_fp8(const uint8_t *row, const float *scales, int64_t cols, void *dst)
{
    uint8_t *b = dst;
    for (int64_t c = 0; c < cols; c += 128, b += 132) {
        size_t n = (size_t)MIN(cols - c, 128);
        memset(b, 0, 128);
        memcpy(b, row + c, n);
        memcpy(b + 128, &scales[c / 128], 4);
    }
}
