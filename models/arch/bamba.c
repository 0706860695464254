/* Bamba (IBM, 2024): Mamba-2 with a few softmax layers of half-turned heads, SwiGLU after each. */
#include "models/build/build.h"

struct dims {
    struct mlp mlp;
    struct gqa_args attn;
    struct rope rope;
    struct mamba2_args mamba;
};

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    bool listed = b_listed(b, "attn_layer_indices", layer);
    if (b_layer_type(b, layer, listed ? LAYER_ATTENTION : LAYER_LINEAR) == LAYER_LINEAR) {
        b_into(b, "mamba.");
        return b_mamba2(b, x, &d->mamba);
    }
    b_into(b, "self_attn.");
    return b_gqa(b, x, &d->attn);
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
                             .bias = cfg_bool(b, "mlp_bias", false)}, .attn = b_gqa_read(b, 32, 8),
                     .mamba = b_mamba2_read(b, f.D, &mamba2_hybrid)};
    b_rope_read(b, &d.rope, d.attn.d, 10000, 0.5);
    b_require(b, cfg_int(b, "attn_rotary_emb", d.rope.rot) == d.rope.rot,
              "attn_rotary_emb is not %d, the part of a head that turns", d.rope.rot);
    d.attn.rope = &d.rope;
    d.mamba.eps = f.eps;
    b_check_layer_types(b, f.layers);
    b_same_act(b, "hidden_act", ACT_SILU);
    cfg_irrelevant(b, "attn_layer_indices");
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    f.ffn_norm = "pre_ff_layernorm";
    f.last_norm = "final_layernorm";
    b_hybrid(b, &f);
}

const struct arch arch_bamba = {"bamba", build};
