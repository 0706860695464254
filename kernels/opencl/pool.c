/* Cutting items into banks. */
#include "kernels/opencl/pool.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"

static const char *const kinds[] = {[SECTION_FIXED] = "state slots",
                                    [SECTION_PAGED] = "key and value pages"};

static double mib(uint64_t bytes) { return (double)bytes / (double)MIB(1); }

uint64_t ocl_pool_bank_max(const struct ocl_device *d)
{
    uint64_t tuned = (uint64_t)d->tune.bank_kib * KIB(1);
    return tuned ? MIN(tuned, d->info.alloc_bytes) : d->info.alloc_bytes;
}

static int64_t item_floats(const struct plan *p, enum section_kind kind)
{
    return kind == SECTION_FIXED ? p->slot_floats : p->page_token_floats * PAGE_TOKENS;
}

/* Where the section after s begins in an item. */
static int64_t section_end(const struct plan *p, int32_t s)
{
    enum section_kind kind = p->sections[s].kind;
    for (int32_t i = s + 1; i < p->n_sections; i++)
        if (p->sections[i].kind == kind)
            return p->sections[i].offset;
    return item_floats(p, kind);
}

/* As few banks as the largest buffer allows. The sum of all items was seen not to overflow. */
static int cut(struct ocl_pool *p, const struct ocl_device *d, const struct plan *plan,
               enum section_kind kind, int32_t items, struct err *e)
{
    uint64_t most = ocl_pool_bank_max(d), each = (uint64_t)items * 4;
    struct ocl_bank *b = &p->banks[0];
    p->n = 1;
    for (int32_t i = 0; i < plan->n_sections; i++) {
        if (plan->sections[i].kind != kind)
            continue;
        int64_t end = section_end(plan, i), alone = end - (b->from + b->floats);
        if ((uint64_t)alone * each > most)
            return err_set(e, E_NOMEM, "%d %s: section %s alone takes %.2f MiB, one buffer on %s "
                           "has at most %.2f MiB: at most %llu", (int)items, kinds[kind],
                           plan->sections[i].name, mib((uint64_t)alone * each), d->info.name,
                           mib(most), (unsigned long long)(most / ((uint64_t)alone * 4)));
        if ((uint64_t)(b->floats + alone) * each > most) {
            p->banks[p->n] = (struct ocl_bank){.from = b->from + b->floats};
            b = &p->banks[p->n++];
        }
        b->floats += alone;
    }
    return 0;
}

int ocl_pool_init(struct ocl_pool *p, struct ocl_device *d, const struct plan *plan,
                  enum section_kind kind, int32_t items, struct err *e)
{
    int64_t floats = item_floats(plan, kind), all;
    char what[96];
    *p = (struct ocl_pool){.floats = floats};
    if (mul_overflows(floats, 4 * (int64_t)items, &all))
        return err_set(e, E_RANGE, "%d %s of %lld floats: the sum overflows", (int)items,
                       kinds[kind], (long long)floats);
    if (!(p->banks = mem_array((size_t)plan->n_sections + 1, sizeof *p->banks)))
        return err_set(e, E_NOMEM, "no memory for a list of %d buffers", plan->n_sections + 1);
    int rc = cut(p, d, plan, kind, items, e);
    snprintf(what, sizeof what, "%d %s of %.2f MiB", (int)items, kinds[kind],
             mib((uint64_t)floats * 4));
    for (int32_t i = 0; i < p->n && !rc; i++)
        rc = ocl_buffer_new(&p->banks[i].buffer, d, (size_t)items * ocl_bank_bytes(&p->banks[i]),
                            what, e);
    if (!rc && p->n > 1)
        log_info("%s: %.1f MiB in %d buffers of at most %.1f MiB on %s", what,
                 mib((uint64_t)all), (int)p->n, mib(ocl_pool_bank_max(d)), d->info.name);
    return rc;
}

void ocl_pool_free(struct ocl_pool *p, struct ocl_device *d)
{
    for (int32_t i = 0; p->banks && i < p->n; i++)
        ocl_buffer_free(&p->banks[i].buffer, d);
    mem_free(p->banks);
    *p = (struct ocl_pool){0};
}

int32_t ocl_pool_bank(const struct ocl_pool *p, int64_t at)
{
    int32_t i = 0;
    while (i + 1 < p->n && p->banks[i + 1].from <= at)
        i++;
    return i;
}
