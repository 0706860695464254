/* A trie whose edges live in one hash table: a vocabulary of 65,536 words has some 300,000 edges,
 * and a step is one probe. Thread: see trie.h. */
#include "models/text/trie.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define FIRST_NODES 64

void trie_free(struct trie *t)
{
    mem_free(t->edges);
    mem_free(t->values);
    memset(t, 0, sizeof *t);
}

static size_t slot_of(const struct trie *t, uint32_t node, uint32_t byte)
{
    uint64_t h = ((uint64_t)node << 8 | byte) * UINT64_C(0x9E3779B97F4A7C15); /* 2^64 / phi */
    size_t i = (size_t)(h >> 32) & (t->cap - 1);
    while (t->edges[i].child && (t->edges[i].node != node || t->edges[i].byte != byte))
        i = (i + 1) & (t->cap - 1);
    return i;
}

uint32_t trie_step(const struct trie *t, uint32_t node, unsigned char byte)
{
    if (node == 0)
        return t->root[byte];
    return t->edges[slot_of(t, node, byte)].child;
}

/* Room for one more edge at half load or less. */
static int grow_edges(struct trie *t)
{
    if (2 * (t->n_edges + 1) <= t->cap)
        return 0;
    struct trie old = *t;
    t->cap = MAX(t->cap * 2, (size_t)FIRST_NODES * 2);
    t->edges = mem_array(t->cap, sizeof *t->edges);
    if (!t->edges) {
        t->edges = old.edges;
        t->cap = old.cap;
        return E_NOMEM;
    }
    for (size_t i = 0; i < old.cap; i++)
        if (old.edges[i].child)
            t->edges[slot_of(t, old.edges[i].node, old.edges[i].byte)] = old.edges[i];
    mem_free(old.edges);
    return 0;
}

static int new_node(struct trie *t, uint32_t *out)
{
    if (t->n_nodes == t->cap_nodes) {
        size_t cap = MAX(t->cap_nodes * 2, (size_t)FIRST_NODES);
        int32_t *values = cap < UINT32_MAX ? mem_realloc(t->values, cap * sizeof *values) : NULL;
        if (!values)
            return E_NOMEM;
        t->values = values;
        t->cap_nodes = cap;
    }
    t->values[t->n_nodes] = -1;
    *out = (uint32_t)t->n_nodes++;
    return 0;
}

static int add_edge(struct trie *t, uint32_t node, uint32_t byte, uint32_t *child)
{
    int rc = grow_edges(t);
    if (rc == 0)
        rc = new_node(t, child);
    if (rc < 0)
        return rc;
    t->edges[slot_of(t, node, byte)] = (struct trie_edge){node, byte, *child};
    t->n_edges++;
    if (node == 0)
        t->root[byte] = *child;
    return 0;
}

int trie_add(struct trie *t, const char *s, size_t n, int32_t value)
{
    uint32_t node = 0;
    ASSERT(n > 0 && value >= 0);
    int rc = t->n_nodes ? 0 : new_node(t, &node);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        unsigned char byte = (unsigned char)s[i];
        uint32_t child = t->cap ? trie_step(t, node, byte) : 0;
        if (!child)
            rc = add_edge(t, node, byte, &child);
        node = child;
    }
    if (rc == 0)
        t->values[node] = value;
    return rc;
}

int32_t trie_longest(const struct trie *t, const char *s, size_t n, size_t *len)
{
    int32_t best = -1;
    uint32_t node = 0;
    *len = 0;
    for (size_t i = 0; i < n && t->cap; i++) {
        node = trie_step(t, node, (unsigned char)s[i]);
        if (!node)
            break;
        if (t->values[node] >= 0) {
            best = t->values[node];
            *len = i + 1;
        }
    }
    return best;
}

int32_t trie_value(const struct trie *t, uint32_t node)
{
    return t->values[node];
}

int32_t trie_get(const struct trie *t, const char *s, size_t n)
{
    size_t len;
    int32_t value = trie_longest(t, s, n, &len);
    return len == n ? value : -1;
}
