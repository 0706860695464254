/* Mamba-1 (Gu, Dao 2023), also in its transformers spelling, and Falcon-Mamba, which norms dt, B
 * and C without weights. One sub-layer a block: h += mixer(rms(h)).
 *
 *   X, z = W_in x;  X = silu(conv X);  t, B, C = W_x X;  dt = softplus(W_dt t + b)
 *   h = exp(dt A) h + dt B x;  y = C h + D x;  out = W_out (y (.) silu(z)) */
#include "models/build/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    (void)layer;
    return b_mamba1(b, x, family);
}

/* The first converted checkpoints say some sizes twice. */
static void same(struct build *b, const char *key, int64_t n)
{
    int64_t said = cfg_int(b, key, n);
    b_require(b, said == n, "%s is %lld, %lld by the newer keys", key, (long long)said,
              (long long)n);
}

static void build_mamba(struct build *b, bool falcon)
{
    int D = (int)cfg_int(b, "hidden_size", falcon ? 4096 : 2048);
    double eps = cfg_num(b, "layer_norm_epsilon", 1e-5);
    const char *rank = cfg_has(b, "time_step_rank") ? "time_step_rank" : "dt_rank";
    struct mamba1_args a = {.width = D, .N = (int)cfg_int(b, "state_size", 16),
                            .conv = (int)cfg_int(b, "conv_kernel", 4),
                            .bias = cfg_bool(b, "use_bias", false),
                            .conv_bias = cfg_bool(b, "use_conv_bias", true),
                            .part_eps = falcon ? (float)cfg_num(b, "mixer_rms_eps", 1e-6) : 0};
    a.inner = b_width(b, "intermediate_size", b_times(b, D, "expand", 2));
    a.rank = cfg_is_str(b, rank, "auto") ? (D + 15) / 16 : (int)cfg_int(b, rank, (D + 15) / 16);
    b_require(b, activation_parse(cfg_str(b, "hidden_act", "silu")) == ACT_SILU,
              "hidden_act: only silu is defined for Mamba");
    same(b, "d_model", D);
    same(b, "d_inner", a.inner);
    same(b, "n_layer", cfg_int(b, "num_hidden_layers", 48));
    b_require(b, cfg_bool(b, "rms_norm", true), "rms_norm false: only the root mean square is "
              "supported");
    cfg_irrelevant(
        b, "expand hidden_dropout_prob residual_in_fp32 dt_init_floor dt_init_scheme dt_max "
           "dt_min dt_scale time_step_floor time_step_init_scheme time_step_max "
           "time_step_min time_step_scale use_associative_scan use_mambapy "
           "use_falcon_mambapy rescale_prenorm_residual");

    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &a, .layers = 48, .eps = eps,
                                     .no_ffn = true, .root = "backbone.", .mixer_norm = "norm",
                                     .mixer_name = "mixer", .last_norm = "norm_f"});
}

static void build(struct build *b) { build_mamba(b, false); }
static void build_falcon(struct build *b) { build_mamba(b, true); }

const struct arch arch_mamba = {"mamba", build};
const struct arch arch_falcon_mamba = {"falcon_mamba", build_falcon};
