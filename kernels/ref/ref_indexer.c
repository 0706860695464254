/* Attention that an indexer leads: POOL, INDEXER, INDEXED. */
#include "kernels/ref/ref_kv.h"

#include <stdlib.h>

/* ---- POOL ---- */

/* One more row of a column's block; s: maximum, sum of weights, weighted sum, `apart` floats from
 * one to the next. */
static void pool_weighted(float *s, int64_t apart, bool first, double gate, double x)
{
    double max = first ? -FLT_MAX : s[0], higher = fmax(max, gate);
    double keep = first ? 0 : exp(max - higher), e = exp(gate - higher);
    s[2 * apart] = (float)((first ? 0 : s[2 * apart] * keep) + e * x);
    s[apart] = (float)((first ? 0 : s[apart] * keep) + e);
    s[0] = (float)higher;
}

static float pool_column(const struct op *op, float *s, const float *bias, int64_t at, float x,
                         const float *gate, int32_t c)
{
    int64_t width = op->out.width, i = at % op->p.pool.block;
    bool last = i == op->p.pool.block - 1;
    if (!gate) {
        s[0] = i ? s[0] + x : x;
        return last ? s[0] / (float)op->p.pool.block : 0;
    }
    pool_weighted(s, width, i == 0, (double)gate[c] + (bias ? bias[i * width + c] : 0), x);
    return last ? s[2 * width] / s[width] : 0;
}

void ref_pool(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    const float *bias = host_vec(s, op->w[POOL_bias]);
    int64_t from, to;
    host_share(op->out.width, ith, nth, &from, &to);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        float *state = host_state(s, op->section, b->slots[q]);
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++)
            for (int32_t c = (int32_t)from; c < to; c++)
                host_row(s, op->out, t)[c] = pool_column(
                    op, state + c, bias, kv_position(s, t), host_row(s, op->in[POOL_x], t)[c],
                    view_given(op->in[POOL_gate]) ? host_row(s, op->in[POOL_gate], t) : NULL, c);
    }
}

/* ---- INDEXER ---- */

/* The best so far, best first, ties in the order they came. */
struct best { int32_t n, block[LIMIT_TOPK]; float score[LIMIT_TOPK]; };

static void offer(struct best *y, int32_t count, int32_t block, float score)
{
    if (!isfinite(score) || (y->n == count && !(score > y->score[count - 1])))
        return;
    int32_t at = y->n < count ? y->n++ : count - 1;
    for (; at > 0 && score > y->score[at - 1]; at--) {
        y->score[at] = y->score[at - 1];
        y->block[at] = y->block[at - 1];
    }
    y->score[at] = score;
    y->block[at] = block;
}

static float block_score(const struct op *op, const float *query, const float *weights,
                         const float *key)
{
    int32_t dk = op->p.attention.dk;
    double sum = 0;
    for (int32_t h = 0; h < op->p.attention.heads; h++) {
        double x = kv_dot(query + h * dk, key, dk) * op->p.attention.scale;
        sum += (x < 0 ? 0 : x) * (weights ? weights[h] : 1); /* a NaN stays one */
    }
    return (float)sum;
}

static int ascending(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void choose_blocks(const struct host_step *s, const struct op *op, int32_t row)
{
    int32_t q = s->row_seq[row], B = op->p.attention.block, count = op->p.attention.count;
    int64_t complete = (kv_position(s, row) + 1) / B;
    struct view w = op->in[INDEXER_weights];
    float *out = host_row(s, op->out, row);
    struct best y = {.n = 0};
    ASSERT(count <= LIMIT_TOPK && complete <= LIMIT_BLOCKS);
    for (int32_t b = 0; b < complete; b++)
        offer(&y, count, b,
              block_score(op, host_row(s, op->in[INDEXER_q], row),
                          view_given(w) ? host_row(s, w, row) : NULL,
                          kv_part(s, op, q, (int64_t)(b + 1) * B - 1, INDEXER_k)));
    qsort(y.block, (size_t)y.n, sizeof *y.block, ascending);
    for (int32_t i = 0; i < count; i++)
        out[i] = i < y.n ? (float)y.block[i] : -1;
}

void ref_indexer(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int64_t from, to;
    host_share(s->batch->n_tokens, ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++)
        choose_blocks(s, op, (int32_t)t);
}

/* ---- INDEXED ---- */

/* Rows [from, to) into the sum of one query head. */
static void add_rows(const struct host_step *s, const struct op *op, int32_t row, int32_t head,
                     int64_t from, int64_t to, struct soft *soft)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t hk = head / (op->p.attention.heads / op->p.attention.kv_heads);
    int32_t hv = head / (op->p.attention.heads / op->p.attention.v_heads);
    int values = view_given(op->in[INDEXED_v]) ? INDEXED_v : INDEXED_k;
    const float *query = host_row(s, op->in[INDEXED_q], row) + head * dk;
    for (int64_t p = from; p < to; p++) {
        double score = kv_dot(query, kv_part(s, op, q, p, INDEXED_k) + hk * dk, dk);
        soft_add(soft, score * op->p.attention.scale, kv_part(s, op, q, p, values) + hv * dv,
                 host_row(s, op->out, row) + head * dv, dv);
    }
}

static void attend(const struct host_step *s, const struct op *op, int32_t row, int32_t head)
{
    int64_t B = op->p.attention.block, pos = kv_position(s, row), complete = (pos + 1) / B;
    const float *chosen = host_row(s, op->in[INDEXED_chosen], row);
    float *out = host_row(s, op->out, row) + head * op->p.attention.dv;
    struct soft soft = soft_start(out, op->p.attention.dv);
    for (int32_t i = 0; i < op->p.attention.count; i++)
        if (chosen[i] >= 0 && chosen[i] < (float)complete)
            add_rows(s, op, row, head, (int64_t)chosen[i] * B, ((int64_t)chosen[i] + 1) * B, &soft);
    add_rows(s, op, row, head, complete * B, pos + 1, &soft);
    soft_end(&soft, out, op->p.attention.dv);
}

void ref_indexed(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t H = op->p.attention.heads;
    int64_t from, to;
    host_share((int64_t)s->batch->n_tokens * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++)
        attend(s, op, (int32_t)(i / H), (int32_t)(i % H));
}
