/* Choosing and routing: top-k, expert matrices, block-diagonal matrices, column order. */
#include "kernels/ref/ref_int16.h"
#include "kernels/ref/ref_linear.h"
#include "kernels/ref/ref_math.h"
#include "kernels/ref/ref_split.h"

static double biased(const float *x, const float *bias, int32_t i)
{
    return (double)x[i] + (bias ? bias[i] : 0);
}

/* Sum of the two best scores of range g. */
static double range_score(const float *x, const float *bias, int32_t g, int32_t size)
{
    double best = -INFINITY, next = -INFINITY;
    for (int32_t i = g * size; i < (g + 1) * size; i++) {
        double v = biased(x, bias, i);
        next = v > best ? best : fmax(next, v);
        best = fmax(best, v);
    }
    return size > 1 ? best + next : best;
}

/* Which ranges are among the topk_groups best, ties to the lower one. */
static void open_ranges(const struct op *op, const float *x, const float *bias, bool *open)
{
    int32_t G = MAX(op->p.topk.n_groups, 1), size = op->p.topk.n / G;
    double score[LIMIT_TOPK];
    ASSERT(G <= LIMIT_TOPK);
    for (int32_t g = 0; G > 1 && g < G; g++)
        score[g] = range_score(x, bias, g, size);
    for (int32_t g = 0; g < G; g++) {
        int32_t better = 0;
        for (int32_t i = 0; G > 1 && i < G; i++)
            better += score[i] > score[g] || (score[i] == score[g] && i < g);
        open[g] = G == 1 || better < op->p.topk.topk_groups;
    }
}

/* The best entries of the open ranges, best first, ties to the lower index; a NaN has no place in
 * that order. Returns how many there are, at most k. */
static int32_t find_best(const struct op *op, const float *x, const float *bias, int32_t *best)
{
    int32_t k = op->p.topk.k, size = op->p.topk.n / MAX(op->p.topk.n_groups, 1), n = 0;
    bool open[LIMIT_TOPK];
    open_ranges(op, x, bias, open);
    for (int32_t i = 0; i < op->p.topk.n; i++) {
        double v = biased(x, bias, i);
        if (!open[i / size] || isnan(v) ||
            (n == k && !(v > biased(x, bias, best[k - 1]))))
            continue;
        int32_t at = n < k ? n++ : k - 1;
        for (; at > 0 && v > biased(x, bias, best[at - 1]); at--)
            best[at] = best[at - 1];
        best[at] = i;
    }
    return n;
}

/* One row: chosen entries in order, then their weights. Entry 0 stands in for what is missing, so
 * that an index is always one of n. */
static void choose(const struct op *op, const float *x, const float *bias, float *out)
{
    int32_t k = op->p.topk.k, best[LIMIT_TOPK];
    double sum = 0;
    ASSERT(k <= LIMIT_TOPK);
    for (int32_t j = find_best(op, x, bias, best); j < k; j++)
        best[j] = 0;
    for (int32_t j = 0; j < k; j++)
        sum += x[best[j]];
    double by = op->p.topk.scale / (op->p.topk.norm ? sum + op->p.topk.eps : 1);
    if (op->p.topk.dense)
        memset(out, 0, (size_t)op->p.topk.n * sizeof *out);
    for (int32_t j = 0; j < k; j++) {
        bool some = best[j] < op->p.topk.n - op->p.topk.none;
        float weight = some ? (float)(x[best[j]] * by) : 0;
        if (op->p.topk.dense) {
            out[best[j]] = weight;
        } else {
            out[j] = (float)(some ? best[j] : 0);
            out[k + j] = weight;
        }
    }
}

void ref_topk(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const float *bias = host_vec(s, op->w[TOPK_bias]);
    int32_t n = op->p.topk.n, step = op->p.topk.dense ? n : 2 * op->p.topk.k;
    int64_t from, to;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int32_t g = 0; g < op->in[TOPK_scores].width / n; g++)
            choose(op, host_row(s, op->in[TOPK_scores], (int32_t)t) + g * n,
                   bias ? bias + g * n : NULL, host_row(s, op->out, (int32_t)t) + g * step);
}

static void experts_by(const struct host_step *s, const struct op *op, int ith, int nth,
                       ref_row_fn *row)
{
    const struct host_weight *w = &s->weights[op->w[EXPERTS_matrix]];
    int32_t rows = op->p.experts.rows, cols = (int32_t)w->cols;
    int64_t from, to;
    host_share((int64_t)host_rows(s, op) * op->p.experts.k, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t t = (int32_t)(i / op->p.experts.k), j = (int32_t)(i % op->p.experts.k);
        int64_t expert = (int64_t)host_row(s, op->in[EXPERTS_chosen], t)[j];
        const float *x =
            host_row(s, op->in[EXPERTS_x], t) + (op->p.experts.per_slot ? j * cols : 0);
        for (int32_t r = 0; r < rows; r++)
            host_row(s, op->out, t)[j * rows + r] = row(w, expert * rows + r, x, cols);
    }
}

static void blocks_by(const struct host_step *s, const struct op *op, int ith, int nth,
                      ref_row_fn *row)
{
    const struct host_weight *w = &s->weights[op->w[BLOCKS_matrix]];
    const float *bias = host_vec(s, op->w[BLOCKS_bias]);
    int32_t n = op->p.blocks.blocks, rows = op->out.width / n, cols = op->in[BLOCKS_x].width / n;
    int64_t from, to;
    host_share((int64_t)host_rows(s, op) * n, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t t = (int32_t)(i / n), h = (int32_t)(i % n);
        for (int32_t r = 0; r < rows; r++) {
            int64_t at = op->p.blocks.shared ? r : (int64_t)h * rows + r;
            float y = row(w, at, host_row(s, op->in[BLOCKS_x], t) + h * cols, cols);
            host_row(s, op->out, t)[h * rows + r] = bias ? y + bias[at] : y;
        }
    }
}

void ref_experts(const struct host_step *s, const struct op *op, int ith, int nth)
{
    experts_by(s, op, ith, nth, ref_matrix_row);
}

void ref_experts_split(const struct host_step *s, const struct op *op, int ith, int nth)
{
    experts_by(s, op, ith, nth, ref_split_row);
}

void ref_experts_int16(const struct host_step *s, const struct op *op, int ith, int nth)
{
    experts_by(s, op, ith, nth, ref_int16_row);
}

void ref_blocks(const struct host_step *s, const struct op *op, int ith, int nth)
{
    blocks_by(s, op, ith, nth, ref_matrix_row);
}

void ref_blocks_split(const struct host_step *s, const struct op *op, int ith, int nth)
{
    blocks_by(s, op, ith, nth, ref_split_row);
}

void ref_blocks_int16(const struct host_step *s, const struct op *op, int ith, int nth)
{
    blocks_by(s, op, ith, nth, ref_int16_row);
}

void ref_columns(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const float *index = host_vec(s, op->w[COLUMNS_index]);
    int64_t from, to;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        const float *x = host_row(s, op->in[COLUMNS_x], (int32_t)t);
        float *out = host_row(s, op->out, (int32_t)t);
        for (int32_t c = 0; c < op->out.width; c++)
            out[c] = x[(int32_t)index[c]];
    }
}
