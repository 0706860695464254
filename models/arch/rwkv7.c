/* RWKV-7 "Goose" (Peng et al., 2025).
 *
 *   d_t = y_{t-1} - y_t;  x_* = y + d (.) mu_*     (y: the normed input)
 *   r, k, v = W x;  w = exp(-e^-1/2 sigmoid(W2 tanh(W1 x_w) + b))
 *   v += (v_first - v) (.) sigmoid(V2 V1 x_v + b) from layer 1 on
 *   a = sigmoid(A2 A1 x_a + b);  g = G2 sigmoid(G1 x_g)
 *   kk = l2(k (.) k_k);  k := k (.) (1 + (a-1) (.) k_a)
 *   S = diag(w) S - (kk (.) a)(kk^T S) + k v^T;  o = S^T r
 *   y = W_o ((groupnorm(o) + (sum r k r_k) v) (.) g)
 *   ffn: W_v sqrelu(W_k (y + d (.) mu_k))
 *
 * Two sets of tensor names: the library's, and the RWKV project's own (blocks.0.att.w1 ...), whose
 * low-rank matrices are stored [in, out].
 *
 * rwkv_hybrid (ARWKV, Yueyu et al., 2025): this time mixing in Qwen2's layers instead of their
 * attention, with or without g and the group norm, under the project's own names. */
#include "models/build/build.h"

struct dims {
    int D, H, K, Rw, Ra, Rv, Rg, inner;
    float group_eps;
    bool l2_root, own_names, gateless, normless;
    val v_first;
};

/* The published rule for ranks that the config leaves out: c sqrt(D), a multiple of 32. */
static int rank(int D, double c)
{
    int n = 32 * (int)lround(c * sqrt(D) / 32);
    return n < 32 ? 32 : n;
}

/* One mixing vector; old files hold all six in one tensor. */
static int mixing(struct build *b, int i, int D, bool gateless)
{
    static const char *const names[] = {"x_r", "x_w", "x_k", "x_v", "x_a", "x_g"};
    if (!b_has(b, "x_x", false))
        return w_vec(b, names[i], D);
    int n = gateless ? (int)b_rows(b, "x_x", 6) : 6; /* with x_g or without */
    return w_vec_row(b, "x_x", n, i, D);
}

/* up(act(down x)) + bias: "<kind>_lora" or "<kind>1", "<kind>2", "<kind>0". */
static val low_rank(struct build *b, val x, const struct dims *d, char kind, int rank,
                    enum activation act, bool bias)
{
    char name[16], up[3] = {kind, '2'}, down[3] = {kind, '1'}, add[3] = {kind, '0'};
    snprintf(name, sizeof name, "%c_lora", kind);
    if (!d->own_names)
        return b_lora(b, x, name, rank, act, d->D, bias);
    rank = (int)b_rows(b, up, rank);
    val y = e_act(b, act, b_linear_part(b, x, down, NULL, rank, 0, rank, true));
    return b_linear_part(b, y, up, bias ? add : NULL, d->D, 0, d->D, true);
}

static val time_mix(struct build *b, val y, struct dims *d)
{
    bool own = d->own_names;
    val x[6], delta = e_sub(b, b_shift(b, y), y);
    for (int i = 0; i < (d->gateless ? 5 : 6); i++)
        x[i] = e_maddw(b, y, delta, mixing(b, i, d->D, d->gateless));
    val r = b_linear(b, x[0], own ? "receptance" : "r_proj", d->D);
    val k = b_linear(b, x[2], own ? "key" : "k_proj", d->D);
    val v = b_linear(b, x[3], own ? "value" : "v_proj", d->D);
    val w = low_rank(b, x[1], d, 'w', d->Rw, ACT_TANH, true);
    val a = low_rank(b, x[4], d, 'a', d->Ra, ACT_NONE, true);
    val g = d->gateless ? VIEW_NONE : low_rank(b, x[5], d, 'g', d->Rg, ACT_SIGMOID, false);
    if (view_given(d->v_first)) {
        val mix = low_rank(b, x[3], d, 'v', d->Rv, ACT_NONE, true);
        v = e_add(b, v, e_mul(b, e_sub(b, d->v_first, v), e_fn(b, EW_SIGMOID, mix)));
    } else {
        d->v_first = v;
    }
    w = e_fn(b, EW_EXP, e_affine(b, e_fn(b, EW_SIGMOID, w), -0.6065306597126334f, 0));
    a = e_fn(b, EW_SIGMOID, a);
    val kk = e_mulw(b, k, w_vec(b, "k_k", d->D));
    k = e_mul(b, k, e_affine(b, e_mulw(b, e_affine(b, a, 1, -1), w_vec(b, "k_a", d->D)), 1, 1));
    val rk = b_groupsum(b, e_mulw(b, e_mul(b, r, k), w_vec(b, "r_k", d->D)), d->K, 1);
    kk = d->l2_root ? b_l2(b, kk, d->K) : b_norm(b, kk, NORM_L2MAX, d->K, -1, -1, 1e-12f, 1);

    val o = b_delta(b, &(struct delta_args){
        .q = r, .k = k, .v = v, .w = w, .a = e_fn(b, EW_NEG, kk), .b = e_mul(b, kk, a),
        .state_heads = d->H, .K = d->K, .V = d->K, .decay = DECAY_KEY, .dplr = true});

    if (!d->normless)
        o = b_norm(b, o, NORM_LAYER, d->K, w_vec(b, own ? "ln_x.weight" : "g_norm.weight", d->D),
                   w_vec(b, own ? "ln_x.bias" : "g_norm.bias", d->D), d->group_eps, 1);
    o = e_add(b, o, e_mul(b, v, rk));
    return b_linear(b, d->gateless ? o : e_mul(b, o, g), own ? "output" : "o_proj", d->D);
}

static val mixer(struct build *b, val y, int layer, void *family)
{
    (void)layer;
    return time_mix(b, y, family);
}

static val channel_mix(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val delta = e_sub(b, b_shift(b, y), y);
    val x = e_maddw(b, y, delta, w_vec(b, "x_k", d->D));
    return b_linear(b, e_fn(b, EW_SQRELU, b_linear(b, x, "key", d->inner)), "value", d->D);
}

/* Under the project's own names. */
static val own_mixer(struct build *b, val y, int layer, void *family)
{
    for (int k = 0; layer == 0 && k < 3; k++)
        b_unused(b, (const char *[]){"v0", "v1", "v2"}[k]); /* there, but nothing to mix with */
    return time_mix(b, y, family);
}

/* ---- in Qwen2's layers ---- */

static val qwen_mixer(struct build *b, val y, int layer, void *family)
{
    struct dims *d = family;
    b_into(b, "self_attn.time_mixer.");
    if (d->gateless && b_has(b, "x_g", false))
        b_unused(b, "x_g");
    return own_mixer(b, y, layer, d);
}

static val qwen_ffn(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    b_into(b, "mlp.");
    return b_swiglu(b, y, "gate_proj", "up_proj", "down_proj", d->inner, "silu");
}

static void build_qwen(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 28, 1e-6);
    int K = b_count(b, "head_size", 64);
    double divisor = cfg_num(b, "head_size_divisor", 8);
    struct dims d = {.D = f.D, .K = K, .inner = b_width(b, "intermediate_size", 18944),
                     .Rw = 64, .Ra = 64, .Rv = 32, .Rg = 128, .own_names = true,
                     .group_eps = (float)(1e-5 * divisor * divisor), .v_first = VIEW_NONE,
                     .gateless = !cfg_bool(b, "wkv_has_gate", true),
                     .normless = !cfg_bool(b, "wkv_has_group_norm", true)};
    int64_t version = cfg_int(b, "wkv_version", 7);
    if (!b_require(b, K > 0 && f.D % K == 0, "heads of %d in a width of %d", K, f.D) ||
        !b_require(b, version == 7, "wkv_version %lld, only 7 is supported", (long long)version))
        return;
    d.H = f.D / K;
    int heads = b_count(b, "num_wkv_heads", d.H);
    b_require(b, heads == d.H, "num_wkv_heads is %d, not %d / %d", heads, f.D, K);
    b_same_act(b, "hidden_act", ACT_SILU);
    cfg_irrelevant(b, "num_attention_heads num_key_value_heads max_window_layers rope_theta "
                      "rope_scaling rope_parameters sliding_window use_sliding_window "
                      "lora_rank_decay lora_rank_iclr lora_rank_value_residual_mix "
                      "lora_rank_gate");
    f.mixer = qwen_mixer;
    f.ffn = qwen_ffn;
    f.family = &d;
    b_hybrid(b, &f);
}

static void check_value_dim(struct build *b, int D)
{
    for (int64_t i = 0; i < config_len(cfg(b), "value_dim"); i++) {
        int64_t n = config_int_at(cfg(b), "value_dim", i, D, NULL);
        b_require(b, n == D, "value_dim[%lld] is %lld, only hidden_size %d is supported",
                  (long long)i, (long long)n, D);
    }
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", 0);
    int K = (int)cfg_int(b, "head_dim", H > 0 ? D / H : 64);
    if (!b_require(b, K > 0 && D % K == 0 && (H == 0 || H == D / K),
                   "%d heads of %d in a width of %d", H, K, D))
        return;
    int inner = 32 * (((int)(D * cfg_num(b, "hidden_ratio", 4)) + 31) / 32);
    b_require(b, !strcmp(cfg_str(b, "hidden_act", "sqrelu"), "sqrelu"),
              "hidden_act is not sqrelu, the only one RWKV-7 has");
    b_require(b, !cfg_has(b, "attn"), "attn: RWKV-7 has no hybrid form");
    check_value_dim(b, D);
    float eps = (float)cfg_num(b, "norm_eps", 1e-5);
    struct dims d = {.D = D, .H = D / K, .K = K, .group_eps = (float)K * eps,
                     .inner = (int)cfg_int(b, "intermediate_size", inner),
                     .v_first = VIEW_NONE, .l2_root = cfg_bool(b, "fuse_norm", true)};
    d.Rw = (int)cfg_int(b, "decay_low_rank_dim", rank(D, 2.5));
    d.Ra = (int)cfg_int(b, "a_low_rank_dim", rank(D, 2.5));
    d.Rv = (int)cfg_int(b, "v_low_rank_dim", rank(D, 1.7));
    d.Rg = (int)cfg_int(b, "gate_low_rank_dim", rank(D, 5));
    b_prefix(b, "%s", "");
    d.own_names = b_has(b, "emb.weight", false);
    if (d.own_names) {
        cfg_irrelevant(b, "norm_bias norm_first hidden_ratio");
        d.l2_root = false;
        if (!cfg_has(b, "intermediate_size"))
            d.inner = (int)b_rows(b, "blocks.0.ffn.key.weight", inner);
        b_rwkv_own(b, &(struct rwkv_own){own_mixer, channel_mix, &d, D, eps, 0});
        return;
    }
    b_skeleton(b, &(struct skeleton){
        .mixer = mixer, .ffn = channel_mix, .family = &d, .eps = 1e-5, .layer_norm = true,
        .ffn_norm = "ffn_norm", .ffn_name = "ffn"});
}

const struct arch arch_rwkv7 = {"rwkv7", build};
const struct arch arch_rwkv_hybrid = {"rwkv_hybrid", build_qwen};
