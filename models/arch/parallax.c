/* Parallax attention: a second, signed score shifts the weights of the first.
 *
 *   p = softmax(<q,k>/sqrt(d)), s = <r,k>, m = sum p s;  o = sum p (1 + m - s) v */
#include "models/build.h"

static val turned(struct build *b, val x, const char *norm, const struct softmax_dims *d)
{
    if (d->qk_norm)
        x = b_qk_norm(b, x, norm, d->d, false);
    return b_rope(b, x, d->d, d->d, d->theta, false);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct softmax_dims *d = family;
    int wide = d->H * d->d, narrow = d->kv * d->d;
    (void)layer;
    val q = b_project(b, x, "q_proj", wide, d->bias), r = b_project(b, x, "r_proj", wide, d->bias);
    val k = b_project(b, x, "k_proj", narrow, d->bias),
        v = b_project(b, x, "v_proj", narrow, d->bias);
    q = turned(b, q, "q_norm.weight", d);
    r = turned(b, r, "r_norm.weight", d);
    k = turned(b, k, "k_norm.weight", d);
    val o = b_attention_special(b, &(struct special_args){.kind = OP_PARALLAX,
                                                          .in = {e_cat(b, 2, (val[]){q, r}), k, v,
                                                                 VIEW_NONE, VIEW_NONE, VIEW_NONE},
                                                          .heads = d->H,
                                                          .kv_heads = d->kv,
                                                          .dk = d->d,
                                                          .dv = d->d,
                                                          .window = d->window,
                                                          .scale = d->scale});
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    struct softmax_dims d = b_softmax_dims(b, 32);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_parallax = {"parallax", build};
