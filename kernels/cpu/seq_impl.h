/* CONV, SHIFT, RNN, ROPE, EMBED: ops that are about moving data, with lanes along the columns.
 * Sequences x blocks of columns are the parallel axis of those with a state; each column is on
 * its own, so the bits are ref's up to the activation. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/vmath.h"

/* Columns of one work item: four lines, so that threads do not share one. */
#define COLUMNS 64
#define CONV_MAX 8 /* taps held in registers; published models have 2 to 4 */

INLINE v16 load_left(const float *p, int left)
{
    return left >= LANES ? v16_load(p) : v16_load_n(p, left);
}
INLINE void store_left(float *p, int left, v16 x)
{
    if (left >= LANES)
        v16_store(p, x);
    else
        v16_store_n(p, left, x);
}

/* 16 columns of one sequence: the taps and the tail stay in registers over its tokens. */
INLINE void conv_columns(const struct host_step *s, const struct op *op, int q, int64_t c,
                         int left, int size)
{
    const float *w = host_vec(s, op->w[0]) + c * size, *bias = host_vec(s, op->w[1]);
    int64_t width = op->out.width;
    float *tail = size > 1 ? host_state(s, op->section, s->batch->slots[q]) + c : NULL;
    float taps[CONV_MAX][LANES] = {{0}};
    for (int k = 0; k < MIN(left, LANES); k++)
        for (int i = 0; i < size; i++)
            taps[i][k] = w[k * size + i];
    v16 f[CONV_MAX], x[CONV_MAX], b = bias ? load_left(bias + c, left) : v16_zero();
    UNROLL for (int i = 0; i < CONV_MAX; i++) {
        f[i] = v16_load(taps[i]);
        x[i] = i + 1 < size ? load_left(tail + i * width, left) : v16_zero();
    }
    for (int32_t t = s->batch->cu_seqlens[q]; t < s->batch->cu_seqlens[q + 1]; t++) {
        float *out = host_row(s, op->out, t) + c;
        if (view_given(op->in[1]) && host_row(s, op->in[1], t)[0] == 0) {
            store_left(out, left, v16_zero());
            continue;
        }
        x[size - 1] = load_left(host_row(s, op->in[0], t) + c, left);
        v16 y = b;
        UNROLL for (int i = 0; i < size; i++)
            y = v16_fma(f[i], x[i], y);
        UNROLL for (int i = 0; i + 1 < size; i++)
            x[i] = x[i + 1];
        store_left(out, left, v16_act(op->p.conv.act, y));
    }
    UNROLL for (int i = 0; i + 1 < size; i++)
        store_left(tail + i * width, left, x[i]);
}

static void conv_item(const struct host_step *s, const struct op *op, int q, int64_t c, int left)
{
    switch (op->p.conv.size) {
    case 2: conv_columns(s, op, q, c, left, 2); break;
    case 3: conv_columns(s, op, q, c, left, 3); break;
    case 4: conv_columns(s, op, q, c, left, 4); break;
    default: conv_columns(s, op, q, c, left, op->p.conv.size); break;
    }
}

/* Deals (sequence, block of columns) to the threads; f does 16 columns. */
typedef void item_fn(const struct host_step *s, const struct op *op, int q, int64_t c, int left);
INLINE void each_columns(const struct host_step *s, const struct op *op, int64_t width, int ith,
                         int nth, item_fn *f)
{
    int64_t item = 0;
    for (int q = 0; q < s->batch->n_seqs; q++) {
        for (int64_t block = 0; block < width; block += COLUMNS) {
            if (item++ % nth != ith)
                continue;
            for (int64_t c = block; c < MIN(block + COLUMNS, width); c += LANES)
                f(s, op, q, c, (int)(width - c));
        }
    }
}

void FN(conv)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    if (op->p.conv.size > CONV_MAX)
        ref_conv(s, op, ith, nth);
    else
        each_columns(s, op, op->out.width, ith, nth, conv_item);
}

static void shift_item(const struct host_step *s, const struct op *op, int q, int64_t c, int left)
{
    float *state = host_state(s, op->section, s->batch->slots[q]) + c;
    v16 last = load_left(state, left);
    for (int32_t t = s->batch->cu_seqlens[q]; t < s->batch->cu_seqlens[q + 1]; t++) {
        v16 now = load_left(host_row(s, op->in[0], t) + c, left);
        store_left(host_row(s, op->out, t) + c, left, last);
        last = now;
    }
    store_left(state, left, last);
}

void FN(shift)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_columns(s, op, op->out.width, ith, nth, shift_item);
}

static void rnn_item(const struct host_step *s, const struct op *op, int q, int64_t c, int left)
{
    float *state = host_state(s, op->section, s->batch->slots[q]) + c;
    v16 h = load_left(state, left);
    for (int32_t t = s->batch->cu_seqlens[q]; t < s->batch->cu_seqlens[q + 1]; t++) {
        v16 f = load_left(host_row(s, op->in[0], t) + c, left);
        h = v16_fma(f, h, load_left(host_row(s, op->in[1], t) + c, left));
        store_left(host_row(s, op->out, t) + c, left, h);
    }
    store_left(state, left, h);
}

void FN(rnn)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_columns(s, op, op->out.width, ith, nth, rnn_item);
}

/* Angles a row at a time, then all heads by them. ROPE_HALF angles at once: one head of 256. */
#define ROPE_HALF 128
void FN(rope)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const float *inv = host_vec(s, op->w[0]);
    int32_t head = op->p.rope.head, half = op->p.rope.rot / 2;
    bool pairs = op->p.rope.interleaved;
    int64_t from, to;
    host_share(s->batch->n_tokens, ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        int32_t q = s->row_seq[t];
        double pos = (double)(s->batch->pos[q] + (t - s->batch->cu_seqlens[q]));
        float *x = host_row(s, op->out, (int32_t)t);
        for (int32_t i0 = 0; i0 < half; i0 += ROPE_HALF) {
            double cs[ROPE_HALF], sn[ROPE_HALF];
            int32_t n = MIN(half - i0, ROPE_HALF);
            for (int32_t i = 0; i < n; i++) {
                cs[i] = cos(pos * inv[i0 + i]) * op->p.rope.scale;
                sn[i] = sin(pos * inv[i0 + i]) * op->p.rope.scale;
            }
            for (int32_t h = 0; h < op->out.width; h += head) {
                for (int32_t i = 0; i < n; i++) {
                    float *a = x + h + (pairs ? 2 * (i0 + i) : i0 + i);
                    float *b = a + (pairs ? 1 : half);
                    double xa = *a, xb = *b;
                    *a = (float)(xa * cs[i] - xb * sn[i]);
                    *b = (float)(xb * cs[i] + xa * sn[i]);
                }
            }
        }
    }
}

/* One row of a packed matrix: every 16th element (pair, for bf16) of its panel. */
void FN(embed)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct host_weight *w = &s->weights[op->w[0]];
    int64_t from, to, width = op->out.width;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        int64_t row = s->batch->tokens[t], lane = row % PANEL;
        const char *panel = (const char *)w->data +
                            (size_t)(row / PANEL) * panel_bytes(w->dtype, w->cols);
        float *out = host_row(s, op->out, (int32_t)t), scale = op->p.embed.scale;
        for (int64_t c = 0; c < width; c++) {
            if (w->dtype == DTYPE_BF16) {
                uint16_t h = ((const uint16_t *)panel)[(c / 2 * PANEL + lane) * 2 + c % 2];
                uint32_t bits = (uint32_t)h << 16;
                memcpy(out + c, &bits, sizeof bits);
            } else if (w->dtype == DTYPE_F16) {
                out[c] = _cvtsh_ss(((const uint16_t *)panel)[c * PANEL + lane]);
            } else {
                out[c] = ((const float *)panel)[c * PANEL + lane];
            }
            out[c] *= scale;
        }
    }
}
