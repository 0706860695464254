/* Raven: slot attention whose slots are chosen by a router; only chosen slots forget and are
 * written.
 *
 *   q, k = rms(phi(W x)) per head [rotated];  v = silu(W_v x)
 *   F = -exp(A_log) softplus(W_a x + dt_bias) per head, or log sigmoid(W_f x) / n per slot
 *   w = the topk best of sigmoid(r) or softmax(r), r = router(x) (+ r_bias for the choice only),
 *       a sigmoid's divided by (their sum + 1e-9);  0 for the others
 *   f = exp(F w);  s = 1 - f;  o = slots(q, k, v, s, f)
 *   y = W_o rms(silu(o)) over all heads, or W_o (rms(silu(o)) (.) silu(W_g x)) per head */
#include "models/build/build.h"

struct dims {
    int D, H, Hkv, K, V, M, topk;
    bool per_slot, softmax, mlp, bias, rope, gate;
    double normalizer, theta;
    float eps;
    const char *feature;
};

static val key(struct build *b, val x, const char *norm, const struct dims *d)
{
    x = b_head_norm(b, b_feature(b, x, d->feature), d->K, norm, VIEW_NONE, ACT_NONE, d->eps);
    return d->rope ? b_rope(b, x, d->K, d->K, d->theta, false) : x;
}

static val route(struct build *b, val x, const struct dims *d)
{
    int n = d->Hkv * d->M;
    val r = d->mlp ? b_linear(b, e_fn(b, EW_GELU_ERF, b_linear_bias(b, x, "r_proj.0", d->D)),
                              "r_proj.2", n)
                   : b_linear(b, x, "r_proj", n);
    r = d->softmax ? b_softmax(b, r, d->M, 1) : e_fn(b, EW_SIGMOID, r);
    return b_topk(b, r, &(struct topk_args){
        .n = d->M, .k = d->topk, .n_groups = 1, .topk_groups = 1,
        .bias = d->bias ? w_vec(b, "r_bias", n) : -1, .norm = !d->softmax, .dense = true,
        .eps = 1e-9f, .scale = 1});
}

/* f = exp(F w) [Hkv * M]. */
static val forget(struct build *b, val x, val w, const struct dims *d)
{
    if (d->per_slot) {
        val z = e_fn(b, EW_LOGSIGMOID, b_linear(b, x, "f_proj", d->Hkv * d->M));
        return e_fn(b, EW_EXP, e_mul(b, e_affine(b, z, (float)(1 / d->normalizer), 0), w));
    }
    val z = e_addw(b, b_linear(b, x, "a_proj", d->Hkv), w_vec(b, "dt_bias", d->Hkv));
    val F = e_mulw(b, e_fn(b, EW_SOFTPLUS, z), w_vec_as(b, "A_log", d->Hkv, TENSOR_NEG_EXP));
    return e_fn(b, EW_EXP, e_mul(b, w, F));
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = b_linear(b, x, "q_proj", d->H * d->K), k = b_linear(b, x, "k_proj", d->Hkv * d->K);
    val v = e_fn(b, EW_SILU, b_linear(b, x, "v_proj", d->Hkv * d->V));
    val f = forget(b, x, route(b, x, d), d), g = VIEW_NONE;
    if (d->gate)
        g = b_linear(b, x, "o_gate_proj", d->H * d->V);
    val o = b_slots(b, &(struct slots_args){
        .q = key(b, q, "q_norm.weight", d), .k = key(b, k, "k_norm.weight", d), .v = v,
        .s = e_affine(b, f, -1, 1), .f = f, .H = d->H, .Hkv = d->Hkv, .K = d->K, .V = d->V,
        .M = d->M, .scale = 1});
    o = e_fn(b, EW_SILU, o);
    o = d->gate ? b_head_norm(b, o, d->V, "o_norm.weight", g, ACT_SILU, d->eps)
                : b_head_norm(b, o, d->H * d->V, "g_norm.weight", g, ACT_NONE, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

/* Whether the string of key is `yes`; anything but `yes` and `no` is refused. */
static bool choice(struct build *b, const char *key, const char *no, const char *yes)
{
    bool is_yes = cfg_is_str(b, key, yes);
    b_require(b, is_yes || !cfg_has(b, key) || cfg_is_str(b, key, no), "%s is neither %s nor %s",
              key, no, yes);
    return is_yes;
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", 4);
    struct head_split s = {.H = H, .Hkv = (int)cfg_int(b, "num_kv_heads", H)};
    struct dims d = {
        .D = D, .H = H, .Hkv = s.Hkv,
        .M = (int)cfg_int(b, "num_slots", 64), .topk = (int)cfg_int(b, "topk", 32),
        .per_slot = choice(b, "decay_type", "Mamba2", "GLA"),
        .softmax = choice(b, "router_score", "sigmoid", "softmax"),
        .mlp = choice(b, "router_type", "lin", "mlp"), .bias = cfg_bool(b, "bias_rmm", false),
        .rope = cfg_bool(b, "use_rope", false), .gate = cfg_bool(b, "use_output_gate", false),
        .normalizer = cfg_num(b, "gate_logit_normalizer", 8),
        .theta = cfg_num(b, "rope_theta", 10000), .eps = (float)cfg_num(b, "norm_eps", 1e-6),
        .feature = cfg_str(b, "feature_map", "swish")};
    cfg_irrelevant(b, "add_gumbel_noise"); /* training only */
    if (!b_head_split(b, D, 1, 1, &s) ||
        !b_require(b, d.topk > 0 && d.topk <= d.M && d.normalizer > 0,
                   "the %d best of num_slots %d, gate_logit_normalizer %g", d.topk, d.M,
                   d.normalizer))
        return;
    d.K = s.K;
    d.V = s.V;
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_raven = {"raven", build};
