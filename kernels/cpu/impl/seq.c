/* CONV, SHIFT, RNN, ROPE, EMBED, NGRAM: ops that are about moving data, with lanes along the
 * columns. Sequences x blocks of columns are the parallel axis of those with a state; each column
 * is on its own, so the bits are ref's up to the activation. A row may be its own output. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"
#include "kernels/cpu/impl/vmath.h"
#include "kernels/ngram.h"

/* Columns of one work item: rows are read in runs of at most 1 KiB, at least four lines. */
#define COLUMNS_MAX 256
#define COLUMNS_MIN 64
#define CONV_AHEAD 2 /* tokens whose rows are fetched */
#define CONV_MAX 8 /* taps of the vector code; published models have 2 to 4 */

/* Columns of a block: every thread should have two. */
static int64_t block_of(const struct host_step *s, int64_t width, int nth)
{
    int64_t block = COLUMNS_MAX;
    while (block > COLUMNS_MIN && s->batch->n_seqs * width / block < 2 * nth)
        block /= 2;
    return block;
}

/* Deals (sequence, block of columns) to the threads. */
typedef void block_fn(const struct host_step *s, const struct op *op, int q, int64_t c, int n);
static void each_block(const struct host_step *s, const struct op *op, int64_t width, int ith,
                       int nth, block_fn *f)
{
    int64_t item = 0, block = block_of(s, width, nth);
    for (int q = 0; q < s->batch->n_seqs; q++)
        for (int64_t c = 0; c < width; c += block)
            if (item++ % nth == ith)
                f(s, op, q, c, (int)MIN(block, width - c));
}

/* A block's taps, turned: tap i of column c at [i][c]. */
struct taps {
    float tap[CONV_MAX][COLUMNS_MAX];
};

static void taps_load(struct taps *x, const float *w, int n, int size)
{
    for (int c = 0; c < n; c += LANES) {
        if (size == 4 && n - c >= LANES) {
            for (int i = 0; i < LANES; i += 4) {
                const float *at = w + (int64_t)(c + i) * 4;
                turn_4x4((const float *const[4]){at, at + 4, at + 8, at + 12}, x->tap[0] + c + i,
                         COLUMNS_MAX);
            }
            continue;
        }
        for (int i = 0; i < size; i++)
            v16_store(x->tap[i] + c,
                      v16_gather_n(w + (int64_t)c * size + i, size, MIN(n - c, LANES)));
    }
}

/* The last `size` inputs of the block's columns, as a ring of rows: `at` is the oldest. */
struct ring {
    float row[CONV_MAX][COLUMNS_MAX];
    int at;
};

/* One token: its input takes the oldest place, and every place meets its tap. Rows are a page or
 * more apart: those of the token that is `ahead` floats on are fetched. */
INLINE void conv_row(struct ring *r, const struct taps *w, const float *in, const float *bias,
                     float *out, int64_t in_ahead, int64_t out_ahead, int n, int size,
                     enum activation act)
{
    const float *x[CONV_MAX];
    for (int i = 0; i < size; i++)
        x[i] = r->row[(r->at + 1 + i) % size];
    for (int c = 0; c < n; c += LANES) {
        v16 now = load_left(in + c, n - c), y = bias ? load_left(bias + c, n - c) : v16_zero();
        __builtin_prefetch(in + in_ahead + c);
        __builtin_prefetch(out + out_ahead + c, 1);
        v16_store(r->row[r->at] + c, now);
        UNROLL for (int i = 0; i + 1 < size; i++)
            y = v16_fma(v16_load(w->tap[i] + c), v16_load(x[i] + c), y);
        y = v16_fma(v16_load(w->tap[size - 1] + c), now, y);
        store_left(out + c, n - c, v16_act(act, y));
    }
    r->at = (r->at + 1) % size;
}

/* A token alone: the tail moves by one row where it lies. `then`: the tail that follows, which is
 * fetched. */
INLINE void conv_one(float *tail, const float *then, int64_t width, const struct taps *w,
                     const float *in, const float *bias, float *out, int n, int size,
                     enum activation act)
{
    for (int c = 0; c < n; c += LANES) {
        int left = n - c;
        v16 now = load_left(in + c, left), y = bias ? load_left(bias + c, left) : v16_zero();
        UNROLL for (int i = 0; i + 1 < size; i++) {
            v16 x = load_left(tail + i * width + c, left);
            __builtin_prefetch(then + i * width + c, 1);
            y = v16_fma(v16_load(w->tap[i] + c), x, y);
            if (i > 0)
                store_left(tail + (i - 1) * width + c, left, x);
        }
        if (size > 1)
            store_left(tail + (size - 2) * width + c, left, now);
        y = v16_fma(v16_load(w->tap[size - 1] + c), now, y);
        store_left(out + c, left, v16_act(act, y));
    }
}

INLINE void conv_run(const struct host_step *s, const struct op *op, int q, int64_t c, int n,
                     const struct taps *w, int size)
{
    const float *bias = host_vec(s, op->w[1]);
    int64_t width = op->out.width;
    int after = q + 1 < s->batch->n_seqs ? q + 1 : q;
    float *tail = size > 1 ? host_state(s, op->section, s->batch->slots[q]) + c : NULL;
    float *then = size > 1 ? host_state(s, op->section, s->batch->slots[after]) + c : NULL;
    int32_t t = s->batch->cu_seqlens[q], end = s->batch->cu_seqlens[q + 1];
    bool masked = view_given(op->in[1]);
    struct ring r;
    bias = bias ? bias + c : NULL;
    if (end - t == 1 && !masked) {
        conv_one(tail, then, width, w, host_row(s, op->in[0], t) + c, bias,
                 host_row(s, op->out, t) + c, n, size, op->p.conv.act);
        return;
    }
    r.at = size - 1; /* the free place; the tail fills the others, oldest first */
    for (int i = 0; i < size - 1; i++)
        for (int d = 0; d < n; d += LANES)
            v16_store(r.row[i] + d, load_left(tail + i * width + d, n - d));
    for (; t < end; t++) {
        float *out = host_row(s, op->out, t) + c;
        int ahead = t + CONV_AHEAD < end ? CONV_AHEAD : 0;
        if (masked && host_row(s, op->in[1], t)[0] == 0)
            memset(out, 0, (size_t)n * sizeof *out);
        else
            conv_row(&r, w, host_row(s, op->in[0], t) + c, bias, out,
                     ahead * host_stride(s, op->in[0]), ahead * host_stride(s, op->out), n, size,
                     op->p.conv.act);
    }
    for (int i = 0; i < size - 1; i++)
        memcpy(tail + i * width, r.row[(r.at + 1 + i) % size], (size_t)n * sizeof *tail);
}

/* Threads share blocks of columns, and the sequences of one: its taps are turned once for all. */
void FN(conv)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int size = op->p.conv.size, n_seqs = s->batch->n_seqs;
    int64_t width = op->out.width, block = block_of(s, width, nth), had = -1, from, to;
    struct taps w;
    if (size > CONV_MAX) {
        ref_conv(s, op, ith, nth);
        return;
    }
    host_share((width + block - 1) / block * n_seqs, ith, nth, &from, &to);
    for (int64_t item = from; item < to; item++) {
        int64_t c = item / n_seqs * block;
        int q = (int)(item % n_seqs), n = (int)MIN(block, width - c);
        if (c != had)
            taps_load(&w, host_vec(s, op->w[0]) + c * size, n, size);
        had = c;
        switch (size) {
        case 3: conv_run(s, op, q, c, n, &w, 3); break;
        case 4: conv_run(s, op, q, c, n, &w, 4); break;
        default: conv_run(s, op, q, c, n, &w, size); break;
        }
    }
}

/* The state is what the row before the first was, and becomes the last. From the end on, because a
 * row may be its own output. */
static void shift_block(const struct host_step *s, const struct op *op, int q, int64_t c0, int n)
{
    float *last = host_state(s, op->section, s->batch->slots[q]) + c0;
    int32_t first = s->batch->cu_seqlens[q], t = s->batch->cu_seqlens[q + 1] - 1;
    float kept[COLUMNS_MAX];
    if (t < first)
        return;
    memcpy(kept, host_row(s, op->in[0], t) + c0, (size_t)n * sizeof *kept);
    for (; t >= first; t--) {
        const float *before = t > first ? host_row(s, op->in[0], t - 1) + c0 : last;
        memcpy(host_row(s, op->out, t) + c0, before, (size_t)n * sizeof *before);
    }
    memcpy(last, kept, (size_t)n * sizeof *kept);
}

void FN(shift)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_block(s, op, op->out.width, ith, nth, shift_block);
}

static void rnn_block(const struct host_step *s, const struct op *op, int q, int64_t c0, int n)
{
    float *state = host_state(s, op->section, s->batch->slots[q]) + c0;
    for (int32_t t = s->batch->cu_seqlens[q]; t < s->batch->cu_seqlens[q + 1]; t++) {
        const float *f = host_row(s, op->in[0], t) + c0, *i = host_row(s, op->in[1], t) + c0;
        float *out = host_row(s, op->out, t) + c0;
        for (int c = 0; c < n; c += LANES) {
            int left = n - c;
            v16 h = v16_fma(load_left(f + c, left), load_left(state + c, left),
                            load_left(i + c, left));
            store_left(state + c, left, h);
            store_left(out + c, left, h);
        }
    }
}

void FN(rnn)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_block(s, op, op->out.width, ith, nth, rnn_block);
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
        double pos = (double)(s->batch->pos[q] + (t - s->batch->cu_seqlens[q]) - op->p.rope.back);
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

/* One row of a packed matrix: every 16th element (pair, for bf16) of its panel; of blocks, as the
 * definition says. */
static void row_of_panel(const struct host_weight *w, int64_t row, int64_t width, float *out)
{
    int64_t lane = row % PANEL;
    const char *panel = (const char *)w->data +
                        (size_t)(row / PANEL) * panel_bytes(w->dtype, w->cols);
    if (!format_plain(w->dtype))
        panel_row(w, row, 0, width, out);
    for (int64_t c = 0; c < width; c++) {
        if (w->dtype == DTYPE_BF16) {
            uint16_t h = ((const uint16_t *)panel)[(c / 2 * PANEL + lane) * 2 + c % 2];
            uint32_t bits = (uint32_t)h << 16;
            memcpy(out + c, &bits, sizeof bits);
        } else if (w->dtype == DTYPE_F16) {
            out[c] = half_float(((const uint16_t *)panel)[c * PANEL + lane]);
        } else if (w->dtype == DTYPE_F32) {
            out[c] = ((const float *)panel)[c * PANEL + lane];
        }
    }
}

void FN(embed)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct host_weight *w = &s->weights[op->w[0]];
    int64_t from, to, width = op->out.width;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        float *out = host_row(s, op->out, (int32_t)t), scale = op->p.embed.scale;
        row_of_panel(w, s->batch->tokens[t], width, out);
        for (int64_t c = 0; c < width; c++)
            out[c] *= scale;
    }
}

/* Heads are shared out: each has its own copy of the last tokens. */
void FN(ngram)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct host_weight *w = &s->weights[op->w[0]];
    const struct ngram *g = op->p.ngram;
    const struct batch *b = s->batch;
    int64_t from, to, width = op->out.width / g->heads;
    host_share(g->heads, ith, nth, &from, &to);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        int32_t t0 = b->cu_seqlens[q], n = b->cu_seqlens[q + 1] - t0;
        float *all = host_state(s, op->section, b->slots[q]);
        for (int64_t j = from; j < to; j++) {
            float *kept = all + j * (g->size - 1);
            for (int32_t t = 0; t < n; t++)
                row_of_panel(w, ngram_row(g, (int32_t)j, b->tokens + t0, t, kept), width,
                             host_row(s, op->out, t0 + t) + j * width);
            ngram_keep(g, b->tokens + t0, n, kept);
        }
    }
}
