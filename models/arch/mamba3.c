/* Mamba-3, single input and output (Lahoti et al. 2025): a trapezoidal step, so that a token
 * writes together with the one before, and rotations by data-dependent angles.
 *
 *   dt = softplus(dt + dt_bias);  alpha = exp(min(-softplus(A), -floor) dt);  lam = sigmoid(trap)
 *   k = rot(rms(B) + B_bias), q = rot(rms(C) + C_bias), theta += pi tanh(angles) dt
 *   S = alpha (S + (1-lam) dt k_{t-1} v_{t-1}^T) + lam dt k v^T;  y = S^T q + D v
 *
 * It needs two kernels of its own: TRAPEZOID (two writes a step) and ROTATE (angles that add
 * up). */
#include "models/build/build.h"

struct dims { int D, H, P, N, G, A; float floor, eps; bool out_norm, bias; };

/* out[h*n + i] = x[h/(H/G)*n + i]: every head gets its group's n columns. */
static val per_head(struct build *b, val x, int n, const struct dims *d, int groups)
{
    float index[8192];
    if (!b_require(b, d->H * n <= 8192, "%d heads of %d, at most 8192 columns", d->H, n))
        return VIEW_NONE;
    for (int i = 0; i < d->H * n; i++)
        index[i] = (float)((i / n) / (d->H / groups) * n + i % n);
    return b_columns(b, x, index, d->H * n);
}

static val key(struct build *b, val x, const char *norm, const char *bias, const struct dims *d)
{
    x = b_norm(b, x, NORM_RMS, d->N, w_vec(b, norm, d->N), -1, d->eps, 1);
    return e_addw(b, per_head(b, x, d->N, d, d->G), w_vec(b, bias, (int64_t)d->H * d->N));
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    int inner = d->H * d->P, GN = d->G * d->N, H = d->H, at = 0;
    (void)layer;
    int rows = 2 * inner + 2 * GN + 3 * H + d->A;
    val u = d->bias ? b_linear_bias(b, x, "in_proj", rows) : b_linear(b, x, "in_proj", rows);
    const int widths[8] = {inner, inner, GN, GN, H, H, H, d->A};
    val p[8];
    for (int i = 0; i < 8; at += widths[i++])
        p[i] = b_slice(u, at, widths[i]);
    val v = p[1], dt = e_fn(b, EW_SOFTPLUS, e_addw(b, p[4], w_vec(b, "dt_bias", H)));
    val A = e_min(b, e_affine(b, e_fn(b, EW_SOFTPLUS, p[5]), -1, 0), -d->floor);
    val alpha = e_fn(b, EW_EXP, e_mul(b, A, dt)), lam = e_fn(b, EW_SIGMOID, p[6]);
    val now = e_mul(b, lam, dt);
    val before = e_mul(b, alpha, e_mul(b, e_affine(b, lam, -1, 1), dt));
    val turn = e_affine(b, e_fn(b, EW_TANH, p[7]), 3.14159265358979f, 0);
    turn = e_mul(b, per_head(b, turn, d->A, d, 1), dt);
    val q = key(b, p[3], "C_norm.weight", "C_bias", d),
        k = key(b, p[2], "B_norm.weight", "B_bias", d);
    val qk = b_rotate(b, e_cat(b, 2, (val[]){q, k}), turn, H, d->N, 2);
    val y = b_trapezoid(b, &(struct trapezoid_args){
        .q = b_slice(qk, 0, H * d->N), .k = b_slice(qk, H * d->N, H * d->N), .v = v, .alpha = alpha,
        .now = now, .before = before, .heads = H, .K = d->N, .V = d->P});
    y = e_add(b, y, e_mul_group_w(b, v, w_vec(b, "D", H)));
    if (d->out_norm)
        y = b_norm(b, y, NORM_RMS, d->P, w_vec(b, "norm.weight", inner), -1, d->eps, 1);
    y = e_mul(b, y, e_fn(b, EW_SILU, p[0]));
    return d->bias ? b_linear_bias(b, y, "out_proj", d->D) : b_linear(b, y, "out_proj", d->D);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), P = (int)cfg_int(b, "head_dim", 64);
    int N = (int)cfg_int(b, "state_size", 128), inner = (int)(D * cfg_num(b, "expand", 2));
    struct dims d = {.D = D, .P = P, .N = N, .G = (int)cfg_int(b, "n_groups", 1),
                     .A = (int)(N * cfg_num(b, "rope_fraction", 0.5)) / 2,
                     .floor = (float)cfg_num(b, "A_floor", 1e-4),
                     .eps = (float)cfg_num(b, "norm_eps", 1e-5),
                     .out_norm = cfg_bool(b, "is_outproj_norm", false),
                     .bias = cfg_bool(b, "use_bias", false)};
    d.H = (int)cfg_int(b, "num_heads", P > 0 ? inner / P : 0);
    if (!b_require(b, P > 0 && d.H * P == inner && d.G > 0 && d.H % d.G == 0,
                   "%d heads of %d for an inner width of %d in %d groups", d.H, P, inner, d.G))
        return;
    cfg_refuse(b, "is_mimo");
    cfg_irrelevant(b, "mimo_rank chunk_size dt_init_floor dt_max dt_min hidden_act "
                      "residual_in_fp32 rescale_prenorm_residual");
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d, .layers = 48, .eps = 1e-5,
                                     .no_ffn = true, .root = "backbone.", .mixer_norm = "norm",
                                     .mixer_name = "mixer", .last_norm = "norm_f"});
}

const struct arch arch_mamba3 = {"mamba3", build};
