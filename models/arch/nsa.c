/* Native sparse attention (Yuan et al. 2025): block means, chosen blocks and a window, each gated
 * per head. The choice follows the first softmax, so all three share one kernel (NSA). */
#include "models/build.h"

struct family { struct softmax_dims s; int block, count; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct softmax_dims *d = &f->s;
    int wide = d->H * d->d;
    float order[3 * 1024];
    (void)layer;
    val q = b_project(b, x, "q_proj", wide, d->bias);
    val k = b_project(b, x, "k_proj", d->kv * d->d, d->bias);
    val v = b_project(b, x, "v_proj", d->kv * d->d, d->bias);
    val g = b_linear(b, x, "g_proj", 3 * d->H);
    for (int i = 0; i < 3; i++)
        for (int h = 0; h < d->H && h < 1024; h++)
            order[i * d->H + h] = (float)(3 * h + i); /* the file has a head's gates together */
    g = e_fn(b, EW_SIGMOID, b_columns(b, g, order, 3 * d->H));
    q = b_rope(b, q, d->d, d->d, d->theta, false);
    k = b_rope(b, k, d->d, d->d, d->theta, false);
    val o = b_attention_special(b, &(struct special_args){
        .kind = OP_NSA, .in = {q, k, v, VIEW_NONE, VIEW_NONE, VIEW_NONE}, .heads = d->H,
        .kv_heads = d->kv, .dk = d->d, .dv = d->d, .window = d->window, .block = f->block,
        .count = f->count, .scale = d->scale});
    o = e_mul(b, o, g);
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
    b_require(b, f.block > 0 && f.count > 0 && f.s.H <= 1024, "blocks of %d, %d of them, %d heads",
              f.block, f.count, f.s.H);
    b_context_max(b, (int64_t)SPARSE_BLOCKS_MAX * f.block);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &f});
}

const struct arch arch_nsa = {"nsa", build};
