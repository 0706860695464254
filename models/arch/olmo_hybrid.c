/* OLMo hybrid (Ai2, 2026): Gated DeltaNet 3:1 softmax attention.
 *
 *   Gated DeltaNet layer: h += gdn(rms(h));  h += mlp(rms(h))
 *   attention layer:      h += rms(attention(h));  h += rms(mlp(h))
 *   attention: rms over all of q and of k; positions turn only if the config has a rope_theta */
#include "models/build/build.h"

struct dims {
    int inner;
    struct gdn_args gdn;
    struct gqa_args attn;
    struct rope rope;
};

/* Published files and the library that reads them name two norms differently. */
static const char *norm_name(struct build *b, const char *name, const char *other)
{
    char weight[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    return b_has(b, weight, true) ? name : other;
}

static val mlp(struct build *b, val x, const struct dims *d)
{
    b_into(b, "mlp.");
    return b_swiglu(b, x, "gate_proj", "up_proj", "down_proj", d->inner, "silu");
}

static val linear_layer(struct build *b, const struct hybrid *f, val h, int i, const struct dims *d)
{
    val y = b_hybrid_norm(b, f, h, norm_name(b, "attention_layer_norm", "input_layernorm"));
    b_into(b, "linear_attn.");
    h = e_add(b, h, b_gdn(b, y, &d->gdn));
    b_hybrid_layer(b, f, i);
    y = b_hybrid_norm(b, f, h, norm_name(b, "feedforward_layer_norm", "post_attention_layernorm"));
    return e_add(b, h, mlp(b, y, d));
}

static val attention_layer(struct build *b, const struct hybrid *f, val h, int i,
                           const struct dims *d)
{
    b_into(b, "self_attn.");
    val y = b_gqa(b, h, &d->attn);
    b_hybrid_layer(b, f, i);
    y = b_hybrid_norm(b, f, y, norm_name(b, "post_attention_layernorm", "feedforward_layer_norm"));
    h = e_add(b, h, y);
    y = mlp(b, h, d);
    b_hybrid_layer(b, f, i);
    return e_add(b, h, b_hybrid_norm(b, f, y, "post_feedforward_layernorm"));
}

static struct gdn_args read_gdn(struct build *b, int D, int heads)
{
    int H = b_count(b, "linear_num_key_heads", heads);
    int K = b_count(b, "linear_key_head_dim", H > 0 ? 3 * (int64_t)D / (4 * H) : 0);
    struct gdn_args g = {.D = D,
                         .H = H,
                         .Hv = b_count(b, "linear_num_value_heads", heads),
                         .K = K,
                         .V = b_count(b, "linear_value_head_dim", 2 * (int64_t)K),
                         .conv = b_count(b, "linear_conv_kernel_dim", 4),
                         .gate = true,
                         .neg = cfg_bool(b, "linear_allow_neg_eigval", true),
                         .eps = 1e-5f}; /* whatever rms_norm_eps says */
    b_require(b, H > 0 && g.Hv > 0 && g.Hv % H == 0 && K > 0 && g.V > 0,
              "%d key heads of %d, %d value heads of %d", H, K, g.Hv, g.V);
    return g;
}

static bool has_theta(struct build *b)
{
    const struct config *p = config_obj(cfg(b), "rope_parameters", b_err(b));
    return p ? config_has(p, "rope_theta") : cfg_has(b, "rope_theta");
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 32, 1e-6);
    struct dims d = {.inner = b_width(b, "intermediate_size", 11008),
                     .attn = b_gqa_read(b, 30, 0)};
    d.gdn = read_gdn(b, f.D, d.attn.H);
    if (has_theta(b)) {
        b_rope_read(b, &d.rope, d.attn.d, 500000, 1);
        d.attn.rope = &d.rope;
    }
    d.attn.q_norm = "q_norm";
    d.attn.k_norm = "k_norm";
    d.attn.whole_norm = true;
    d.attn.eps = f.eps;
    b_check_layer_types(b, f.layers);
    b_same_act(b, "hidden_act", ACT_SILU);
    cfg_irrelevant(b, "linear_a_log_min linear_a_log_max linear_dt_min linear_dt_max "
                      "linear_dt_init_floor rope_theta rope_scaling rope_parameters");
    val h = b_hybrid_open(b, &f);
    for (int i = 0; i < f.layers && !b_failed(b); i++) {
        enum layer_type usual = (i + 1) % 4 == 0 ? LAYER_ATTENTION : LAYER_LINEAR;
        b_hybrid_layer(b, &f, i);
        h = b_layer_type(b, i, usual) == LAYER_LINEAR ? linear_layer(b, &f, h, i, &d)
                                                      : attention_layer(b, &f, h, i, &d);
    }
    b_hybrid_close(b, &f, h);
}

const struct arch arch_olmo_hybrid = {"olmo_hybrid", build};
