/* DeltaNet (Yang et al., 2024): the delta rule without decay.
 *
 *   q, k = f(conv(W x)) with f silu, relu, elu + 1 or none;  v = silu(conv(W x))
 *   q, k := l2 per head, or divided by their sum;  q *= K^-1/2;  beta = sigmoid(W_b x) [x 2] or 1
 *   S += k (beta (v - S^T k))^T;  o = S^T q;  y = W_o (rms(o) (.) silu(W_g x)) */
#include "models/build/build.h"

struct dims { int D, H, K, V, conv; bool beta, gate, neg, sum; float eps; const char *act; };

static val key(struct build *b, val x, const char *name, const struct dims *d)
{
    bool silu = !strcmp(d->act, "silu");
    val y = b_conv_proj(b, x, name, d->H * d->K, d->conv, silu ? ACT_SILU : ACT_NONE);
    if (!strcmp(d->act, "elu"))
        y = b_elu1(b, y);
    else if (!strcmp(d->act, "relu"))
        y = e_fn(b, EW_RELU, y);
    return d->sum ? b_norm(b, y, NORM_SUM, d->K, -1, -1, 0, 1) : b_l2(b, y, d->K);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = key(b, x, "q", d), k = key(b, x, "k", d);
    val v = b_conv_proj(b, x, "v", d->H * d->V, d->conv, ACT_SILU), beta = VIEW_NONE;
    if (d->beta)
        beta = e_fn(b, EW_SIGMOID, b_linear(b, x, "b_proj", d->H));
    else if (d->neg)
        beta = e_affine(b, b_slice(v, 0, d->H), 0, 1);
    if (d->neg)
        beta = e_affine(b, beta, 2, 0);
    val o = b_delta(b, &(struct delta_args){
        .q = q, .k = k, .v = v, .b = beta, .state_heads = d->H, .K = d->K, .V = d->V,
        .decay = DECAY_NONE, .scale = (float)(1 / sqrt(d->K))});
    val gate = d->gate ? b_linear(b, x, "g_proj", d->H * d->V) : VIEW_NONE;
    o = b_head_norm(b, o, d->V, "o_norm.weight", gate, ACT_SILU, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", 16);
    struct head_split s = {.H = H, .Hkv = H};
    const char *norm = cfg_str(b, "qk_norm", "l2");
    struct dims d = {
        .D = D, .H = H, .conv = b_conv_size(b, true), .beta = cfg_bool(b, "use_beta", true),
        .gate = cfg_bool(b, "use_gate", false), .neg = cfg_bool(b, "allow_neg_eigval", false),
        .sum = !strcmp(norm, "sum"), .eps = (float)cfg_num(b, "norm_eps", 1e-6),
        .act = cfg_str(b, "qk_activation", "silu")};
    cfg_irrelevant(b, "use_output_norm"); /* the norm is always there */
    if (!b_head_split(b, D, 1, 1, &s) ||
        !b_require(b, d.sum || !strcmp(norm, "l2"), "qk_norm \"%s\" is neither l2 nor sum", norm) ||
        !b_require(b, !strcmp(d.act, "silu") || !strcmp(d.act, "relu") || !strcmp(d.act, "elu") ||
                          !strcmp(d.act, "identity"),
                   "qk_activation \"%s\" is not silu, relu, elu or identity", d.act))
        return;
    d.K = s.K;
    d.V = s.V;
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_delta_net = {"delta_net", build};
