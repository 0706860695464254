/* MoBA (Lu et al. 2025): attention over the current block and the best earlier ones, chosen per
 * query head by the sum of a block's keys (kernel MOBA). */
#include "models/build/build.h"

struct family { struct softmax_dims s; int block, topk; float eps; bool gate; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct softmax_dims *d = &f->s;
    (void)layer;
    struct attention_args a = b_softmax_open(b, x, d);
    a.kind = OP_MOBA;
    a.block = f->block;
    a.count = f->topk;
    val o = b_attention(b, &a), gate = VIEW_NONE;
    if (f->gate)
        gate = b_low_rank(b, x, "g_proj", d->d, d->H * d->d, false);
    o = b_head_norm(b, o, d->d, "o_norm.weight", gate, ACT_SIGMOID, 1e-6f);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    struct family f = {.s = b_softmax_dims(b, 32),
                       .block = (int)cfg_int(b, "moba_chunk_size", 4096),
                       .topk = (int)cfg_int(b, "moba_topk", 12),
                       .gate = cfg_bool(b, "use_output_gate", false)};
    b_require(b, f.block > 0 && f.topk > 0 && f.s.window == 0, "chunks of %d, top %d, window %d",
              f.block, f.topk, f.s.window);
    cfg_irrelevant(b, "use_flash_moba");
    b_context_max(b, (int64_t)SPARSE_BLOCKS_MAX * f.block);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &f});
}

const struct arch arch_moba = {"moba", build};
