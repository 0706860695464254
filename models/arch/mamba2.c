/* Mamba-2 (Dao, Gu 2024). One sub-layer a block: h += mixer(rms(h)).
 *
 *   z, xBC, dt = W_in x;  X, B, C = silu(conv xBC);  dt = clamp(softplus(dt + dt_bias))
 *   S = exp(-exp(A_log) dt) S + B (dt X)^T;  y = S^T C + D X
 *   out = W_out (rms(y (.) silu(z)) w)     head h uses group h / (H/G)
 *
 * Two libraries share this model_type. Their configs differ in spelling, and their norms: one
 * takes every group on its own, the other (layer_norm_epsilon) the whole width. */
#include "models/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    (void)layer;
    return b_mamba2(b, x, family);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), P = (int)cfg_int(b, "head_dim", 64);
    bool other = cfg_has(b, "layer_norm_epsilon");
    const char *limit = other ? "time_step_limit" : "dt_limit";
    int inner = (int)(D * cfg_num(b, "expand", 2));
    float eps = (float)cfg_num(b, other ? "layer_norm_epsilon" : "norm_eps", 1e-5);
    struct mamba2_args a = {
        .width = D, .P = P, .N = (int)cfg_int(b, "state_size", 128),
        .G = (int)cfg_int(b, "n_groups", other ? 8 : 1), .conv = (int)cfg_int(b, "conv_kernel", 4),
        .bias = cfg_bool(b, "use_bias", false), .conv_bias = cfg_bool(b, "use_conv_bias", true),
        .norm = other ? cfg_bool(b, "rms_norm", true) : cfg_bool(b, "rmsnorm", true),
        .norm_before_gate = cfg_bool(b, "norm_before_gate", false),
        .D_per_dim = cfg_bool(b, "D_has_hdim", false), .eps = eps,
        .dt_min = b_limit(b, limit, 0, 0), .dt_max = b_limit(b, limit, 1, INFINITY)};
    a.H = (int)cfg_int(b, "num_heads", P > 0 ? inner / P : 0);
    a.norm_groups = other ? 1 : a.G;
    if (!b_require(b, P > 0 && a.H * P == inner && a.G > 0 && a.H % a.G == 0,
                   "%d heads of %d for an inner width of %d in %d groups", a.H, P, inner, a.G))
        return;
    b_require(b, activation_parse(cfg_str(b, "hidden_act", "silu")) == ACT_SILU,
              "hidden_act: only silu is defined for Mamba-2");
    cfg_irrelevant(b, "A_init_range chunk_size conv_init dt_init_floor dt_max dt_min "
                      "residual_in_fp32 time_step_floor time_step_max time_step_min "
                      "time_step_rank rescale_prenorm_residual");

    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &a, .layers = 48, .eps = eps,
                                     .no_ffn = true, .root = "backbone.", .mixer_norm = "norm",
                                     .mixer_name = "mixer", .last_norm = "norm_f"});
}

const struct arch arch_mamba2 = {"mamba2", build};
