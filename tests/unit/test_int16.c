/* The third definition of products (ref_int16.h): a group's numbers, and rows of every format
 * within the bound that is stated there, of ordinary and of hostile inputs. */
#include "kernels/ref/ref_int16.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define COLS 512
#define ROWS 4

enum hostile {
    NORMAL, ONE_HUGE, ONE_SMALL, RISING, EQUAL, ALTERNATING, TINY, DENORMAL, ZEROS, LARGEST, KINDS
};

static void draw(struct rng *r, enum hostile kind, float *x, int n)
{
    for (int k = 0; k < n; k++) {
        float u = rng_normal(r);
        switch (kind) {
        case ONE_HUGE: x[k] = k % 37 == 5 ? u * 1e6f : u; break;
        case ONE_SMALL: x[k] = k % 32 == 9 ? u : 0; break;
        case RISING: x[k] = u * exp2f((float)(k % 64 - 32)); break;
        case EQUAL: x[k] = 0.3f; break;
        case ALTERNATING: x[k] = k % 2 ? -1.7f : 1.7f; break;
        case TINY: x[k] = u * exp2f((float)(-90 + k / 16)); break;
        case DENORMAL: x[k] = u * 1e-40f; break;
        case ZEROS: x[k] = k % 64 < 32 ? 0 : u; break;
        case LARGEST: x[k] = (k % 3 ? 1 : -1) * 1e27f * (1 + 0.1f * u); break;
        default: x[k] = u;
        }
    }
}

/* A row of random blocks that are numbers. */
static void draw_weights(struct rng *r, enum dtype t, uint8_t *row)
{
    const struct weight_format *f = &formats[t];
    for (int64_t b = 0; b < COLS / f->block; b++, row += f->bytes)
        do {
            for (int i = 0; i < f->bytes; i++)
                row[i] = (uint8_t)rng_below(r, 256);
            if (t == DTYPE_MXFP4)
                row[0] = (uint8_t)(110 + rng_below(r, 30));
        } while (t != DTYPE_MXFP4 && !format_finite(t, row, f->block));
}

static struct host_weight make(enum dtype t, struct rng *r)
{
    struct weight x = {WEIGHT_MATRIX, t, ROWS, COLS};
    struct host_weight w = {WEIGHT_MATRIX, t, ROWS, COLS, 0, NULL};
    uint8_t row[COLS * 4];
    cr_assert(pack_bytes(&x, &w.bytes));
    w.data = aligned_alloc(64, round_up(w.bytes, 64));
    cr_assert_not_null(w.data);
    memset(w.data, 0, w.bytes);
    for (int i = 0; i < ROWS; i++) {
        draw_weights(r, t, row);
        pack_rows(&w, i, 1, row, t);
    }
    return w;
}

/* What float32 may round of a run whose numbers are q: its terms, and acc after each. */
static double rounded(const struct host_weight *w, int row, int k, const int16_t *q, double by,
                      double *acc)
{
    const struct weight_format *f = &formats[w->dtype];
    struct format_parts p;
    float scale, min;
    double i = 0, s = 0;
    int at = k % f->block;
    panel_parts(w, row, k / f->block, &p);
    format_scale(w->dtype, &p, at / f->run, &scale, &min);
    for (int j = 0; j < f->run; j++) {
        i += (double)format_number(w->dtype, p.q[at + j]) * q[j];
        s += q[j];
    }
    cr_assert(fabs(i) <= INT32_MAX);
    double a = scale * by * i, b = f->head == HEAD_F16_MIN ? min * by * s : 0;
    *acc += a;
    double sum = 3 * (fabs(a) + fabs(b)) + fabs(*acc);
    *acc += b;
    return 0x1p-24 * (sum + fabs(*acc)) * 1.01;
}

static void check_row(const struct host_weight *w, int row, const float *x, enum hostile kind)
{
    double want = 0, bound = 1e-37, acc = 0;
    for (int k = 0; k < COLS; k += INT16_GROUP) {
        int16_t q[INT16_GROUP];
        float by = ref_int16_group(x + k, q), largest = 0;
        double size = 0;
        for (int i = 0; i < INT16_GROUP; i++) {
            double v = (double)panel_at(w, row, k + i);
            want += v * x[k + i];
            size += fabs(v);
            largest = fmaxf(largest, fabsf(x[k + i]));
        }
        bound += size * fmax(INT16_ERROR * (double)largest, (double)INT16_LEAST);
        for (int i = 0; i < INT16_GROUP; i += formats[w->dtype].run)
            bound += rounded(w, row, k + i, q + i, by, &acc);
    }
    if (fabs(want) + bound > FLT_MAX)
        return;
    double got = ref_int16_row(w, row, x, COLS);
    cr_assert(fabs(got - want) <= bound, "%s, inputs %d: %.9g, in double precision %.9g +- %.3g",
              dtype_name(w->dtype), (int)kind, got, want, bound);
}

Test(int16, rows_of_every_format_are_within_the_stated_bound)
{
    struct rng r = {11, 0};
    float x[COLS];
#define ONE_FORMAT(ID) DTYPE_##ID,
    static const enum dtype served[] = {INT16_FORMATS(ONE_FORMAT)};
    for (size_t t = 0; t < ARRAY_LEN(served); t++)
        for (int round = 0; round < 5; round++) {
            struct host_weight w = make(served[t], &r);
            for (int kind = 0; kind < KINDS; kind++) {
                draw(&r, (enum hostile)kind, x, COLS);
                for (int row = 0; row < ROWS; row++)
                    check_row(&w, row, x, (enum hostile)kind);
            }
            free(w.data);
        }
}

Test(int16, numbers_are_the_nearest_and_as_far_off_as_is_stated)
{
    struct rng r = {12, 0};
    for (int n = 0; n < 20000; n++) {
        float x[INT16_GROUP], largest = 0;
        int16_t q[INT16_GROUP];
        draw(&r, (enum hostile)(n % KINDS), x, INT16_GROUP);
        float by = ref_int16_group(x, q);
        for (int i = 0; i < INT16_GROUP; i++)
            largest = fmaxf(largest, fabsf(x[i]));
        for (int i = 0; i < INT16_GROUP; i++) {
            double off = fabs((double)by * q[i] - x[i]);
            cr_assert(abs(q[i]) <= 32767);
            cr_assert(off <= fmax(INT16_ERROR * (double)largest, (double)INT16_LEAST),
                      "%a of %a is off by %a", (double)x[i], (double)largest, off);
            cr_assert(fabsf(x[i]) < largest || largest < INT16_LEAST || abs(q[i]) == 32767);
        }
    }
}

Test(int16, what_is_no_number_makes_none)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
    struct rng r = {13, 0};
    float x[COLS];
    struct host_weight w = make(DTYPE_Q4_K, &r), b = make(DTYPE_Q8_0, &r);
    for (int n = 0; n < 200; n++) {
        draw(&r, NORMAL, x, COLS);
        cr_assert(isfinite(ref_int16_row(&w, 0, x, COLS)));
        x[rng_below(&r, COLS)] = bad[n % 4];
        cr_assert(!isfinite(ref_int16_row(&w, n % ROWS, x, COLS)));
        cr_assert(!isfinite(ref_int16_row(&b, n % ROWS, x, COLS)));
    }
    free(w.data);
    free(b.data);
}
