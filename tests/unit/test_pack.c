/* Packing weights: layout of the panels, conversions, partial ranges. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/cpu.h"

static struct host_weight matrix(int64_t rows, int64_t cols, enum dtype t)
{
    struct weight w = {WEIGHT_MATRIX, t, rows, cols};
    struct host_weight h = {WEIGHT_MATRIX, t, rows, cols, 0, NULL};
    cr_assert(pack_bytes(&w, &h.bytes));
    h.data = mem_aligned(h.bytes);
    cr_assert_not_null(h.data);
    return h;
}

/* The element as host.h documents its place. */
static float element(const struct host_weight *w, int64_t r, int64_t c)
{
    const char *panel = (const char *)w->data + (size_t)(r / 16) * panel_bytes(w->dtype, w->cols);
    if (w->dtype == DTYPE_F32)
        return ((const float *)panel)[c * 16 + r % 16];
    if (w->dtype == DTYPE_F16)
        return f32_of_f16(((const uint16_t *)panel)[c * 16 + r % 16]);
    return f32_of_bf16(((const uint16_t *)panel)[(c / 2 * 16 + r % 16) * 2 + c % 2]);
}

/* Small whole numbers are exact in every dtype. */
static float value(int64_t r, int64_t c) { return (float)((r * 31 + c * 7) % 127 - 63); }

static void put(void *p, enum dtype t, int64_t i, float f)
{
    if (t == DTYPE_F32)
        ((float *)p)[i] = f;
    else
        ((uint16_t *)p)[i] = t == DTYPE_F16 ? f16_of_f32(f) : bf16_of_f32(f);
}

Test(pack, any_range_of_rows_from_any_dtype_lands_in_its_place)
{
    static const int64_t sizes[][2] = {{1, 1}, {15, 2}, {16, 3}, {17, 5}, {50, 33}};
    float src[50 * 33];
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (int d = 0; d < 9; d++) {
            enum dtype from = d / 3, to = d % 3;
            int64_t rows = sizes[i][0], cols = sizes[i][1], cut = rows / 3;
            struct host_weight w = matrix(rows, cols, to);
            for (int64_t k = 0; k < rows * cols; k++)
                put(src, from, k, value(k / cols, k % cols));
            size_t row_bytes = format_bytes(from, cols);
            pack_rows(&w, 0, cut, src, from);
            pack_rows(&w, cut, rows - cut, (char *)src + (size_t)cut * row_bytes, from);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < cols; c++)
                    cr_assert_eq(element(&w, r, c), value(r, c), "%d -> %d, %d %d", from, to,
                                 (int)r, (int)c);
            mem_aligned_free(w.data, w.bytes);
        }
    }
}

Test(pack, padding_stays_zero)
{
    struct host_weight w = matrix(17, 3, DTYPE_BF16);
    float src[17 * 3];
    for (int i = 0; i < 17 * 3; i++)
        src[i] = 1;
    pack_rows(&w, 0, 17, src, DTYPE_F32);
    int ones = 0;
    for (size_t i = 0; i < w.bytes / 2; i++)
        ones += ((uint16_t *)w.data)[i] != 0;
    cr_assert_eq(ones, 17 * 3);
    cr_assert_eq(w.bytes, 2 * 4 * 16 * 2); /* two panels of four columns */
    mem_aligned_free(w.data, w.bytes);
}

Test(pack, half_precision_round_trips_every_pattern)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f32_of_f16((uint16_t)h);
        if (isnan(f))
            cr_assert(isnan(f32_of_f16(f16_of_f32(f))));
        else
            cr_assert_eq(f16_of_f32(f), h, "%04x", h);
        f = f32_of_bf16((uint16_t)h);
        if (isnan(f))
            cr_assert(isnan(f32_of_bf16(bf16_of_f32(f))));
        else
            cr_assert_eq(bf16_of_f32(f), h, "%04x", h);
    }
}

Test(pack, rounding_is_to_nearest_even)
{
    cr_assert_eq(f16_of_f32(1 + 0x1p-11f), 0x3c00);         /* tie, down to even */
    cr_assert_eq(f16_of_f32(1 + 3 * 0x1p-11f), 0x3c02);     /* tie, up to even */
    cr_assert_eq(f16_of_f32(65519.0f), 0x7bff);
    cr_assert_eq(f16_of_f32(65520.0f), 0x7c00);             /* overflows */
    cr_assert_eq(f16_of_f32(-1e-10f), 0x8000);
    cr_assert_eq(f16_of_f32(0x1.8p-25f), 0x0001);           /* into the denormals */
    cr_assert_eq(bf16_of_f32(1 + 0x1p-8f), 0x3f80);
    cr_assert_eq(bf16_of_f32(1 + 3 * 0x1p-8f), 0x3f82);
    cr_assert_eq(bf16_of_f32(3.4e38f), 0x7f80);             /* rounds up to infinity */
}

Test(pack, sizes_that_overflow_are_refused)
{
    size_t n;
    struct weight w = {WEIGHT_MATRIX, DTYPE_F32, INT64_MAX / 2, 1 << 20};
    cr_assert_not(pack_bytes(&w, &n));
    w = (struct weight){WEIGHT_MATRIX, DTYPE_F32, 4, 0};
    cr_assert_not(pack_bytes(&w, &n));
    w = (struct weight){WEIGHT_VECTOR, DTYPE_F32, INT64_MAX / 8, 64};
    cr_assert_not(pack_bytes(&w, &n));
}

Test(pack, filters_lie_row_after_row)
{
    struct weight w = {WEIGHT_VECTOR, DTYPE_F32, 5, 3};
    size_t n;
    cr_assert(pack_bytes(&w, &n));
    cr_assert_geq(n, 15 * sizeof(float));
    float data[32] = {0}, rows[] = {1, 2, 3, 4, 5, 6};
    struct host_weight h = {WEIGHT_VECTOR, DTYPE_F32, 5, 3, sizeof data, data};
    pack_rows(&h, 2, 2, rows, DTYPE_F32);
    for (int i = 0; i < 15; i++)
        cr_assert_eq(data[i], i >= 6 && i < 12 ? (float)(i - 5) : 0);
}

/* Whole panels take a quick way; single rows do not. */
Test(pack, whole_panels_hold_the_bits_of_single_rows)
{
    enum { ROWS = 33, COLS = 515 };
    static float src[ROWS * COLS];
    uint32_t bits = 1;
    for (int i = 0; i < ROWS * COLS; i++) {
        bits = bits * 1664525 + 1013904223; /* any pattern: NaN, infinities, ties, denormals */
        uint32_t u = i % 5 ? bits : (bits & 0xffff0000) | (i % 2 ? 0x8000 : 0x7fff);
        memcpy(&src[i], &u, sizeof u);
    }
    for (enum dtype from = DTYPE_F32; format_plain(from); from++) {
        for (enum dtype to = DTYPE_F32; format_plain(to); to++) {
            if (from == DTYPE_BF16 && to == from)
                continue; /* copied: a NaN keeps its bits */
            struct host_weight all = matrix(ROWS, COLS, to), one = matrix(ROWS, COLS, to);
            int64_t fit = format_bytes(from, COLS) * ROWS <= sizeof src ? ROWS : ROWS / 2;
            pack_rows(&all, 0, fit, src, from);
            for (int64_t r = 0; r < fit; r++)
                pack_rows(&one, r, 1, (char *)src + (size_t)r * format_bytes(from, COLS), from);
            cr_assert_eq(memcmp(all.data, one.data, all.bytes), 0, "%d -> %d", from, to);
            mem_aligned_free(all.data, all.bytes);
            mem_aligned_free(one.data, one.bytes);
        }
    }
}

Test(pack, one_number_that_is_not_finite_is_found_wherever_it_is)
{
    enum { N = 1100 };
    static float f[N];
    static uint16_t h[N];
    for (int at = -1; at < N; at += at < 520 && at > 500 ? 1 : 67) {
        for (enum dtype t = DTYPE_F32; format_plain(t); t++) {
            for (int i = 0; i < N; i++)
                put(t == DTYPE_F32 ? (void *)f : h, t, i,
                    i != at ? 60000 : at % 2 ? INFINITY : NAN);
            cr_assert_eq(format_finite(t, t == DTYPE_F32 ? (void *)f : h, N), at < 0, "%d %d", t,
                         at);
        }
    }
}
