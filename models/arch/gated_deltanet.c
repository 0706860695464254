/* Gated DeltaNet (Yang, Kautz, Hatamizadeh: "Gated Delta Networks", 2024).
 *
 *   q, k, v = silu(conv(W x));  q, k := l2 per head;  q *= K^-1/2
 *   beta = sigmoid(W_b x) [x 2];  alpha = exp(-exp(A_log) softplus(W_a x + dt_bias))
 *   S := alpha S;  S += k (beta (v - S^T k))^T;  o = S^T q
 *   y = W_o (rms(o) (.) silu(W_g x))
 *
 * Value head h uses query and key head h / (Hv/H). Layers listed in `attn` are softmax layers. */
#include "models/build.h"

struct dims { int D, H, Hv, K, V, conv; bool gate, neg; float eps; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, ACT_SILU);
    val k = b_conv_proj(b, x, "k", d->H * d->K, d->conv, ACT_SILU);
    val v = b_conv_proj(b, x, "v", d->Hv * d->V, d->conv, ACT_SILU);
    q = b_l2(b, q, d->K, (float)(1 / sqrt(d->K)));
    k = b_l2(b, k, d->K, 1);

    val a = b_linear(b, x, "a_proj", d->Hv), beta = b_linear(b, x, "b_proj", d->Hv);
    beta = e_affine(b, e_fn(b, EW_SIGMOID, beta), d->neg ? 2 : 1, 0);
    val alpha = b_decay_gate(b, a, "A_log", d->Hv, "dt_bias");

    val o = b_gated_delta(b, &(struct gated_delta){
        .q = q, .k = k, .v = v, .alpha = alpha, .beta = beta, .H = d->H, .Hv = d->Hv, .K = d->K,
        .V = d->V});

    val gate = d->gate ? b_linear(b, x, "g_proj", d->Hv * d->V) : VIEW_NONE;
    o = b_head_norm(b, o, d->V, "o_norm.weight", gate, ACT_SILU, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", 6);
    int K = (int)cfg_int(b, "head_dim", 256);
    struct dims d = {
        .D = D, .H = H, .Hv = (int)cfg_int(b, "num_v_heads", H), .K = K,
        .V = (int)(K * cfg_num(b, "expand_v", 2)), .conv = b_conv_size(b, true),
        .gate = cfg_bool(b, "use_gate", true), .neg = cfg_bool(b, "allow_neg_eigval", false),
        .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d, .layers = 21});
}

const struct arch arch_gated_deltanet = {"gated_deltanet", build};
