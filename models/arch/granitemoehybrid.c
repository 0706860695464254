/* Granite 4 (IBM, 2025): Mamba-2 and softmax layers, an always-on feed-forward and, in the larger
 * models, experts beside it.
 *
 *   h = e embed;  h += r mixer(rms(h));  h += r (shared(rms(h)) + sum_e p_e E_e(rms(h)))
 *   p: softmax over the chosen experts alone, which is softmax over all, renormalised
 *   scores of attention times attention_multiplier instead of d^-1/2;  logits / logits_scaling */
#include "models/build/build.h"

struct dims {
    int shared;
    struct gqa_args attn;
    struct rope rope;
    struct mamba2_args mamba;
    struct moe_args experts;
};

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    if (b_layer_type(b, layer, LAYER_LINEAR) == LAYER_LINEAR) {
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
    bool apart = b_has(b, "shared_mlp.gate_proj.weight", false); /* as GGUF has it */
    val y = apart ? b_swiglu(b, x, "shared_mlp.gate_proj", "shared_mlp.up_proj",
                             "shared_mlp.output_linear", d->shared, "silu")
                  : b_packed_glu(b, x, "shared_mlp.input_linear", "shared_mlp.output_linear",
                                 d->shared, ACT_SILU);
    if (d->experts.n == 0)
        return y;
    b_into(b, "block_sparse_moe.");
    return e_add(b, y, b_moe(b, x, &d->experts));
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 32, 1e-6);
    struct dims d = {.shared = b_width(b, "shared_intermediate_size", 1024),
                     .attn = b_gqa_read(b, 32, 0), .mamba = b_mamba2_read(b, f.D, &mamba2_hybrid)};
    d.experts = (struct moe_args){.n = b_count(b, "num_local_experts", 8),
                                  .k = b_count(b, "num_experts_per_tok", 2),
                                  .inner = b_width(b, "intermediate_size", 512),
                                  .norm = true,
                                  .router = "router.layer",
                                  .experts = "experts",
                                  .gate = "gate_proj",
                                  .up = "up_proj",
                                  .down = "down_proj",
                                  .packed_in = "input_linear.weight",
                                  .packed_out = "output_linear.weight",
                                  .act = ACT_SILU};
    d.mamba.eps = f.eps;
    const char *position = cfg_str(b, "position_embedding_type", "nope");
    b_require(b, !strcmp(position, "nope") || !strcmp(position, "rope"),
              "position_embedding_type \"%s\" is neither nope nor rope", position);
    if (!strcmp(position, "rope")) {
        b_rope_read(b, &d.rope, d.attn.d, 10000, 1);
        d.attn.rope = &d.rope;
    }
    d.attn.scale = (float)cfg_num(b, "attention_multiplier", 1);
    f.embedding = (float)cfg_num(b, "embedding_multiplier", 1);
    f.residual = (float)cfg_num(b, "residual_multiplier", 1);
    f.logits = (float)(1 / fmax(cfg_num(b, "logits_scaling", 1), 1e-9));
    b_check_layer_types(b, f.layers);
    b_same_act(b, "hidden_act", ACT_SILU);
    b_require(b, !strcmp(cfg_str(b, "normalization_function", "rmsnorm"), "rmsnorm"),
              "normalization_function is not rmsnorm");
    cfg_irrelevant(b, "init_method rope_theta rope_scaling rope_parameters");
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    b_hybrid(b, &f);
}

const struct arch arch_granitemoehybrid = {"granitemoehybrid", build};
