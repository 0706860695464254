/* The prefix index: a radix tree over token ids, one root per tenant.
 *
 * A node is the run of tokens that leads to its end; everything that names a position (a
 * snapshot, a session, a running sequence) names a node that ends there. Splitting keeps the
 * lower part's identity, merging the lower node's, so such pointers stay good. Under the cache's
 * lock.
 *
 * No run goes beyond a multiple of the stretch's length, so a long path is a chain of pieces of
 * that length. Such a whole piece may be cold: its ids are in a file only (pathfile.h), and memory
 * knows how many they are and the first. Parts of a stretch are always in memory. */
#ifndef RECURD_PREFIX_H
#define RECURD_PREFIX_H

#include "base/base.h"

#define PREFIX_STRETCH 4096 /* ids of a stretch; the grid's spacings from 2^6 on are multiples */
#define PREFIX_LOST (-1)    /* instead of a first token: nothing matches it */

struct snapshot;
struct tenant;
struct track;

/* The file of the stretch that ends where a node does. */
struct stretch {
    struct tenant *tenant;
    unsigned char name[16];
    bool on_disk, writing, reading; /* a job is on its way */
    uint64_t warm_ns;               /* when its ids were last read back */
};

struct node {
    struct node *parent;
    struct node *child;          /* first child */
    struct node *prev, *next;    /* siblings */
    struct node *chain;          /* next in its hash bucket */
    struct node *ghost_prev, *ghost_next; /* in the ring of ghosts */
    struct snapshot *snap;       /* the state after the last token, or NULL */
    struct track *planner;       /* the sequence that is going to compute that state, or NULL */
    struct stretch *stretch;     /* NULL: no file of it was ever asked for */
    int32_t *tokens;             /* [n] the run, or NULL: cold. A root has none */
    int64_t end;                 /* tokens from the root to the end of the run */
    int32_t n, n_children;
    int32_t first;               /* token of the run */
    int32_t pins;                /* sessions and sequences that end here */
    uint8_t planned_kind;        /* enum point, with planner */
    bool ghost;                  /* had a state that the budget evicted: explains misses */
};

struct prefix {
    struct node **buckets;       /* children by (parent, first token) */
    size_t n_buckets;            /* a power of two */
    size_t n_nodes;
    uint64_t n_tokens;           /* ids in memory */
    int64_t stretch;             /* tokens of one */
    void (*gone)(void *arg, const struct node *n); /* a node with a file goes; NULL = never mind */
    void *arg;
    struct node ghosts;          /* ring of ghosts, oldest first */
    uint64_t ghost_bytes;        /* of their whole paths: the most that they keep */
};

int prefix_init(struct prefix *p, int64_t stretch) MUST_USE; /* E_NOMEM */
void prefix_fini(struct prefix *p);         /* roots must have been freed */
struct node *prefix_root(struct prefix *p); /* a new, empty tree; NULL = no memory */
void prefix_free(struct prefix *p, struct node *root); /* and all below; snapshots are gone */

/* How far tokens lead below `from`. */
struct match {
    struct node *node;  /* deepest node entered; `from` if none */
    int32_t inside;     /* tokens of its run that matched; node->n = all of it */
    int64_t depth;      /* absolute position reached */
    struct node *cold;  /* it may go on in there: ask again when its ids are in memory */
};
struct match prefix_match(const struct prefix *p, struct node *from, const int32_t *tokens,
                          int64_t n);

/* The node that ends exactly n tokens below `from`, made as needed; nothing cold is in the way
 * (match says). NULL = no memory (the tree is as before, but for splits that change nothing). */
struct node *prefix_insert(struct prefix *p, struct node *from, const int32_t *tokens, int64_t n);
/* The node on the path root … leaf that ends at pos <= leaf->end, split off as needed; pos is not
 * inside a cold one. NULL = no memory. */
struct node *prefix_at(struct prefix *p, struct node *leaf, int64_t pos);
/* The deepest node at or above n where a stretch ends; the root if none does. */
struct node *prefix_stretch(const struct prefix *p, struct node *n);

/* The deepest cold node on the path to leaf with ids of [from, to); NULL = all are in memory. */
struct node *prefix_cold(struct node *leaf, int64_t from, int64_t to);
/* A whole stretch that a file has: its ids leave memory, and come back ([n], taken over). */
void prefix_cool(struct prefix *p, struct node *n);
void prefix_warm(struct prefix *p, struct node *n, int32_t *tokens);
/* Its ids are nowhere any more: what is below can go on, but nothing new leads there. */
void prefix_lose(struct prefix *p, struct node *n);

/* Copies tokens [from, to) of the path to leaf, to <= leaf->end; none of them cold. */
void prefix_tokens(const struct node *leaf, int64_t from, int64_t to, int32_t *out);
/* The deepest node at or above n, at most `limit` deep, with a snapshot; NULL = none. */
struct node *prefix_snapshot_above(struct node *n, int64_t limit);
/* Whether its state is the last of its path: nothing beyond it has one, and no paths part below. */
bool prefix_is_last(const struct node *n);

/* Something left n: removes nodes that nothing needs any more and joins runs, upwards. n itself
 * may be gone afterwards. */
void prefix_prune(struct prefix *p, struct node *n);
/* n lost its state to the budget: it stays for a while as a ghost. Older ghosts may be pruned, and
 * n with them if it is longer than all ghosts together may be. */
void prefix_evicted(struct prefix *p, struct node *n);
void prefix_unghost(struct prefix *p, struct node *n); /* it has a state again */
bool prefix_forget_ghost(struct prefix *p); /* the oldest; false: there is none */

/* Every link, count and length agrees; for tests. */
bool prefix_check(const struct prefix *p, const struct node *root);

#endif
