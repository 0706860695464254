/* Grouped softmax attention of production models. Thread: loading. */
#include "models/build/build_int.h"

struct gqa_args b_gqa_read(struct build *b, int heads, int kv)
{
    int D = b_width(b, "hidden_size", 2048), H = b_count(b, "num_attention_heads", heads);
    struct gqa_args a = {.D = D, .H = H, .kv = b_count(b, "num_key_value_heads", kv ? kv : H),
                         .d = b_count(b, "head_dim", H > 0 ? D / H : 0),
                         .bias = cfg_bool(b, "attention_bias", false)};
    a.out_bias = a.bias;
    if (!b_require(b, a.H > 0 && a.kv > 0 && a.H % a.kv == 0 && a.d > 0 && a.d <= 2 * ROPE_PAIRS,
                   "%d heads of %d with %d key heads", a.H, a.d, a.kv))
        a.H = a.kv = a.d = 1;
    a.scale = (float)(1 / sqrt(a.d));
    return a;
}

void w_head_rows(struct build *b, int w, const char *name, int heads, int each, int first, int d,
                 int at)
{
    for (int h = 0; h < heads; h++)
        w_rows(b, w, name, (int64_t)heads * each, (int64_t)h * each + first, d, at + (int64_t)h * d,
               false);
}

val b_linear_heads(struct build *b, val x, const char *name, int heads, int each, int first, int d)
{
    char weight[LIMIT_TENSOR_NAME];
    snprintf(weight, sizeof weight, "%s.weight", name);
    int w = w_matrix(b, weight, (int64_t)heads * d, x.width);
    w_head_rows(b, w, weight, heads, each, first, d, 0);
    return b_linear_weight(b, x, w, -1);
}

static val normed(struct build *b, val x, const char *name, const struct gqa_args *a)
{
    char weight[LIMIT_TENSOR_NAME];
    if (!name)
        return x;
    snprintf(weight, sizeof weight, "%s.weight", name);
    int n = a->whole_norm ? x.width : a->d;
    return b_norm(b, x, NORM_RMS, n, w_vec_as(b, weight, n, a->norm), -1, a->eps, 1);
}

val b_gqa_core(struct build *b, val q, val k, val v, const struct gqa_args *a)
{
    q = b_rotary(b, normed(b, q, a->q_norm, a), a->rope);
    k = b_rotary(b, normed(b, k, a->k_norm, a), a->rope);
    return b_attention(b, &(struct attention_args){
        .q = q, .k = k, .v = v, .heads = a->H, .kv_heads = a->kv, .dk = a->d,
        .dv = a->d, .window = a->window, .scale = a->scale,
        .kind = a->chosen.width > 0 ? OP_INDEXED : OP_ATTENTION, .asked = a->chosen,
        .block = a->block, .count = a->chosen.width});
}

/* Queries and their gates, per head next to each other in q_proj; columns [first, first + d). */
static val gated_part(struct build *b, val x, const struct gqa_args *a, int first)
{
    if (!a->bias || b_failed(b))
        return b_linear_heads(b, x, "q_proj", a->H, 2 * a->d, first, a->d);
    float *at = mem_array((size_t)a->H * (size_t)a->d, sizeof *at);
    if (!at) {
        b_fail(b, E_NOMEM, "no memory for %d heads", a->H);
        return VIEW_NONE;
    }
    for (int i = 0; i < a->H * a->d; i++)
        at[i] = (float)(i / a->d * 2 * a->d + first + i % a->d);
    val both = b_linear_bias(b, x, "q_proj", 2 * a->H * a->d);
    val y = b_columns(b, both, at, a->H * a->d);
    mem_free(at);
    return y;
}

val b_gqa(struct build *b, val x, const struct gqa_args *a)
{
    val q, gate = VIEW_NONE;
    if (a->gate) {
        q = gated_part(b, x, a, 0);
        gate = gated_part(b, x, a, a->d);
    } else {
        q = b_project(b, x, "q_proj", a->H * a->d, a->bias);
    }
    val k = b_project(b, x, "k_proj", a->kv * a->d, a->bias);
    val v = b_project(b, x, "v_proj", a->kv * a->d, a->bias);
    val o = b_gqa_core(b, q, k, v, a);
    if (a->gate)
        o = e_mul(b, o, e_fn(b, EW_SIGMOID, gate));
    return b_project(b, o, a->out ? a->out : "o_proj", a->D, a->out_bias);
}
