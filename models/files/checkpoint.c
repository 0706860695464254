/* The tensors of a checkpoint by name, whatever files they lie in. Thread: one at a time. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "models/files/checkpoint_int.h"

static int by_name(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

int checkpoint_index(struct checkpoint *c, void *first, size_t stride, size_t n)
{
    c->all = mem_array(n ? n : 1, sizeof(struct tensor *));
    c->by_name = mem_array(n ? n : 1, sizeof(struct tensor *));
    if (!c->all || !c->by_name)
        return E_NOMEM;
    for (size_t i = 0; i < n; i++)
        c->all[i] = c->by_name[i] = (struct tensor *)((char *)first + i * stride);
    if (n)
        qsort(c->by_name, n, sizeof(struct tensor *), by_name);
    c->n = n;
    return 0;
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    c->kind->close(c);
    mem_free(c->all);
    mem_free(c->by_name);
    mem_free(c);
}

size_t checkpoint_count(const struct checkpoint *c)
{
    return c->n;
}

const struct tensor *checkpoint_at(const struct checkpoint *c, size_t i)
{
    ASSERT(i < c->n);
    return c->all[i];
}

static int name_order(const void *key, const void *item)
{
    return strcmp(key, (*(struct tensor *const *)item)->name);
}

struct tensor *checkpoint_find(struct checkpoint *c, const char *name)
{
    struct tensor **found =
        c->n ? bsearch(name, c->by_name, c->n, sizeof(struct tensor *), name_order) : NULL;
    return found ? *found : NULL;
}

static int check_range(const struct tensor *t, int64_t first, int64_t n, struct err *e)
{
    if (first < 0 || n < 0 || first > t->elems || n > t->elems - first)
        return err_set(e, E_RANGE, "tensor %s has %" PRId64 " elements, not %" PRId64 " from %"
                       PRId64, t->name, t->elems, n, first);
    return 0;
}

int checkpoint_read(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                    void *dst, struct err *e)
{
    int rc = check_range(t, first, n, e);
    return rc < 0 ? rc : c->kind->read(c, t, first, n, dst, e);
}

int checkpoint_read_int(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                        int32_t *dst, struct err *e)
{
    int rc = check_range(t, first, n, e);
    if (rc == 0 && !c->kind->read_int)
        rc = err_set(e, E_UNSUPPORTED, "tensor %s is not of integers", t->name);
    return rc < 0 ? rc : c->kind->read_int(c, t, first, n, dst, e);
}
