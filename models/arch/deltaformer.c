/* DeltaFormer: values corrected by what attention already returns for them.
 *
 *   u_t = v_t - beta_t sum_{j<t} softmax_{j<t}(<q_t,k_j>/sqrt(d)) u_j
 *   o_t = sum_{j<=t} softmax(<q_t,k_j>/sqrt(d)) u_j
 *
 * u_t needs every earlier u, so the kernel (DELTAFORMER) walks the tokens in order. */
#include "models/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct softmax_dims *d = family;
    int wide = d->H * d->d;
    (void)layer;
    val q = b_project(b, x, "q_proj", wide, d->bias), k = b_project(b, x, "k_proj", wide, d->bias);
    val v = b_project(b, x, "v_proj", wide, d->bias), beta = b_linear_bias(b, x, "b_proj", d->H);
    if (d->qk_norm) {
        q = b_qk_norm(b, q, "q_norm.weight", d->d, false);
        k = b_qk_norm(b, k, "k_norm.weight", d->d, false);
    }
    q = b_rope(b, q, d->d, d->d, d->theta, false);
    k = b_rope(b, k, d->d, d->d, d->theta, false);
    val in = e_cat(b, 3, (val[]){q, v, beta});
    val ou = b_attention_special(b, &(struct special_args){
        .kind = OP_DELTAFORMER, .in = {in, k, VIEW_NONE, VIEW_NONE, VIEW_NONE, VIEW_NONE},
        .heads = d->H, .kv_heads = d->H, .dk = d->d, .dv = d->d, .scale = d->scale});
    return b_linear(b, b_slice(ou, 0, wide), "o_proj", d->D);
}

static void build(struct build *b)
{
    struct softmax_dims d = b_softmax_dims(b, 32);
    b_require(b, d.kv == d.H, "%d key heads for %d heads; DeltaFormer has as many", d.kv, d.H);
    cfg_irrelevant(b, "rope_max_position_embeddings");
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_deltaformer = {"deltaformer", build};
