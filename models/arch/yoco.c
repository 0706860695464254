/* YOCO (Sun et al. 2024): half of the layers keep a small state, the other half read one shared
 * cache of keys and values built once from the middle.
 *
 *   h = sqrt(D) e;  self layers: Gated DeltaNet, gated retention or windowed attention
 *   k, v = W rms(h), k rotated;  cross layers: attention over that cache */
#include "models/build/build.h"

struct cross { int H, kv, d; double theta; bool yoco_freq, qk_norm; };
struct self { const char *type; struct gdn_args gdn; int H, kv, d, window; double theta, normalizer;
              bool bias, yoco_freq; };

/* Interleaved rotation; two rules for the frequencies. */
static val turn(struct build *b, val x, int d, double theta, bool yoco_freq)
{
    float inv[512];
    for (int i = 0; i < d / 2 && i < 512; i++)
        inv[i] = (float)pow(theta, yoco_freq ? -i / (d / 2 - 1.0) : -2.0 * i / d);
    return b_rope_with(b, x, d, d, inv, true, 1);
}

static val retention(struct build *b, val x, const struct self *s, int D, float eps)
{
    int d = D / s->H;
    val q = b_linear(b, x, "q_proj", D), k = b_linear(b, x, "k_proj", D),
        v = b_linear(b, x, "v_proj", D);
    val g = b_linear(b, x, "g_proj", D), gk = b_linear(b, x, "gk_proj", s->H);
    q = turn(b, q, d, s->theta, s->yoco_freq);
    k = turn(b, k, d, s->theta, s->yoco_freq);
    val a = e_fn(b, EW_LOGSIGMOID, gk);
    a = e_fn(b, EW_EXP, e_affine(b, a, (float)(1 / s->normalizer), 0));
    val o = b_decay(b, &(struct decay_args){
        .q = q, .k = k, .v = v, .d = a, .state_heads = s->H, .K = d, .V = d, .decay = DECAY_SCALAR,
        .scale = (float)(1 / sqrt(d))});
    o = b_gated_norm(b, o, g, NORM_RMS, d, -1, -1, eps, ACT_SILU, false);
    return b_linear(b, o, "o_proj", D);
}

static val window(struct build *b, val x, const struct self *s, int D)
{
    int d = D / s->H;
    return b_softmax_attention(b, x, &(struct softmax_dims){
        .D = D, .H = s->H, .kv = s->kv, .d = d, .bias = s->bias, .theta = s->theta,
        .window = s->window, .scale = (float)(1 / sqrt(d))});
}

static struct self read_self(struct build *b, int D, float eps)
{
    const struct config *c = config_obj(cfg(b), "self_decoder_attn", b_err(b));
    struct self s = {.type = "", .H = 1};
    if (!b_require(b, c != NULL, "self_decoder_attn is missing"))
        return s;
    s.type = config_str(c, "type", "gated_deltanet", b_err(b));
    s.H = (int)config_int(c, "num_heads", 6, 1, 4096, b_err(b));
    s.kv = (int)config_int(c, "num_v_heads", s.H, 1, 4096, b_err(b));
    s.window = (int)config_int(c, "window_size", 0, 0, INT32_MAX, b_err(b));
    s.bias = config_bool(c, "qkv_bias", false, b_err(b));
    s.theta = config_num(c, "rope_theta", 10000, b_err(b));
    s.normalizer = config_num(c, "gate_logit_normalizer", 16, b_err(b));
    s.yoco_freq = !strcmp(config_str(c, "rope_inv_freq", "fla", b_err(b)), "yoco");
    int K = (int)config_int(c, "head_dim", 256, 1, 4096, b_err(b));
    bool conv = config_bool(c, "use_short_conv", true, b_err(b));
    s.gdn =
        (struct gdn_args){.D = D,
                          .H = s.H,
                          .Hv = s.kv,
                          .K = K,
                          .V = (int)(K * config_num(c, "expand_v", 2, b_err(b))),
                          .conv = conv ? (int)config_int(c, "conv_size", 4, 1, 64, b_err(b)) : 0,
                          .gate = config_bool(c, "use_gate", true, b_err(b)),
                          .neg = config_bool(c, "allow_neg_eigval", false, b_err(b)),
                          .eps = eps};
    return s;
}

static struct cross read_cross(struct build *b, int D)
{
    const struct config *c = config_obj(cfg(b), "cross_decoder_attn", b_err(b));
    struct cross x = {.H = 1, .kv = 1, .d = 1};
    if (!b_require(b, c != NULL, "cross_decoder_attn is missing"))
        return x;
    x.H = (int)config_int(c, "num_heads", 8, 1, 4096, b_err(b));
    x.kv = (int)config_int(c, "num_kv_heads", x.H, 1, 4096, b_err(b));
    x.theta = config_num(c, "rope_theta", 10000, b_err(b));
    x.yoco_freq = !strcmp(config_str(c, "rope_inv_freq", "fla", b_err(b)), "yoco");
    x.qk_norm = config_bool(c, "qk_norm", false, b_err(b));
    bool bias = config_bool(c, "qkv_bias", false, b_err(b));
    x.d = D / x.H;
    b_require(b, D % x.H == 0 && x.H % x.kv == 0 && x.d <= 1024 && x.d > 3 && !bias,
              "cross_decoder_attn: %d heads of %d, %d key heads, biases are not supported", x.H,
              x.d, x.kv);
    return x;
}

static val self_mixer(struct build *b, val x, const struct self *s, int D, float eps)
{
    if (!strcmp(s->type, "gated_deltanet"))
        return b_gdn(b, x, &s->gdn);
    if (!b_require(b, D % s->H == 0 && D / s->H <= 1024 && D / s->H > 3, "%d heads of width %d",
                   s->H, D))
        return VIEW_NONE;
    if (!strcmp(s->type, "gated_retention"))
        return retention(b, x, s, D, eps);
    b_require(b, !strcmp(s->type, "swa"), "self_decoder_attn.type \"%s\" is not known", s->type);
    return window(b, x, s, D);
}

static val mlp(struct build *b, val h, const char *stack, int i, int inner, float eps)
{
    b_prefix(b, "model.%s.%d.", stack, i);
    val x = b_rms(b, h, "mlp_norm", eps);
    return e_add(b, h, b_swiglu(b, x, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", inner,
                                cfg_str(b, "hidden_act", "swish")));
}

static val cross_layer(struct build *b, val h, int i, struct attention_args *kv,
                       const struct cross *c, int *handle, float eps)
{
    b_prefix(b, "model.cross_layers.%d.", i);
    val x = b_rms(b, h, "attn_norm", eps);
    b_prefix(b, "model.cross_layers.%d.attn.", i);
    val q = b_linear(b, x, "q_proj", c->H * c->d);
    if (c->qk_norm)
        q = b_norm(b, q, NORM_RMS, c->d, w_vec(b, "q_norm.weight", c->d), -1, 1e-5f, 1);
    kv->q = turn(b, q, c->d, c->theta, c->yoco_freq);
    kv->shared = *handle;
    kv->share = *handle ? NULL : handle;
    return e_add(b, h, b_linear(b, b_attention(b, kv), "o_proj", h.width));
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), layers = (int)cfg_int(b, "num_hidden_layers", 24);
    int first = (int)cfg_int(b, "num_self_decoder_layers", layers / 2), handle = 0;
    int inner = (int)b_mlp_width(b, D);
    float eps = (float)cfg_num(b, "norm_eps", 1e-6);
    struct self s = read_self(b, D, eps);
    struct cross c = read_cross(b, D);
    cfg_refuse(b, "attnres_block_size");
    cfg_irrelevant(b, "attn elementwise_affine prefill_last_token_only");
    b_prefix(b, "model.");
    val h = b_embed(b, "embeddings", (int)cfg_int(b, "vocab_size", 32000), D, (float)sqrt(D));
    for (int i = 0; i < first && !b_failed(b); i++) {
        b_layer(b, i);
        b_prefix(b, "model.self_layers.%d.", i);
        val x = b_rms(b, h, "attn_norm", eps);
        b_prefix(b, "model.self_layers.%d.attn.", i);
        h = mlp(b, e_add(b, h, self_mixer(b, x, &s, D, eps)), "self_layers", i, inner, eps);
    }
    b_prefix(b, "model.shared_kv_builder.");
    val x = b_rms(b, h, "kv_norm", eps);
    struct attention_args kv = {.heads = c.H, .kv_heads = c.kv, .dk = c.d, .dv = c.d,
                                .scale = (float)(1 / sqrt(c.d))};
    kv.k = b_linear(b, x, "k_proj", c.kv * c.d);
    kv.v = b_linear(b, x, "v_proj", c.kv * c.d);
    kv.k = turn(b, kv.k, c.d, c.theta, c.yoco_freq);
    for (int i = 0; i < layers - first && !b_failed(b); i++) {
        b_layer(b, first + i);
        h = cross_layer(b, h, i, &kv, &c, &handle, eps);
        h = mlp(b, h, "cross_layers", i, inner, eps);
    }
    kv.shared = handle;
    if (handle)
        b_attention_keep(b, &kv);
    b_prefix(b, "model.");
    h = b_rms(b, b_gather(b, h), "norm", eps);
    b_prefix(b, "%s", "");
    b_logits(b, h, "lm_head", cfg_bool(b, "tie_word_embeddings", false));
}

const struct arch arch_yoco = {"yoco", build};
