/* LFM3 (Liquid AI, 2026): LFM2's gated short convolutions between windowed and full attention, each
 * with its own rotation; a norm behind every sub-layer, and a gate per head.
 *
 *   h += rms(mixer(rms(h)));  h += rms(W_2 (silu(W_1 y) (.) W_3 y)), y = rms(h)
 *   convolution: B, C, X = W_in x;  W_out (C (.) conv(B (.) X))
 *   attention: rms per head of q and k, then rotation; o_h sigmoid(g_h), g = W_g x */
#include "models/build/build.h"

struct dims {
    int D, conv, inner;
    bool conv_bias, sandwich, gate;
    struct gqa_args full, window;
    struct rope full_rope, window_rope;
    const struct hybrid *frame;
};

static val short_conv(struct build *b, val x, const struct dims *d)
{
    val u = b_project(b, x, "in_proj", 3 * d->D, d->conv_bias);
    val in = e_mul(b, b_slice(u, 0, d->D), b_slice(u, 2 * d->D, d->D));
    val y = b_conv(b, in, w_filter(b, "conv.weight", d->D, d->conv),
                   d->conv_bias ? w_vec(b, "conv.bias", d->D) : -1, d->conv, ACT_NONE);
    return b_project(b, e_mul(b, b_slice(u, d->D, d->D), y), "out_proj", d->D, d->conv_bias);
}

static val attention(struct build *b, val x, const struct gqa_args *a, bool gated)
{
    const char *name = b_has(b, "gate_proj.weight", false) ? "gate_proj" : "g_proj";
    val q = b_project(b, x, "q_proj", a->H * a->d, a->bias);
    val k = b_project(b, x, "k_proj", a->kv * a->d, a->bias);
    val v = b_project(b, x, "v_proj", a->kv * a->d, a->bias);
    val g = gated ? b_linear(b, x, name, a->H) : VIEW_NONE, o = b_gqa_core(b, q, k, v, a);
    if (gated)
        o = e_mul(b, o, e_fn(b, EW_SIGMOID, g));
    return b_project(b, o, "o_proj", a->D, a->bias);
}

/* Behind a sub-layer; the prefix is back at the layer's. */
static val sandwiched(struct build *b, val y, int layer, const char *name, const struct dims *d)
{
    b_hybrid_layer(b, d->frame, layer);
    return d->sandwich ? b_hybrid_norm(b, d->frame, y, name) : y;
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    enum layer_type usual = layer % 4 == 2              ? LAYER_ATTENTION
                            : layer > 0 && layer % 4 == 0 ? LAYER_WINDOW
                                                          : LAYER_LINEAR;
    enum layer_type type = b_layer_type(b, layer, usual);
    b_into(b, type == LAYER_LINEAR ? "conv." : "self_attn.");
    val y = type == LAYER_LINEAR
                ? short_conv(b, x, d)
                : attention(b, x, type == LAYER_WINDOW ? &d->window : &d->full, d->gate);
    return sandwiched(b, y, layer, "post_operator_norm", d);
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    b_into(b, "feed_forward.");
    val y = b_swiglu(b, x, "w1", "w3", "w2", d->inner, "silu");
    return sandwiched(b, y, layer, "post_ffn_norm", d);
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 24, 1e-5);
    f.eps = (float)cfg_num(b, "norm_eps", f.eps);
    struct dims d = {.D = f.D, .conv = b_count(b, "conv_L_cache", 7),
                     .inner = b_width(b, "intermediate_size", 7680),
                     .conv_bias = cfg_bool(b, "conv_bias", false),
                     .sandwich = cfg_bool(b, "use_sandwich_norm", true),
                     .gate = cfg_bool(b, "use_attention_gate", true),
                     .full = b_gqa_read(b, 16, 4), .frame = &f};
    d.full.q_norm = "q_norm";
    d.full.k_norm = "k_norm";
    d.full.eps = f.eps;
    d.window = d.full;
    d.window.window = (int)cfg_int(b, "sliding_window", 256);
    b_rope_read_of(b, &d.full_rope, "full_attention", d.full.d, 1e6, 0.5, "proportional");
    b_rope_read_of(b, &d.window_rope, "sliding_attention", d.full.d, 10000, 1, "default");
    d.full.rope = &d.full_rope;
    d.window.rope = &d.window_rope;
    b_check_layer_types(b, f.layers);
    f.tied = true;
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    f.mixer_norm = "operator_norm";
    f.ffn_norm = "ffn_norm";
    f.last_norm = "embedding_norm";
    b_hybrid(b, &f);
}

const struct arch arch_lfm3 = {"lfm3", build};
