/* Rows that attention caches: a token's operands 1..5, one after the other. */
#ifndef RECURD_REF_KV_H
#define RECURD_REF_KV_H

#include "kernels/host.h"

/* Operand `part` (1..5) of the cached row of sequence q at position p: from this batch, the ring
 * or the pages. NULL when the op has no such operand. */
static inline const float *kv_part(const struct host_step *s, const struct op *op, int32_t window,
                                   int32_t q, int64_t p, int part)
{
    const struct batch *b = s->batch;
    if (!view_given(op->in[part]))
        return NULL;
    if (p >= b->pos[q])
        return host_row(s, op->in[part], b->cu_seqlens[q] + (int32_t)(p - b->pos[q]));
    int64_t row = 0, before = 0;
    for (int i = 1; i < 6; i++) {
        before += i < part ? op->in[i].width : 0;
        row += op->in[i].width;
    }
    const float *x = window ? host_state(s, op->section, b->slots[q]) + (p % window) * row
                            : host_page_row(s, op->section, q, p);
    return x + before;
}

#endif
