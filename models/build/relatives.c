/* Ops that one family each needs. */
#include "models/build/build_int.h"

static void fits(struct build *b, val x, int64_t n, const char *what)
{
    if (!b_failed(b))
        b_require(b, view_given(x) && x.width == n, "%s is %d wide, %lld expected", what,
                  view_given(x) ? x.width : 0, (long long)n);
}

val b_fenwick(struct build *b, val q, val k, val v, val alpha, val lambda, int heads, int levels)
{
    int K = q.width, V = heads > 0 ? v.width / heads : 0;
    fits(b, k, K, "k");
    fits(b, v, (int64_t)heads * V, "v");
    fits(b, lambda, (int64_t)heads * levels, "lambda");
    val out = build_act(b, ROWS_TOKENS, heads * V);
    struct op *op = build_op(b, OP_FENWICK, out);
    val in[] = {q, k, v, alpha, lambda};
    for (int i = 0; i < 5; i++)
        op->in[i] = in[i];
    op->p.fenwick.heads = heads;
    op->p.fenwick.K = K;
    op->p.fenwick.V = V;
    op->p.fenwick.levels = levels;
    op->section = build_section(b, "levels", SECTION_FIXED, (int64_t)(levels - 1) * heads * K * V);
    b_context_max(b, (int64_t)1 << (levels - 1));
    return out;
}

val b_mesa(struct build *b, val q, val k, val v, val alpha, val beta, int lambda, float bound,
           int heads, int K)
{
    int V = heads > 0 ? v.width / heads : 0;
    b_require(b, K <= LIMIT_MESA_K, "head_dim %d, at most %d", K, LIMIT_MESA_K);
    fits(b, q, (int64_t)heads * K, "q");
    fits(b, k, (int64_t)heads * K, "k");
    val out = build_act(b, ROWS_TOKENS, heads * V);
    struct op *op = build_op(b, OP_MESA, out);
    val in[] = {q, k, v, alpha, beta};
    for (int i = 0; i < 5; i++)
        op->in[i] = in[i];
    op->w[MESA_lambda] = lambda;
    op->p.mesa.bound = bound;
    op->p.mesa.heads = heads;
    op->p.mesa.K = K;
    op->p.mesa.V = V;
    op->section = build_section(b, "AB", SECTION_FIXED, (int64_t)heads * K * (K + V));
    return out;
}

val b_pool(struct build *b, val x, val gate, int bias, int block)
{
    bool gated = view_given(gate) && gate.width > 0;
    b_require(b, block >= 1, "blocks of %d", block);
    if (gated)
        fits(b, gate, x.width, "the pooling gate");
    val out = build_act(b, ROWS_TOKENS, x.width);
    struct op *op = build_op(b, OP_POOL, out);
    op->in[POOL_x] = x;
    op->in[POOL_gate] = gated ? gate : VIEW_NONE;
    op->w[POOL_bias] = bias;
    op->p.pool.block = block;
    op->section = build_section(b, "pool", SECTION_FIXED, (int64_t)x.width * (gated ? 3 : 1));
    return out;
}

val b_sinkhorn(struct build *b, val x, int n, int iters, float eps)
{
    b_require(b, n >= 1 && n <= LIMIT_SINKHORN && iters >= 1 && x.width % (n * n) == 0,
              "%d columns as matrices of %d rows, at most %d, in %d steps", x.width, n,
              LIMIT_SINKHORN, iters);
    val out = build_act(b, build_rows(b, x), x.width);
    struct op *op = build_op(b, OP_SINKHORN, out);
    op->in[SINKHORN_x] = x;
    op->p.sinkhorn.n = n;
    op->p.sinkhorn.iters = iters;
    op->p.sinkhorn.eps = eps;
    return out;
}

val b_wkv(struct build *b, val k, val v, int decay, int bonus)
{
    fits(b, v, k.width, "v");
    val out = build_act(b, ROWS_TOKENS, k.width);
    struct op *op = build_op(b, OP_WKV, out);
    op->in[WKV_k] = k;
    op->in[WKV_v] = v;
    op->w[WKV_decay] = decay;
    op->w[WKV_bonus] = bonus;
    op->section = build_section(b, "wkv", SECTION_FIXED, 3 * (int64_t)k.width);
    return out;
}

val b_trapezoid(struct build *b, const struct trapezoid_args *a)
{
    fits(b, a->q, (int64_t)a->heads * a->K, "q");
    fits(b, a->k, (int64_t)a->heads * a->K, "k");
    fits(b, a->v, (int64_t)a->heads * a->V, "v");
    val out = build_act(b, ROWS_TOKENS, a->heads * a->V);
    struct op *op = build_op(b, OP_TRAPEZOID, out);
    val in[] = {a->q, a->k, a->v, a->alpha, a->now, a->before};
    for (int i = 0; i < 6; i++)
        op->in[i] = in[i];
    op->p.trapezoid.heads = a->heads;
    op->p.trapezoid.K = a->K;
    op->p.trapezoid.V = a->V;
    op->section = build_section(b, "Skv", SECTION_FIXED,
                                (int64_t)a->heads * (a->K * a->V + a->K + a->V));
    return out;
}

val b_rotate(struct build *b, val x, val angles, int heads, int head, int parts)
{
    int A = heads > 0 ? angles.width / heads : 0;
    fits(b, x, (int64_t)parts * heads * head, "the rotated vectors");
    b_require(b, 2 * A <= head, "%d angles for a head of %d", A, head);
    struct op *op = build_op(b, OP_ROTATE, x);
    op->in[ROTATE_x] = x;
    op->in[ROTATE_angles] = angles;
    op->p.rotate.heads = heads;
    op->p.rotate.head = head;
    op->p.rotate.angles = A;
    op->p.rotate.parts = parts;
    op->section = build_section(b, "theta", SECTION_FIXED, (int64_t)heads * A);
    return x;
}
