/* Softmax attention over cached keys and values: pages for all of the past, a ring for a window.
 * The whole batch writes its rows first; a ring therefore keeps `window` rows of the past *and*
 * the batch's own rows are read from the activations. */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

/* Row of keys then values at position p: from this batch, the ring or the pages. */
static void cached(const struct host_step *s, const struct op *op, int32_t q, int64_t p,
                   const float **k, const float **v)
{
    const struct batch *b = s->batch;
    int32_t W = op->p.attention.window, kw = op->p.attention.kv_heads * op->p.attention.dk;
    if (p >= b->pos[q]) {
        int32_t row = b->cu_seqlens[q] + (int32_t)(p - b->pos[q]);
        *k = host_row(s, op->in[1], row);
        *v = host_row(s, op->in[2], row);
        return;
    }
    const float *x = W ? host_state(s, op->section, b->slots[q]) +
                             (p % W) * (kw + op->p.attention.kv_heads * op->p.attention.dv)
                       : host_page_row(s, op->section, q, p);
    *k = x;
    *v = x + kw;
}

/* One query head of one row: online softmax, keys ascending in blocks of PAGE_TOKENS. */
static void attend(const struct host_step *s, const struct op *op, int32_t row, int32_t head)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t kv = head / (op->p.attention.heads / op->p.attention.kv_heads);
    int64_t pos = s->batch->pos[q] + (row - s->batch->cu_seqlens[q]), W = op->p.attention.window;
    const float *query = host_row(s, op->in[0], row) + head * dk, *k, *v;
    float *out = host_row(s, op->out, row) + head * dv;
    double max = -INFINITY, sum = 0;
    memset(out, 0, (size_t)dv * sizeof(float));
    for (int64_t p = W && pos >= W ? pos - W + 1 : 0; p <= pos; p++) {
        cached(s, op, q, p, &k, &v);
        double score = 0;
        for (int32_t i = 0; i < dk; i++)
            score += (double)query[i] * k[kv * dk + i];
        score *= op->p.attention.scale;
        double higher = fmax(max, score), keep = exp(max - higher), e = exp(score - higher);
        for (int32_t i = 0; i < dv; i++)
            out[i] = (float)(out[i] * keep + e * v[kv * dv + i]);
        sum = sum * keep + e;
        max = higher;
    }
    for (int32_t i = 0; i < dv; i++)
        out[i] = (float)(out[i] / sum);
}

/* Keeps the batch's rows. A separate op (ATTENTION_KEEP) so that every read of a ring row comes
 * before it is overwritten. */
void ref_attention_keep(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t W = op->p.attention.window;
    size_t kw = (size_t)op->p.attention.kv_heads * op->p.attention.dk;
    size_t vw = (size_t)op->p.attention.kv_heads * op->p.attention.dv;
    int64_t from, to;
    host_share(b->n_tokens, ith, nth, &from, &to);
    for (int32_t row = (int32_t)from; row < to; row++) {
        int32_t q = s->row_seq[row], end = b->cu_seqlens[q + 1];
        int64_t pos = b->pos[q] + (row - b->cu_seqlens[q]);
        if (W && row < end - W)
            continue; /* a later row of this batch takes the same place in the ring */
        float *x = W ? host_state(s, op->section, b->slots[q]) + (pos % W) * (int64_t)(kw + vw)
                     : host_page_row(s, op->section, q, pos);
        memcpy(x, host_row(s, op->in[1], row), kw * sizeof(float));
        memcpy(x + kw, host_row(s, op->in[2], row), vw * sizeof(float));
    }
}

void ref_attention(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t H = op->p.attention.heads;
    int64_t from, to;
    host_share((int64_t)s->batch->n_tokens * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++)
        attend(s, op, (int32_t)(i / H), (int32_t)(i % H));
}
