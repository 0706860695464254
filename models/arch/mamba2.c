/* Mamba-2 (Dao, Gu 2024). One sub-layer a block: h += mixer(rms(h)).
 *
 *   z, xBC, dt = W_in x;  X, B, C = silu(conv xBC);  dt = clamp(softplus(dt + dt_bias))
 *   S = exp(-exp(A_log) dt) S + B (dt X)^T;  y = S^T C + D X
 *   out = W_out (rms(y (.) silu(z)) w)     head h uses group h / (H/G)
 *
 * The norm takes every group on its own. Two libraries share this model_type; their configs differ
 * in spelling, and the one with layer_norm_epsilon always gates first, whatever its
 * norm_before_gate says. */
#include "models/build/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    (void)layer;
    return b_mamba2(b, x, family);
}

static void build(struct build *b)
{
    bool other = cfg_has(b, "layer_norm_epsilon");
    struct mamba2_keys keys = mamba2_plain;
    if (other) {
        keys.limit = "time_step_limit";
        keys.G = 8;
    }
    struct mamba2_args a = b_mamba2_read(b, (int)cfg_int(b, "hidden_size", 2048), &keys);
    a.norm = cfg_bool(b, other ? "rms_norm" : "rmsnorm", true);
    bool before = cfg_bool(b, "norm_before_gate", false);
    a.norm_before_gate = before && !other;
    int inner = b_width(b, "intermediate_size", a.H * a.P);
    b_require(b, inner == a.H * a.P, "intermediate_size %d is not the inner width %d", inner,
              a.H * a.P);
    a.D_per_dim = cfg_bool(b, "D_has_hdim", false);
    a.eps = (float)cfg_num(b, other ? "layer_norm_epsilon" : "norm_eps", 1e-5);
    b_same_act(b, "hidden_act", ACT_SILU);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &a, .layers = 48, .eps = a.eps,
                                     .no_ffn = true, .root = "backbone.", .mixer_norm = "norm",
                                     .mixer_name = "mixer", .last_norm = "norm_f"});
}

const struct arch arch_mamba2 = {"mamba2", build};
