/* The state-space mixers of Mamba-1 and Mamba-2 under the current prefix, for the families built
 * on them and for hybrids. */
#include <stdio.h>

#include "models/build/build_int.h"

/* rms of a part of x_proj's output: with a weight (Jamba), without one (Falcon-Mamba) or none. */
static val part_norm(struct build *b, val x, const char *name, const struct mamba1_args *a)
{
    if (a->named_norms)
        return b_rms(b, x, name, a->part_eps);
    return a->part_eps > 0 ? b_norm(b, x, NORM_RMS, x.width, -1, -1, a->part_eps, 1) : x;
}

val b_mamba1(struct build *b, val x, const struct mamba1_args *a)
{
    int n = a->inner, R = a->rank, N = a->N;
    val u = b_project(b, x, "in_proj", 2 * n, a->bias);
    val X = b_conv(b, b_slice(u, 0, n), w_filter(b, "conv1d.weight", n, a->conv),
                   a->conv_bias ? w_vec(b, "conv1d.bias", n) : -1, a->conv, ACT_SILU);
    val p = b_linear(b, X, "x_proj", R + 2 * N);
    val t = part_norm(b, b_slice(p, 0, R), "dt_layernorm", a);
    val B = part_norm(b, b_slice(p, R, N), "b_layernorm", a);
    val C = part_norm(b, b_slice(p, R + N, N), "c_layernorm", a);
    val dt = e_fn(b, EW_SOFTPLUS, b_linear_bias(b, t, "dt_proj", n));
    val y = b_scan(b, X, dt, B, C, w_vec_as(b, "A_log", (int64_t)n * N, TENSOR_NEG_EXP),
                   w_vec(b, "D", n));
    y = e_mul(b, y, e_fn(b, EW_SILU, b_slice(u, n, n)));
    return b_project(b, y, "out_proj", a->width, a->bias);
}

/* z, X, B, C and dt, each times its own factor (Falcon-H1), as one weight over the projection. */
static int row_factors(struct build *b, const struct mamba2_args *a, int inner, int GN)
{
    const int widths[5] = {inner, inner, GN, GN, a->H};
    int total = 0, at = 0;
    for (int i = 0; i < 5; i++)
        total += widths[i];
    float *f = b_failed(b) ? NULL : mem_array((size_t)total, sizeof *f);
    if (!f) {
        b_fail(b, E_NOMEM, "no memory for %d factors", total);
        return -1;
    }
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < widths[i]; k++)
            f[at++] = a->factors[i];
    int w = w_values(b, f, total);
    mem_free(f);
    return w;
}

struct mamba2_parts b_mamba2_in(struct build *b, val x, const struct mamba2_args *a)
{
    int inner = a->H * a->P, GN = a->G * a->N, mixed = inner + 2 * GN;
    val u = b_project(b, x, "in_proj", 2 * inner + 2 * GN + a->H + a->extra, a->bias);
    if (a->factors)
        u = e_mulw(b, u, row_factors(b, a, inner, GN));
    val xbc =
        b_conv(b, b_slice(u, inner, mixed), w_filter(b, "conv1d.weight", mixed, a->conv),
               a->conv_bias ? w_vec(b, "conv1d.bias", mixed) : -1, a->conv, ACT_SILU);
    val dt = e_addw(b, b_slice(u, inner + mixed, a->H), w_vec(b, "dt_bias", a->H));
    dt = e_fn(b, EW_SOFTPLUS, dt);
    if (a->dt_min > 0)
        dt = e_max(b, dt, a->dt_min);
    if (a->dt_max < INFINITY)
        dt = e_min(b, dt, a->dt_max);
    return (struct mamba2_parts){
        .z = b_slice(u, 0, inner), .X = b_slice(xbc, 0, inner), .B = b_slice(xbc, inner, GN),
        .C = b_slice(xbc, inner + GN, GN), .dt = dt,
        .alpha = e_fn(b, EW_EXP, e_mulw(b, dt, w_vec_as(b, "A_log", a->H, TENSOR_NEG_EXP))),
        .extra = b_slice(u, inner + mixed + a->H, a->extra)};
}

val b_mamba2_out(struct build *b, val y, const struct mamba2_parts *p, const struct mamba2_args *a)
{
    int inner = a->H * a->P;
    int D = w_vec(b, "D", a->D_per_dim ? inner : a->H);
    y = e_add(b, y, a->D_per_dim ? e_mulw(b, p->X, D) : e_mul_group_w(b, p->X, D));
    if (a->norm)
        y = b_gated_norm(b, y, p->z, NORM_RMS, inner / a->G,
                         w_vec(b, "norm.weight", inner), -1, a->eps, ACT_SILU,
                         !a->norm_before_gate);
    else
        y = e_mul(b, y, e_fn(b, EW_SILU, p->z));
    return b_project(b, y, "out_proj", a->width, a->split_bias ? a->out_bias : a->bias);
}

val b_mamba2(struct build *b, val x, const struct mamba2_args *a)
{
    struct mamba2_parts p = b_mamba2_in(b, x, a);
    val y = b_decay(b, &(struct decay_args){
        .q = p.C, .k = p.B, .v = e_mul(b, p.X, p.dt), .d = p.alpha, .q_heads = a->G,
        .k_heads = a->G, .state_heads = a->H, .K = a->N, .V = a->P, .decay = DECAY_SCALAR});
    return b_mamba2_out(b, y, &p, a);
}

const struct mamba2_keys mamba2_plain = {
    .heads = "num_heads", .head = "head_dim", .P = 64, .state = "state_size", .N = 128,
    .groups = "n_groups", .G = 1, .conv = "conv_kernel", .expand = "expand", .bias = "use_bias",
    .conv_bias = "use_conv_bias", .limit = "dt_limit"};
const struct mamba2_keys mamba2_hybrid = {
    .heads = "mamba_n_heads", .H = 128, .head = "mamba_d_head", .state = "mamba_d_state", .N = 256,
    .groups = "mamba_n_groups", .G = 1, .conv = "mamba_d_conv", .expand = "mamba_expand",
    .inner = "mamba_d_ssm", .bias = "mamba_proj_bias", .conv_bias = "mamba_conv_bias",
    .limit = "time_step_limit"};

struct mamba2_args b_mamba2_read(struct build *b, int D, const struct mamba2_keys *k)
{
    int inner = k->expand ? b_times(b, D, k->expand, 2) : 0;
    if (k->inner)
        inner = b_width(b, k->inner, inner);
    struct mamba2_args a = {.width = D, .N = b_count(b, k->state, k->N),
                            .G = b_count(b, k->groups, k->G), .conv = b_count(b, k->conv, 4),
                            .bias = k->bias && cfg_bool(b, k->bias, false),
                            .conv_bias = !k->conv_bias || cfg_bool(b, k->conv_bias, true),
                            .norm = true, .eps = 1e-5f,
                            .dt_min = k->limit ? b_limit(b, k->limit, 0, 0) : 0,
                            .dt_max = k->limit ? b_limit(b, k->limit, 1, INFINITY) : INFINITY};
    if (k->P > 0) /* the size of a head decides the number of heads, or the other way round */
        a.P = b_count(b, k->head, k->P);
    a.H = b_count(b, k->heads, k->H > 0 ? k->H : a.P > 0 ? inner / a.P : 0);
    if (k->P == 0)
        a.P = b_auto_int(b, k->head, a.H > 0 ? inner / a.H : 0);
    if (!k->limit) /* the reference heeds no upper limit */
        a.dt_min = (float)cfg_num(b, "time_step_min", 0.001);
    cfg_irrelevant(b, "A_init_range chunk_size conv_init dt_init_floor dt_max dt_min expand "
                      "mamba_chunk_size mamba_ssm_cache_dtype residual_in_fp32 "
                      "rescale_prenorm_residual time_step_floor time_step_limit time_step_max "
                      "time_step_min time_step_rank use_mamba_kernels use_mem_eff_path");
    if (!b_require(b, a.H > 0 && a.P > 0 && a.P <= LIMIT_WIDTH / a.H && a.G > 0 && a.H % a.G == 0 &&
                          (!k->expand || a.H * a.P == inner),
                   "%d heads of %d for an inner width of %d in %d groups", a.H, a.P, inner, a.G))
        a.H = a.P = a.G = 1;
    return a;
}

float b_limit(struct build *b, const char *key, int i, float dflt)
{
    if (config_len(cfg(b), key) < 0)
        return cfg_has(b, key) ? (b_fail(b, E_FORMAT, "config.json: %s is not a list", key), dflt)
                               : dflt;
    return (float)config_num_at(cfg(b), key, i, dflt, b->err);
}
