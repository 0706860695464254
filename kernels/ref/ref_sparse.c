/* Attention over chosen blocks of the past: NSA and MOBA. Block means are formed from the cached
 * rows each time: exact at any cut, and nothing more to keep. */
#include "kernels/ref/ref_kv.h"

#define BLOCKS_MAX SPARSE_BLOCKS_MAX

/* Mean (or sum: by = 1) of n rows of operand `part` from position p on; columns [col, col + d). */
static void block_sum(const struct host_step *s, const struct op *op, int32_t q, int64_t p,
                      int32_t n, int part, int32_t col, int32_t d, double by, float *out)
{
    double sum[LIMIT_SPARSE_D];
    ASSERT(d <= LIMIT_SPARSE_D);
    memset(sum, 0, sizeof sum);
    for (int64_t j = p; j < p + n; j++) {
        const float *x = kv_part(s, op, q, j, part) + col;
        for (int32_t i = 0; i < d; i++)
            sum[i] += x[i];
    }
    for (int32_t i = 0; i < d; i++)
        out[i] = (float)(sum[i] * by);
}

/* Keys [from, to) into the sum, for one query head. */
static void add_rows(const struct host_step *s, const struct op *op, int32_t q, int64_t from,
                     int64_t to, int32_t m, const float *query, struct soft *soft, float *out)
{
    int32_t dk = op->p.attention.dk, dv = op->p.attention.dv;
    for (int64_t p = from; p < to; p++) {
        double score = kv_dot(query, kv_part(s, op, q, p, 1) + m * dk, dk) * op->p.attention.scale;
        soft_add(soft, score, kv_part(s, op, q, p, 2) + m * dv, out, dv);
    }
}

/* Marks the `count` best of n scores by setting them to +infinity; ties to the lower index. What is
 * no finite number is never one of them. */
static void mark_best(float *score, int32_t n, int32_t count)
{
    for (int32_t i = 0; i < n; i++)
        score[i] = isfinite(score[i]) ? score[i] : -INFINITY;
    for (int32_t c = 0; c < count; c++) {
        int32_t best = -1;
        for (int32_t i = 0; i < n; i++)
            if (isfinite(score[i]) && (best < 0 || score[i] > score[best]))
                best = i;
        if (best < 0)
            return;
        score[best] = INFINITY;
    }
}

/* ---- NSA ---- */

/* One query head over the means of nb complete blocks; adds its probabilities to score. */
static void nsa_means(const struct host_step *s, const struct op *op, int32_t q, int32_t m,
                      int32_t nb, const float *query, float *out, float *score)
{
    int32_t dk = op->p.attention.dk, dv = op->p.attention.dv, B = op->p.attention.block;
    int32_t per = op->p.attention.heads / op->p.attention.kv_heads;
    float mean[LIMIT_SPARSE_D];
    struct soft soft = soft_start(out, dv);
    for (int32_t b = 0; b < nb; b++) {
        block_sum(s, op, q, (int64_t)b * B, B, 1, m * dk, dk, 1.0 / B, mean);
        double x = kv_dot(query, mean, dk) * op->p.attention.scale;
        block_sum(s, op, q, (int64_t)b * B, B, 2, m * dv, dv, 1.0 / B, mean);
        soft_add(&soft, x, mean, out, dv);
    }
    soft_end(&soft, out, dv);
    for (int32_t b = 0; b < nb; b++) {
        block_sum(s, op, q, (int64_t)b * B, B, 1, m * dk, dk, 1.0 / B, mean);
        double x = kv_dot(query, mean, dk) * op->p.attention.scale;
        score[b] += (float)(exp(x - soft.max) / soft.sum / per);
    }
}

static void nsa_group(const struct host_step *s, const struct op *op, int32_t row, int32_t m)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t H = op->p.attention.heads, per = H / op->p.attention.kv_heads;
    int32_t B = op->p.attention.block, W = op->p.attention.window;
    int64_t pos = kv_position(s, row), first = pos >= W ? pos - W + 1 : 0;
    int32_t nb = (int32_t)((pos + 1) / B), cur = (int32_t)(pos / B), n = MAX(nb, cur + 1);
    float score[BLOCKS_MAX];
    memset(score, 0, (size_t)n * sizeof *score);
    for (int32_t h = m * per; h < (m + 1) * per; h++)
        nsa_means(s, op, q, m, nb, host_row(s, op->in[NSA_q], row) + h * dk,
                  host_row(s, op->out, row) + h * dv, score);
    score[0] = score[cur] = score[MAX(cur - 1, 0)] = 1;
    mark_best(score, n, op->p.attention.count);
    for (int32_t h = m * per; h < (m + 1) * per; h++) {
        const float *query = host_row(s, op->in[NSA_q], row) + h * dk;
        float *chosen = host_row(s, op->out, row) + (H + h) * dv, *near = chosen + H * dv;
        struct soft soft = soft_start(chosen, dv);
        for (int32_t b = 0; b < n; b++)
            if (score[b] == INFINITY)
                add_rows(s, op, q, (int64_t)b * B, MIN((int64_t)(b + 1) * B, pos + 1), m, query,
                         &soft, chosen);
        soft_end(&soft, chosen, dv);
        soft = soft_start(near, dv);
        if (W)
            add_rows(s, op, q, first, pos + 1, m, query, &soft, near);
        soft_end(&soft, near, dv);
    }
}

void ref_nsa(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t M = op->p.attention.kv_heads;
    int64_t from, to;
    host_share((int64_t)s->batch->n_tokens * M, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++)
        nsa_group(s, op, (int32_t)(i / M), (int32_t)(i % M));
}

/* ---- MOBA ---- */

static void moba_head(const struct host_step *s, const struct op *op, int32_t row, int32_t head)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int32_t m = head / (op->p.attention.heads / op->p.attention.kv_heads);
    int32_t C = op->p.attention.block;
    int64_t pos = kv_position(s, row);
    int32_t cur = (int32_t)(pos / C);
    const float *query = host_row(s, op->in[MOBA_q], row) + head * dk;
    float *out = host_row(s, op->out, row) + head * dv, score[BLOCKS_MAX], sum[LIMIT_SPARSE_D];
    for (int32_t b = 0; b < cur; b++) {
        block_sum(s, op, q, (int64_t)b * C, C, 1, m * dk, dk, 1, sum);
        score[b] = (float)kv_dot(query, sum, dk);
    }
    mark_best(score, cur, op->p.attention.count - 1);
    struct soft soft = soft_start(out, dv);
    for (int32_t b = 0; b < cur; b++)
        if (score[b] == INFINITY)
            add_rows(s, op, q, (int64_t)b * C, (int64_t)(b + 1) * C, m, query, &soft, out);
    add_rows(s, op, q, (int64_t)cur * C, pos + 1, m, query, &soft, out);
    soft_end(&soft, out, dv);
}

void ref_moba(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t H = op->p.attention.heads;
    int64_t from, to;
    host_share((int64_t)s->batch->n_tokens * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++)
        moba_head(s, op, (int32_t)(i / H), (int32_t)(i % H));
}
