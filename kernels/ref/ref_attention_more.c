/* Relatives of softmax attention with their own scores or values: PATH, WALL, PARALLAX,
 * DELTAFORMER. */
#include "kernels/ref/ref_kv.h"

/* Runs one(row, head) over the thread's share of all rows and query heads. */
typedef void one_head(const struct host_step *s, const struct op *op, int32_t row, int32_t head);
static void each_head(const struct host_step *s, const struct op *op, int ith, int nth, one_head *f)
{
    int32_t H = op->p.attention.heads;
    int64_t from, to;
    host_share((int64_t)s->batch->n_tokens * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++)
        f(s, op, (int32_t)(i / H), (int32_t)(i % H));
}

static int32_t key_head(const struct op *op, int32_t head)
{
    return head / (op->p.attention.heads / op->p.attention.kv_heads);
}

/* q := q - beta <q, w> w: the query as keys before this row see it. */
static void carry(double *q, const float *w, double beta, int32_t n)
{
    double dot = 0;
    for (int32_t i = 0; i < n; i++)
        dot += q[i] * w[i];
    for (int32_t i = 0; i < n; i++)
        q[i] -= beta * dot * w[i];
}

static void path_head(const struct host_step *s, const struct op *op, int32_t row, int32_t head)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t m = key_head(op, head);
    const float *query = host_row(s, op->in[PATH_q], row) + head * dk;
    const float *G = view_given(op->in[PATH_forget]) ? host_row(s, op->in[PATH_forget], row) : NULL;
    float *out = host_row(s, op->out, row) + head * dv;
    double x[LIMIT_PATH_DK];
    ASSERT(dk <= LIMIT_PATH_DK);
    for (int32_t i = 0; i < dk; i++)
        x[i] = query[i];
    struct soft soft = soft_start(out, dv);
    for (int64_t p = kv_position(s, row); p >= 0; p--) {
        const float *k = kv_part(s, op, q, p, PATH_k) + m * dk;
        double score = G ? (double)G[head] - kv_part(s, op, q, p, PATH_forget)[head] : 0;
        for (int32_t i = 0; i < dk; i++)
            score += x[i] * k[i];
        score *= op->p.attention.scale;
        soft_add(&soft, score, kv_part(s, op, q, p, PATH_v) + m * dv, out, dv);
        carry(x, kv_part(s, op, q, p, PATH_w) + m * dk, kv_part(s, op, q, p, PATH_beta)[m], dk);
    }
    soft_end(&soft, out, dv);
}

void ref_path(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_head(s, op, ith, nth, path_head);
}

static void wall_head(const struct host_step *s, const struct op *op, int32_t row, int32_t head)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t m = key_head(op, head);
    const float *query = host_row(s, op->in[WALL_q], row) + head * dk;
    const float *P = host_row(s, op->in[WALL_decay], row) + head * dk;
    const float *c = view_given(op->in[WALL_bias]) ? host_row(s, op->in[WALL_bias], row) : NULL;
    float *out = host_row(s, op->out, row) + head * dv;
    struct soft soft = soft_start(out, dv);
    int64_t pos = kv_position(s, row);
    for (int64_t p = 0; p <= pos; p++) {
        const float *k = kv_part(s, op, q, p, WALL_k) + m * dk,
                    *Pj = kv_part(s, op, q, p, WALL_decay) + head * dk;
        double score = 0;
        for (int32_t i = 0; i < dk; i++)
            score += (double)query[i] * k[i] * exp((double)P[i] - Pj[i]);
        score *= op->p.attention.scale;
        if (c)
            score += (double)c[head] - kv_part(s, op, q, p, WALL_bias)[head];
        soft_add(&soft, score, kv_part(s, op, q, p, WALL_v) + m * dv, out, dv);
    }
    soft_end(&soft, out, dv);
}

void ref_wall(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_head(s, op, ith, nth, wall_head);
}

static void parallax_head(const struct host_step *s, const struct op *op, int32_t row, int32_t head)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t m = key_head(op, head), W = op->p.attention.window;
    const float *query = host_row(s, op->in[PARALLAX_q], row) + head * dk;
    const float *r = query + op->p.attention.heads * dk;
    float *out = host_row(s, op->out, row) + head * dv;
    int64_t pos = kv_position(s, row), first = W && pos >= W ? pos - W + 1 : 0;
    double max = -FLT_MAX, sum = 0, mean = 0; /* not -inf: see soft_add */
    for (int64_t p = first; p <= pos; p++) { /* m needs every weight before the values follow */
        const float *k = kv_part(s, op, q, p, PARALLAX_k) + m * dk;
        double score = op->p.attention.scale * kv_dot(query, k, dk), higher = fmax(max, score);
        double keep = exp(max - higher), e = exp(score - higher);
        sum = sum * keep + e;
        mean = mean * keep + e * kv_dot(r, k, dk);
        max = higher;
    }
    mean /= sum;
    memset(out, 0, (size_t)dv * sizeof *out);
    for (int64_t p = first; p <= pos; p++) {
        const float *k = kv_part(s, op, q, p, PARALLAX_k) + m * dk;
        const float *v = kv_part(s, op, q, p, PARALLAX_v) + m * dv;
        double w = exp(op->p.attention.scale * kv_dot(query, k, dk) - max) / sum;
        w *= 1 + mean - kv_dot(r, k, dk);
        for (int32_t i = 0; i < dv; i++)
            out[i] = (float)(out[i] + w * v[i]);
    }
}

void ref_parallax(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_head(s, op, ith, nth, parallax_head);
}

/* One row of one head; u of all earlier rows is there. */
static void deltaformer_row(const struct host_step *s, const struct op *op, int32_t row,
                            int32_t head)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t H = op->p.attention.heads, m = key_head(op, head);
    const float *in = host_row(s, op->in[DELTAFORMER_q], row), *query = in + head * dk;
    const float *v = in + H * dk + head * dv;
    float beta = in[H * (dk + dv) + head];
    float *o = host_row(s, op->out, row) + head * dv, *u = o + H * dv;
    int64_t pos = kv_position(s, row);
    struct soft soft = soft_start(o, dv);
    for (int64_t p = 0; p < pos; p++) {
        double score = kv_dot(query, kv_part(s, op, q, p, DELTAFORMER_k) + m * dk, dk);
        soft_add(&soft, score * op->p.attention.scale,
                 kv_part(s, op, q, p, DELTAFORMER_u) + head * dv, o, dv);
    }
    for (int32_t i = 0; i < dv; i++)
        u[i] = pos ? (float)(v[i] - beta * (o[i] / soft.sum)) : v[i];
    double score = kv_dot(query, kv_part(s, op, q, pos, DELTAFORMER_k) + m * dk, dk);
    soft_add(&soft, score * op->p.attention.scale, u, o, dv);
    soft_end(&soft, o, dv);
}

void ref_deltaformer(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t H = op->p.attention.heads;
    int64_t from, to;
    host_share((int64_t)b->n_seqs * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++)
        for (int32_t q = (int32_t)(i / H), row = b->cu_seqlens[q]; row < b->cu_seqlens[q + 1];
             row++)
            deltaformer_row(s, op, row, (int32_t)(i % H));
}
