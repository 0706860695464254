/* Gated DeltaNet (Yang, Kautz, Hatamizadeh: "Gated Delta Networks", 2024).
 *
 *   q, k, v = silu(conv(W x));  q, k := l2 per head;  q *= K^-1/2
 *   beta = sigmoid(W_b x) [x 2];  alpha = exp(-exp(A_log) softplus(W_a x + dt_bias))
 *   S := alpha S;  S += k (beta (v - S^T k))^T;  o = S^T q
 *   y = W_o (rms(o) (.) silu(W_g x))
 *
 * Value head h uses query and key head h / (Hv/H). Layers listed in `attn` are softmax layers. */
#include "models/build.h"

struct dims { int D, H, Hv, K, V, conv; bool gate, use_conv, neg; float eps; };

static val input(struct build *b, val x, const char *name, const char *conv, int width,
                 const struct dims *d)
{
    val y = b_linear(b, x, name, width);
    if (!d->use_conv)
        return e_fn(b, EW_SILU, y);
    return b_conv(b, y, w_vec(b, conv, (int64_t)width * d->conv), -1, d->conv, ACT_SILU);
}

static val mixer(struct build *b, val x, const struct dims *d)
{
    val q = input(b, x, "q_proj", "q_conv1d.weight", d->H * d->K, d);
    val k = input(b, x, "k_proj", "k_conv1d.weight", d->H * d->K, d);
    val v = input(b, x, "v_proj", "v_conv1d.weight", d->Hv * d->V, d);
    q = b_l2(b, q, d->K, (float)(1 / sqrt(d->K)));
    k = b_l2(b, k, d->K, 1);

    val a = b_linear(b, x, "a_proj", d->Hv), beta = b_linear(b, x, "b_proj", d->Hv);
    beta = e_affine(b, e_fn(b, EW_SIGMOID, beta), d->neg ? 2 : 1, 0);
    a = e_fn(b, EW_SOFTPLUS, e_addw(b, a, w_vec(b, "dt_bias", d->Hv)));
    val alpha = e_fn(b, EW_EXP, e_mulw(b, a, w_vec_as(b, "A_log", d->Hv, TENSOR_NEG_EXP)));

    val o = b_delta(b, &(struct delta_args){
        .q = q, .k = k, .v = v, .w = alpha, .a = VIEW_NONE, .b = beta, .k_heads = d->H,
        .d_heads = d->Hv, .state_heads = d->Hv, .K = d->K, .V = d->V, .steps = 1,
        .decay = DECAY_SCALAR, .decay_first = true, .scale = 1});

    val gate = d->gate ? b_linear(b, x, "g_proj", d->Hv * d->V) : VIEW_NONE;
    o = b_gated_norm(b, o, gate, NORM_RMS, d->V, w_vec(b, "o_norm.weight", d->V), -1, d->eps,
                     ACT_SILU, false);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), layers = (int)cfg_int(b, "num_hidden_layers", 21);
    int vocab = (int)cfg_int(b, "vocab_size", 32000), H = (int)cfg_int(b, "num_heads", 6);
    int K = (int)cfg_int(b, "head_dim", 256), inner = (int)b_mlp_width(b, D);
    struct dims d = {
        .D = D, .H = H, .Hv = (int)cfg_int(b, "num_v_heads", H), .K = K,
        .V = (int)(K * cfg_num(b, "expand_v", 2)), .conv = (int)cfg_int(b, "conv_size", 4),
        .gate = cfg_bool(b, "use_gate", true), .use_conv = cfg_bool(b, "use_short_conv", true),
        .neg = cfg_bool(b, "allow_neg_eigval", false), .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    const char *act = cfg_str(b, "hidden_act", "swish");
    cfg_refuse(b, "attnres_block_size");

    b_prefix(b, "model.");
    val h = b_embed(b, "embeddings", vocab, D, 1);
    for (int i = 0; i < layers; i++) {
        b_layer(b, i);
        b_prefix(b, "model.layers.%d.", i);
        val x = b_rms(b, h, "attn_norm", d.eps);
        const struct config *attention = b_hybrid_spec(b, i);
        b_prefix(b, "model.layers.%d.attn.", i);
        h = e_add(b, h, attention ? b_hybrid_attention(b, x, D, attention) : mixer(b, x, &d));
        b_prefix(b, "model.layers.%d.", i);
        x = b_rms(b, h, "mlp_norm", d.eps);
        h = e_add(b, h, b_swiglu(b, x, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", inner, act));
    }
    b_prefix(b, "model.");
    h = b_rms(b, b_gather(b, h), "norm", d.eps);
    b_prefix(b, "%s", "");
    b_logits(b, h, "lm_head", cfg_bool(b, "tie_word_embeddings", false));
}

const struct arch arch_gated_deltanet = {"gated_deltanet", build};
