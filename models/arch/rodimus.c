/* Rodimus and Rodimus+ (He et al. 2024).
 *
 *   u = W_up x, z = W_gate x;  c = silu(conv u + b);  q, k = W c;  v = sigmoid(low rank of u) (.) u
 *   s = softplus(W_g c), tau = sigmoid(W_tau c);  a = exp(-s tau);  k := k / |k| (.) s^tau
 *   S = diag(a) S + k v^T (one head);  o = S^T q / sqrt(E)
 *   y = W_down rms((o + w (.) c) (.) silu(z))
 *
 * Rodimus+ adds windowed attention with one key head, whose result only feeds the MLP:
 *   h += mixer(rms h);  s = attention(rms h);  h += mlp(rms(h + s))
 *
 * Layers that `attn` lists are plain in both: h += attention(rms h);  h += mlp(rms h). */
#include "models/build/build.h"

struct dims {
    int D, d, E, R, conv, inner, heads, window;
    float eps, k_eps;
    bool plus, bias, qk_norm;
    double theta;
    const char *act;
};

static val mixer(struct build *b, val x, const struct dims *d)
{
    val z = b_linear(b, x, "gate_proj", d->d), u = b_linear(b, x, "up_proj", d->d);
    val c = b_conv(b, u, w_filter(b, "short_conv.weight", d->d, d->conv),
                   w_vec(b, "short_conv.bias", d->d), d->conv, ACT_SILU);
    val gate = b_low_rank(b, u, "i_gate_proj", d->R, d->d, true);
    val q = b_linear(b, c, "q_proj", d->E), k = b_linear(b, c, "k_proj", d->E);
    val s = b_linear_bias(b, c, "g_gate_proj", d->E);
    val tau = b_linear_bias(b, c, "tau_gate_proj", d->E);
    val v = e_mul(b, e_fn(b, EW_SIGMOID, gate), u);
    k = b_norm(b, k, NORM_L2MAX, d->E, -1, -1, d->k_eps, 1);
    s = e_fn(b, EW_SOFTPLUS, s);
    tau = e_fn(b, EW_SIGMOID, tau);
    val a = e_fn(b, EW_EXP, e_fn(b, EW_NEG, e_mul(b, s, tau)));
    k = e_mul(b, k, e_fn(b, EW_EXP, e_mul(b, tau, e_fn(b, EW_LOG, s))));
    val o = b_decay(b, &(struct decay_args){
        .q = q, .k = k, .v = v, .d = a, .state_heads = 1, .K = d->E, .V = d->d, .decay = DECAY_KEY,
        .scale = (float)(1 / sqrt(d->E))});
    val y = e_add(b, o, e_mulw(b, c, w_vec(b, "residual_weight", d->d)));
    y = b_gated_norm(b, y, z, NORM_RMS, d->d, w_vec(b, "activation_norm.weight", d->d), -1, d->eps,
                     ACT_SILU, true);
    return b_linear(b, y, "down_proj", d->D);
}

/* One key head, and values of every head. */
static val attention(struct build *b, val x, const struct dims *d)
{
    int n = d->D / d->heads;
    return b_softmax_attention(b, x, &(struct softmax_dims){
        .D = d->D, .H = d->heads, .kv = 1, .v_heads = d->heads, .d = n, .bias = d->bias,
        .qk_norm = d->qk_norm, .theta = d->theta, .window = d->window,
        .scale = (float)(1 / sqrt(n))});
}

static val mlp(struct build *b, val x, const struct dims *d)
{
    return b_swiglu(b, x, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", d->inner, d->act);
}

static val plain(struct build *b, val h, int i, const struct config *spec, const struct dims *d)
{
    val x = b_rms(b, h, "attn_norm", d->eps);
    b_into(b, "attn.");
    h = e_add(b, h, b_hybrid_attention(b, x, d->D, spec));
    b_prefix(b, "model.layers.%d.", i);
    return e_add(b, h, mlp(b, b_rms(b, h, "mlp_norm", d->eps), d));
}

static val plus(struct build *b, val h, int i, const struct dims *d)
{
    b_prefix(b, "model.layers.%d.", i);
    val x = b_rms(b, h, "ska_attn_norm", d->eps);
    b_prefix(b, "model.layers.%d.ska_attn.", i);
    val s = attention(b, x, d);
    b_prefix(b, "model.layers.%d.", i);
    x = b_rms(b, e_add(b, h, s), "mlp_norm", d->eps);
    return e_add(b, h, mlp(b, x, d));
}

static val layer(struct build *b, val h, int i, const struct dims *d)
{
    const struct config *spec = b_hybrid_spec(b, i);
    b_layer(b, i);
    b_prefix(b, "model.layers.%d.", i);
    if (spec)
        return plain(b, h, i, spec, d);
    val x = b_rms(b, h, "mixer_norm", d->eps);
    b_into(b, "mixer.");
    h = e_add(b, h, mixer(b, x, d));
    return d->plus ? plus(b, h, i, d) : h;
}

static void read_attention(struct build *b, struct dims *d)
{
    const struct config *c = config_obj(cfg(b), "ska_attn", b_err(b));
    if (!b_require(b, c != NULL, "rodimus_plus needs ska_attn"))
        return;
    d->heads = (int)config_int(c, "num_heads", 16, 1, 4096, b_err(b));
    d->window = (int)config_int(c, "window_size", 1024, 1, INT32_MAX, b_err(b));
    d->bias = config_bool(c, "qkv_bias", false, b_err(b));
    d->qk_norm = config_bool(c, "qk_norm", false, b_err(b));
    d->theta = config_num(c, "rope_theta", 10000, b_err(b));
    b_leave_unread(b, c, "ska_attn.");
    b_require(b, d->D % d->heads == 0, "ska_attn.num_heads %d of width %d", d->heads, d->D);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), layers = (int)cfg_int(b, "num_hidden_layers", 24);
    const char *type = cfg_str(b, "block_type", "rodimus_plus");
    struct dims d = {.D = D,
                     .d = (2 * D + 7) / 8 * 8,
                     .E = (int)cfg_int(b, "expand_ratio", 64),
                     .R = D / 64 > 16 ? D / 64 : 16,
                     .conv = (int)cfg_int(b, "conv_size", 4),
                     .eps = (float)cfg_num(b, "norm_eps", 1e-5),
                     .k_eps = (float)cfg_num(b, "k_norm_eps", 1e-12),
                     .plus = !strcmp(type, "rodimus_plus"),
                     .act = cfg_str(b, "hidden_act", "swish"),
                     .heads = 1};
    b_require(b, d.plus || !strcmp(type, "rodimus"), "block_type \"%s\" is not known", type);
    if (!cfg_is_str(b, "input_gate_low_rank", "auto"))
        d.R = (int)cfg_int(b, "input_gate_low_rank", d.R);
    int inner = (int)(cfg_num(b, "hidden_ratio", 4.0 / 3) * D);
    d.inner = (int)cfg_int(b, "intermediate_size", (inner + 7) / 8 * 8);
    cfg_refuse(b, "attnres_block_size");
    b_require(b, cfg_bool(b, "use_short_conv", true), "use_short_conv false");
    cfg_irrelevant(b, "residual_in_fp32 block_residual_in_fp32 ska_attn "
                      "rescale_prenorm_residual");
    if (d.plus)
        read_attention(b, &d);

    b_prefix(b, "model.");
    val h = b_embed(b, "embeddings", (int)cfg_int(b, "vocab_size", 126464), D, 1);
    for (int i = 0; i < layers && !b_failed(b); i++)
        h = layer(b, h, i, &d);
    b_prefix(b, "model.");
    h = b_rms(b, b_gather(b, h), "norm", d.eps);
    b_prefix(b, "%s", "");
    b_logits(b, h, "lm_head", cfg_bool(b, "tie_word_embeddings", true));
}

const struct arch arch_rodimus = {"rodimus", build};
