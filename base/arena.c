/* Bump allocator: blocks in a list, the newest first, freed together. One thread at a time.
 *
 * Invariant: `used` counts every byte handed out, padding included, and never passes `max`. */
#include "base/arena.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

#define ALIGN ((size_t)16) /* what malloc promises on x86-64 and arm64 */
/* Most requests fit one block: a parsed chat of a few messages is 2-3 KiB. */
#define BLOCK_BYTES KIB(8)
/* A request this large gets a block of its own, so that the room left in the current one is not
 * abandoned for it: at most a quarter of a block is ever wasted. */
#define OWN_BLOCK_FROM (BLOCK_BYTES / 4)

struct arena_block {
    struct arena_block *next;
    size_t used, size; /* bytes of data[] */
    _Alignas(16) unsigned char data[];
};

/* What an allocation of no bytes points at: valid, aligned, never written. */
static _Alignas(16) unsigned char nothing[16];

void arena_init(struct arena *a, size_t max)
{
    *a = (struct arena){.max = max};
}

void arena_free(struct arena *a)
{
    struct arena_block *b = a->head;
    while (b) {
        struct arena_block *next = b->next;
        mem_free(b);
        b = next;
    }
    a->head = NULL;
    a->used = 0;
}

static struct arena_block *block_new(size_t size)
{
    size_t n;
    if (add_overflows(sizeof(struct arena_block), size, &n))
        return NULL;
    struct arena_block *b = mem_zalloc(n);
    if (b)
        b->size = size;
    return b;
}

/* A block with room for n bytes, linked into the list; n is a multiple of ALIGN. */
static struct arena_block *block_for(struct arena *a, size_t n)
{
    struct arena_block *head = a->head;
    if (head && n <= head->size - head->used)
        return head;
    bool own = n >= OWN_BLOCK_FROM;
    struct arena_block *b = block_new(own ? n : BLOCK_BYTES);
    if (!b)
        return NULL;
    if (own && head) { /* behind the head, which keeps serving small requests */
        b->next = head->next;
        head->next = b;
    } else {
        b->next = head;
        a->head = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n == 0)
        return nothing;
    if (n > SIZE_MAX - ALIGN)
        return NULL;
    n = round_up(n, ALIGN);
    if (n > a->max - a->used)
        return NULL;
    struct arena_block *b = block_for(a, n);
    if (!b)
        return NULL;
    void *p = b->data + b->used;
    b->used += n;
    a->used += n;
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t n;
    return mul_overflows(count, size, &n) ? NULL : arena_alloc(a, n);
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_copy(a, s, strlen(s));
}

char *arena_copy(struct arena *a, const void *p, size_t n)
{
    char *copy = n == SIZE_MAX ? NULL : arena_alloc(a, n + 1);
    return copy ? memcpy(copy, p, n) : NULL;
}
