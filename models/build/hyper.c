/* Hyper-connections: hyper.h. Thread: loading. */
#include "models/build/build_int.h"

/* "hc_<layer>_<what>" as published files have it, or "<layer>_hc.<what>". */
static const char *name_of(struct build *b, const char *layer, const char *what, char out[64])
{
    snprintf(out, 64, "%s_hc.%s", layer, what);
    if (!b_has(b, out, false))
        snprintf(out, 64, "hc_%s_%s", layer, what);
    return out;
}

static val stream(val h, int s, const struct hyper_args *a) { return b_slice(h, s * a->D, a->D); }

/* u's n, n and n * n columns times a factor each. */
static val scaled(struct build *b, val u, const char *name, int n)
{
    val part[3] = {b_slice(u, 0, n), b_slice(u, n, n), b_slice(u, 2 * n, n * n)};
    for (int i = 0; i < 3; i++)
        part[i] = e_mulw(b, part[i], w_vec_row(b, name, 3, i, 1));
    return b_failed(b) ? VIEW_NONE : e_cat(b, 3, part);
}

val b_hyper_open(struct build *b, val x, const struct hyper_args *a)
{
    val all[LIMIT_SINKHORN];
    if (b_failed(b) || !b_require(b, a->n >= 1 && a->n <= LIMIT_SINKHORN && a->iters >= 1,
                                  "%d residual streams, 1 to %d, mixed in %d steps", a->n,
                                  LIMIT_SINKHORN, a->iters))
        return VIEW_NONE;
    for (int s = 0; s < a->n; s++)
        all[s] = x;
    return e_cat(b, a->n, all);
}

struct hyper b_hyper_collapse(struct build *b, val h, const char *layer,
                              const struct hyper_args *a)
{
    int n = a->n, all = n * (n + 2);
    char name[64];
    struct hyper m = {*a, VIEW_NONE, VIEW_NONE, VIEW_NONE};
    val u = b_norm(b, h, NORM_RMS, h.width, -1, -1, a->eps, 1);
    u = b_linear_part(b, u, name_of(b, layer, "fn", name), NULL, all, 0, all, false);
    u = e_addw(b, scaled(b, u, name_of(b, layer, "scale", name), n),
               w_vec(b, name_of(b, layer, "base", name), all));
    val pre = e_affine(b, e_fn(b, EW_SIGMOID, b_slice(u, 0, n)), 1, a->floor);
    m.post = e_affine(b, e_fn(b, EW_SIGMOID, b_slice(u, n, n)), 2, 0);
    m.comb = b_sinkhorn(b, b_slice(u, 2 * n, n * n), n, a->iters, a->floor);
    for (int s = 0; s < n && !b_failed(b); s++) {
        val own = e_mul(b, stream(h, s, a), b_slice(pre, s, 1));
        m.x = s ? e_add(b, m.x, own) : own;
    }
    return m;
}

val b_hyper_expand(struct build *b, val h, val y, const struct hyper *m)
{
    int n = m->args.n;
    val out[LIMIT_SINKHORN];
    for (int s = 0; s < n && !b_failed(b); s++) {
        out[s] = e_mul(b, y, b_slice(m->post, s, 1));
        for (int r = 0; r < n; r++)
            out[s] = e_add(b, out[s], e_mul(b, stream(h, r, &m->args),
                                            b_slice(m->comb, r * n + s, 1)));
    }
    return b_failed(b) ? VIEW_NONE : e_cat(b, n, out);
}

val b_hyper_mean(struct build *b, val h, const struct hyper_args *a)
{
    val sum = VIEW_NONE;
    for (int s = 0; s < a->n && !b_failed(b); s++)
        sum = s ? e_add(b, sum, stream(h, s, a)) : stream(h, s, a);
    return e_affine(b, sum, 1.0f / (float)a->n, 0);
}
