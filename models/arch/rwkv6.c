/* RWKV-6 "Finch" (Peng et al., 2024).
 *
 *   delta_t = y_{t-1} - y_t  (y: the normed input);  m = tanh(W_x0 (y + delta (.) mu)), 5 rows of r
 *   for n = r, w, k, v, g:  x_n = y + delta (.) (W_x2[:, n] m_n + bias_n)
 *   r, k, v, g = W x_n;  a = exp(-exp(L_2 tanh(L_1 x_w) + b))
 *   o = (S + diag(u) k v^T)^T r;  S = diag(a) S + k v^T
 *   y = W_o (groupnorm(o) (.) silu(g))
 *   ffn: sigmoid(W_r (y + delta (.) mu_r)) (.) W_v sqrelu(W_k (y + delta (.) mu_k))
 *
 * Two sets of tensor names: the library's, and the RWKV project's own (blocks.0.att.time_maa_w1
 * ...), whose low-rank matrices are stored [in, out] and whose group norm has an eps of its own. */
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

/* ---- under the RWKV project's own names ---- */

/* y + delta (.) (m W_2 + mu): W_2 is stored [5][r][D]. */
static val own_shifted(struct build *b, val y, val delta, val m, int n, const struct dims *d)
{
    static const char *const names[] = {"time_maa_w", "time_maa_k", "time_maa_v", "time_maa_r",
                                        "time_maa_g"};
    bool fused = b_has(b, "time_maa_fused", false); /* GGUF has all five in one tensor */
    int mu = fused ? w_vec_row(b, "time_maa_fused", 5, n, d->D) : w_vec(b, names[n], d->D);
    int w = w_matrix(b, "time_maa_w2", d->D, d->r);
    w_block(b, w, "time_maa_w2", &(struct block_part){
        .tensor_rows = 5 * (int64_t)d->r, .tensor_cols = d->D, .row0 = (int64_t)n * d->r,
        .rows = d->r, .transposed = true});
    val mix = b_linear_weight(b, b_slice(m, n * d->r, d->r), w, mu);
    return e_add(b, y, e_mul(b, delta, mix));
}

#define GROUP_EPS 64e-5f

static val own_mixer(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    int n = d->H * d->K, R = (int)b_rows(b, "time_decay_w2", d->R);
    (void)layer;
    val delta = e_sub(b, b_shift(b, y), y), in[5];
    val m = b_linear_part(b, e_maddw(b, y, delta, w_vec(b, "time_maa_x", d->D)), "time_maa_w1",
                          NULL, 5 * d->r, 0, 5 * d->r, true);
    m = e_fn(b, EW_TANH, m);
    for (int i = 0; i < 5; i++)
        in[i] = own_shifted(b, y, delta, m, i, d);
    val w = e_fn(b, EW_TANH, b_linear_part(b, in[0], "time_decay_w1", NULL, R, 0, R, true));
    w = b_linear_part(b, w, "time_decay_w2", "time_decay", n, 0, n, true);
    val k = b_linear(b, in[1], "key", n), v = b_linear(b, in[2], "value", n);
    val r = b_linear(b, in[3], "receptance", n), g = b_linear(b, in[4], "gate", n);
    val o = b_decay(b, &(struct decay_args){
        .q = r, .k = k, .v = v, .d = e_fn(b, EW_EXP, e_fn(b, EW_NEG, e_fn(b, EW_EXP, w))),
        .state_heads = d->H, .K = d->K, .V = d->K, .decay = DECAY_KEY,
        .bonus = w_vec(b, "time_faaaa", n)});
    o = b_gated_norm(b, o, g, NORM_LAYER, d->K, w_vec(b, "ln_x.weight", n),
                     w_vec(b, "ln_x.bias", n), GROUP_EPS, ACT_SILU, false);
    return b_linear(b, o, "output", d->D);
}

static val own_channel_mix(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val delta = e_sub(b, b_shift(b, y), y);
    val xk = e_maddw(b, y, delta, w_vec(b, "time_maa_k", d->D));
    val xr = e_maddw(b, y, delta, w_vec(b, "time_maa_r", d->D));
    val k = b_linear(b, xk, "key", d->inner), r = b_linear(b, xr, "receptance", d->D);
    val v = b_linear(b, e_fn(b, EW_SQRELU, k), "value", d->D);
    return e_mul(b, e_fn(b, EW_SIGMOID, r), v);
}

static void build_own(struct build *b)
{
    int K = b_count(b, "head_size", 64), D = b_rwkv_width(b, 2048);
    struct dims d = {.D = D, .K = K, .V = K, .r = 32, .R = 64, .inner = b_rwkv_inner(b),
                     .eps = (float)cfg_num(b, "layer_norm_epsilon", 1e-5)};
    b_prefix(b, "blocks.0.att.");
    cfg_irrelevant(b, "num_attention_heads attention_hidden_size rescale_every "
                      "time_mix_extra_dim time_decay_extra_dim");
    if (!b_require(b, K > 0 && D % K == 0, "heads of %d in a width of %d", K, D))
        return;
    d.H = D / K;
    d.r = (int)b_cols(b, "time_maa_w1", 5 * d.r) / 5; /* stored [D][5 r] */
    b_rwkv_own(b, &(struct rwkv_own){own_mixer, own_channel_mix, &d, D, d.eps,
                                      b_count(b, "rescaled_every", 0)});
}

static void build(struct build *b)
{
    if (b_rwkv_is_own(b)) {
        build_own(b);
        return;
    }
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
