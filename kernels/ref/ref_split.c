#include "kernels/ref/ref_split.h"

#include <math.h>
#include <string.h>

/* The upper half of a float: a bf16. */
static float upper(float x)
{
    union { float f; uint32_t u; } b = {x};
    b.u &= 0xffff0000u;
    return b.f;
}

void ref_split(float x, float part[SPLIT_PARTS])
{
    part[0] = upper(x);
    float rest = isinf(x) ? 0 : x - part[0];
    part[1] = upper(rest);
    part[2] = upper(rest - part[1]);
}

/* A span's chains, added to acc part by part. */
static float add_span(const float *w, const float *x, int n, float acc)
{
    float part[SPLIT_SPAN][SPLIT_PARTS];
    for (int k = 0; k < n; k++)
        ref_split(x[k], part[k]);
    for (int i = 0; i < SPLIT_PARTS; i++) {
        float even = 0, odd = 0;
        for (int k = 0; k < n; k += 2) {
            even = fmaf(part[k][i], w[k], even);
            odd = fmaf(part[k + 1][i], w[k + 1], odd);
        }
        acc += even + odd;
    }
    return acc;
}

static float tree_sum(const float *x, int n)
{
    float s[SPLIT_SPAN];
    memcpy(s, x, (size_t)n * sizeof *s);
    for (n /= 2; n; n /= 2)
        for (int i = 0; i < n; i++)
            s[i] += s[i + n];
    return s[0];
}

/* Columns [k, k + span) of x, zeros behind its end. */
static void take(const float *x, int32_t n, int32_t k, int span, float *out)
{
    memset(out, 0, (size_t)span * sizeof *out);
    memcpy(out, x + k, (size_t)MIN(n - k, span) * sizeof *out);
}

float ref_split_row(const struct host_weight *w, int64_t row, const float *x, int32_t n)
{
    const struct weight_format *f = &formats[w->dtype];
    int span = MIN(f->run, SPLIT_SPAN);
    float acc = 0, in[SPLIT_SPAN], number[SPLIT_SPAN];
    if (format_plain(w->dtype)) {
        for (int32_t k = 0; k < n; k += SPLIT_SPAN) {
            take(x, n, k, SPLIT_SPAN, in);
            memset(number, 0, sizeof number);
            for (int i = 0; i < MIN(n - k, SPLIT_SPAN); i++)
                number[i] = panel_at(w, row, k + i);
            acc = add_span(number, in, SPLIT_SPAN, acc);
        }
        return acc;
    }
    for (int32_t k = 0; k < n; k += span) {
        struct format_parts p;
        float scale, min;
        int at = k % f->block;
        panel_parts(w, row, k / f->block, &p);
        format_scale(w->dtype, &p, at / f->run, &scale, &min);
        for (int i = 0; i < span; i++)
            number[i] = k + i < n ? format_number(w->dtype, p.q[at + i]) : 0;
        take(x, n, k, span, in);
        acc = fmaf(scale, add_span(number, in, span, 0), acc);
        if (f->head == HEAD_F16_MIN)
            acc = fmaf(min, tree_sum(in, span), acc);
    }
    return acc;
}
