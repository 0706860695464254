/* The prefix index: a radix tree over token ids, one root per tenant.
 *
 * A node is the run of tokens that leads to its end; everything that names a position (a
 * snapshot, a session, a running sequence) names a node that ends there. Splitting keeps the
 * lower part's identity, merging the lower node's, so such pointers stay good. Under the cache's
 * lock. */
#ifndef RECURD_PREFIX_H
#define RECURD_PREFIX_H

#include "base/base.h"

struct snapshot;
struct track;

struct node {
    struct node *parent;
    struct node *child;          /* first child */
    struct node *prev, *next;    /* siblings */
    struct node *chain;          /* next in its hash bucket */
    struct node *ghost_prev, *ghost_next; /* in the ring of ghosts */
    struct snapshot *snap;       /* the state after the last token, or NULL */
    struct track *planner;       /* the sequence that is going to compute that state, or NULL */
    int32_t *tokens;             /* [n] the run; a root has none */
    int64_t end;                 /* tokens from the root to the end of the run */
    int32_t n, n_children;
    int32_t pins;                /* sessions and sequences that end here */
    uint8_t planned_kind;        /* enum point, with planner */
    bool ghost;                  /* had a state that the budget evicted: explains misses */
};

struct prefix {
    struct node **buckets;       /* children by (parent, first token) */
    size_t n_buckets;            /* a power of two */
    size_t n_nodes;
    uint64_t n_tokens;
    struct node ghosts;          /* ring of ghosts, oldest first */
    uint64_t ghost_tokens;
};

int prefix_init(struct prefix *p) MUST_USE; /* E_NOMEM */
void prefix_fini(struct prefix *p);         /* roots must have been freed */
struct node *prefix_root(struct prefix *p); /* a new, empty tree; NULL = no memory */
void prefix_free(struct prefix *p, struct node *root); /* and all below; snapshots are gone */

/* How far tokens lead below `from`. */
struct match {
    struct node *node;  /* deepest node entered; `from` if none */
    int32_t inside;     /* tokens of its run that matched; node->n = all of it */
    int64_t depth;      /* absolute position reached */
};
struct match prefix_match(const struct prefix *p, struct node *from, const int32_t *tokens,
                          int64_t n);

/* The node that ends exactly n tokens below `from`, made as needed. NULL = no memory (the tree is
 * as before, but for splits that change nothing). */
struct node *prefix_insert(struct prefix *p, struct node *from, const int32_t *tokens, int64_t n);
/* The node on the path root … leaf that ends at pos <= leaf->end, split off as needed. */
struct node *prefix_at(struct prefix *p, struct node *leaf, int64_t pos);

/* Copies tokens [from, to) of the path to leaf, to <= leaf->end. */
void prefix_tokens(const struct node *leaf, int64_t from, int64_t to, int32_t *out);
/* The deepest node at or above n, at most `limit` deep, with a snapshot; NULL = none. */
struct node *prefix_snapshot_above(struct node *n, int64_t limit);

/* Something left n: removes nodes that nothing needs any more and joins runs, upwards. n itself
 * may be gone afterwards. */
void prefix_prune(struct prefix *p, struct node *n);
/* n lost its state to the budget: it stays for a while as a ghost. Older ghosts may be pruned, and
 * n with them if it is longer than all ghosts together may be. */
void prefix_evicted(struct prefix *p, struct node *n);
void prefix_unghost(struct prefix *p, struct node *n); /* it has a state again */

/* Every link, count and length agrees; for tests. */
bool prefix_check(const struct prefix *p, const struct node *root);

#endif
