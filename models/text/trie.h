/* Byte strings -> numbers by longest prefix: the RWKV vocabulary and the tokens that are searched
 * in text. Written while loading, read-only afterwards: then any thread. */
#ifndef RECURD_TRIE_H
#define RECURD_TRIE_H

#include "base/base.h"

struct trie_edge {
    uint32_t node, byte, child; /* child 0 = free slot: nothing leads to the root */
};

struct trie {
    struct trie_edge *edges; /* open addressing by (node, byte); a power of two */
    size_t n_edges, cap;
    int32_t *values;         /* per node; -1 = no string ends here */
    size_t n_nodes, cap_nodes;
    uint32_t root[256];      /* the root's edges once more: most searches end there */
};

/* All zero is an empty trie. */
void trie_free(struct trie *t);
/* value >= 0; the last value of a string counts. 0 or E_NOMEM. n > 0. */
int trie_add(struct trie *t, const char *s, size_t n, int32_t value) MUST_USE;
/* Value of the longest string that s begins with, *len its length; -1 = none. */
int32_t trie_longest(const struct trie *t, const char *s, size_t n, size_t *len);
/* Its strings one byte at a time, from node 0: the node behind a byte, 0 = no string goes on so. */
uint32_t trie_step(const struct trie *t, uint32_t node, unsigned char byte);
/* Value of the string that ends at a node other than 0; -1 = none does. */
int32_t trie_value(const struct trie *t, uint32_t node);
/* Value of exactly s; -1 = none. */
int32_t trie_get(const struct trie *t, const char *s, size_t n);

#endif
