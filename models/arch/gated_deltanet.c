/* Gated DeltaNet (Yang, Kautz, Hatamizadeh: "Gated Delta Networks", 2024).
 *
 *   q, k, v = silu(conv(W x));  q, k := l2 per head;  q *= K^-1/2
 *   beta = sigmoid(W_b x) [x 2];  alpha = exp(-exp(A_log) softplus(W_a x + dt_bias))
 *   S := alpha S;  S += k (beta (v - S^T k))^T;  o = S^T q
 *   y = W_o (rms(o) (.) silu(W_g x))
 *
 * Value head h uses query and key head h / (Hv/H). Layers listed in `attn` are softmax layers. */
#include "models/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    (void)layer;
    return b_gdn(b, x, family);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", 6);
    int K = (int)cfg_int(b, "head_dim", 256);
    struct gdn_args d = {
        .D = D, .H = H, .Hv = (int)cfg_int(b, "num_v_heads", H), .K = K,
        .V = (int)(K * cfg_num(b, "expand_v", 2)), .conv = b_conv_size(b, true),
        .gate = cfg_bool(b, "use_gate", true), .neg = cfg_bool(b, "allow_neg_eigval", false),
        .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d, .layers = 21});
}

const struct arch arch_gated_deltanet = {"gated_deltanet", build};
