/* Samba (Ren et al. 2024): Mamba-1 blocks and sliding-window attention, each followed by an MLP.
 * The config's intermediate_size is the Mamba width; the MLP's follows the usual rule. */
#include "models/build/build.h"

struct family { struct mamba1_args mamba; int inner; const char *act; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    (void)layer;
    return b_mamba1(b, x, &f->mamba);
}

static val mlp(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    (void)layer;
    int inner = (int)b_rows(b, "gate_proj.weight", f->inner);
    return b_swiglu(b, x, "gate_proj", "up_proj", "down_proj", inner, f->act);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2304);
    const char *rank = cfg_has(b, "time_step_rank") ? "time_step_rank" : "dt_rank";
    int n = (int)(D * cfg_num(b, "hidden_ratio", 4) * 2 / 3);
    struct family f = {
        .mamba = {.width = D, .N = (int)cfg_int(b, "state_size", 16),
                  .conv = (int)cfg_int(b, "conv_kernel", 4), .bias = cfg_bool(b, "use_bias", false),
                  .conv_bias = true,
                  .inner = b_width(b, "intermediate_size", b_times(b, D, "expand", 2))},
        .inner = (n + 255) / 256 * 256, .act = cfg_str(b, "hidden_act", "swish")};
    f.mamba.rank =
        cfg_is_str(b, rank, "auto") ? (D + 15) / 16 : (int)cfg_int(b, rank, (D + 15) / 16);
    cfg_irrelevant(b, "use_conv_bias residual_in_fp32 time_step_floor "
                      "time_step_init_scheme time_step_max time_step_min time_step_scale "
                      "rescale_prenorm_residual conv_bias");
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .ffn = mlp, .family = &f, .layers = 18,
                                     .eps = 1e-5, .root = "backbone.", .mixer_norm = "mixer_norm",
                                     .mixer_name = "mixer", .last_norm = "norm_f"});
}

const struct arch arch_samba = {"samba", build};
