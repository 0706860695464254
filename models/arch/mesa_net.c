/* MesaNet (von Oswald et al. 2025): linear attention whose query is solved for at every token.
 *
 *   A = alpha A + beta k k^T;  B = alpha B + beta k v^T;  (A + diag(Lam)) x = q;  o = B^T x
 *
 * It needs its own kernel (MESA) for the solve, which no other family has. */
#include "models/build/build.h"

struct dims { int D, H, K, conv; float bound, eps; bool gate; };

/* Lam without its bound, which the kernel adds. */
static void lam_softplus(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)elems;
    for (int64_t i = 0; i < n; i++) {
        float z = whole[row * n + i];
        out[i] = z > 20 ? z : log1pf(expf(z));
    }
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    int width = d->H * d->K;
    (void)layer;
    val q = b_l2(b, b_conv_proj(b, x, "q", width, d->conv, ACT_SILU), d->K);
    val k = b_l2(b, b_conv_proj(b, x, "k", width, d->conv, ACT_SILU), d->K);
    val v = b_linear(b, x, "v_proj", width);
    val alpha = e_fn(b, EW_SIGMOID, b_linear_bias(b, x, "a_proj", d->H));
    val beta = e_fn(b, EW_SIGMOID, b_linear_bias(b, x, "b_proj", d->H));
    int lambda = w_derived(b, "lambda_params", width, 0, width, lam_softplus);
    val o = b_mesa(b, q, k, v, alpha, beta, lambda, d->bound, d->H, d->K);
    val gate = d->gate ? b_linear(b, x, "g_proj", width) : VIEW_NONE;
    o = b_head_norm(b, o, d->K, "o_norm.weight", gate, ACT_SILU, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    struct dims d = {.D = (int)cfg_int(b, "hidden_size", 2048),
                     .H = (int)cfg_int(b, "num_heads", 16),
                     .K = (int)cfg_int(b, "head_dim", 128),
                     .conv = b_conv_size(b, true),
                     .bound = (float)cfg_num(b, "lambda_lower_bound", 0.25),
                     .eps = (float)cfg_num(b, "norm_eps", 1e-6),
                     .gate = cfg_bool(b, "use_output_gate", false)};
    cfg_irrelevant(b, "max_cg_step_decoding max_cg_step_training");
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d, .layers = 24});
}

const struct arch arch_mesa_net = {"mesa_net", build};
