/* Gated DeltaNet (Yang, Kautz, Hatamizadeh: "Gated Delta Networks", 2024).
 *
 *   q, k, v = silu(conv(W x));  q, k := l2 per head;  q *= K^-1/2
 *   beta = sigmoid(W_b x) [x 2];  alpha = exp(-exp(A_log) softplus(W_a x + dt_bias))
 *   S := alpha S;  S += k (beta (v - S^T k))^T;  o = S^T q
 *   y = W_o (rms(o) (.) silu(W_g x)), or sigmoid
 *
 * Value head h uses query and key head h / (Hv/H). Layers listed in `attn` are softmax layers. */
#include "models/build/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    (void)layer;
    return b_gdn(b, x, family);
}

static void build(struct build *b)
{
    struct gdn_args d = b_gdn_read(b, 6, 256, 2);
    const char *act = cfg_str(b, "output_gate_activation", "swish");
    d.gate = cfg_bool(b, "use_gate", true);
    d.sigmoid = !strcmp(act, "sigmoid");
    b_require(b, d.sigmoid || !strcmp(act, "swish") || !strcmp(act, "silu"),
              "output_gate_activation \"%s\" is not swish, silu or sigmoid", act);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d, .layers = 21});
}

const struct arch arch_gated_deltanet = {"gated_deltanet", build};
