/* The sixteen lanes as four NEON registers (aarch64); what a word means says simd_avx512.h. */
#ifndef RECURD_SIMD_NEON_H
#define RECURD_SIMD_NEON_H

#include <arm_neon.h>

#define V16_REGS 8 /* 32 registers of four lanes */
typedef struct { float32x4_t a, b, c, d; } v16;
typedef struct { uint32x4_t a, b, c, d; } m16;

#define V16_1(f, x) ((v16){f((x).a), f((x).b), f((x).c), f((x).d)})
#define V16_2(f, x, y) \
    ((v16){f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d)})
#define V16_FROM(f, p) ((v16){f(p, 0), f(p, 1), f(p, 2), f(p, 3)})
#define V16_F(i) vreinterpretq_f32_s32(i)
#define V16_I(f) vreinterpretq_s32_f32(f)
#define V16_U(f) vreinterpretq_u32_f32(f)

INLINE v16 v16_set1(float x)
{
    float32x4_t q = vdupq_n_f32(x);
    return (v16){q, q, q, q};
}
INLINE v16 v16_zero(void) { return v16_set1(0); }
INLINE v16 v16_load(const float *p)
{
    return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
INLINE void v16_store(float *p, v16 x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}
/* There is no masked access: through memory that is all ours. */
INLINE v16 v16_load_n(const float *p, int n)
{
    float t[LANES] = {0};
    for (int i = 0; i < n; i++)
        t[i] = p[i];
    return v16_load(t);
}
INLINE void v16_store_n(float *p, int n, v16 x)
{
    float t[LANES];
    v16_store(t, x);
    for (int i = 0; i < n; i++)
        p[i] = t[i];
}
/* All ones in the first n lanes, counted from `from`. */
INLINE float32x4_t keep_4(float32x4_t x, int from, int n)
{
    static const int32_t lane[4] = {0, 1, 2, 3};
    uint32x4_t m = vcltq_s32(vld1q_s32(lane), vdupq_n_s32(n - from));
    return vreinterpretq_f32_u32(vandq_u32(V16_U(x), m));
}
INLINE v16 v16_keep(v16 x, int n)
{
    return (v16){keep_4(x.a, 0, n), keep_4(x.b, 4, n), keep_4(x.c, 8, n), keep_4(x.d, 12, n)};
}
INLINE v16 v16_add(v16 x, v16 y) { return V16_2(vaddq_f32, x, y); }
INLINE v16 v16_sub(v16 x, v16 y) { return V16_2(vsubq_f32, x, y); }
INLINE v16 v16_mul(v16 x, v16 y) { return V16_2(vmulq_f32, x, y); }
INLINE v16 v16_div(v16 x, v16 y) { return V16_2(vdivq_f32, x, y); }
#define V16_3(f, x, y, z) \
    ((v16){f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b), f((x).c, (y).c, (z).c), \
           f((x).d, (y).d, (z).d)})
INLINE v16 v16_fma(v16 x, v16 y, v16 z) { return V16_3(vfmaq_f32, z, x, y); }
INLINE v16 v16_fnma(v16 x, v16 y, v16 z) { return V16_3(vfmsq_f32, z, x, y); }
#define V16_CMP(f, x, y) \
    ((m16){f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d)})
INLINE m16 v16_lt(v16 x, v16 y) { return V16_CMP(vcltq_f32, x, y); }
INLINE m16 v16_eq(v16 x, v16 y) { return V16_CMP(vceqq_f32, x, y); }
INLINE m16 v16_nan(v16 x)
{
    m16 m = v16_eq(x, x);
    return (m16){vmvnq_u32(m.a), vmvnq_u32(m.b), vmvnq_u32(m.c), vmvnq_u32(m.d)};
}
INLINE v16 v16_select(m16 m, v16 yes, v16 no)
{
    return V16_3(vbslq_f32, m, yes, no);
}
/* As on x86: y for a NaN. */
INLINE v16 v16_max(v16 x, v16 y) { return v16_select(v16_lt(y, x), x, y); }
INLINE v16 v16_min(v16 x, v16 y) { return v16_select(v16_lt(x, y), x, y); }
INLINE v16 v16_sqrt(v16 x) { return V16_1(vsqrtq_f32, x); }
INLINE v16 v16_round(v16 x) { return V16_1(vrndnq_f32, x); }
#define V16_BIT(f, x, y) vreinterpretq_f32_u32(f(V16_U(x), V16_U(y)))
INLINE float32x4_t and_4(float32x4_t x, float32x4_t y) { return V16_BIT(vandq_u32, x, y); }
INLINE float32x4_t or_4(float32x4_t x, float32x4_t y) { return V16_BIT(vorrq_u32, x, y); }
INLINE float32x4_t xor_4(float32x4_t x, float32x4_t y) { return V16_BIT(veorq_u32, x, y); }
INLINE v16 v16_and(v16 x, v16 y) { return V16_2(and_4, x, y); }
INLINE v16 v16_or(v16 x, v16 y) { return V16_2(or_4, x, y); }
INLINE v16 v16_xor(v16 x, v16 y) { return V16_2(xor_4, x, y); }
INLINE v16 v16_bits(uint32_t u)
{
    float32x4_t q = vreinterpretq_f32_u32(vdupq_n_u32(u));
    return (v16){q, q, q, q};
}
/* Out of range x86 gives 0x80000000, this the nearest: no kernel looks at it. */
INLINE float32x4_t to_int_4(float32x4_t x) { return V16_F(vcvtnq_s32_f32(x)); }
INLINE float32x4_t from_int_4(float32x4_t x) { return vcvtq_f32_s32(V16_I(x)); }
INLINE float32x4_t iadd_4(float32x4_t x, float32x4_t y)
{
    return V16_F(vaddq_s32(V16_I(x), V16_I(y)));
}
INLINE float32x4_t isub_4(float32x4_t x, float32x4_t y)
{
    return V16_F(vsubq_s32(V16_I(x), V16_I(y)));
}
INLINE v16 v16_to_int(v16 x) { return V16_1(to_int_4, x); }
INLINE v16 v16_from_int(v16 x) { return V16_1(from_int_4, x); }
INLINE v16 v16_iadd(v16 x, v16 y) { return V16_2(iadd_4, x, y); }
INLINE v16 v16_isub(v16 x, v16 y) { return V16_2(isub_4, x, y); }
/* Shifts by a number: to the left, or with a negative one to the right. */
INLINE float32x4_t ushift_4(float32x4_t x, int n)
{
    return vreinterpretq_f32_u32(vshlq_u32(V16_U(x), vdupq_n_s32(n)));
}
INLINE float32x4_t sshift_4(float32x4_t x, int n)
{
    return V16_F(vshlq_s32(V16_I(x), vdupq_n_s32(n)));
}
#define V16_SHIFT(f, x, n) ((v16){f((x).a, n), f((x).b, n), f((x).c, n), f((x).d, n)})
INLINE v16 v16_shl(v16 x, unsigned n) { return V16_SHIFT(ushift_4, x, (int)n); }
INLINE v16 v16_shr(v16 x, unsigned n) { return V16_SHIFT(ushift_4, x, -(int)n); }
INLINE v16 v16_sar(v16 x, unsigned n) { return V16_SHIFT(sshift_4, x, -(int)n); }
INLINE v16 v16_load_pairs(const void *p) { return v16_load(p); }
INLINE float32x4_t half_4(const void *p, int i)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p + 4 * i)));
}
INLINE v16 v16_load_half(const void *p) { return V16_FROM(half_4, p); }
INLINE v16 v16_gather_n(const float *p, int step, int n)
{
    float t[LANES] = {0};
    for (int i = 0; i < n; i++)
        t[i] = p[(int64_t)i * step];
    return v16_load(t);
}
INLINE v16 v16_load_i8(const void *p)
{
    int8x16_t x = vld1q_s8(p);
    int16x8_t lo = vmovl_s8(vget_low_s8(x)), hi = vmovl_high_s8(x);
    return (v16){vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_high_s16(lo)),
                 vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_high_s16(hi))};
}
INLINE v16 v16_load_u8(const void *p)
{
    uint8x16_t x = vld1q_u8(p);
    uint16x8_t lo = vmovl_u8(vget_low_u8(x)), hi = vmovl_high_u8(x);
    return (v16){vreinterpretq_f32_u32(vmovl_u16(vget_low_u16(lo))),
                 vreinterpretq_f32_u32(vmovl_high_u16(lo)),
                 vreinterpretq_f32_u32(vmovl_u16(vget_low_u16(hi))),
                 vreinterpretq_f32_u32(vmovl_high_u16(hi))};
}
/* The bytes of a table of 64: of entry i those from 4 i on. */
INLINE float32x4_t look_up_4(float32x4_t index, uint8x16x4_t t)
{
    uint32x4_t first = vshlq_n_u32(vandq_u32(V16_U(index), vdupq_n_u32(15)), 2);
    uint32x4_t at = vmlaq_n_u32(vdupq_n_u32(0x03020100), first, 0x01010101);
    return vreinterpretq_f32_u8(vqtbl4q_u8(t, vreinterpretq_u8_u32(at)));
}
INLINE v16 v16_look_up(v16 index, v16 lo)
{
    uint8x16x4_t t = {{vreinterpretq_u8_f32(lo.a), vreinterpretq_u8_f32(lo.b),
                       vreinterpretq_u8_f32(lo.c), vreinterpretq_u8_f32(lo.d)}};
    return (v16){look_up_4(index.a, t), look_up_4(index.b, t), look_up_4(index.c, t),
                 look_up_4(index.d, t)};
}

typedef struct { float64x2_t a, b, c, d; } d8;
INLINE d8 d8_set1(double x)
{
    float64x2_t q = vdupq_n_f64(x);
    return (d8){q, q, q, q};
}
INLINE d8 d8_load(const double *p)
{
    return (d8){vld1q_f64(p), vld1q_f64(p + 2), vld1q_f64(p + 4), vld1q_f64(p + 6)};
}
INLINE void d8_store(double *p, d8 x)
{
    vst1q_f64(p, x.a);
    vst1q_f64(p + 2, x.b);
    vst1q_f64(p + 4, x.c);
    vst1q_f64(p + 6, x.d);
}
INLINE d8 d8_mul(d8 x, d8 y)
{
    return (d8){vmulq_f64(x.a, y.a), vmulq_f64(x.b, y.b), vmulq_f64(x.c, y.c), vmulq_f64(x.d, y.d)};
}
INLINE d8 d8_fma(d8 x, d8 y, d8 z)
{
    return (d8){vfmaq_f64(z.a, x.a, y.a), vfmaq_f64(z.b, x.b, y.b), vfmaq_f64(z.c, x.c, y.c),
                vfmaq_f64(z.d, x.d, y.d)};
}
INLINE d8 d8_fnma(d8 x, d8 y, d8 z)
{
    return (d8){vfmsq_f64(z.a, x.a, y.a), vfmsq_f64(z.b, x.b, y.b), vfmsq_f64(z.c, x.c, y.c),
                vfmsq_f64(z.d, x.d, y.d)};
}
INLINE d8 d8_floats(float32x4_t x, float32x4_t y)
{
    return (d8){vcvt_f64_f32(vget_low_f32(x)), vcvt_high_f64_f32(x), vcvt_f64_f32(vget_low_f32(y)),
                vcvt_high_f64_f32(y)};
}
INLINE d8 d8_low(v16 x) { return d8_floats(x.a, x.b); }
INLINE d8 d8_high(v16 x) { return d8_floats(x.c, x.d); }
INLINE float32x4_t doubles_4(float64x2_t x, float64x2_t y)
{
    return vcvt_high_f32_f64(vcvt_f32_f64(x), y);
}
INLINE v16 v16_doubles(d8 low, d8 high)
{
    return (v16){doubles_4(low.a, low.b), doubles_4(low.c, low.d), doubles_4(high.a, high.b),
                 doubles_4(high.c, high.d)};
}

/* Sum and maximum over the lanes: 8 and 8, 4 and 4, 2 and 2, 1 and 1. Always this order. */
INLINE float v16_sum(v16 x)
{
    float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    float32x2_t h = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}
INLINE float32x4_t max_4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(y, x), x, y); }
INLINE float v16_largest(v16 x)
{
    float32x4_t q = max_4(max_4(x.a, x.c), max_4(x.b, x.d));
    q = max_4(q, vextq_f32(q, q, 2));
    float lo = vgetq_lane_f32(q, 0), hi = vgetq_lane_f32(q, 1);
    return lo > hi ? lo : hi;
}

INLINE float half_float(uint16_t h)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}

INLINE void turn_4x4(const float *const row[4], float *out, int64_t step)
{
    for (int c = 0; c < 4; c++)
        for (int r = 0; r < 4; r++)
            out[c * step + r] = row[r][c];
}

#endif
