/* The pool of state slots: a stack of free numbers. Thread: engine.
 *
 * Invariant: a slot is either on the stack once, or owned by exactly one sequence. Two owners of
 * one slot would mix two conversations, so a slot returned twice stops the process. */
#include "statecache/value/slots.h"

#include "base/mem.h"

int slots_init(struct slots *s, int32_t n, struct err *e)
{
    *s = (struct slots){0};
    if (n < 1)
        return err_set(e, E_RANGE, "%d state slots: at least 1 is needed", (int)n);
    s->free = mem_array((size_t)n, sizeof *s->free);
    if (!s->free)
        return err_set(e, E_NOMEM, "no memory for the list of %d state slots", (int)n);
    for (int32_t i = 0; i < n; i++)
        s->free[i] = n - 1 - i; /* slot 0 on top: low numbers first */
    s->n_free = s->n_total = n;
    return 0;
}

void slots_fini(struct slots *s)
{
    mem_free(s->free);
    *s = (struct slots){0};
}

int32_t slots_take(struct slots *s)
{
    return s->n_free ? s->free[--s->n_free] : -1;
}

void slots_put(struct slots *s, int32_t slot)
{
    ASSERT(slot >= 0 && slot < s->n_total && s->n_free < s->n_total);
    for (int32_t i = 0; i < s->n_free; i++) /* once per sequence, some dozen numbers */
        ASSERT(s->free[i] != slot);
    s->free[s->n_free++] = slot;
}
