/* Plain softmax transformer: the hybrid attention of the notes' section 1.4 in every layer. */
#include "models/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct softmax_dims *d = family;
    (void)layer;
    val q = b_project(b, x, "q_proj", d->H * d->d, d->bias);
    val k = b_project(b, x, "k_proj", d->kv * d->d, d->bias);
    val v = b_project(b, x, "v_proj", d->kv * d->d, d->bias);
    if (d->qk_norm) {
        q = b_qk_norm(b, q, "q_norm.weight", d->d, false);
        k = b_qk_norm(b, k, "k_norm.weight", d->d, false);
    }
    q = b_rope(b, q, d->d, d->d, d->theta, false);
    k = b_rope(b, k, d->d, d->d, d->theta, false);
    val o = b_attention(b, &(struct attention_args){
        .q = q, .k = k, .v = v, .bias = VIEW_NONE, .heads = d->H, .kv_heads = d->kv, .dk = d->d,
        .dv = d->d, .window = d->window, .scale = d->scale});
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    struct softmax_dims d = b_softmax_dims(b, 32);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_transformer = {"transformer", build};
