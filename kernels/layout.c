/* Places activations in the arena: each lives from the op that first writes it to the one that
 * last reads it, and memory is shared by lives that do not overlap. First fit, in op order. */
#include "base/mem.h"
#include "kernels/plan.h"

static int64_t act_floats(const struct act *a, const struct capacity *c)
{
    int64_t rows = a->rows == ROWS_LOGITS ? c->logits : c->tokens;
    return a->last < 0 ? 0 : rows * a->stride; /* last < 0: fused away, never stored */
}

static bool lives_meet(const struct act *a, const struct act *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset where act i of this size meets no earlier-placed live activation. */
static int64_t place(const struct plan *p, int32_t i, const int64_t *sizes)
{
    int64_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int32_t j = 0; j < i; j++) {
            const struct act *o = &p->acts[j];
            if (sizes[j] == 0 || !lives_meet(&p->acts[i], o))
                continue;
            if (at < o->offset + sizes[j] && o->offset < at + sizes[i]) {
                at = o->offset + sizes[j];
                moved = true;
            }
        }
    }
    return at;
}

int64_t plan_layout(struct plan *p, const struct capacity *c)
{
    int64_t total = 0, *sizes = mem_array((size_t)p->n_acts + 1, sizeof *sizes);
    if (!sizes)
        return -1;
    for (int32_t i = 0; i < p->n_acts; i++) {
        sizes[i] = act_floats(&p->acts[i], c);
        p->acts[i].offset = place(p, i, sizes);
        total = MAX(total, p->acts[i].offset + sizes[i]);
    }
    mem_free(sizes);
    return total;
}
