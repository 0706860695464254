/* DeltaFormer: values corrected by what attention already returns for them.
 *
 *   u_t = v_t - beta_t sum_{j<t} softmax_{j<t}(<q_t,k_j>/sqrt(d)) u_j
 *   o_t = sum_{j<=t} softmax(<q_t,k_j>/sqrt(d)) u_j
 *
 * u_t needs every earlier u, so the kernel (DELTAFORMER) walks the tokens in order. */
#include "models/build/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct softmax_dims *d = family;
    (void)layer;
    struct attention_args a = b_softmax_open(b, x, d);
    a.kind = OP_DELTAFORMER;
    a.q = e_cat(b, 3, (val[]){a.q, a.v, b_linear_bias(b, x, "b_proj", d->H)});
    return b_linear(b, b_slice(b_attention(b, &a), 0, d->H * d->d), "o_proj", d->D);
}

static void build(struct build *b)
{
    struct softmax_dims d = b_softmax_dims(b, 32);
    b_require(b, d.kv == d.H, "%d key heads for %d heads; DeltaFormer has as many", d.kv, d.H);
    d.window = 0;
    cfg_irrelevant(b, "rope_max_position_embeddings");
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_deltaformer = {"deltaformer", build};
