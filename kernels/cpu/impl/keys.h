/* Where the keys of a block are: for ATTENTION and its relatives. */
#ifndef RECURD_KEYS_IMPL_H
#define RECURD_KEYS_IMPL_H

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"
#include "kernels/cpu/impl/vmath.h"

#define BLOCK PAGE_TOKENS
#define HEADS_MAX 16 /* query heads of a work item */

/* The positions [lo, hi) of a block that the item sees, and their cached operands. */
struct keys {
    int lo, hi;
    const float *k[BLOCK], *v[BLOCK], *more[3][BLOCK]; /* whole rows, all heads; operands 3 to 5 */
};

/* Where operand `part` of the cached row at position p of sequence q is. */
static const float *cached(const struct host_step *s, const struct op *op, int32_t q, int64_t p,
                           const float *row, int part)
{
    int64_t first = s->batch->pos[q];
    if (p >= first)
        return host_row(s, op->in[part], s->batch->cu_seqlens[q] + (int32_t)(p - first));
    for (int i = 1; i < part; i++)
        row += op->in[i].width;
    return row;
}

static const float *section_row(const struct host_step *s, const struct op *op, int32_t q,
                                int64_t p)
{
    int64_t W = op->p.attention.window, width = 0;
    if (p >= s->batch->pos[q])
        return NULL;
    if (s->plan->sections[op->section].kind == SECTION_PAGED)
        return host_page_row(s, op->section, q, p);
    for (int i = 1; i < 6; i++)
        width += op->in[i].width;
    return host_state(s, op->section, s->batch->slots[q]) + p % W * width;
}

__attribute__((unused)) /* by those who gather keys */
static void find_keys(const struct host_step *s, const struct op *op, int32_t q, int64_t block,
                      int64_t from, int64_t to, struct keys *x)
{
    int vpart = view_given(op->in[2]) ? 2 : 1;
    x->lo = (int)(MAX(from, block) - block);
    x->hi = (int)(MIN(to, block + BLOCK) - block);
    for (int i = x->lo; i < x->hi; i++) {
        const float *row = section_row(s, op, q, block + i);
        x->k[i] = cached(s, op, q, block + i, row, 1);
        x->v[i] = cached(s, op, q, block + i, row, vpart);
        for (int j = 0; j < 3; j++)
            if (view_given(op->in[3 + j]))
                x->more[j][i] = cached(s, op, q, block + i, row, 3 + j);
    }
}

#endif
