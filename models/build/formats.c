/* Formats of matrices: blocks from a file stay exactly what they are or become float32, never other
 * blocks; --quantize makes blocks of what a file holds in full precision. The first pass: which
 * linears can be joined depends on it. */
#include "models/build/build_int.h"

/* Below this a matrix costs no time, and may be one that decides (a router, a gate). */
#define QUANTIZE_ELEMS_MIN (32 * 1024)
/* The inner width of low-rank pairs, which make decays and gates: 8 bits at least. */
#define LOW_RANK 160

/* All parts are rows of tensors of the weight's own format, taken over as they are. */
static bool straight(struct build *b, int i)
{
    const struct weight *w = &b->plan->weights[i];
    for (const struct binding_part *x = b->m->bindings[i].parts; x; x = x->next) {
        const struct tensor *t = b->ck && x->name[0] ? checkpoint_find(b->ck, x->name) : NULL;
        if (!t || t->dtype != w->dtype || x->transposed || x->derive ||
            x->transform != TENSOR_AS_IS)
            return false;
    }
    return format_fits(w->dtype, w->cols);
}

static bool any_blocks(struct build *b, int i)
{
    bool blocks = !format_plain(b->plan->weights[i].dtype);
    for (const struct binding_part *x = b->m->bindings[i].parts; x; x = x->next) {
        const struct tensor *t = b->ck && x->name[0] ? checkpoint_find(b->ck, x->name) : NULL;
        blocks |= t && !format_plain(t->dtype);
    }
    return blocks;
}

/* Whether the weight chooses a token's vector or makes the logits. */
static bool at_the_ends(const struct plan *p, int i)
{
    for (int32_t k = 0; k < p->n_ops; k++)
        if (p->ops[k].w[0] == i &&
            (p->ops[k].kind == OP_EMBED || p->ops[k].out.act == p->logits.act))
            return true;
    return false;
}

static enum dtype quantized(const struct build *b, int i)
{
    const struct weight *w = &b->plan->weights[i];
    if (w->rows * w->cols < QUANTIZE_ELEMS_MIN)
        return w->dtype;
    if (b->m->quantize == QUANTIZE_Q4 && MIN(w->rows, w->cols) >= LOW_RANK) {
        if (format_fits(DTYPE_Q4_K, w->cols))
            return at_the_ends(b->plan, i) ? DTYPE_Q6_K : DTYPE_Q4_K;
        if (format_fits(DTYPE_Q4_0, w->cols) && !at_the_ends(b->plan, i))
            return DTYPE_Q4_0;
    }
    return format_fits(DTYPE_Q8_0, w->cols) ? DTYPE_Q8_0 : w->dtype;
}

int pass_formats(struct build *b)
{
    for (int i = 0; i < b->plan->n_weights; i++) {
        struct weight *w = &b->plan->weights[i];
        if (w->role != WEIGHT_MATRIX)
            continue;
        if (any_blocks(b, i)) {
            if (!straight(b, i))
                w->dtype = DTYPE_F32;
        } else if (b->m->quantize != QUANTIZE_NONE) {
            w->dtype = quantized(b, i);
        }
    }
    return 0;
}
