/* Falcon-H1 (TII, 2025): Mamba-2 and softmax attention side by side on the same normed input, every
 * path with its own factors.
 *
 *   h += a_out attention(a_in y) + s_out mamba(s_in y), y = rms(h);  keys times key_multiplier
 *   z, X, B, C, dt of Mamba-2's projection each times its own of ssm_multipliers
 *   h += m_1 W_d (silu(m_0 W_g x) (.) W_u x), x = rms(h) */
#include "models/build/build.h"

struct dims {
    struct mlp mlp;
    float attention_in, attention_out, ssm_in, ssm_out, factors[5];
    struct gqa_args attn;
    struct rope rope;
    struct mamba2_args mamba;
};

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val in = e_affine(b, x, d->ssm_in, 0);
    b_into(b, "mamba.");
    val m = e_affine(b, b_mamba2(b, in, &d->mamba), d->ssm_out, 0);
    b_prefix(b, "model.layers.%d.self_attn.", layer);
    val a = b_gqa(b, e_affine(b, x, d->attention_in, 0), &d->attn);
    return e_add(b, m, e_affine(b, a, d->attention_out, 0));
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    b_into(b, "feed_forward.");
    return b_mlp(b, x, &d->mlp);
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 32, 1e-5);
    struct dims d = {.mlp = {.inner = b_width(b, "intermediate_size", 14336),
                             .bias = cfg_bool(b, "mlp_bias", false),
                             .gate = b_limit(b, "mlp_multipliers", 0, 1),
                             .down = b_limit(b, "mlp_multipliers", 1, 1)},
                     .attention_in = (float)cfg_num(b, "attention_in_multiplier", 1),
                     .attention_out = (float)cfg_num(b, "attention_out_multiplier", 1),
                     .ssm_in = (float)cfg_num(b, "ssm_in_multiplier", 1),
                     .ssm_out = (float)cfg_num(b, "ssm_out_multiplier", 1),
                     .attn = b_gqa_read(b, 32, 8),
                     .mamba = b_mamba2_read(b, f.D, &mamba2_hybrid)};
    for (int i = 0; i < 5; i++)
        d.factors[i] = b_limit(b, "ssm_multipliers", i, 1);
    d.mamba.eps = f.eps;
    d.mamba.factors = d.factors;
    d.mamba.norm = cfg_bool(b, "mamba_rms_norm", false);
    d.mamba.norm_before_gate = cfg_bool(b, "mamba_norm_before_gate", true);
    d.mamba.split_bias = true;
    d.mamba.out_bias = cfg_bool(b, "projectors_bias", false);
    b_rope_read(b, &d.rope, d.attn.d, 100000, 1);
    d.attn.rope = &d.rope;
    d.attn.scale *= (float)cfg_num(b, "key_multiplier", 1);
    f.embedding = (float)cfg_num(b, "embedding_multiplier", 1);
    f.logits = (float)cfg_num(b, "lm_head_multiplier", 1);
    b_require(b, cfg_bool(b, "mamba_use_mlp", true), "mamba_use_mlp false");
    b_same_act(b, "hidden_act", ACT_SILU);
    cfg_irrelevant(b, "attn_layer_indices mlp_expansion_factor");
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    f.ffn_norm = "pre_ff_layernorm";
    f.last_norm = "final_layernorm";
    b_hybrid(b, &f);
}

const struct arch arch_falcon_h1 = {"falcon_h1", build};
