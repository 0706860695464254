/* Log-linear Mamba-2 (Guo et al. 2025): the past is split by the set bits of the position, and
 * every part keeps a state of its own, O(log T) in all.
 *
 *   y_t = sum_l lambda_t[l] S_l^T C_t + D x_t,  lambda = softplus(L (.) dl_t)
 *
 * It needs its own kernel (FENWICK) because parts merge at positions that follow the bits of t.
 * Everything else is Mamba-2, with an MLP in each block. Positions end at 2^14. */
#include "models/build/build.h"

#define LEVELS 15

struct family { struct mamba2_args mamba; int inner; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct mamba2_args *a = &f->mamba;
    (void)layer;
    struct mamba2_parts p = b_mamba2_in(b, x, a);
    val lambda = e_fn(b, EW_SOFTPLUS, e_mulw(b, p.extra, w_vec(b, "L", (int64_t)a->H * LEVELS)));
    val y = b_fenwick(b, p.C, p.B, e_mul(b, p.X, p.dt), p.alpha, lambda, a->H, LEVELS);
    return b_mamba2_out(b, y, &p, a);
}

static val mlp(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    (void)layer;
    int inner = (int)b_rows(b, "gate_proj.weight", f->inner);
    return b_swiglu(b, x, "gate_proj", "up_proj", "down_proj", inner, "swish");
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048);
    struct family f = {b_mamba2_read(b, D, &mamba2_plain), (D * 8 / 3 + 255) / 256 * 256};
    f.mamba.norm = cfg_bool(b, "rmsnorm", true);
    f.mamba.norm_before_gate = cfg_bool(b, "norm_before_gate", false);
    f.mamba.D_per_dim = cfg_bool(b, "D_has_hdim", false);
    f.mamba.eps = (float)cfg_num(b, "norm_eps", 1e-5);
    f.mamba.extra = f.mamba.H * LEVELS;
    b_require(b, f.mamba.G == 1, "n_groups %d, only 1 is defined", f.mamba.G);
    cfg_irrelevant(b, "hidden_act");
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .ffn = mlp, .family = &f, .layers = 48,
                                     .eps = 1e-5, .root = "backbone.", .mixer_norm = "mixer_norm",
                                     .mixer_name = "mixer", .last_norm = "norm_f"});
}

const struct arch arch_log_linear_mamba2 = {"log_linear_mamba2", build};
