/* RWKV-6 "Finch" (Peng et al., 2024).
 *
 *   delta_t = y_{t-1} - y_t  (y: the normed input);  m = tanh(W_x0 (y + delta (.) mu)), 5 rows of r
 *   for n = r, w, k, v, g:  x_n = y + delta (.) (W_x2[:, n] m_n + bias_n)
 *   r, k, v, g = W x_n;  a = exp(-exp(L_2 tanh(L_1 x_w) + b))
 *   o = (S + diag(u) k v^T)^T r;  S = diag(a) S + k v^T
 *   y = W_o (groupnorm(o) (.) silu(g))
 *   ffn: sigmoid(W_r (y + delta (.) mu_r)) (.) W_v sqrelu(W_k (y + delta (.) mu_k)) */
#include "models/build/build.h"

struct dims { int D, H, K, V, r, R, inner; float eps; };

/* Row `row` = n D + d of the five column blocks of the tensor [D][5 r]. */
static void mix_block(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    int64_t D = elems / (5 * n), block = row / D, d = row % D;
    memcpy(out, whole + (d * 5 + block) * n, (size_t)n * sizeof *out);
}

static val shifted(struct build *b, val y, val delta, val m, int n, const struct dims *d)
{
    int bias = w_vec_row(b, "x_bias", 5, n, d->D);
    int w = w_derived_matrix(b, "x_proj.2.weight", &(struct derived){
        .tensor_rows = d->D, .tensor_cols = 5 * d->r, .row0 = n * d->D, .rows = d->D, .cols = d->r,
        .f = mix_block});
    val mix = b_linear_weight(b, b_slice(m, n * d->r, d->r), w, bias);
    return e_add(b, y, e_mul(b, delta, mix));
}

static val mixer(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val delta = e_sub(b, b_shift(b, y), y), in[5];
    val m = b_linear(b, e_maddw(b, y, delta, w_vec(b, "x_proj.0.mu", d->D)), "x_proj.0.linear",
                     5 * d->r);
    m = e_fn(b, EW_TANH, m);
    for (int n = 0; n < 5; n++)
        in[n] = shifted(b, y, delta, m, n, d);
    val r = b_linear(b, in[0], "r_proj.linear", d->H * d->K);
    val w = b_lora(b, in[1], "w_proj.linear", d->R, ACT_TANH, d->H * d->K, true);
    val k = b_linear(b, in[2], "k_proj.linear", d->H * d->K);
    val v = b_linear(b, in[3], "v_proj.linear", d->H * d->V);
    val g = b_linear(b, in[4], "g_proj.linear", d->H * d->V);
    val a = e_fn(b, EW_EXP, e_fn(b, EW_NEG, e_fn(b, EW_EXP, w)));
    val o = b_decay(b, &(struct decay_args){
        .q = r, .k = k, .v = v, .d = a, .state_heads = d->H, .K = d->K, .V = d->V,
        .decay = DECAY_KEY, .bonus = w_vec(b, "bonus", d->H * d->K)});
    o = b_gated_norm(b, o, g, NORM_LAYER, d->V, w_vec(b, "g_norm.weight", d->H * d->V),
                     w_vec(b, "g_norm.bias", d->H * d->V), d->eps, ACT_SILU, false);
    return b_linear(b, o, "o_proj", d->D);
}

static val channel_mix(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val delta = e_sub(b, b_shift(b, y), y);
    val xk = e_maddw(b, y, delta, w_vec(b, "key.mu", d->D));
    val xr = e_maddw(b, y, delta, w_vec(b, "receptance.mu", d->D));
    val k = b_linear(b, xk, "key.linear", d->inner), r = b_linear(b, xr, "receptance.linear", d->D);
    val v = b_linear(b, e_fn(b, EW_SQRELU, k), "value", d->D);
    return e_mul(b, e_fn(b, EW_SIGMOID, r), v);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", 4);
    int inner = 32 * (((int)(D * cfg_num(b, "hidden_ratio", 3.5)) + 31) / 32);
    struct head_split s = {.H = H, .Hkv = H};
    if (!b_head_split(b, D, 0.5, 1, &s) ||
        !b_require(b, !strcmp(cfg_str(b, "hidden_act", "sqrelu"), "sqrelu"),
                   "hidden_act is not sqrelu, the only one RWKV-6 has"))
        return;
    struct dims d = {.D = D, .H = H, .K = s.K, .V = s.V,
                     .r = (int)cfg_int(b, "proj_low_rank_dim", 32),
                     .R = (int)cfg_int(b, "gate_low_rank_dim", 64),
                     .inner = (int)cfg_int(b, "intermediate_size", inner),
                     .eps = (float)cfg_num(b, "norm_eps", 1e-5)};
    b_skeleton(b, &(struct skeleton){
        .mixer = mixer, .ffn = channel_mix, .family = &d, .eps = 1e-5, .layer_norm = true,
        .ffn_norm = "ffn_norm", .ffn_name = "ffn"});
}

const struct arch arch_rwkv6 = {"rwkv6", build};
