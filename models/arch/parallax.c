/* Parallax attention: a second, signed score shifts the weights of the first.
 *
 *   p = softmax(<q,k>/sqrt(d)), s = <r,k>, m = sum p s;  o = sum p (1 + m - s) v */
#include "models/build/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct softmax_dims *d = family;
    (void)layer;
    struct attention_args a = b_softmax_open(b, x, d);
    val r = b_project(b, x, "r_proj", d->H * d->d, d->bias);
    a.kind = OP_PARALLAX;
    a.q = e_cat(b, 2, (val[]){a.q, b_softmax_turned(b, r, "r_norm.weight", d)});
    return b_linear(b, b_attention(b, &a), "o_proj", d->D);
}

static void build(struct build *b)
{
    struct softmax_dims d = b_softmax_dims(b, 32);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_parallax = {"parallax", build};
