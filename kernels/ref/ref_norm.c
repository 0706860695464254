/* Norms, sums and softmax over groups of a row. */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

/* What the norm sees of element i: x, or x times the activated gate when the gate comes first. */
static double gated(const struct op *op, const float *x, const float *gate, int i)
{
    if (!gate || !op->p.norm.gate_first)
        return x[i];
    return x[i] * ref_act(op->p.norm.gate_act, gate[i]);
}

/* One group; out may be x or gate: each element is read before it is written. */
static void norm_group(const struct op *op, const float *x, const float *gate, const float *w,
                       const float *b, float *out)
{
    enum norm_kind kind = op->p.norm.kind;
    int n = op->p.norm.group;
    double sum = 0, sq = 0, eps = op->p.norm.eps, mean, inv = 1;
    for (int i = 0; i < n; i++)
        sum += gated(op, x, gate, i);
    mean = kind == NORM_LAYER ? sum / n : 0;
    for (int i = 0; i < n; i++) {
        double d = gated(op, x, gate, i) - mean;
        sq += d * d;
    }
    switch (kind) {
    case NORM_RMS:
    case NORM_LAYER: inv = 1 / sqrt(sq / n + eps); break;
    case NORM_L2: inv = 1 / sqrt(sq + eps); break;
    case NORM_L2MAX: inv = 1 / fmax(sqrt(sq), eps); break;
    case NORM_SUM: inv = 1 / (sum + eps); break;
    }
    for (int i = 0; i < n; i++) {
        double y = (gated(op, x, gate, i) - mean) * inv;
        if (w)
            y *= w[i];
        if (b)
            y += b[i];
        if (gate && !op->p.norm.gate_first)
            y *= ref_act(op->p.norm.gate_act, gate[i]);
        out[i] = (float)(y * op->p.norm.scale);
    }
}

void ref_norm(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t n = op->p.norm.group;
    const float *w = host_vec(s, op->w[NORM_weight]), *b = host_vec(s, op->w[NORM_bias]);
    /* 0: one vector for all groups */
    int32_t w_step = w && s->weights[op->w[NORM_weight]].cols == n ? 0 : 1;
    int32_t b_step = b && s->weights[op->w[NORM_bias]].cols == n ? 0 : 1;
    int64_t from, to;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        const float *x = host_row(s, op->in[NORM_x], (int32_t)t);
        struct view gate = op->in[NORM_gate];
        const float *g = view_given(gate) ? host_row(s, gate, (int32_t)t) : NULL;
        float *out = host_row(s, op->out, (int32_t)t);
        for (int32_t c = 0; c < op->in[NORM_x].width; c += n)
            norm_group(op, x + c, g ? g + c : NULL, w ? w + w_step * c : NULL,
                       b ? b + b_step * c : NULL, out + c);
    }
}

void ref_groupsum(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t n = op->p.groupsum.group;
    int64_t from, to;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        const float *x = host_row(s, op->in[GROUPSUM_x], (int32_t)t);
        float *out = host_row(s, op->out, (int32_t)t);
        for (int32_t g = 0; g < op->out.width; g++) {
            double sum = 0;
            for (int32_t i = 0; i < n; i++)
                sum = op->p.groupsum.absmax ? fmax(sum, fabs(x[g * n + i])) : sum + x[g * n + i];
            out[g] = (float)(sum * op->p.groupsum.scale);
        }
    }
}

static void softmax_group(const float *x, float *out, int n, double scale)
{
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        max = fmax(max, scale * x[i]);
    for (int i = 0; i < n; i++)
        sum += exp(scale * x[i] - max);
    for (int i = 0; i < n; i++)
        out[i] = (float)(exp(scale * x[i] - max) / sum);
}

void ref_softmax(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t n = op->p.softmax.group;
    int64_t from, to;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        const float *x = host_row(s, op->in[SOFTMAX_x], (int32_t)t);
        float *out = host_row(s, op->out, (int32_t)t);
        for (int32_t c = 0; c < op->in[SOFTMAX_x].width; c += n)
            softmax_group(x + c, out + c, n, op->p.softmax.scale);
    }
}

/* ---- mixing matrices ---- */

/* n numbers, `apart` from one to the next, divided by (their sum + eps). */
static void share_out(double *a, int32_t n, int32_t apart, double eps)
{
    double sum = eps;
    for (int32_t i = 0; i < n; i++)
        sum += a[i * apart];
    for (int32_t i = 0; i < n; i++)
        a[i * apart] /= sum;
}

static void softmax_of(double *a, const float *x, int32_t n, double eps)
{
    double max = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++)
        max = fmax(max, x[i]);
    for (int32_t i = 0; i < n; i++)
        sum += a[i] = exp(x[i] - max);
    for (int32_t i = 0; i < n; i++)
        a[i] = a[i] / sum + eps;
}

static void sinkhorn(const struct op *op, const float *x, float *out)
{
    int32_t n = op->p.sinkhorn.n;
    double a[LIMIT_SINKHORN * LIMIT_SINKHORN], eps = op->p.sinkhorn.eps;
    ASSERT(n <= LIMIT_SINKHORN);
    for (int32_t i = 0; i < n; i++)
        softmax_of(a + i * n, x + i * n, n, eps);
    for (int32_t k = 0; k < op->p.sinkhorn.iters; k++) {
        for (int32_t i = 0; k > 0 && i < n; i++)
            share_out(a + i * n, n, 1, eps);
        for (int32_t i = 0; i < n; i++)
            share_out(a + i, n, n, eps);
    }
    for (int32_t i = 0; i < n * n; i++)
        out[i] = (float)a[i];
}

void ref_sinkhorn(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t each = op->p.sinkhorn.n * op->p.sinkhorn.n;
    int64_t from, to;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int32_t c = 0; c < op->out.width; c += each)
            sinkhorn(op, host_row(s, op->in[SINKHORN_x], (int32_t)t) + c,
                     host_row(s, op->out, (int32_t)t) + c);
}
