/* Slot attention: two decayed states with M slots between them.
 *
 *   z = S1^T q, S1 := S1 diag(f) + k s^T;  S2 := diag(f) S2 + s v^T;  o = S2^T softmax(z)
 *
 *   GSA (Zhang et al., 2024)   q, k := phi(W x);  v = silu(W_v x);  f = sigmoid(W_f x)^(1/n);
 *                              s = 1 - f;  y = W_o rms(silu(o)) over all heads, eps 1e-5 always
 *   ABC (Peng et al., 2022)    q, k rotated, q *= K^-1/2;  c = clamp(W_s x);
 *                              z_t = logaddexp(z_{t-1}, c);  s = exp(c - z_t);
 *                              f = exp(z_{t-1} - z_t);  y = W_o (rms(o) (.) silu(W_g x)) */
#include "models/build/build.h"

struct dims {
    int D, H, Hkv, K, V, M, conv;
    bool abc, rope;
    double normalizer, min, max;
    float eps;
    const char *feature;
};

static val gsa_key(struct build *b, val x, const struct dims *d)
{
    if (strcmp(d->feature, "t2r"))
        return b_feature(b, x, d->feature);
    return e_fn(b, EW_RELU, b_per_head(b, x, "feature_map.layer", d->K, d->K, false));
}

static val gsa(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    enum activation act = d->conv ? ACT_SILU : ACT_NONE;
    val q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, act);
    val k = b_conv_proj(b, x, "k", d->Hkv * d->K, d->conv, act);
    val v = b_conv_proj(b, x, "v", d->Hkv * d->V, d->conv, act);
    val f = b_linear(b, x, "f_proj", d->Hkv * d->M);
    f = e_affine(b, e_fn(b, EW_LOGSIGMOID, f), (float)(1 / d->normalizer), 0);
    f = e_fn(b, EW_EXP, f);
    val o = b_slots(b, &(struct slots_args){
        .q = gsa_key(b, q, d), .k = gsa_key(b, k, d), .v = e_fn(b, EW_SILU, v),
        .s = e_affine(b, f, -1, 1), .f = f, .H = d->H, .Hkv = d->Hkv, .K = d->K, .V = d->V,
        .M = d->M, .scale = 1});
    o = e_fn(b, EW_SILU, o);
    o = b_head_norm(b, o, d->H * d->V, "g_norm.weight", VIEW_NONE, ACT_NONE, 1e-5f);
    return b_linear(b, o, "o_proj", d->D);
}

static val abc(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    enum activation act = d->conv ? ACT_SILU : ACT_NONE;
    val q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, act);
    val k = b_conv_proj(b, x, "k", d->H * d->K, d->conv, act);
    val v = b_conv_proj(b, x, "v", d->H * d->V, d->conv, act);
    val s = b_linear(b, x, "s_proj", d->H * d->M), g = b_linear(b, x, "g_proj", d->H * d->V);
    if (d->rope) {
        q = b_rope(b, q, d->K, d->K, 10000, false);
        k = b_rope(b, k, d->K, d->K, 10000, false);
    }
    if (d->min > -INFINITY)
        s = e_max(b, s, (float)d->min);
    if (d->max < INFINITY)
        s = e_min(b, s, (float)d->max);
    val z = b_logsum(b, s);
    val o = b_slots(b, &(struct slots_args){
        .q = q, .k = k, .v = v, .s = b_slice(z, 0, d->H * d->M),
        .f = b_slice(z, d->H * d->M, d->H * d->M), .H = d->H, .Hkv = d->H, .K = d->K, .V = d->V,
        .M = d->M, .scale = (float)(1 / sqrt(d->K))});
    o = b_head_norm(b, o, d->V, "g_norm.weight", g, ACT_SILU, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build_kind(struct build *b, bool is_abc)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", 4);
    /* The published constructors spell their arguments "exapnd". */
    double k = cfg_num(b, "exapnd_k", is_abc ? 0.5 : 1), v = cfg_num(b, "exapnd_v", 1);
    struct head_split split = {.H = H, .Hkv = is_abc ? H : (int)cfg_int(b, "num_kv_heads", H)};
    struct dims d = {
        .D = D, .H = H, .Hkv = split.Hkv,
        .M = (int)cfg_int(b, "num_slots", 64), .conv = b_conv_size(b, false), .abc = is_abc,
        .rope = is_abc && cfg_bool(b, "use_rope", true),
        .normalizer = is_abc ? 1 : cfg_num(b, "gate_logit_normalizer", 8),
        .eps = (float)cfg_num(b, "norm_eps", 1e-6),
        .feature = is_abc ? NULL : cfg_str(b, "feature_map", "swish")};
    if (is_abc) {
        d.min = cfg_num(b, "clamp_min", -32);
        d.max = cfg_num(b, "clamp_max", 32);
        cfg_irrelevant(b, "gate_low_rank_dim num_kv_heads use_output_gate");
    } else {
        cfg_irrelevant(b, "use_output_gate use_norm clamp_min clamp_max"); /* not used by it */
    }
    if (!b_head_split(b, D, k, v, &split) ||
        !b_require(b, d.M > 0 && d.normalizer > 0, "num_slots %d, gate_logit_normalizer %g", d.M,
                   d.normalizer))
        return;
    d.K = split.K;
    d.V = split.V;
    b_skeleton(b, &(struct skeleton){.mixer = is_abc ? abc : gsa, .family = &d});
}

static void build_gsa(struct build *b) { build_kind(b, false); }
static void build_abc(struct build *b) { build_kind(b, true); }

const struct arch arch_gsa = {"gsa", build_gsa};
const struct arch arch_abc = {"abc", build_abc};
