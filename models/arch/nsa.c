/* Native sparse attention (Yuan et al. 2025): block means, chosen blocks and a window, each gated
 * per head. The choice follows the first softmax, so all three share one kernel (NSA). */
#include "models/build/build.h"

#define ALWAYS_CHOSEN 3

struct family { struct softmax_dims s; int block, count; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct softmax_dims *d = &f->s;
    int wide = d->H * d->d;
    float order[3 * 1024];
    (void)layer;
    struct attention_args a = b_softmax_open(b, x, d);
    a.kind = OP_NSA;
    a.block = f->block;
    a.count = f->count;
    for (int i = 0; i < 3; i++)
        for (int h = 0; h < d->H && h < 1024; h++)
            order[i * d->H + h] = (float)(3 * h + i); /* the file has a head's gates together */
    val g = b_columns(b, b_linear(b, x, "g_proj", 3 * d->H), order, 3 * d->H);
    val o = e_mul(b, b_attention(b, &a), e_fn(b, EW_SIGMOID, g));
    val sum = e_add(b, e_add(b, b_slice(o, 0, wide), b_slice(o, wide, wide)),
                    b_slice(o, 2 * wide, wide));
    return b_linear(b, sum, "o_proj", d->D);
}

static void build(struct build *b)
{
    struct family f = {b_softmax_dims(b, 64), (int)cfg_int(b, "block_size", 64),
                       (int)cfg_int(b, "block_counts", 16)};
    if (!cfg_has(b, "window_size"))
        f.s.window = 512;
    f.s.qk_norm = false; /* not read by the reference */
    b_require(b, f.block > 0 && f.s.H <= 1024, "block_size %d, %d heads", f.block, f.s.H);
    b_require(b, f.count >= ALWAYS_CHOSEN, "block_counts %d, at least %d: the first block, the "
              "current one and the one before it are always chosen", f.count, ALWAYS_CHOSEN);
    b_context_max(b, (int64_t)SPARSE_BLOCKS_MAX * f.block);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &f});
}

const struct arch arch_nsa = {"nsa", build};
