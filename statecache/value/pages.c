/* Reference-counted KV pages over a stack of free ones. Thread: engine.
 *
 * Invariant: refs[page] == 0 exactly while the page is on the stack. */
#include "statecache/value/pages.h"

#include "base/mem.h"

int pages_init(struct pages *p, int32_t n, struct err *e)
{
    *p = (struct pages){0};
    if (n < 0) /* none at all is right for a model without growing state */
        return err_set(e, E_RANGE, "%d KV pages: the number cannot be negative", (int)n);
    p->free = mem_array((size_t)n, sizeof *p->free);
    p->refs = mem_array((size_t)n, sizeof *p->refs);
    if (!p->free || !p->refs) {
        pages_fini(p);
        return err_set(e, E_NOMEM, "no memory for the lists of %d KV pages", (int)n);
    }
    for (int32_t i = 0; i < n; i++)
        p->free[i] = n - 1 - i; /* page 0 on top: low numbers first */
    p->n_free = p->n_total = n;
    return 0;
}

void pages_fini(struct pages *p)
{
    mem_free(p->free);
    mem_free(p->refs);
    *p = (struct pages){0};
}

int32_t pages_take(struct pages *p)
{
    if (!p->n_free)
        return -1;
    int32_t page = p->free[--p->n_free];
    ASSERT(p->refs[page] == 0);
    p->refs[page] = 1;
    return page;
}

void pages_ref(struct pages *p, int32_t page)
{
    ASSERT(page >= 0 && page < p->n_total);
    ASSERT(p->refs[page] > 0 && p->refs[page] < INT32_MAX);
    p->refs[page]++;
}

void pages_unref(struct pages *p, int32_t page)
{
    ASSERT(page >= 0 && page < p->n_total && p->refs[page] > 0);
    if (--p->refs[page] == 0)
        p->free[p->n_free++] = page;
}
