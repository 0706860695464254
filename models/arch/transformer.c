/* Plain softmax transformer: rotated queries and keys, SwiGLU. */
#include "models/build/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    (void)layer;
    return b_softmax_attention(b, x, family);
}

static void build(struct build *b)
{
    struct softmax_dims d = b_softmax_dims(b, 32);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_transformer = {"transformer", build};
