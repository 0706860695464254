/* Matrix ops of the definition: embed, gather, linear. Layout of a packed matrix: host.h. */
#include "kernels/ref/ref_linear.h"

#include "kernels/ref/ref_int16.h"
#include "kernels/ref/ref_math.h"
#include "kernels/ref/ref_split.h"

float ref_matrix_row(const struct host_weight *w, int64_t row, const float *x, int32_t n)
{
    float acc = 0, part[FORMAT_BLOCK_MAX];
    for (int32_t k0 = 0; k0 < n; k0 += FORMAT_BLOCK_MAX) {
        int32_t m = MIN(n - k0, FORMAT_BLOCK_MAX);
        if (!format_plain(w->dtype))
            panel_row(w, row, k0, m, part);
        for (int32_t k = 0; k < m; k++)
            acc = fmaf(format_plain(w->dtype) ? panel_at(w, row, k0 + k) : part[k], x[k0 + k], acc);
    }
    return acc;
}

void ref_embed(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct host_weight *w = &s->weights[op->w[EMBED_table]];
    int64_t from, to;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        float *out = host_row(s, op->out, (int32_t)t);
        for (int32_t c = 0; c < op->out.width; c++)
            out[c] = panel_at(w, s->batch->tokens[t], c) * op->p.embed.scale;
    }
}

void ref_gather(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int64_t from, to;
    host_share(s->batch->n_logits, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++)
        memcpy(host_row(s, op->out, (int32_t)i),
               host_row(s, op->in[GATHER_x], s->batch->logit_rows[i]),
               (size_t)op->out.width * sizeof(float));
}

static void linear_by(const struct host_step *s, const struct op *op, int ith, int nth,
                      ref_row_fn *row)
{
    const struct host_weight *w = &s->weights[op->w[LINEAR_matrix]];
    const float *bias = host_vec(s, op->w[LINEAR_bias]);
    int64_t from, to;
    host_share(op->out.width, ith, nth, &from, &to);
    for (int32_t t = 0; t < host_rows(s, op); t++) {
        const float *x = host_row(s, op->in[LINEAR_x], t);
        float *out = host_row(s, op->out, t);
        for (int64_t r = from; r < to; r++) {
            float acc = row(w, r, x, op->in[LINEAR_x].width);
            if (bias)
                acc += bias[r];
            acc = (float)ref_act(op->p.linear.act, acc);
            if (view_given(op->in[LINEAR_residual]))
                acc += host_row(s, op->in[LINEAR_residual], t)[r];
            out[r] = acc;
        }
    }
}

void ref_linear(const struct host_step *s, const struct op *op, int ith, int nth)
{
    linear_by(s, op, ith, nth, ref_matrix_row);
}

void ref_linear_split(const struct host_step *s, const struct op *op, int ith, int nth)
{
    linear_by(s, op, ith, nth, ref_split_row);
}

void ref_linear_int16(const struct host_step *s, const struct op *op, int ith, int nth)
{
    linear_by(s, op, ith, nth, ref_int16_row);
}
