/* The prefix index. Called under the cache's lock; walks never recurse, because a path may be as
 * deep as its owner likes. */
#include "statecache/index/prefix.h"

#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"

/* Ghosts keep at most so much memory, which lasts for the last thousands of evictions. */
#define GHOST_BYTES MIB(1)
/* Of one beside its ids: a node and the one it was split from, each with a run; malloc's own. */
#define GHOST_NODES (2 * (sizeof(struct node) + 32))
#define FIRST_BUCKETS 1024
#define LOOK_BELOW 8 /* nodes without a state below one that may be the last */

static size_t bucket_of(const struct prefix *p, const struct node *parent, int32_t token)
{
    uint64_t h = (uint64_t)(uintptr_t)parent / 16 * UINT64_C(0x9e3779b97f4a7c15);
    h ^= (uint64_t)(uint32_t)token * UINT64_C(0xc2b2ae3d27d4eb4f);
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return (size_t)(h >> 20) & (p->n_buckets - 1);
}

static struct node *find_child(const struct prefix *p, const struct node *parent, int32_t token)
{
    for (struct node *c = p->buckets[bucket_of(p, parent, token)]; c; c = c->chain)
        if (c->parent == parent && c->first == token)
            return c;
    return NULL;
}

static void chain_add(struct prefix *p, struct node *n)
{
    struct node **b = &p->buckets[bucket_of(p, n->parent, n->first)];
    n->chain = *b;
    *b = n;
}

static void chain_remove(struct prefix *p, struct node *n)
{
    struct node **at = &p->buckets[bucket_of(p, n->parent, n->first)];
    while (*at != n)
        at = &(*at)->chain;
    *at = n->chain;
    n->chain = NULL;
}

/* Best effort: without memory the chains just get longer. */
static void grow(struct prefix *p)
{
    if (p->n_nodes <= p->n_buckets)
        return;
    struct node **wider = mem_array(p->n_buckets * 2, sizeof(*wider));
    if (!wider)
        return;
    struct node **old = p->buckets;
    size_t n_old = p->n_buckets;
    p->buckets = wider;
    p->n_buckets = n_old * 2;
    for (size_t i = 0; i < n_old; i++) {
        for (struct node *n = old[i], *next; n; n = next) {
            next = n->chain;
            chain_add(p, n);
        }
    }
    mem_free(old);
}

static void link_child(struct prefix *p, struct node *parent, struct node *n)
{
    n->parent = parent;
    n->prev = NULL;
    n->next = parent->child;
    if (n->next)
        n->next->prev = n;
    parent->child = n;
    parent->n_children++;
    chain_add(p, n);
}

static void unlink_child(struct prefix *p, struct node *n)
{
    chain_remove(p, n);
    if (n->prev)
        n->prev->next = n->next;
    else
        n->parent->child = n->next;
    if (n->next)
        n->next->prev = n->prev;
    n->parent->n_children--;
    n->prev = n->next = NULL;
}

int prefix_init(struct prefix *p, int64_t stretch)
{
    *p = (struct prefix){.n_buckets = FIRST_BUCKETS, .stretch = stretch};
    p->ghosts.ghost_prev = p->ghosts.ghost_next = &p->ghosts;
    p->buckets = mem_array(FIRST_BUCKETS, sizeof(*p->buckets));
    return p->buckets ? 0 : E_NOMEM;
}

void prefix_fini(struct prefix *p)
{
    mem_free(p->buckets);
    *p = (struct prefix){0};
}

struct node *prefix_root(struct prefix *p)
{
    struct node *n = mem_zalloc(sizeof(*n));
    if (n)
        p->n_nodes++;
    return n;
}

static void free_node(struct prefix *p, struct node *n)
{
    prefix_unghost(p, n);
    if (n->stretch && p->gone)
        p->gone(p->arg, n);
    p->n_nodes--;
    if (n->tokens)
        p->n_tokens -= (uint64_t)n->n;
    mem_free(n->stretch);
    mem_free(n->tokens);
    mem_free(n);
}

void prefix_free(struct prefix *p, struct node *root)
{
    struct node *n = root;
    while (n) {
        if (n->child) {
            n = n->child;
            continue;
        }
        struct node *up = n == root ? NULL : n->parent;
        if (up)
            unlink_child(p, n);
        free_node(p, n);
        n = up;
    }
}

struct match prefix_match(const struct prefix *p, struct node *from, const int32_t *tokens,
                          int64_t n)
{
    struct match m = {from, from->n, from->end, NULL};
    int64_t done = 0;
    while (done < n) {
        struct node *c = find_child(p, m.node, tokens[done]);
        if (!c)
            break;
        if (!c->tokens) {
            m.cold = c;
            break;
        }
        int64_t most = MIN((int64_t)c->n, n - done);
        int32_t same = 1;
        while (same < most && c->tokens[same] == tokens[done + same])
            same++;
        done += same;
        m = (struct match){c, same, from->end + done, NULL};
        if (same < c->n)
            break;
    }
    return m;
}

/* The run of n is cut after `keep` tokens; returns the new upper node. */
static struct node *split(struct prefix *p, struct node *n, int32_t keep)
{
    ASSERT(n->tokens);
    struct node *upper = mem_zalloc(sizeof(*upper));
    int32_t *head = mem_array((size_t)keep, sizeof(*head));
    if (!upper || !head) {
        mem_free(upper);
        mem_free(head);
        return NULL;
    }
    struct node *parent = n->parent;
    unlink_child(p, n);
    memcpy(head, n->tokens, (size_t)keep * sizeof(*head));
    upper->tokens = head;
    upper->first = head[0];
    upper->n = keep;
    upper->end = n->end - n->n + keep;
    memmove(n->tokens, n->tokens + keep, (size_t)(n->n - keep) * sizeof(*n->tokens));
    n->n -= keep;
    n->first = n->tokens[0];
    int32_t *smaller = mem_realloc(n->tokens, (size_t)n->n * sizeof(*n->tokens));
    if (smaller)
        n->tokens = smaller;
    p->n_nodes++;
    link_child(p, parent, upper);
    link_child(p, upper, n);
    grow(p);
    return upper;
}

static struct node *add_leaf(struct prefix *p, struct node *parent, const int32_t *tokens,
                             int64_t n)
{
    struct node *leaf = mem_zalloc(sizeof(*leaf));
    int32_t *run = mem_array((size_t)n, sizeof(*run));
    if (!leaf || !run) {
        mem_free(leaf);
        mem_free(run);
        return NULL;
    }
    memcpy(run, tokens, (size_t)n * sizeof(*run));
    leaf->tokens = run;
    leaf->first = run[0];
    leaf->n = (int32_t)n;
    leaf->end = parent->end + n;
    p->n_nodes++;
    p->n_tokens += (uint64_t)n;
    link_child(p, parent, leaf);
    grow(p);
    return leaf;
}

struct node *prefix_insert(struct prefix *p, struct node *from, const int32_t *tokens, int64_t n)
{
    struct match m = prefix_match(p, from, tokens, n);
    ASSERT(!m.cold);
    struct node *at = m.node;
    int64_t done = m.depth - from->end;
    if (m.inside < at->n) {
        at = split(p, at, m.inside);
        if (!at)
            return NULL;
    }
    struct node *old = at;
    while (done < n) {
        int64_t run = MIN(n - done, p->stretch - at->end % p->stretch);
        struct node *leaf = add_leaf(p, at, tokens + done, run);
        if (!leaf)
            break;
        at = leaf;
        done += run;
    }
    if (done == n)
        return at;
    for (struct node *up; at != old; at = up) { /* what was added goes again */
        up = at->parent;
        unlink_child(p, at);
        free_node(p, at);
    }
    return NULL;
}

struct node *prefix_at(struct prefix *p, struct node *leaf, int64_t pos)
{
    ASSERT(pos >= 0 && pos <= leaf->end);
    struct node *n = leaf;
    while (n->end - n->n >= pos && n->parent)
        n = n->parent;
    if (n->end == pos)
        return n;
    return split(p, n, (int32_t)(pos - (n->end - n->n)));
}

struct node *prefix_stretch(const struct prefix *p, struct node *n)
{
    while (n->end % p->stretch)
        n = n->parent;
    return n;
}

struct node *prefix_cold(struct node *leaf, int64_t from, int64_t to)
{
    for (struct node *n = leaf; n->end > from; n = n->parent)
        if (!n->tokens && n->end - n->n < to)
            return n;
    return NULL;
}

void prefix_cool(struct prefix *p, struct node *n)
{
    ASSERT(n->n == p->stretch && n->stretch && n->stretch->on_disk && n->tokens);
    p->n_tokens -= (uint64_t)n->n;
    mem_free(n->tokens);
    n->tokens = NULL;
}

void prefix_warm(struct prefix *p, struct node *n, int32_t *tokens)
{
    ASSERT(!n->tokens && tokens[0] == n->first);
    p->n_tokens += (uint64_t)n->n;
    n->tokens = tokens;
}

void prefix_lose(struct prefix *p, struct node *n)
{
    struct node *parent = n->parent;
    unlink_child(p, n);
    n->first = PREFIX_LOST;
    link_child(p, parent, n);
}

void prefix_tokens(const struct node *leaf, int64_t from, int64_t to, int32_t *out)
{
    ASSERT(from >= 0 && from <= to && to <= leaf->end);
    for (const struct node *n = leaf; n && to > from; n = n->parent) {
        int64_t start = n->end - n->n;
        if (start >= to)
            continue;
        int64_t lo = MAX(start, from);
        ASSERT(n->tokens);
        memcpy(out + (lo - from), n->tokens + (lo - start), (size_t)(to - lo) * sizeof(*out));
        to = lo;
    }
}

struct node *prefix_snapshot_above(struct node *n, int64_t limit)
{
    while (n && (n->end > limit || !n->snap))
        n = n->parent;
    return n;
}

bool prefix_is_last(const struct node *n)
{
    for (int looked = 0; n->n_children == 1 && !n->child->snap && looked < LOOK_BELOW; looked++)
        n = n->child;
    return n->n_children == 0;
}

static bool needed(const struct node *n)
{
    return !n->parent || n->snap || n->planner || n->pins > 0 || n->ghost;
}

/* n, needed by nothing, has one child: the child takes over its run. */
static bool join(struct prefix *p, struct node *n)
{
    struct node *c = n->child, *parent = n->parent;
    int32_t sum = n->n + c->n; /* no more than a stretch */
    int32_t *run = mem_realloc(n->tokens, (size_t)sum * sizeof(*run));
    if (!run)
        return false;
    unlink_child(p, c);
    unlink_child(p, n);
    memcpy(run + n->n, c->tokens, (size_t)c->n * sizeof(*run));
    mem_free(c->tokens);
    c->tokens = run;
    c->first = run[0];
    c->n = sum;
    link_child(p, parent, c);
    p->n_nodes--;
    mem_free(n);
    return true;
}

void prefix_prune(struct prefix *p, struct node *n)
{
    while (n && !needed(n) && n->n_children == 0) {
        struct node *up = n->parent;
        unlink_child(p, n);
        free_node(p, n);
        n = up;
    }
    if (n && !needed(n) && n->n_children == 1 && n->end % p->stretch)
        (void)join(p, n); /* without memory the run stays in two pieces: harmless */
}

/* The most that the ghost keeps: its path may be nobody else's. */
static uint64_t ghost_bytes(const struct node *n)
{
    return (uint64_t)n->end * sizeof(*n->tokens) + GHOST_NODES;
}

void prefix_unghost(struct prefix *p, struct node *n)
{
    if (!n->ghost)
        return;
    n->ghost = false;
    n->ghost_prev->ghost_next = n->ghost_next;
    n->ghost_next->ghost_prev = n->ghost_prev;
    p->ghost_bytes -= ghost_bytes(n);
}

bool prefix_forget_ghost(struct prefix *p)
{
    struct node *oldest = p->ghosts.ghost_next;
    if (oldest == &p->ghosts)
        return false;
    prefix_unghost(p, oldest);
    prefix_prune(p, oldest);
    return true;
}

void prefix_evicted(struct prefix *p, struct node *n)
{
    if (!n->ghost && n->parent) {
        n->ghost = true;
        n->ghost_next = &p->ghosts;
        n->ghost_prev = p->ghosts.ghost_prev;
        n->ghost_prev->ghost_next = n;
        p->ghosts.ghost_prev = n;
        p->ghost_bytes += ghost_bytes(n);
    }
    while (p->ghost_bytes > GHOST_BYTES && prefix_forget_ghost(p))
        ;
}

static bool check_node(const struct prefix *p, const struct node *n)
{
    int32_t children = 0;
    for (const struct node *c = n->child; c; c = c->next, children++) {
        if (c->parent != n || c->n < 1 || c->end != n->end + c->n ||
            c->n > p->stretch - n->end % p->stretch)
            return false;
        if (c->next && c->next->prev != c)
            return false;
        if (c->tokens ? c->tokens[0] != c->first : c->n != p->stretch || !c->stretch)
            return false;
        if (c->first != PREFIX_LOST && find_child(p, n, c->first) != c)
            return false;
    }
    return children == n->n_children;
}

bool prefix_check(const struct prefix *p, const struct node *root)
{
    const struct node *n = root;
    for (;;) {
        if (!check_node(p, n))
            return false;
        if (n->child) {
            n = n->child;
            continue;
        }
        while (n != root && !n->next)
            n = n->parent;
        if (n == root)
            return true;
        n = n->next;
    }
}
