/* Comba (Hu et al., 2025): a delta rule that predicts from the state before its decay, with a
 * correction of the query.
 *
 *   q, k, v = silu(conv(W x));  p = sigmoid(decay_h) k;  q := q - D_h p
 *   q, k, p := l2 per head;  q *= K^-1/2;  beta, alpha as in Gated DeltaNet
 *   d = beta (v - S^T p);  S = alpha S + k d^T;  o = S^T q;  y = W_o (rms(o) (.) sigmoid(W_g x)) */
#include "models/build.h"

struct dims { int D, H, K, V, conv; bool gate, neg; float eps; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, ACT_SILU);
    val k = b_conv_proj(b, x, "k", d->H * d->K, d->conv, ACT_SILU);
    val v = b_conv_proj(b, x, "v", d->H * d->V, d->conv, ACT_SILU);
    val a = b_linear(b, x, "a_proj", d->H), beta = b_linear(b, x, "b_proj", d->H);
    val p = e_mul_group_w(b, k, w_vec_as(b, "decay", d->H, TENSOR_SIGMOID));
    q = e_sub(b, q, e_mul_group_w(b, p, w_vec(b, "D", d->H)));
    beta = e_affine(b, e_fn(b, EW_SIGMOID, beta), d->neg ? 2 : 1, 0);
    val alpha = b_decay_gate(b, a, "A_log", d->H, "dt_bias");
    q = b_l2(b, q, d->K, (float)(1 / sqrt(d->K)));
    k = b_l2(b, k, d->K, 1);
    p = b_l2(b, p, d->K, 1);
    val o = b_delta(b, &(struct delta_args){
        .q = q, .k = k, .v = v, .w = alpha, .a = p, .b = beta, .k_heads = d->H, .d_heads = d->H,
        .state_heads = d->H, .K = d->K, .V = d->V, .steps = 1, .decay = DECAY_SCALAR, .scale = 1});
    val gate = d->gate ? b_linear(b, x, "g_proj", d->H * d->V) : VIEW_NONE;
    o = b_head_norm(b, o, d->V, "o_norm.weight", gate, ACT_SIGMOID, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int H = (int)cfg_int(b, "num_heads", 6), Hv = (int)cfg_int(b, "num_v_heads", H);
    int K = (int)cfg_int(b, "head_dim", 256);
    struct dims d = {
        .D = (int)cfg_int(b, "hidden_size", 2048), .H = H, .K = K,
        .V = (int)(K * cfg_num(b, "expand_v", 2)), .conv = b_conv_size(b, true),
        .gate = cfg_bool(b, "use_output_gate", true), .neg = cfg_bool(b, "allow_neg_eigval", false),
        .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    /* Both features are always on in the published model, whatever these keys say. */
    cfg_irrelevant(b, "use_output_correction use_inner_decay correction_factor");
    if (b_require(b, Hv == H, "num_v_heads %d of Comba must equal num_heads %d", Hv, H))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_comba = {"comba", build};
