/* Gated linear attention and its relatives: one decayed rank-1 state per head,
 *
 *   q, k, v = W x (conv + silu if used);  q, k := feature map;  q *= K^-1/2
 *   S = diag(a) S + k v^T;  o = S^T q;  y = W_o (rms(o) (.) act(W_g x))
 *
 *   GLA (Yang et al., 2023)      a = sigmoid(W_2 W_1 x + b)^(1/16) per key channel, >= e^clamp_min
 *   simple GLA                   a = sigmoid(W x + b)^(1/16) per head
 *   RetNet (Sun et al., 2023)    a_h = 1 - 2^(-5-h), q and k rotated
 *
 * With fewer key heads than query heads, the query heads of one key head read the same state,
 * unless the decay is theirs. */
#include "models/build/build.h"

enum kind { GLA, SIMPLE, RETNET };
struct dims {
    enum kind kind;
    int D, H, Hkv, K, V, conv;
    bool gate;
    double normalizer, clamp;
    float eps;
    const char *feature, *act;
};

/* Low rank of the gate: fixed in the published code. */
#define GATE_RANK 16
#define HEADS_MAX 1024 /* of RetNet's table of decays; published models have up to 64 */

static val state(struct build *b, val q, val k, val v, val z, const struct dims *d)
{
    struct decay_args a = {
        .q = q, .k = k, .v = v, .q_heads = d->H, .k_heads = d->Hkv, .v_heads = d->Hkv,
        .state_heads = d->H, .K = d->K, .V = d->V, .decay = DECAY_CONST,
        .scale = (float)(1 / sqrt(d->K))};
    if (d->kind == RETNET) {
        float constant[HEADS_MAX] = {0};
        for (int h = 0; h < d->H; h++)
            constant[h] = (float)(1 - exp2(-5 - h));
        a.constant = w_values(b, constant, d->H);
        return b_decay(b, &a);
    }
    val g = e_affine(b, e_fn(b, EW_LOGSIGMOID, z), (float)(1 / d->normalizer), 0);
    if (d->clamp > -INFINITY)
        g = e_max(b, g, (float)d->clamp);
    a.d = e_fn(b, EW_EXP, g);
    a.decay = d->kind == GLA ? DECAY_KEY : DECAY_SCALAR;
    a.state_heads = d->kind == GLA ? d->Hkv : g.width;
    return b_decay(b, &a);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    enum activation act = d->conv ? ACT_SILU : ACT_NONE;
    val q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, act), z = VIEW_NONE;
    val k = b_conv_proj(b, x, "k", d->Hkv * d->K, d->conv, act);
    val v = b_conv_proj(b, x, "v", d->Hkv * d->V, d->conv, act);
    if (d->kind == GLA)
        z = b_low_rank(b, x, "gk_proj", GATE_RANK, d->Hkv * d->K, true);
    else if (d->kind == SIMPLE)
        z = b_linear_bias(b, x, "gk_proj", (int)b_rows(b, "gk_proj.weight", d->H));
    val gate = d->gate ? b_linear(b, x, "g_proj", d->H * d->V) : VIEW_NONE;
    q = b_feature(b, q, d->feature);
    k = b_feature(b, k, d->feature);
    if (d->kind == RETNET) {
        q = b_rope(b, q, d->K, d->K, 10000, false);
        k = b_rope(b, k, d->K, d->K, 10000, false);
    }
    val o = state(b, q, k, v, z, d);
    const char *norm = "g_norm_swish_gate.weight"; /* the fused class has another name */
    if (!b_has(b, norm, d->gate))
        norm = "g_norm.weight";
    o = b_head_norm(b, o, d->V, norm, gate, activation_parse(d->act), d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build_kind(struct build *b, enum kind kind, double expand_k, double expand_v, int heads)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", heads);
    struct dims d = {
        .kind = kind, .D = D, .H = H, .Hkv = (int)cfg_int(b, "num_kv_heads", H),
        .conv = b_conv_size(b, kind == SIMPLE), .gate = cfg_bool(b, "use_output_gate", true),
        .normalizer = kind == SIMPLE ? cfg_num(b, "gate_logit_normalizer", 16) : 16,
        .clamp = kind == GLA ? cfg_num(b, "clamp_min", -INFINITY) : -INFINITY,
        .eps = (float)cfg_num(b, "norm_eps", 1e-6),
        .feature = cfg_str(b, "feature_map", NULL), .act = cfg_str(b, "hidden_act", "swish")};
    if (kind == RETNET) {
        d.conv = 0; /* the published model does not hand the key on to its layers */
        cfg_irrelevant(b, "clamp_min"); /* its decays are constants */
    }
    struct head_split s = {.H = H, .Hkv = d.Hkv};
    if (!b_head_split(b, D, expand_k, expand_v, &s) ||
        !b_require(b, H <= HEADS_MAX, "%d heads, at most %d", H, HEADS_MAX) ||
        !b_require(b, d.normalizer > 0, "gate_logit_normalizer %g", d.normalizer) ||
        !b_require(b, d.clamp <= 0, "clamp_min %g: a decay of more than 1 makes states that only "
                   "grow; 0 at most is supported", d.clamp))
        return;
    d.K = s.K;
    d.V = s.V;
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d,
                                     .hidden_ratio = kind == RETNET ? 2 : 4});
}

static void build_gla(struct build *b) { build_kind(b, GLA, 0.5, 1, 4); }
static void build_simple(struct build *b) { build_kind(b, SIMPLE, 1, 1, 4); }
static void build_retnet(struct build *b) { build_kind(b, RETNET, 1, 2, 8); }

const struct arch arch_gla = {"gla", build_gla};
const struct arch arch_simple_gla = {"simple_gla", build_simple};
const struct arch arch_retnet = {"retnet", build_retnet};
