/* PaTH attention (Yang et al. 2025): keys are seen through the product of the reflections
 * P_s = I - beta_s w_s w_s^T between them and the query.
 *
 *   score = (q_t^T P_t … P_{j+1} k_j + G_t - G_j) / sqrt(d),  w = l2(silu(conv(W x)))
 *   beta = 2 sigmoid(b x),  G = cumsum logsigmoid(g x)
 *
 * Its own kernel (PATH) carries the query down the cached rows, so that they never change and a
 * fork can share them. */
#include "models/build/build.h"

struct family { struct softmax_dims s; bool gate, low_rank; int conv; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct softmax_dims *d = &f->s;
    int width = d->kv * d->d;
    (void)layer;
    struct attention_args a = b_softmax_open(b, x, d);
    val w = f->low_rank ? b_low_rank(b, x, "w_proj", 32, width, false)
                        : b_linear(b, x, "w_proj", width);
    if (f->conv)
        w = b_conv(b, w, w_filter(b, "w_conv1d.weight", width, f->conv), -1, f->conv,
                   ACT_SILU);
    a.kind = OP_PATH;
    a.more[0] = b_l2(b, w, d->d);
    a.more[1] = e_affine(b, e_fn(b, EW_SIGMOID, b_linear_bias(b, x, "bt_proj", d->kv)), 2, 0);
    if (f->gate)
        a.more[2] = b_log_forget(b, b_linear_bias(b, x, "g_proj", d->H));
    return b_linear(b, b_attention(b, &a), "o_proj", d->D);
}

static void build(struct build *b)
{
    struct family f = {.s = b_softmax_dims(b, 32), .gate = cfg_bool(b, "use_forget_gate", false),
                       .low_rank = cfg_bool(b, "use_low_rank_w", true)};
    f.s.theta = f.s.window = 0;
    f.s.bias = false;
    f.s.wide_norm = true;
    f.conv = cfg_bool(b, "use_w_shortconv", true) ? (int)cfg_int(b, "conv_size", 3) : 0;
    b_require(b, f.s.d <= 512, "heads of %d, at most 512", f.s.d);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &f});
}

const struct arch arch_path_attn = {"path_attn", build};
