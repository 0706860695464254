/* LightNet (Qin et al., 2024): the keys are a running softmax over time, which also sets the decay.
 *
 *   z_t = logaddexp(z_{t-1}, W_k x) per key channel;  k = exp(W_k x - z_t);  a = exp(z_{t-1} - z_t)
 *   S = diag(a) S + k v^T;  o = S^T silu(W_q x) E^-1/2
 *   y = W_o (rms(o) (.) silu(W_g2 W_g1 x)), over all heads at once, eps 1e-6 always
 *
 * Convolutions, where used, have no activation. */
#include "models/build/build.h"

struct dims { int D, H, E, rank, conv; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = b_conv_proj(b, x, "q", d->D, d->conv, ACT_NONE);
    val k = b_conv_proj(b, x, "k", d->D, d->conv, ACT_NONE);
    val v = b_conv_proj(b, x, "v", d->D, d->conv, ACT_NONE);
    val g = b_low_rank(b, x, "g_proj", d->rank, d->D, false), z = b_logsum(b, k);
    val o = b_decay(b, &(struct decay_args){
        .q = e_fn(b, EW_SILU, q), .k = b_slice(z, 0, d->D), .v = v, .d = b_slice(z, d->D, d->D),
        .state_heads = d->H, .K = d->E, .V = d->E, .decay = DECAY_KEY,
        .scale = (float)(1 / sqrt(d->E))});
    o = b_head_norm(b, o, d->D, "g_norm.weight", g, ACT_SILU, 1e-6f);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), heads = (int)cfg_int(b, "num_heads", 0);
    struct dims d = {.D = D, .E = (int)cfg_int(b, "expand_ratio", heads ? D / heads : 128),
                     .rank = (int)cfg_int(b, "gate_low_rank_dim", 128),
                     .conv = b_conv_size(b, false)};
    if (!b_require(b, d.E > 0 && D % d.E == 0, "heads of %d in a width of %d", d.E, D))
        return;
    d.H = D / d.E;
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_lightnet = {"lightnet", build};
