/* Mixtures of experts: one matrix holds all experts' rows, a row of the batch multiplies those of
 * the experts it chose. Thread: loading. */
#include "models/build/build_int.h"

val b_packed_glu(struct build *b, val x, const char *in, const char *out, int inner,
                 enum activation act)
{
    val u = b_linear(b, x, in, 2 * inner);
    val y = e_mul(b, e_act(b, act, b_slice(u, 0, inner)), b_slice(u, inner, inner));
    return b_linear(b, y, out, x.width);
}

/* All experts' matrices of one kind, [rows, cols] each. Packed: rows [first, first + rows) of each
 * expert's `each` rows. */
struct stack { const char *packed, *name; int rows, cols, each, first; };

static int stacked(struct build *b, const struct moe_args *a, const struct stack *s)
{
    char name[LIMIT_TENSOR_NAME];
    int64_t apart = b_padded(s->rows);
    bool packed = s->packed && b_has(b, s->packed, false);
    snprintf(name, sizeof name, "%s.0.%s.weight", a->experts, s->name);
    int w = w_matrix(b, packed ? s->packed : name, (int64_t)a->n * apart, s->cols);
    for (int e = 0; e < a->n && !b_failed(b); e++) {
        snprintf(name, sizeof name, "%s.%d.%s.weight", a->experts, e, s->name);
        if (packed)
            w_rows(b, w, s->packed, (int64_t)a->n * s->each, (int64_t)e * s->each + s->first,
                   s->rows, e * apart, false);
        else
            w_rows(b, w, name, s->rows, 0, s->rows, e * apart, false);
    }
    return w;
}

/* Indices of the chosen experts, then their weights. */
static val route(struct build *b, val x, const struct moe_args *a)
{
    val s = b_linear(b, x, a->router, a->n);
    s = a->sigmoid ? e_fn(b, EW_SIGMOID, s) : b_softmax(b, s, a->n, 1);
    return b_topk(b, s,
                  &(struct topk_args){.n = a->n,
                                      .k = a->k,
                                      .n_groups = MAX(1, a->n_groups),
                                      .topk_groups = MAX(1, a->topk_groups),
                                      .bias = a->bias ? w_vec(b, a->bias, a->n) : -1,
                                      .norm = a->norm,
                                      .eps = a->eps,
                                      .scale = a->scale != 0 ? a->scale : 1});
}

static bool sizes_fit(struct build *b, const struct moe_args *a)
{
    int groups = MAX(1, a->n_groups), open = MAX(1, a->topk_groups);
    return !b_failed(b) &&
           b_require(b, a->n > 0 && a->k > 0 && a->k <= a->n, "%d of %d experts", a->k, a->n) &&
           b_require(b, a->n_groups == 0 || a->topk_groups > 0, "topk_group 0 of %d", groups) &&
           b_require(b, a->n % groups == 0 && open <= groups && a->k <= a->n / groups * open,
                     "%d of %d expert groups for %d of %d experts", open, groups, a->k, a->n) &&
           b_require(b, a->inner > 0, "experts of width %d", a->inner);
}

val b_moe_chosen(struct build *b, val x, val chosen, const struct moe_args *a)
{
    int I = a->inner, D = x.width, parts = a->gate ? 2 : 1, wide = b_padded(I), apart = b_padded(D);
    if (!sizes_fit(b, a))
        return VIEW_NONE;
    val gate = VIEW_NONE;
    if (a->gate)
        gate = b_experts(b, x, chosen, a->k, stacked(b, a, &(struct stack){
            a->packed_in, a->gate, I, D, 2 * I, 0}), wide, false);
    val h = b_experts(b, x, chosen, a->k, stacked(b, a, &(struct stack){
        a->packed_in, a->up, I, D, parts * I, (parts - 1) * I}), wide, false);
    if (a->limit > 0 && a->gate) {
        gate = e_min(b, gate, a->limit);
        h = e_max(b, e_min(b, h, a->limit), -a->limit);
    }
    h = a->gate ? e_mul(b, e_act(b, a->act, gate), h) : e_act(b, a->act, h);
    h = b_cut(b, h, a->k, I);
    h = e_mul(b, h, b_slice(chosen, a->k, a->k)); /* one weight per slot of I columns */
    val each = b_experts(b, h, chosen, a->k, stacked(b, a, &(struct stack){
        a->packed_out, a->down, D, I, D, 0}), apart, true);
    val sum = b_slice(each, 0, D);
    for (int j = 1; j < a->k; j++)
        sum = e_add(b, sum, b_slice(each, j * apart, D));
    return sum;
}

val b_moe_routed(struct build *b, val x, val router_input, const struct moe_args *a)
{
    return sizes_fit(b, a) ? b_moe_chosen(b, x, route(b, router_input, a), a) : VIEW_NONE;
}

val b_moe(struct build *b, val x, const struct moe_args *a)
{
    return b_moe_routed(b, x, x, a);
}
