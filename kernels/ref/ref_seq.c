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
    const float *inv = host_vec(s, op->w[0]);
    int32_t head = op->p.rope.head, half = op->p.rope.rot / 2;
    int64_t from, to;
    host_share(s->batch->n_tokens, ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        double pos = (double)position(s, (int32_t)t);
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

/* Input i tokens before row t of sequence q: from this batch, or from the tail kept in state. */
static float conv_input(const struct host_step *s, const struct op *op, const float *tail,
                        int32_t t, int32_t start, int32_t back, int32_t c)
{
    if (t - back >= start)
        return host_row(s, op->in[0], t - back)[c];
    return tail[(int64_t)(op->p.conv.size - 1 + (t - back - start)) * op->out.width + c];
}

void ref_conv(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    const float *w = host_vec(s, op->w[0]), *bias = host_vec(s, op->w[1]);
    int32_t size = op->p.conv.size, width = op->out.width;
    int64_t from, to;
    host_share(width, ith, nth, &from, &to);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        float *tail = host_state(s, op->section, b->slots[q]);
        int32_t start = b->cu_seqlens[q], end = b->cu_seqlens[q + 1];
        for (int64_t c = from; c < to; c++) {
            for (int32_t t = start; t < end; t++) {
                float acc = bias ? bias[c] : 0;
                for (int32_t i = 0; i < size; i++)
                    acc = fmaf(w[c * size + i],
                               conv_input(s, op, tail, t, start, size - 1 - i, (int32_t)c), acc);
                host_row(s, op->out, t)[c] = (float)ref_act(op->p.conv.act, acc);
            }
            for (int32_t i = 0; i < size - 1; i++) /* oldest first: only later ones are read */
                tail[(int64_t)i * width + c] =
                    conv_input(s, op, tail, end, start, size - 1 - i, (int32_t)c);
        }
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
            const float *x = host_row(s, op->in[0], t);
            float *out = host_row(s, op->out, t);
            for (int64_t c = from; c < to; c++) {
                float now = x[c];
                out[c] = last[c];
                last[c] = now;
            }
        }
    }
}
