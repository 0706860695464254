/* Bounded FIFO. The struct that holds it has the lock. Invariant: head < cap, len <= cap. */
#include "base/ring.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

int ring_init(struct ring *r, size_t cap, size_t item_bytes)
{
    ASSERT(cap > 0 && item_bytes > 0);
    *r = (struct ring){.item_bytes = item_bytes};
    r->items = mem_array(cap, item_bytes);
    if (!r->items)
        return E_NOMEM;
    r->cap = cap;
    return 0;
}

void ring_free(struct ring *r)
{
    mem_free(r->items);
    *r = (struct ring){0};
}

/* head + i without a division; i <= cap. */
static unsigned char *item(const struct ring *r, size_t i)
{
    size_t room = r->cap - r->head;
    return r->items + (i < room ? r->head + i : i - room) * r->item_bytes;
}

bool ring_push(struct ring *r, const void *from)
{
    if (r->len == r->cap)
        return false;
    memcpy(item(r, r->len), from, r->item_bytes);
    r->len++;
    return true;
}

bool ring_pop(struct ring *r, void *to)
{
    if (r->len == 0)
        return false;
    memcpy(to, item(r, 0), r->item_bytes);
    r->head = r->head + 1 == r->cap ? 0 : r->head + 1;
    r->len--;
    return true;
}

void *ring_at(const struct ring *r, size_t i)
{
    ASSERT(i < r->len);
    return item(r, i);
}
