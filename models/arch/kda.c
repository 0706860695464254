/* Kimi delta attention (Kimi team, 2025) and Gated DeltaNet 2: the delta rule with a decay per
 * key channel.
 *
 *   q, k, v = silu(conv(W x));  q, k := l2 per head;  q *= K^-1/2;  z = W_f2 W_f1 x + dt_bias
 *   alpha = exp(-exp(A_log_h) softplus(z)), or exp(L sigmoid(exp(A_log_h) z)) with a lower bound L
 *   S := diag(alpha) S;  then
 *     KDA    S += k (beta (v - S^T k))^T,  beta = sigmoid(W_b x) [x 2] per value head
 *     GDN-2  S += k (w (.) v - S^T (e (.) k))^T,  e = sigmoid(W_b x) [x 2],  w = sigmoid(W_w x)
 *   o = S^T q;  y = W_o (rms(o) (.) sigmoid(W_g2 W_g1 x + b))
 *
 * Value head h uses query and key head h / (Hv/H). KDA decays per value head, GDN-2 per key
 * head. */
#include "models/build.h"

struct dims { int D, H, Hv, K, V, conv; bool gdn2, neg, bounded; double bound; float eps; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, ACT_SILU);
    val k = b_conv_proj(b, x, "k", d->H * d->K, d->conv, ACT_SILU);
    val v = b_conv_proj(b, x, "v", d->Hv * d->V, d->conv, ACT_SILU);
    val erase = b_linear(b, x, "b_proj", d->gdn2 ? d->H * d->K : d->Hv);
    val write = d->gdn2 ? b_linear(b, x, "w_proj", d->Hv * d->V) : VIEW_NONE;
    val z = b_low_rank(b, x, "f_proj", d->V, (d->gdn2 ? d->H : d->Hv) * d->K, false);
    val gate = b_low_rank(b, x, "g_proj", d->V, d->Hv * d->V, b_has(b, "g_proj.1.bias", true));
    erase = e_affine(b, e_fn(b, EW_SIGMOID, erase), d->neg ? 2 : 1, 0);
    int decays = d->gdn2 ? d->H : d->Hv;
    val o, alpha = d->bounded ? b_bounded_gate(b, z, "A_log", decays, "dt_bias", d->bound)
                              : b_decay_gate(b, z, "A_log", decays, "dt_bias");
    q = b_l2(b, q, d->K, (float)(1 / sqrt(d->K)));
    k = b_l2(b, k, d->K, 1);
    if (d->gdn2)
        o = b_delta(b, &(struct delta_args){
            .q = q, .k = k, .v = e_mul(b, v, e_fn(b, EW_SIGMOID, write)), .w = alpha,
            .a = e_mul(b, k, erase), .b = VIEW_NONE, .k_heads = d->H, .d_heads = d->H,
            .state_heads = d->Hv, .K = d->K, .V = d->V, .steps = 1, .decay = DECAY_KEY,
            .decay_first = true, .scale = 1});
    else
        o = b_gated_delta(b, &(struct gated_delta){
            .q = q, .k = k, .v = v, .alpha = alpha, .beta = erase, .H = d->H, .Hv = d->Hv,
            .K = d->K, .V = d->V});
    o = b_head_norm(b, o, d->V, "o_norm.weight", gate, ACT_SIGMOID, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build_kind(struct build *b, bool gdn2)
{
    int H = (int)cfg_int(b, "num_heads", 16), K = (int)cfg_int(b, "head_dim", 128);
    struct dims d = {
        .D = (int)cfg_int(b, "hidden_size", 2048), .H = H, .Hv = (int)cfg_int(b, "num_v_heads", H),
        .K = K, .V = (int)(K * cfg_num(b, "expand_v", 1)), .conv = b_conv_size(b, true),
        .gdn2 = gdn2, .neg = cfg_bool(b, "allow_neg_eigval", false),
        .bounded = !gdn2 && cfg_has(b, "lower_bound"), .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    if (!gdn2)
        d.bound = cfg_num(b, "lower_bound", 0);
    if (b_require(b, d.bound <= 0, "lower_bound %g must be negative", d.bound))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

static void build_kda(struct build *b) { build_kind(b, false); }
static void build_gdn2(struct build *b) { build_kind(b, true); }

const struct arch arch_kda = {"kda", build_kda};
const struct arch arch_gdn2 = {"gdn2", build_gdn2};
