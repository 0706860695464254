/* Ops that look at earlier tokens of the same sequence: rope (position), conv, shift. */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

static int64_t position(const struct host_step *s, int32_t row)
{
    int32_t q = s->row_seq[row];
    return s->batch->pos[q] + (row - s->batch->cu_seqlens[q]);
}

void ref_rope(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const float *inv = host_vec(s, op->w[ROPE_frequencies]);
    int32_t head = op->p.rope.head, half = op->p.rope.rot / 2;
    int64_t from, to;
    host_share(s->batch->n_tokens, ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        double pos = (double)(position(s, (int32_t)t) - op->p.rope.back);
        float *x = host_row(s, op->out, (int32_t)t);
        for (int32_t h = 0; h < op->out.width; h += head) {
            for (int32_t i = 0; i < half; i++) {
                double cs = cos(pos * inv[i]) * op->p.rope.scale;
                double sn = sin(pos * inv[i]) * op->p.rope.scale;
                int32_t a = h + (op->p.rope.interleaved ? 2 * i : i);
                int32_t b = h + (op->p.rope.interleaved ? 2 * i + 1 : i + half);
                double xa = x[a], xb = x[b];
                x[a] = (float)(xa * cs - xb * sn);
                x[b] = (float)(xb * cs + xa * sn);
            }
        }
    }
}

/* One channel of one sequence, token by token; the tail slides as it goes. */
static void conv_channel(const struct host_step *s, const struct op *op, int32_t q, int64_t c,
                         float *tail)
{
    const struct batch *b = s->batch;
    const float *w = host_vec(s, op->w[CONV_filter]) + c * op->p.conv.size;
    const float *bias = host_vec(s, op->w[CONV_bias]);
    int32_t keep = op->p.conv.size - 1;
    int64_t width = op->out.width;
    for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
        float x = host_row(s, op->in[CONV_x], t)[c], acc = bias ? bias[c] : 0;
        if (view_given(op->in[CONV_mask]) && host_row(s, op->in[CONV_mask], t)[0] == 0) {
            host_row(s, op->out, t)[c] = 0;
            continue;
        }
        for (int32_t i = 0; i < keep; i++)
            acc = fmaf(w[i], tail[i * width + c], acc);
        acc = fmaf(w[keep], x, acc);
        for (int32_t i = 0; i + 1 < keep; i++)
            tail[i * width + c] = tail[(i + 1) * width + c];
        if (keep)
            tail[(keep - 1) * width + c] = x;
        host_row(s, op->out, t)[c] = (float)ref_act(op->p.conv.act, acc);
    }
}

void ref_conv(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int64_t from, to;
    host_share(op->out.width, ith, nth, &from, &to);
    for (int32_t q = 0; q < s->batch->n_seqs; q++) {
        float *tail = op->section < 0 ? NULL : host_state(s, op->section, s->batch->slots[q]);
        for (int64_t c = from; c < to; c++)
            conv_channel(s, op, q, c, tail);
    }
}

void ref_shift(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int64_t from, to;
    host_share(op->out.width, ith, nth, &from, &to);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        float *last = host_state(s, op->section, b->slots[q]);
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
            const float *x = host_row(s, op->in[SHIFT_x], t);
            float *out = host_row(s, op->out, t);
            for (int64_t c = from; c < to; c++) {
                float now = x[c];
                out[c] = last[c];
                last[c] = now;
            }
        }
    }
}
