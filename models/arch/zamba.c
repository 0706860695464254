/* Zamba (Zyphra, 2024): Mamba-1 in heads of their own, with one transformer block that several
 * depths share.
 *
 *   Mamba layer:  h += mamba(rms(h))
 *   hybrid layer: t = linear(block(h, e)), e the embedding;  h += mamba(rms(h + t))
 *   block: x = rms([h | e]);  attention over x, 2D wide, scores (d/2)^-1/2;  then rms, then
 *     W_d (gelu(W_g y) (.) W_u y) — without residuals
 *   mamba: x and z are every other row of W_in;  X = silu(conv x);  per head t, B, C = W_x X_h,
 *     dt = softplus(W_dt t + b), scan as in Mamba-1;  y = W_out (all heads (.) silu(z))
 *
 * The block's tensors stand under the first hybrid layer, or under each. */
#include "models/build/build.h"

struct dims {
    int D, inner, heads, P, N, rank, conv, mlp, first;
    bool bias, conv_bias;
    enum activation act;
    struct gqa_args attn;
};

static void even_rows(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)elems;
    memcpy(out, whole + 2 * row * n, (size_t)n * sizeof *out);
}

static void odd_rows(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)elems;
    memcpy(out, whole + (2 * row + 1) * n, (size_t)n * sizeof *out);
}

static void even_elems(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)elems;
    (void)row;
    for (int64_t i = 0; i < n; i++)
        out[i] = whole[2 * i];
}

static void odd_elems(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)row;
    for (int64_t i = 0; i < n && 2 * i + 1 < elems; i++)
        out[i] = whole[2 * i + 1];
}

/* -exp of part `row` of the tensor. */
static void minus_exp(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)elems;
    for (int64_t i = 0; i < n; i++)
        out[i] = -expf(whole[row * n + i]);
}

/* Every other row of in_proj. */
static val half(struct build *b, val x, const struct dims *d, derive_fn *rows, derive_fn *elems)
{
    int w = w_derived_matrix(b, "in_proj.weight", &(struct derived){
        .tensor_rows = 2 * d->inner, .tensor_cols = d->D, .rows = d->inner, .cols = d->D,
        .f = rows});
    int bias = d->bias ? w_derived(b, "in_proj.bias", 2 * d->inner, 0, d->inner, elems) : -1;
    return b_linear_weight(b, x, w, bias);
}

static val head(struct build *b, val X, int h, const struct dims *d)
{
    int R = d->rank, N = d->N, P = d->P, each = R + 2 * N;
    val p = b_linear_part(b, X, "x_proj_weight", NULL, d->heads * each, h * each, each, false);
    val dt = b_linear_part(b, b_slice(p, 0, R), "dt_proj_weight", NULL, d->heads * P, h * P, P,
                           false);
    dt = e_fn(b, EW_SOFTPLUS, e_addw(b, dt, w_vec_row(b, "dt_proj_bias", d->heads, h, P)));
    int64_t part = (int64_t)P * N;
    return b_scan(b, X, dt, b_slice(p, R, N), b_slice(p, R + N, N),
                  w_derived(b, "A_log", d->heads * part, h, part, minus_exp),
                  w_vec_row(b, "D", d->heads, h, P));
}

#define HEADS_MAX 64

static val mamba(struct build *b, val x, const struct dims *d)
{
    val y[HEADS_MAX], z = half(b, x, d, odd_rows, odd_elems);
    val X = half(b, x, d, even_rows, even_elems);
    X = b_conv(b, X, w_filter(b, "conv1d.weight", d->inner, d->conv),
               d->conv_bias ? w_vec(b, "conv1d.bias", d->inner) : -1, d->conv, ACT_SILU);
    for (int h = 0; h < d->heads; h++)
        y[h] = head(b, b_slice(X, h * d->P, d->P), h, d);
    val all = d->heads == 1 ? y[0] : e_cat(b, d->heads, y);
    return b_project(b, e_mul(b, all, e_fn(b, EW_SILU, z)), "out_proj", d->D, d->bias);
}

/* The shared block's prefix, as layer i knows it. */
static void block_of(struct build *b, const struct dims *d, int i, const char *part)
{
    b_prefix(b, "model.layers.%d.shared_transf.", i);
    int owner = b_has(b, "input_layernorm.weight", i == d->first) ? i : d->first;
    b_prefix(b, "model.layers.%d.shared_transf.%s", owner, part);
}

static val block(struct build *b, const struct hybrid *f, val h, val embedding, int i,
                 const struct dims *d)
{
    int wide = d->attn.H * d->attn.d, kv = d->attn.kv * d->attn.d;
    block_of(b, d, i, "");
    val x = b_hybrid_norm(b, f, e_cat(b, 2, (val[]){h, embedding}), "input_layernorm");
    block_of(b, d, i, "self_attn.");
    val q = b_linear(b, x, "q_proj", wide), k = b_linear(b, x, "k_proj", kv);
    x = b_linear(b, b_gqa_core(b, q, k, b_linear(b, x, "v_proj", kv), &d->attn), "o_proj", d->D);
    block_of(b, d, i, "");
    x = b_hybrid_norm(b, f, x, "pre_ff_layernorm");
    block_of(b, d, i, "feed_forward.");
    return b_mlp(b, x, &(struct mlp){.inner = d->mlp, .act = d->act});
}

static bool is_hybrid(struct build *b, int i)
{
    int period = b_count(b, "attn_layer_period", 6), offset = b_count(b, "attn_layer_offset", 4);
    bool usual = i == 2 || (i > 2 && period > 0 && (i - 3) % period == offset);
    return b_layer_type(b, i, usual ? LAYER_HYBRID : LAYER_LINEAR) == LAYER_HYBRID;
}

static void run(struct build *b, const struct hybrid *f, struct dims *d)
{
    val h = b_hybrid_open(b, f), embedding = h;
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        val in = h;
        bool hybrid = is_hybrid(b, i);
        if (hybrid) {
            d->first = d->first < 0 ? i : d->first;
            val t = block(b, f, h, embedding, i, d);
            b_hybrid_layer(b, f, i);
            in = e_add(b, h, b_linear(b, t, "linear", d->D));
        }
        b_hybrid_layer(b, f, i);
        if (hybrid)
            b_into(b, "mamba_decoder.");
        val y = b_hybrid_norm(b, f, in, "input_layernorm");
        b_into(b, "mamba.");
        h = e_add(b, h, mamba(b, y, d));
    }
    b_hybrid_close(b, f, h);
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 76, 1e-5);
    const char *act = cfg_str(b, "hidden_act", "gelu");
    int H = b_count(b, "num_attention_heads", 16), inner = b_times(b, f.D, "mamba_expand", 2);
    struct dims d = {.D = f.D, .inner = inner, .first = -1, .act = activation_parse(act),
                     .heads = b_count(b, "n_mamba_heads", 2), .N = b_count(b, "mamba_d_state", 16),
                     .conv = b_count(b, "mamba_d_conv", 4),
                     .rank = b_auto_int(b, "mamba_dt_rank", (f.D + 15) / 16),
                     .mlp = b_width(b, "intermediate_size", 4 * (int64_t)f.D),
                     .bias = cfg_bool(b, "mamba_proj_bias", false),
                     .conv_bias = cfg_bool(b, "mamba_conv_bias", true)};
    d.attn = (struct gqa_args){.D = f.D, .H = H, .kv = b_count(b, "num_key_value_heads", H),
                               .d = b_count(b, "attention_head_dim", H > 0 ? 2 * f.D / H : 0)};
    d.attn.scale = (float)(1 / sqrt(d.attn.d / 2.0));
    b_same_act(b, "hidden_mamba_act", ACT_SILU);
    b_check_layer_types(b, f.layers);
    cfg_irrelevant(b, "attn_layer_period attn_layer_offset time_step_min time_step_max "
                      "time_step_floor");
    int wide = b_width(b, "attention_hidden_size", 2 * (int64_t)f.D);
    f.last_norm = "final_layernorm";
    f.tied = true;
    if (b_require(b, wide == 2 * f.D, "attention_hidden_size %d is not twice hidden_size %d", wide,
                  f.D) &&
        b_require(b, H > 0 && d.attn.kv > 0 && H % d.attn.kv == 0 && d.attn.d > 0,
                  "%d heads of %d with %d key heads", H, d.attn.d, d.attn.kv) &&
        b_require(b, d.heads > 0 && d.heads <= HEADS_MAX && inner % d.heads == 0,
                  "n_mamba_heads %d of an inner width of %d, at most %d", d.heads, inner,
                  HEADS_MAX) &&
        b_require(b, activation_known(act), "hidden_act \"%s\" is not known", act)) {
        d.P = inner / d.heads;
        run(b, &f, &d);
    }
}

const struct arch arch_zamba = {"zamba", build};
