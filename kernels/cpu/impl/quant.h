/* Lines of packed values and scales of a panel of blocks (formats.def), taken apart in registers:
 * every weight becomes the float32 that formats.c defines. Their products: blocks.h.
 *
 * A weight costs a shift, a step from bits to a float, and a multiply(-add) by the scale. Where the
 * numbers allow (formats.def says when products are exact), what is subtracted from the stored
 * value is folded into that multiply-add: s (v - fold) = fma(s, v, -fold s), without rounding. */
#include "kernels/cpu/impl/tile.h"

struct quant {
    int block, bits, run;
    enum format_head head;
    enum format_sub sub;
    enum format_map map;
    int center;
};
#define FORMAT(ID, name, block, bytes, st, gguf, bits, run, head, sub, map, center) \
    static const struct quant quant_##ID __attribute__((unused)) = \
        {block, bits, run, HEAD_##head, SUB_##sub, MAP_##map, center};
#include "kernels/formats.def"
#undef FORMAT

/* Panels of one input at once: as many as leave the sums in registers. */
#define QUANT_P (V16_REGS == 32 ? 4 : 1)
#define SPAN 32 /* inputs of a step; every block is a multiple */

INLINE v16 move_bits(v16 x, int right)
{
    return right == 0 ? x : right > 0 ? v16_shr(x, (unsigned)right) : v16_shl(x, (unsigned)-right);
}

/* ---- scales ----------------------------------------------------------------------------- */

INLINE int quant_head_bytes(struct quant f)
{
    return f.head == HEAD_F16 ? 2 : f.head == HEAD_E8M0 ? 1 : 4;
}
INLINE int quant_record(struct quant f) /* bytes of the scales of a block of 16 rows */
{
    int runs = f.sub == SUB_NONE ? 0 : f.block / f.run;
    return PANEL * (quant_head_bytes(f) + runs * (f.sub == SUB_PAIR ? 2 : 1));
}

/* How much too large a stored value arrives (quant_value) that is to be multiplied. */
INLINE float quant_fold(struct quant f)
{
    bool mantissa = V16_REGS == 32 && f.bits >= 6, table = V16_REGS == 32 && f.bits / 2 == 2;
    if (f.map != MAP_LINEAR || table)
        return 0;
    return (float)(f.center + (mantissa ? 1 << f.bits : 0));
}

/* What run j of a block is multiplied by, and what is added then. */
INLINE void quant_scales(struct quant f, const char *record, int j, v16 *scale, v16 *add)
{
    const char *sub = record + PANEL * quant_head_bytes(f);
    v16 s, t;
    if (f.head == HEAD_F32) {
        *scale = v16_load((const float *)(const void *)record);
    } else if (f.head == HEAD_E8M0) { /* (e - 1) << 23; 2^-127 and 2^-128 are 0 to these kernels */
        v16 e = v16_max(v16_from_int(v16_load_u8(record)), v16_set1(1));
        *scale = v16_shl(v16_isub(v16_to_int(e), v16_bits(1)), 23);
    } else {
        *scale = v16_load_half(record);
    }
    *add = f.head == HEAD_F16_MIN ? v16_load_half(record + 2 * PANEL) : v16_zero();
    if (f.sub == SUB_SIGNED) {
        *scale = v16_mul(*scale, v16_load_i8(sub + j * PANEL));
    } else if (f.sub == SUB_PAIR) {
        s = v16_from_int(v16_load_u8(sub + j * PANEL));
        t = v16_from_int(v16_load_u8(sub + (f.block / f.run + j) * PANEL));
        *scale = v16_mul(*scale, s);
        *add = v16_fnma(*add, t, v16_zero());
    } else if (f.sub == SUB_NIBBLES) {
        v16 b = v16_load_u8(sub + j * PANEL);
        s = v16_from_int(v16_and(b, v16_bits(15)));
        t = v16_from_int(v16_shr(b, 4));
        *scale = v16_mul(*scale, s);
        *add = v16_fnma(*add, t, v16_zero());
    }
    if (f.head != HEAD_F16_MIN)
        *add = v16_mul(*scale, v16_set1(-quant_fold(f)));
}

/* ---- values ----------------------------------------------------------------------------- */

/* Tables of the values of 4 and 5 bits: lo, and hi for 16 and up. */
struct quant_table { v16 lo, hi; };

INLINE struct quant_table quant_tables(struct quant f)
{
    float v[32];
    for (int i = 0; i < 32; i++)
        v[i] = f.map == MAP_IQ4   ? format_iq4[i % 16]
               : f.map == MAP_FP4 ? format_fp4[i % 16]
                                  : (float)(i - f.center);
    struct quant_table t = {v16_load(v), v16_load(v + 16)};
    return t;
}

INLINE v16 look_up(v16 index, struct quant_table t, int bits)
{
#if V16_REGS == 32
    if (bits == 5)
        return v16_look_up_32(index, t.lo, t.hi);
#endif
    (void)bits; /* fewer registers: those of 5 bits are converted */
    return v16_look_up(index, t.lo);
}

/* Bytes of e4m3 in the low bits of lanes. Subnormals are converted: as floats they are flushed. */
INLINE v16 from_e4m3(v16 q)
{
    v16 mag = v16_and(q, v16_bits(0x7f)), sign = v16_shl(v16_and(q, v16_bits(0x80)), 24);
    v16 small = v16_from_int(mag);
    v16 big = v16_iadd(v16_shl(mag, 20), v16_bits(120u << 23));
    return v16_or(v16_select(v16_lt(small, v16_set1(8)), v16_mul(small, v16_set1(0x1p-9f)), big),
                  sign);
}

/* The value at bit `at` of every lane of a line, as a float that is quant_fold too large. */
INLINE v16 quant_value(struct quant f, v16 line, int at, struct quant_table t)
{
    if (f.map == MAP_E4M3)
        return from_e4m3(move_bits(line, at));
    if (f.map != MAP_LINEAR || (V16_REGS == 32 && f.bits / 2 == 2))
        return look_up(move_bits(line, at), t, f.bits);
#if V16_REGS == 32
    if (f.bits >= 6) { /* into the upper bits of the mantissa of 2^bits */
        v16 x = move_bits(line, at - (23 - f.bits));
        v16 mask = v16_bits(((1u << f.bits) - 1) << (23 - f.bits));
        v16 one = v16_bits((uint32_t)(127 + f.bits) << 23);
        return v16_and_or(x, mask, one);
    }
#endif
    return v16_from_int(v16_and(move_bits(line, at), v16_bits((1u << f.bits) - 1)));
}

/* A left-over value of a group: twos of bits from the upper ends of its lines (pack.c). */
INLINE v16 left_over(struct quant f, const char *lines, int i)
{
    v16 q = v16_zero();
    for (int l = i * f.bits / 2; l * 2 < (i + 1) * f.bits; l++) {
        int to = 2 * l - i * f.bits; /* where the two bits of line l go in q */
        v16 two = v16_shr(v16_load((const float *)(const void *)(lines + l * 64)), 30);
        q = v16_or(q, move_bits(two, -to));
    }
    return v16_and(q, v16_bits((1u << f.bits) - 1));
}
