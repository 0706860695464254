/* Softmax attention over cached keys and values: pages for all of the past, a ring for a window. */
#include "kernels/ref/ref_kv.h"

/* One query head of one row: online softmax, keys ascending. */
static void attend(const struct host_step *s, const struct op *op, int32_t row, int32_t head)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t hk = head / (op->p.attention.heads / op->p.attention.kv_heads);
    int32_t hv = head / (op->p.attention.heads / op->p.attention.v_heads);
    int32_t W = op->p.attention.window;
    int vpart = view_given(op->in[ATTENTION_v]) ? ATTENTION_v : ATTENTION_k;
    int64_t pos = kv_position(s, row);
    const float *query = host_row(s, op->in[ATTENTION_q], row) + head * dk;
    struct view forget = op->in[ATTENTION_forget];
    const float *F = view_given(forget) ? host_row(s, forget, row) : NULL;
    float *out = host_row(s, op->out, row) + head * dv;
    struct soft soft = soft_start(out, dv);
    for (int64_t p = W && pos >= W ? pos - W + 1 : 0; p <= pos; p++) {
        const float *k = kv_part(s, op, q, p, ATTENTION_k) + hk * dk;
        double score = op->p.attention.scale * kv_dot(query, k, dk);
        if (F)
            score += (double)F[head] - kv_part(s, op, q, p, ATTENTION_forget)[head];
        soft_add(&soft, score, kv_part(s, op, q, p, vpart) + hv * dv, out, dv);
    }
    soft_end(&soft, out, dv);
}

void ref_attention(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t H = op->p.attention.heads;
    int64_t from, to;
    host_share((int64_t)s->batch->n_tokens * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++)
        attend(s, op, (int32_t)(i / H), (int32_t)(i % H));
}

void ref_attention_keep(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    bool ring = s->plan->sections[op->section].kind == SECTION_FIXED;
    int32_t W = ring ? op->p.attention.window : 0;
    int64_t from, to, width = 0;
    for (int i = 1; i < 6; i++)
        width += op->in[i].width;
    host_share(b->n_tokens, ith, nth, &from, &to);
    for (int32_t row = (int32_t)from; row < to; row++) {
        int32_t q = s->row_seq[row], end = b->cu_seqlens[q + 1];
        int64_t pos = kv_position(s, row);
        if (W && row < end - W)
            continue; /* a later row of this batch takes the same place in the ring */
        float *x = W ? host_state(s, op->section, b->slots[q]) + (pos % W) * width
                     : host_page_row(s, op->section, q, pos);
        for (int i = 1; i < 6; i++) {
            if (view_given(op->in[i]))
                memcpy(x, host_row(s, op->in[i], row), (size_t)op->in[i].width * sizeof(float));
            x += op->in[i].width;
        }
    }
}
