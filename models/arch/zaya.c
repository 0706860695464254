/* ZAYA1 (Zyphra, 2026): attention behind convolutions over queries and keys (compressed
 * convolutional attention), one expert of many a token, or none.
 *
 *   q, k = W x;  m = (q + k of its group) / 2;  c = G conv(q|k): a short convolution per channel,
 *     then one of two tokens per head
 *   q := unit(c_q + m) d^1/2;  k := unit(c_k + mean of m over the group) d^1/2 temp
 *   then rotation;  v = [W_1 x_t | W_2 x_{t-1}];  attention, all or a window
 *   r = W_d x + s (.) r of the layer before;  expert = best of softmax(MLP(rms(r))) + bias; one
 *     more class than experts means none
 *   every residual: h := (y + b) (.) s + (h + b') (.) s' */
#include "models/build/build.h"

struct dims {
    int D, H, kv, d, conv, window, router;
    float eps;
    struct rope full, local;
    struct moe_args experts;
    val state; /* of the last layer's router */
};

static void tap_before(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)elems;
    for (int64_t i = 0; i < n; i++)
        out[i] = whole[2 * (row * n + i)];
}

static void tap_now(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)elems;
    for (int64_t i = 0; i < n; i++)
        out[i] = whole[2 * (row * n + i) + 1];
}

/* One tap of the convolution per head: a block for each. */
static val tap(struct build *b, val x, const struct dims *d, derive_fn *f)
{
    int heads = d->H + d->kv, rows = heads * d->d;
    int w = w_derived_matrix(b, "conv_qk_grouped.weight", &(struct derived){
        .tensor_rows = rows, .tensor_cols = 2 * (int64_t)d->d, .rows = rows, .cols = d->d, .f = f});
    return b_blocks(b, x, heads, w, -1, d->d, false);
}

static val convolved(struct build *b, val x, const struct dims *d)
{
    int n = (d->H + d->kv) * d->d;
    int bias = w_vec(b, "conv_qk_depthwise.bias", n);
    val y = b_conv(b, x, w_filter(b, "conv_qk_depthwise.weight", n, d->conv), bias, d->conv,
                   ACT_NONE);
    /* before token 0 stand zeros, of which the first convolution made its bias */
    val start = e_mul(b, e_addw(b, e_affine(b, y, 0, 0), bias), b_first(b));
    val before = e_add(b, b_shift(b, y), start);
    val out = e_add(b, tap(b, y, d, tap_now), tap(b, before, d, tap_before));
    return e_addw(b, out, w_vec(b, "conv_qk_grouped.bias", n));
}

#define WIDE_MAX 16384 /* all heads of queries; published: 1,024 */

/* Mean of each group's heads. */
static val group_mean(struct build *b, val m, const struct dims *d)
{
    int each = d->H / d->kv, wide = d->kv * d->d;
    float at[WIDE_MAX];
    if (each == 1)
        return m;
    for (int i = 0; i < d->H * d->d; i++) { /* the j-th head of every group next to each other */
        int j = i / wide, g = i % wide / d->d;
        at[i] = (float)((g * each + j) * d->d + i % d->d);
    }
    val all = b_columns(b, m, at, d->H * d->d), sum = b_slice(all, 0, wide);
    for (int j = 1; j < each; j++)
        sum = e_add(b, sum, b_slice(all, j * wide, wide));
    return e_affine(b, sum, 1.0f / (float)each, 0);
}

#define UNIT_EPS 1.1920929e-7f

static val unit(struct build *b, val x, const struct dims *d)
{
    return b_norm(b, x, NORM_L2MAX, d->d, -1, -1, UNIT_EPS, sqrtf((float)d->d));
}

static val attention(struct build *b, val x, int layer, bool local, const struct dims *d)
{
    int wide = d->H * d->d, kv = d->kv * d->d;
    const struct rope *rope = local ? &d->local : &d->full;
    b_prefix(b, "model.layers.%d.self_attn.qkv_proj.", layer);
    val q = b_linear(b, x, "q_proj", wide), k = b_linear(b, x, "k_proj", kv);
    val now = b_linear(b, x, "v_proj_current", kv / 2);
    val before = b_shift(b, b_linear(b, x, "v_proj_delayed", kv / 2));
    val c = convolved(b, e_cat(b, 2, (val[]){q, k}), d);
    val m = e_affine(b, e_add(b, q, b_repeat_heads(b, k, d->kv, d->H)), 0.5f, 0);
    q = unit(b, e_add(b, b_slice(c, 0, wide), m), d);
    k = unit(b, e_add(b, b_slice(c, wide, kv), group_mean(b, m, d)), d);
    b_prefix(b, "model.layers.%d.self_attn.", layer);
    k = e_mul_group_w(b, k, w_vec(b, "qk_norm.temp", d->kv));
    val o = b_attention(b, &(struct attention_args){
        .q = b_rotary(b, q, rope), .k = b_rotary(b, k, rope),
        .v = e_cat(b, 2, (val[]){now, before}), .heads = d->H, .kv_heads = d->kv, .dk = d->d,
        .dv = d->d, .window = local ? d->window : 0, .scale = (float)(1 / sqrt(d->d))});
    return b_linear(b, o, "o_proj", d->D);
}

/* The chosen expert and its weight; the class beyond the last one is none. */
static val route(struct build *b, val x, int layer, struct dims *d)
{
    int n = d->experts.n;
    val r = b_linear_bias(b, x, "gate.down_proj", d->router);
    if (layer > 0)
        r = e_maddw(b, r, d->state, w_vec(b, "gate.router_states_scale", d->router));
    d->state = r;
    val y = b_rms(b, r, "gate.router_mlp.norm", d->eps);
    y = e_act(b, ACT_GELU_ERF, b_linear_bias(b, y, "gate.router_mlp.fc1", d->router));
    y = e_act(b, ACT_GELU_ERF, b_linear_bias(b, y, "gate.router_mlp.fc2", d->router));
    y = b_softmax(b, b_linear(b, y, "gate.router_mlp.out_proj", n + 1), n + 1, 1);
    return b_topk(b, y, &(struct topk_args){
        .n = n + 1, .k = 1, .n_groups = 1, .topk_groups = 1, .none = 1, .scale = 1,
        .bias = w_vec(b, "gate.balancing_biases", n + 1)});
}

/* (x + b) (.) s */
static val scaled(struct build *b, val x, const char *bias, const char *scale)
{
    return e_mulw(b, e_addw(b, x, w_vec(b, bias, x.width)), w_vec(b, scale, x.width));
}

static val residual(struct build *b, val h, val y, int layer, const char *name)
{
    b_prefix(b, "model.layers.%d.%s.", layer, name);
    return e_add(b, scaled(b, y, "hidden_states_bias", "hidden_states_scale"),
                 scaled(b, h, "residual_bias", "residual_scale"));
}

static bool is_local(struct build *b, int layer)
{
    const char *type = cfg_has(b, "layer_types") ? config_str_at(cfg(b), "layer_types", layer,
                                                                 b_err(b)) : "hybrid";
    bool local = type && !strcmp(type, "hybrid_sliding");
    b_require(b, local || (type && !strcmp(type, "hybrid")),
              "layer_types[%d] \"%s\" is not hybrid or hybrid_sliding", layer, type ? type : "");
    return local;
}

static void run(struct build *b, const struct hybrid *f, struct dims *d)
{
    val h = b_hybrid_open(b, f);
    h = scaled(b, h, "input_hidden_states_bias", "input_hidden_states_scale");
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        b_hybrid_layer(b, f, i);
        val y = b_hybrid_norm(b, f, h, "input_layernorm");
        y = attention(b, y, i, is_local(b, i), d);
        h = residual(b, h, y, i, "post_attention_residual_scale");
        b_hybrid_layer(b, f, i);
        y = b_hybrid_norm(b, f, h, "post_attention_layernorm");
        b_into(b, "mlp.");
        y = b_moe_chosen(b, y, route(b, y, i, d), &d->experts);
        h = residual(b, h, y, i, "post_mlp_residual_scale");
    }
    b_hybrid_close(b, f, h);
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 40, 1e-5);
    struct dims d = {.D = f.D, .eps = f.eps, .H = b_count(b, "num_attention_heads", 8),
                     .kv = b_count(b, "num_key_value_heads", 2), .d = b_count(b, "head_dim", 128),
                     .conv = b_count(b, "cca_time0", 2), .state = VIEW_NONE,
                     .window = (int)cfg_int(b, "sliding_window", 0),
                     .router = b_width(b, "router_hidden_size", 256)};
    d.experts = (struct moe_args){
        .n = b_count(b, "num_experts", 16), .k = 1, .inner = b_width(b, "moe_intermediate_size",
                                                                    2048),
        .experts = "experts", .gate = "gate_proj", .up = "up_proj", .down = "down_proj",
        .packed_in = "experts.gate_up_proj", .packed_out = "experts.down_proj", .act = ACT_SILU};
    b_require(b, cfg_int(b, "num_experts_per_tok", 1) == 1 && cfg_int(b, "cca_time1", 2) == 2,
              "num_experts_per_tok is not 1, or cca_time1 not 2");
    b_rope_read_of(b, &d.full, "hybrid", d.d, 5e6, 0.5, "default");
    b_rope_read_of(b, &d.local, "hybrid_sliding", d.d, 10000, 0.5, "default");
    b_same_act(b, "hidden_act", ACT_SILU);
    b_check_layer_types(b, f.layers);
    cfg_refuse(b, "attention_bias");
    cfg_refuse(b, "lm_head_bias");
    f.tied = true;
    if (b_require(b, d.H > 0 && d.kv > 0 && d.H % d.kv == 0 && d.kv * d.d % 2 == 0 &&
                         d.d % BLOCK_ROWS == 0 && d.d > 0 && d.H <= WIDE_MAX / d.d,
                  "%d heads of %d with %d key heads; heads must be multiples of %d wide, %d in all",
                  d.H, d.d, d.kv, BLOCK_ROWS, WIDE_MAX))
        run(b, &f, &d);
}

const struct arch arch_zaya = {"zaya", build};
