/* Bump allocator with a cap: everything of one lifetime, freed at once. */
#ifndef RECURD_ARENA_H
#define RECURD_ARENA_H

#include "base/base.h"

struct arena_block;

/* Owner: whoever declared it. Thread: one at a time. */
struct arena {
    struct arena_block *head;
    size_t used, max; /* bytes handed out; refusal point */
};

void arena_init(struct arena *a, size_t max);
void arena_free(struct arena *a);

/* Zeroed, 16-byte aligned; NULL when the cap or memory is exceeded. n = 0 is allowed. */
void *arena_alloc(struct arena *a, size_t n) MUST_USE;
/* count * size with the product checked. */
void *arena_array(struct arena *a, size_t count, size_t size) MUST_USE;
char *arena_strdup(struct arena *a, const char *s) MUST_USE;
/* n bytes, whatever they are, and a NUL behind them. */
char *arena_copy(struct arena *a, const void *p, size_t n) MUST_USE;

#endif
