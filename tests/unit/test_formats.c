/* Weight formats: decoded values of fixed blocks against an independent decoder's (a checksum of
 * all, and three of them), panels, rows of the table, encoders. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/host.h"

#define BLOCKS 64

/* CRC-32 of the float32 bytes of the values of 64 blocks, and values 0, 17 and 31, as the gguf
 * package (0.17, numpy 2) decodes them. high: where the upper bytes of heads are kept small. */
static const struct vector {
    enum dtype t;
    int high[2];
    uint32_t crc;
    float v0, v17, v31;
} vectors[] = {
    {DTYPE_Q8_0, {1, -1}, 0xbcc331cf, -13.4410400390625f, -3.598388671875f, 9.101806640625f},
    {DTYPE_Q4_0, {1, -1}, 0x2a57209e, -0.7408447265625f, -0.211669921875f, 0.3175048828125f},
    {DTYPE_Q4_1, {1, 3}, 0x3c4bd0cd, 1.222808837890625f, 1.646148681640625f, 1.434478759765625f},
    {DTYPE_Q5_0, {1, -1}, 0xef861592, 0.211669921875f, 1.5875244140625f, 0.7408447265625f},
    {DTYPE_Q5_1, {1, 3}, 0xec41acf2, 2.175323486328125f, 3.339508056640625f, 2.175323486328125f},
    {DTYPE_Q2_K, {81, 83}, 0x57a58b99, -0.11370885372161865f, -0.06371474266052246f,
     -0.062220215797424316f},
    {DTYPE_Q3_K, {109, -1}, 0x28d074c7, -0.0020623207092285156f, 0.005568265914916992f,
     0.005568265914916992f},
    {DTYPE_Q4_K, {1, 3}, 0x88cfb2cc, -0.00830078125f, 5.8126220703125f, 11.633544921875f},
    {DTYPE_Q5_K, {1, 3}, 0xebcbbc01, 29.0963134765625f, 2.320068359375f, 33.7530517578125f},
    {DTYPE_Q6_K, {209, -1}, 0xe4046976, -24.416015625f, 43.363861083984375f, -9.791839599609375f},
    {DTYPE_IQ4_NL, {1, -1}, 0xf8530d3b, -11.0068359375f, -2.328369140625f, 4.021728515625f},
    {DTYPE_IQ4_XS, {1, -1}, 0x4d7923ca, 25.9295654296875f, -59.7967529296875f, 25.9295654296875f},
    {DTYPE_MXFP4, {-1, -1}, 0xc2ca3e67, -9.44473296573929e+21f, 0, 0},
};

static uint32_t crc32(const void *p, size_t n)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= ((const uint8_t *)p)[i];
        for (int b = 0; b < 8; b++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

static uint8_t *blocks_of(const struct vector *v)
{
    const struct weight_format *f = &formats[v->t];
    size_t n = (size_t)f->bytes * BLOCKS;
    uint8_t *b = mem_array(n, 1);
    uint32_t x = 1;
    cr_assert_not_null(b);
    for (size_t i = 0; i < n; i++) {
        x = x * 1103515245u + 12345u;
        b[i] = (uint8_t)(x >> 16);
    }
    for (int k = 0; k < BLOCKS; k++)
        for (int i = 0; i < 2; i++)
            if (v->high[i] >= 0)
                b[k * f->bytes + v->high[i]] &= 0x2f;
    return b;
}

Test(formats, fixed_blocks_decode_as_an_independent_decoder_does)
{
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        const struct vector *v = &vectors[i];
        int64_t n = (int64_t)formats[v->t].block * BLOCKS;
        uint8_t *b = blocks_of(v);
        float *f = mem_array((size_t)n, sizeof *f);
        cr_assert_not_null(f);
        format_decode(v->t, b, n, f);
        cr_expect_eq(f[0], v->v0, "%s: %.9g", dtype_name(v->t), (double)f[0]);
        cr_expect_eq(f[17], v->v17, "%s: %.9g", dtype_name(v->t), (double)f[17]);
        cr_expect_eq(f[31], v->v31, "%s: %.9g", dtype_name(v->t), (double)f[31]);
        cr_expect_eq(crc32(f, (size_t)n * sizeof *f), v->crc, "%s", dtype_name(v->t));
        mem_free(b);
        mem_free(f);
    }
}

/* 64 rows of one block: 4 panels, filled in two pieces that cut a panel. */
Test(formats, panels_hold_exactly_the_values_and_little_more_than_the_bytes)
{
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        enum dtype t = vectors[i].t;
        int64_t cols = formats[t].block;
        struct weight shape = {WEIGHT_MATRIX, t, BLOCKS, cols};
        struct host_weight w = {WEIGHT_MATRIX, t, BLOCKS, cols, 0, NULL};
        float want[FORMAT_BLOCK_MAX], got[FORMAT_BLOCK_MAX];
        uint8_t *b = blocks_of(&vectors[i]);
        cr_assert(pack_bytes(&shape, &w.bytes));
        w.data = mem_aligned(w.bytes);
        cr_assert_not_null(w.data);
        pack_rows(&w, 0, 21, b, t);
        pack_rows(&w, 21, BLOCKS - 21, b + 21 * formats[t].bytes, t);
        for (int64_t r = 0; r < BLOCKS; r++) {
            format_decode(t, b + r * formats[t].bytes, cols, want);
            panel_row(&w, r, 0, cols, got);
            cr_assert_eq(memcmp(got, want, (size_t)cols * sizeof *got), 0, "%s", dtype_name(t));
            cr_assert_eq(panel_at(&w, r, cols - 1), want[cols - 1]);
        }
        double wide = (double)panel_bytes(t, 4096) / 16 / (double)format_bytes(t, 4096);
        cr_assert(wide >= 1 && wide <= 1.1, "%s: %.3f of the file", dtype_name(t), wide);
        mem_aligned_free(w.data, w.bytes);
        mem_free(b);
    }
}

/* Said without decoding, by the heads alone: what decoding says. */
Test(formats, blocks_with_a_head_that_is_no_number_are_found)
{
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        const struct vector *v = &vectors[i];
        const struct weight_format *f = &formats[v->t];
        int64_t n = (int64_t)f->block * BLOCKS;
        bool halves = f->head == HEAD_F16 || f->head == HEAD_F16_MIN;
        uint8_t *b = blocks_of(v);
        float *x = mem_array((size_t)n, sizeof *x);
        cr_assert_eq(format_finite(v->t, b, n), halves, "%s", f->name);
        for (int k = 0; k < 2 && halves && v->high[k] >= 0; k++)
            for (int block = 0; block < BLOCKS; block += 9) {
                uint8_t *high = b + block * f->bytes + v->high[k], was = *high;
                *high = (uint8_t)(0x7c | block % 4); /* an infinity, or none at all */
                bool found = false;
                format_decode(v->t, b, n, x);
                for (int64_t at = 0; at < n; at++)
                    found |= !isfinite(x[at]);
                cr_assert(found && !format_finite(v->t, b, n), "%s: block %d", f->name, block);
                *high = was;
            }
        mem_free(b);
        mem_free(x);
    }
}

Test(formats, names_and_numbers_of_files_are_found)
{
    cr_assert_eq(format_of_gguf(12), DTYPE_Q4_K);
    cr_assert_eq(format_of_gguf(39), DTYPE_MXFP4);
    cr_assert_eq(format_of_gguf(-1), -1);
    cr_assert_eq(format_of_gguf(4), -1);
    cr_assert_eq(format_of_safetensors("BF16"), DTYPE_BF16);
    cr_assert_eq(format_of_safetensors("F8_E4M3"), DTYPE_FP8);
    cr_assert_eq(format_of_safetensors("I32"), -1);
    cr_assert_eq(format_bytes(DTYPE_Q6_K, 512), 420u);
    cr_assert(!format_fits(DTYPE_Q4_K, 128) && format_fits(DTYPE_Q8_0, 96));
}

Test(formats, fp8_rows_get_the_scale_of_their_128_columns)
{
    uint8_t row[200], joined[2 * 132];
    float scales[2] = {0.5f, 2}, f[200];
    memset(row, 0x38, sizeof row); /* 1 */
    row[130] = 0x81;               /* -2^-9 */
    format_join_fp8(row, scales, 200, joined);
    format_decode(DTYPE_FP8, joined, 200, f);
    cr_assert(f[0] == 0.5f && f[127] == 0.5f && f[128] == 2 && f[199] == 2);
    cr_assert_eq(f[130], -0x1p-8f);
}

/* Zeros, one large value, a constant: what scales divide by. */
Test(formats, encoders_take_any_finite_row)
{
    static const enum dtype with[] = {DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_K, DTYPE_Q6_K};
    float x[256], back[256];
    uint8_t b[1024];
    for (size_t i = 0; i < ARRAY_LEN(with); i++) {
        cr_assert(format_encodes(with[i]));
        for (int kind = 0; kind < 4; kind++) {
            float largest = 0;
            for (int k = 0; k < 256; k++) {
                x[k] = kind == 0 ? 0 : kind == 1 ? (k == 77 ? -3.0f : 0) : kind == 2 ? 0.25f
                       : (float)(k * 37 % 101 - 50) / 50;
                largest = fmaxf(largest, fabsf(x[k]));
            }
            format_encode(with[i], x, 256, b);
            format_decode(with[i], b, 256, back);
            for (int k = 0; k < 256; k++)
                cr_assert(fabsf(back[k] - x[k]) <= 0.11f * largest, "%s %d: %g for %g",
                          dtype_name(with[i]), kind, (double)back[k], (double)x[k]);
        }
    }
}

/* The bytes of 2,000 rows, whatever order the search goes in: small whole numbers, values of all
 * sizes, of one sign, sparse ones. Files and --quantize promise the same bytes everywhere. */
Test(formats, encoders_give_the_same_bytes_as_ever)
{
    static const struct { enum dtype t; uint64_t digest; } cases[] = {
        {DTYPE_Q8_0, UINT64_C(0xb230cfd43c522d06)}, {DTYPE_Q4_0, UINT64_C(0xa2cb248ffb07df50)},
        {DTYPE_Q4_K, UINT64_C(0xf552529597f54641)}, {DTYPE_Q6_K, UINT64_C(0x5863a6f4ebb3a1f7)}};
    float x[256];
    uint8_t b[1024];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t digest = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
        uint32_t seed = 1;
        for (int row = 0; row < 2000; row++) {
            for (int k = 0; k < 256; k++) {
                seed = seed * 1664525 + 1013904223;
                float v = (float)(int32_t)seed * 0x1p-31f, size = (float)(seed >> 9 & 7);
                x[k] = row % 5 == 0   ? (float)(int)(8 * v)
                       : row % 5 == 1 ? v * v * v * ldexpf(1, (int)size - 20)
                       : row % 5 == 2 ? -v * v - 0.01f
                       : row % 5 == 3 ? (size < 1 ? v : 0)
                                      : 0.02f * v;
            }
            format_encode(cases[i].t, x, 256, b);
            for (size_t k = 0; k < format_bytes(cases[i].t, 256); k++)
                digest = (digest ^ b[k]) * UINT64_C(0x100000001b3);
        }
        cr_expect_eq(digest, cases[i].digest, "%s: 0x%016" PRIx64, dtype_name(cases[i].t), digest);
    }
}
