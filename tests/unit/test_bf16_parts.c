/* The second definition of products (ref_split.h): its parts, and a row against plain sums. */
#include "kernels/ref/ref_split.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

static float of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

Test(bf16_parts, parts_are_bf16_and_their_sum_is_the_number)
{
    struct rng r = {7, 0};
    for (int i = 0; i < 200000; i++) {
        float part[SPLIT_PARTS], x = of_bits((uint32_t)rng_next(&r));
        if (!isfinite(x) || fabsf(x) < 0x1p-100f)
            continue; /* below, parts become too small to be normal numbers */
        ref_split(x, part);
        for (int k = 0; k < SPLIT_PARTS; k++)
            cr_assert_eq(part[k], f32_of_bf16(bf16_of_f32(part[k])), "part %d of %a", k, (double)x);
        cr_assert_eq((double)part[0] + part[1] + part[2], x, "%a", (double)x);
    }
}

Test(bf16_parts, an_infinity_is_its_first_part_and_a_nan_stays_one)
{
    float part[SPLIT_PARTS];
    ref_split(-INFINITY, part);
    cr_assert(part[0] == -INFINITY && part[1] == 0 && part[2] == 0);
    ref_split(of_bits(0x7f800001u), part); /* its only bit is in none of the upper ones */
    cr_assert(isnan(part[0]) || isnan(part[1]));
}

/* A row of any format, of all columns and of fewer, is near the sum in double precision. */
static void check_row(enum dtype t, int cols, int n)
{
    struct rng r = {(uint64_t)t + 1, 0};
    struct weight x = {WEIGHT_MATRIX, t, PANEL, cols};
    struct host_weight w = {WEIGHT_MATRIX, t, PANEL, cols, 0, NULL};
    float *in = malloc((size_t)cols * sizeof *in), *values = malloc((size_t)cols * sizeof *values);
    cr_assert(in && values && pack_bytes(&x, &w.bytes));
    w.data = aligned_alloc(64, round_up(w.bytes, 64));
    cr_assert(w.data);
    memset(w.data, 0, w.bytes);
    for (int row = 0; row < PANEL; row++) {
        for (int k = 0; k < cols; k++)
            values[k] = rng_normal(&r);
        pack_rows(&w, row, 1, values, DTYPE_F32);
    }
    for (int k = 0; k < cols; k++)
        in[k] = rng_normal(&r);
    for (int row = 0; row < PANEL; row++) {
        double want = 0, size = 0;
        for (int k = 0; k < n; k++) {
            want += (double)panel_at(&w, row, k) * in[k];
            size += fabs((double)panel_at(&w, row, k) * in[k]);
        }
        cr_assert_float_eq(ref_split_row(&w, row, in, n), want, 1e-6 * size + 1e-12, "%s row %d",
                           dtype_name(t), row);
    }
    free(w.data);
    free(in);
    free(values);
}

Test(bf16_parts, rows_are_near_sums_in_double_precision)
{
    check_row(DTYPE_BF16, 77, 77);
    check_row(DTYPE_BF16, 512, 512);
    for (int t = DTYPE_BF16 + 1; t < DTYPES; t++)
        if (format_encodes((enum dtype)t))
            check_row((enum dtype)t, 512, 512);
}
