/* Gated DeltaProduct (Siems et al., 2025): n delta-rule steps per token.
 *
 *   q, k_1..n, v_1..n = silu(conv(W x));  q, k_j := l2 per head;  q *= K^-1/2
 *   beta_j = sigmoid(W_b x) [x 2];  alpha = exp(-exp(A_log) softplus(W_a x + dt_bias)) or 1
 *   S := alpha S;  for j = 1..n: S += k_j (beta_j (v_j - S^T k_j))^T;  o = S^T q
 *   y = W_o (rms(o) (.) silu(W_g x)) */
#include "models/build.h"

struct dims { int D, H, K, V, n, conv; bool gate, forget, neg; float eps; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, ACT_SILU);
    val k = b_conv_proj(b, x, "k", d->n * d->H * d->K, d->conv, ACT_SILU);
    val v = b_conv_proj(b, x, "v", d->n * d->H * d->V, d->conv, ACT_SILU);
    val a = d->forget ? b_linear(b, x, "a_proj", d->H) : VIEW_NONE;
    val beta = b_linear(b, x, "b_proj", d->n * d->H);
    beta = e_affine(b, e_fn(b, EW_SIGMOID, beta), d->neg ? 2 : 1, 0);
    if (d->forget)
        a = b_decay_gate(b, a, "A_log", d->H, "dt_bias");
    q = b_l2(b, q, d->K, (float)(1 / sqrt(d->K)));
    k = b_l2(b, k, d->K, 1);
    val o = b_delta(b, &(struct delta_args){
        .q = q, .k = k, .v = v, .w = a, .a = VIEW_NONE, .b = beta, .k_heads = d->H,
        .d_heads = d->H, .state_heads = d->H, .K = d->K, .V = d->V, .steps = d->n,
        .decay = d->forget ? DECAY_SCALAR : DECAY_NONE, .decay_first = true, .scale = 1});
    val gate = d->gate ? b_linear(b, x, "g_proj", d->H * d->V) : VIEW_NONE;
    o = b_head_norm(b, o, d->V, "o_norm.weight", gate, ACT_SILU, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int K = (int)cfg_int(b, "head_dim", 256), H = (int)cfg_int(b, "num_heads", 6);
    int Hv = (int)cfg_int(b, "num_v_heads", H);
    struct dims d = {
        .D = (int)cfg_int(b, "hidden_size", 2048), .H = H, .K = K,
        .V = (int)(K * cfg_num(b, "expand_v", 2)), .n = (int)cfg_int(b, "num_householder", 1),
        .conv = b_conv_size(b, true), .gate = cfg_bool(b, "use_output_gate", true),
        .forget = cfg_bool(b, "use_forget_gate", false),
        .neg = cfg_bool(b, "allow_neg_eigval", false), .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    if (b_require(b, d.n > 0, "num_householder %d", d.n) &&
        b_require(b, Hv == H, "num_v_heads %d must equal num_heads %d", Hv, H))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_gated_deltaproduct = {"gated_deltaproduct", build};
