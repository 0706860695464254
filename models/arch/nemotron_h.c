/* Nemotron-H and Nemotron 3 (NVIDIA, 2025): layers of one sub-layer each, h += block(rms(h)), the
 * block being Mamba-2 (M), softmax attention without positions (*), relu^2 feed-forward (-) or
 * experts (E).
 *
 *   experts: scores sigmoid(W x), chosen by score + bias, renormalised, times a factor, each
 *   W_d relu(W_u x)^2, in a narrower space where the config has moe_latent_size; + a shared one */
#include "models/build/build.h"

struct dims {
    int inner, shared, latent;
    bool mlp_bias;
    const char *pattern;
    struct gqa_args attn;
    struct mamba2_args mamba;
    struct moe_args experts;
};

static val relu2(struct build *b, val x, const char *up, const char *down, int inner, bool bias)
{
    val y = e_fn(b, EW_SQRELU, b_project(b, x, up, inner, bias));
    return b_project(b, y, down, x.width, bias);
}

static val experts(struct build *b, val x, const struct dims *d)
{
    val in = d->latent ? b_project(b, x, "fc1_latent_proj", d->latent, d->mlp_bias) : x;
    val y = b_moe_routed(b, in, x, &d->experts);
    if (d->latent)
        y = b_project(b, y, "fc2_latent_proj", x.width, d->mlp_bias);
    if (d->shared == 0)
        return y;
    return e_add(b, y, relu2(b, x, "shared_experts.up_proj", "shared_experts.down_proj", d->shared,
                             d->mlp_bias));
}

/* Some files say attention_bias and have none: the tensors decide. */
static val attention(struct build *b, val x, const struct dims *d)
{
    struct gqa_args a = d->attn;
    a.bias = a.out_bias = a.bias && b_has(b, "q_proj.bias", true);
    return b_gqa(b, x, &a);
}

static enum layer_type type_of(struct build *b, int layer, const struct dims *d)
{
    if (!d->pattern)
        return b_layer_type(b, layer, LAYER_LINEAR);
    switch (d->pattern[layer]) {
    case 'M': return LAYER_LINEAR;
    case '*': return LAYER_ATTENTION;
    case '-': return LAYER_MLP;
    case 'E': return LAYER_MOE;
    }
    b_require(b, false, "hybrid_override_pattern: '%c' is none of M*-E", d->pattern[layer]);
    return LAYER_LINEAR;
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    b_into(b, "mixer.");
    switch (type_of(b, layer, d)) {
    case LAYER_ATTENTION: return attention(b, x, d);
    case LAYER_MLP: return relu2(b, x, "up_proj", "down_proj", d->inner, d->mlp_bias);
    case LAYER_MOE: return experts(b, x, d);
    case LAYER_LINEAR: return b_mamba2(b, x, &d->mamba);
    default: b_require(b, false, "layers_block_type[%d] is not one of this family", layer);
    }
    return x;
}

static const struct mamba2_keys mamba_keys = {
    .heads = "mamba_num_heads", .H = 128, .head = "mamba_head_dim", .P = 64,
    .state = "ssm_state_size", .N = 128, .groups = "n_groups", .G = 8, .conv = "conv_kernel",
    .bias = "use_bias", .conv_bias = "use_conv_bias"};

static struct mamba2_args read_mamba(struct build *b, int D, float eps)
{
    struct mamba2_args a = b_mamba2_read(b, D, &mamba_keys);
    a.bias = cfg_bool(b, "use_bias", cfg_bool(b, "mamba_proj_bias", false));
    a.eps = eps;
    b_same_act(b, "mamba_hidden_act", ACT_SILU);
    return a;
}

static void read_experts(struct build *b, struct dims *d)
{
    bool some = b_count(b, "n_shared_experts", 1) > 0;
    d->latent = b_width(b, "moe_latent_size", 0);
    d->shared = some ? b_width(b, "moe_shared_expert_intermediate_size", 7688) : 0;
    d->experts = (struct moe_args){.n = b_count(b, "n_routed_experts", 8),
                                   .k = b_count(b, "num_experts_per_tok", 2),
                                   .inner = b_width(b, "moe_intermediate_size", 7688),
                                   .sigmoid = true,
                                   .eps = 1e-20f,
                                   .n_groups = b_count(b, "n_group", 1),
                                   .topk_groups = b_count(b, "topk_group", 1),
                                   .norm = cfg_bool(b, "norm_topk_prob", true),
                                   .router = "gate",
                                   .scale = (float)cfg_num(b, "routed_scaling_factor", 1),
                                   .bias = "gate.e_score_correction_bias",
                                   .experts = "experts",
                                   .up = "up_proj",
                                   .down = "down_proj",
                                   .packed_in = "experts.up_proj",
                                   .packed_out = "experts.down_proj",
                                   .act = ACT_SQRELU};
    cfg_irrelevant(b, "moe_shared_expert_overlap");
}

static void build(struct build *b)
{
    int64_t listed = config_len(cfg(b), "layers_block_type");
    const char *pattern = cfg_str(b, "hybrid_override_pattern", NULL);
    int layers = pattern ? (int)strlen(pattern) : listed > 0 ? (int)listed : 52;
    struct hybrid f = b_hybrid_read(b, layers, 1e-5);
    f.eps = (float)cfg_num(b, "layer_norm_epsilon", f.eps);
    struct dims d = {.pattern = pattern, .inner = b_width(b, "intermediate_size", 21504),
                     .mlp_bias = cfg_bool(b, "mlp_bias", false), .attn = b_gqa_read(b, 32, 8),
                     .mamba = read_mamba(b, f.D, f.eps)};
    d.attn.d = b_count(b, "attention_head_dim", b_count(b, "head_dim", 128));
    d.attn.scale = (float)(1 / sqrt(MAX(d.attn.d, 1)));
    read_experts(b, &d);
    b_require(b, !pattern || (int)strlen(pattern) == f.layers,
              "hybrid_override_pattern has %zu characters for %d layers",
              pattern ? strlen(pattern) : 0, f.layers);
    b_check_layer_types(b, f.layers);
    b_same_act(b, "mlp_hidden_act", ACT_SQRELU);
    cfg_refuse(b, "sliding_window");
    cfg_irrelevant(b, "hidden_dropout mtp_layers_block_type mtp_hybrid_override_pattern "
                      "num_nextn_predict_layers rope_theta rope_parameters rope_scaling "
                      "partial_rotary_factor norm_eps");
    f.mixer = mixer;
    f.family = &d;
    f.root = b_has(b, "model.embeddings.weight", false) ? "model." : "backbone.";
    f.embed = "embeddings";
    f.mixer_norm = "norm";
    f.last_norm = "norm_f";
    b_hybrid(b, &f);
}

const struct arch arch_nemotron_h = {"nemotron_h", build};
