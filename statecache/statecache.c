/* The face of the cache: opening, and what a running sequence asks. Engine thread, but for
 * statecache_tenant, statecache_changes and statecache_stats. */
#include "statecache/statecache.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "statecache/tiers.h"

#define SMALL_TOKENS 16     /* shorter paths are computed faster than they are looked up and kept */
#define WAIT_TOKENS 32      /* less to save is not worth waiting for another sequence */
#define BRANCH_TOKENS 8     /* nor is a state so close behind another one */
#define LAST_MARKS 4 /* of a long chat: the last turns are edited, older ones have the grid */
#define CHILDREN 16         /* of a branch, looked at for a sequence that computes through it */
#define DEFAULT_TTL_S (30 * 24 * 3600)
#define DEFAULT_SESSIONS 10000
#define EXPIRE_EVERY_S 30

/* ---- shared by the files ------------------------------------------------------------------ */

struct tenant *core_tenant(struct statecache *sc, const unsigned char tag[16])
{
    for (struct tenant *t = sc->tenants; t; t = t->next)
        if (memcmp(t->tag.b, tag, sizeof(t->tag.b)) == 0)
            return t;
    struct tenant *t = mem_zalloc(sizeof(*t));
    if (!t)
        return NULL;
    t->root = prefix_root(&sc->prefix);
    if (!t->root) {
        mem_free(t);
        return NULL;
    }
    memcpy(t->tag.b, tag, sizeof(t->tag.b));
    t->limits = (struct tenant_limits){INT64_MAX, UINT64_MAX, UINT64_MAX};
    t->next = sc->tenants;
    sc->tenants = t;
    return t;
}

void core_bury(struct statecache *sc)
{
    while (sc->n_dead_slots > 0)
        slots_put(sc->o.slots, sc->dead_slots[--sc->n_dead_slots]);
    while (sc->n_dead_pages > 0)
        pages_unref(sc->o.pages, sc->dead_pages[--sc->n_dead_pages]);
}

void core_changed(struct statecache *sc)
{
    sc->changes++;
    pthread_cond_broadcast(&sc->changed);
    if (sc->o.wake)
        sc->o.wake(sc->o.wake_arg);
}

static void enter(struct statecache *sc)
{
    pthread_mutex_lock(&sc->lock);
    core_bury(sc);
}

static void leave(struct statecache *sc)
{
    core_bury(sc);
    pthread_mutex_unlock(&sc->lock);
}

/* ---- opening and closing ------------------------------------------------------------------ */

void statecache_fingerprint(const unsigned char model[32], const char *numerics,
                            unsigned char out[32])
{
    crypto_generichash_state s;
    crypto_generichash_init(&s, NULL, 0, 32);
    crypto_generichash_update(&s, model, 32);
    crypto_generichash_update(&s, (const unsigned char *)numerics, strlen(numerics));
    crypto_generichash_final(&s, out, 32);
}

static int open_disk(struct statecache *sc, struct err *e)
{
    if (!sc->o.dir) {
        randombytes_buf(sc->format.key, sizeof(sc->format.key)); /* no file outlives it */
        return 0;
    }
    int rc = store_open(&sc->store, sc->o.dir, sc->o.key_file, sc->o.io ? sc->o.io : &fsio_real,
                        &sc->format, e);
    if (rc)
        return rc;
    sc->disk = true;
    rc = tiers_scan(sc, e);
    if (!rc)
        rc = record_scan(sc, e);
    tiers_scan_end(sc);
    sc->health = sc->store.health;
    return rc;
}

static void defaults(struct statecache *sc)
{
    struct statecache_options *o = &sc->o;
    sc->grid = o->grid > 0 ? o->grid : PLANNER_GRID;
    if (!o->path_bytes)
        o->path_bytes = o->ram_bytes / 4;
    if (!o->sessions_per_tenant)
        o->sessions_per_tenant = DEFAULT_SESSIONS;
    if (!o->session_ttl_s)
        o->session_ttl_s = DEFAULT_TTL_S;
    codec_layout(&sc->format, o->plan);
    memcpy(sc->format.fingerprint, o->fingerprint, sizeof(sc->format.fingerprint));
    sc->stats.bytes_max[TIER_DEVICE] = (uint64_t)o->park_slots * sc->format.slot_bytes;
    sc->stats.bytes_max[TIER_RAM] = o->ram_bytes;
    sc->stats.bytes_max[TIER_DISK] = o->dir ? o->disk_bytes : 0;
    for (int t = 0; t < TIERS; t++)
        sc->lru[t].prev = sc->lru[t].next = &sc->lru[t];
}

int statecache_open(struct statecache **out, const struct statecache_options *o, struct err *e)
{
    *out = NULL;
    if (sodium_init() < 0)
        return err_set(e, E_UNSUPPORTED, "libsodium does not start");
    struct statecache *sc = mem_zalloc(sizeof(*sc));
    if (!sc)
        return err_set(e, E_NOMEM, "no memory for the state cache");
    sc->o = *o;
    pthread_mutex_init(&sc->lock, NULL);
    pthread_cond_init(&sc->changed, NULL);
    defaults(sc);
    int32_t n_pages = o->pages ? o->pages->n_total : 0;
    sc->block_of_page = mem_array((size_t)n_pages, sizeof(struct block *));
    sc->dead_pages = mem_array((size_t)n_pages, sizeof(int32_t));
    sc->dead_slots = mem_array((size_t)o->slots->n_total, sizeof(int32_t));
    sc->sessions = mem_array(SESSION_BUCKETS, sizeof(struct session *));
    int rc = sc->block_of_page && sc->dead_pages && sc->dead_slots && sc->sessions
                 ? prefix_init(&sc->prefix)
                 : E_NOMEM;
    if (rc)
        err_set(e, rc, "no memory for the state cache");
    if (!rc)
        rc = open_disk(sc, e);
    if (!rc)
        rc = writer_open(&sc->writer, &sc->lock, !o->no_writer_thread, e);
    if (rc) {
        statecache_close(sc);
        return rc;
    }
    *out = sc;
    return 0;
}

static void free_tree(struct statecache *sc, struct tenant *t)
{
    /* Snapshots first: each one leaves its tier and, not being evicted, its file is left. */
    static const enum tier all[] = {TIER_DEVICE, TIER_RAM, TIER_DISK};
    (void)t;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct snapshot *s;
        while ((s = snapshot_oldest(sc, all[i]))) {
            snapshot_off_disk(sc, s);
            snapshot_destroy(sc, s, false);
        }
    }
}

void statecache_close(struct statecache *sc)
{
    if (!sc)
        return;
    ASSERT(sc->tracks == 0);
    writer_close(&sc->writer);
    if (sc->sessions)
        session_free_all(sc);
    if (sc->prefix.buckets)
        free_tree(sc, NULL);
    while (sc->tenants) {
        struct tenant *t = sc->tenants;
        sc->tenants = t->next;
        prefix_free(&sc->prefix, t->root);
        mem_free(t);
    }
    core_bury(sc);
    while (sc->n_spare > 0)
        mem_aligned_free(sc->spare[--sc->n_spare], sc->format.slot_bytes);
    prefix_fini(&sc->prefix);
    if (sc->disk)
        store_close(&sc->store);
    sodium_memzero(&sc->format, sizeof(sc->format));
    pthread_cond_destroy(&sc->changed);
    pthread_mutex_destroy(&sc->lock);
    mem_free(sc->block_of_page);
    mem_free(sc->dead_pages);
    mem_free(sc->dead_slots);
    mem_free(sc->sessions);
    mem_free(sc);
}

void statecache_tenant(struct statecache *sc, const char *key_id, struct tenant_tag *tag)
{
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256(mac, (const unsigned char *)key_id, strlen(key_id), sc->format.key);
    memcpy(tag->b, mac, sizeof(tag->b));
}

int statecache_limit(struct statecache *sc, const struct tenant_tag *tag,
                     const struct tenant_limits *l, struct err *e)
{
    pthread_mutex_lock(&sc->lock);
    struct tenant *t = core_tenant(sc, tag->b);
    if (t)
        t->limits = *l;
    pthread_mutex_unlock(&sc->lock);
    return t ? 0 : err_set(e, E_NOMEM, "no memory for a key's states");
}

void statecache_expect(struct statecache *sc, int32_t tenants)
{
    pthread_mutex_lock(&sc->lock);
    sc->o.tenants = tenants;
    pthread_mutex_unlock(&sc->lock);
}

uint64_t statecache_changes(struct statecache *sc)
{
    pthread_mutex_lock(&sc->lock);
    uint64_t n = sc->changes;
    pthread_mutex_unlock(&sc->lock);
    return n;
}

/* ---- begin: what is there for a path ------------------------------------------------------ */

/* A path being looked up. */
struct lookup {
    struct tenant *tenant;
    struct session *session;
    struct node *base;
    struct match match;
    int64_t total;
    bool goes_on; /* the tree goes on differently after match.depth */
    struct snapshot *hit;
};

/* The deepest node wholly on the matched path. */
static struct node *whole(const struct match *m)
{
    return m->inside < m->node->n ? m->node->parent : m->node;
}

/* The sequence that is computing the tree beyond the point where this path leaves it. */
static struct node *computed_beyond(const struct lookup *l)
{
    struct node *n = l->match.node;
    if (l->match.inside < n->n) {
        while (n && !n->planner)
            n = n->n_children == 1 ? n->child : NULL;
        return n;
    }
    int looked = 0;
    for (struct node *c = n->child; c && looked < CHILDREN; c = c->next, looked++) {
        struct node *d = c;
        while (d && !d->planner)
            d = d->n_children == 1 ? d->child : NULL;
        if (d)
            return d;
    }
    return NULL;
}

/* The deepest position of this path that another sequence is going to capture; 0 = none. */
static int64_t awaited(struct statecache *sc, const struct lookup *l)
{
    int64_t depth = l->match.depth;
    if (depth < l->total && l->goes_on) {
        struct node *beyond = computed_beyond(l);
        if (beyond && beyond->planner->pos < depth) {
            struct track *by = beyond->planner;
            struct node *cut = prefix_at(&sc->prefix, beyond, depth);
            if (cut && !cut->snap && !cut->planner && cut->parent) {
                cut->planner = by;
                cut->planned_kind = POINT_BRANCH;
            }
            if (cut && cut->planner)
                return depth;
        }
    }
    struct node *n = whole(&l->match);
    while (n && !(n->planner && (n->end < l->total || n->planned_kind == POINT_END)))
        n = n->parent;
    return n ? n->end : 0;
}

/* Finds the state to start from. E_BUSY: it is on its way. */
static int find_hit(struct statecache *sc, struct lookup *l)
{
    struct node *n = prefix_snapshot_above(whole(&l->match), l->match.depth);
    for (; n; n = prefix_snapshot_above(n->parent, n->end)) {
        struct snapshot *s = n->snap;
        if (n->end == l->total && !s->has_logits)
            continue; /* a state alone does not say what comes next */
        if (snapshot_ready(s))
            break;
        n->pins++; /* making room must not prune the node we stand on */
        bool coming = s->reading || tiers_load(sc, s);
        n->pins--;
        if (coming)
            return E_BUSY;
    }
    l->hit = n ? n->snap : NULL;
    return 0;
}

static enum miss_reason miss_reason(const struct lookup *l)
{
    if (l->match.depth == l->base->end)
        return l->tenant->foreign ? MISS_FINGERPRINT : MISS_NO_CHECKPOINT;
    for (const struct node *n = whole(&l->match); n; n = n->parent)
        if (n->ghost)
            return MISS_EVICTED;
    return l->goes_on ? MISS_TOKENS_DIVERGED : MISS_NO_CHECKPOINT;
}

static void count(struct statecache *sc, const struct lookup *l, const struct track *t)
{
    if (t->fresh)
        return;
    if (t->small) {
        sc->stats.misses[MISS_TOO_SHORT]++;
    } else if (!l->hit) {
        sc->stats.misses[miss_reason(l)]++;
    } else {
        sc->stats.hits++;
        sc->stats.exact_hits += l->hit->pos == l->total;
        sc->stats.cached_tokens += (uint64_t)l->hit->pos;
        sc->stats.replayed_tokens += (uint64_t)(l->match.depth - l->hit->pos);
    }
}

/* ---- begin: the plan of a sequence -------------------------------------------------------- */

static void plan_at(struct statecache *sc, struct track *t, int64_t pos, enum point kind)
{
    struct node *n =
        pos > t->pos && pos <= t->end->end ? prefix_at(&sc->prefix, t->end, pos) : NULL;
    if (!n || n->snap || n->planner || !n->parent)
        return;
    n->planner = t;
    n->planned_kind = (uint8_t)kind;
}

static void plan_track(struct statecache *sc, struct track *t, const struct lookup *l,
                       const struct statecache_query *q)
{
    /* The most lasting kinds first: a position keeps the kind it gets first. */
    for (int32_t i = 0; i < q->n_marks; i++)
        if (q->marks[i] > 0 && q->marks[i] < q->n && (i == 0 || i >= q->n_marks - LAST_MARKS))
            plan_at(sc, t, l->base->end + q->marks[i],
                    i == 0 && !l->session ? POINT_SYSTEM : POINT_MARK);
    if (l->goes_on && l->match.depth - t->pos >= BRANCH_TOKENS)
        plan_at(sc, t, l->match.depth, POINT_BRANCH);
    plan_at(sc, t, l->total, POINT_END);
    for (int64_t p = t->pos; (p = planner_next(p, l->total, sc->grid)) < l->total;)
        plan_at(sc, t, p, POINT_GRID);
}

static int look_up(struct statecache *sc, const struct statecache_query *q, struct lookup *l,
                   struct err *e)
{
    l->tenant = core_tenant(sc, q->tenant.b);
    if (!l->tenant)
        return err_set(e, E_NOMEM, "no memory for a key's states");
    l->base = l->tenant->root;
    if (q->session) {
        l->session = session_of(sc, &q->tenant, q->session);
        if (!l->session || !l->session->busy || l->session->running ||
            l->session->ticket != q->ticket)
            return err_field(e, E_NOENT, "session", "there is no such session");
        l->base = l->session->node;
    }
    l->total = l->base->end + q->n;
    if (l->total == 0)
        return err_field(e, E_RANGE, "prompt", "a session without tokens needs a prompt");
    l->match = prefix_match(&sc->prefix, l->base, q->tokens, q->n);
    const struct match *m = &l->match;
    l->goes_on = m->depth < l->total && (m->inside < m->node->n || m->node->n_children > 0);
    return 0;
}

static int start_track(struct statecache *sc, const struct statecache_query *q,
                       const struct lookup *l, struct track **out, struct err *e)
{
    struct track *t = mem_zalloc(sizeof(*t));
    struct node *end = t ? prefix_insert(&sc->prefix, l->base, q->tokens, q->n) : NULL;
    if (!end) {
        mem_free(t);
        return err_set(e, E_NOMEM, "no memory for the index of a prompt of %d tokens", q->n);
    }
    *t = (struct track){.sc = sc, .tenant = l->tenant, .session = l->session, .end = end,
                        .start = l->hit, .prompt_end = l->total, .turn_end = -1,
                        .pin_s = q->pin_s, .fresh = q->fresh,
                        .small = l->total < SMALL_TOKENS && !l->session};
    end->pins++;
    if (t->start) {
        /* The one promise that must not break: the state is of this very path. */
        ASSERT(prefix_at(&sc->prefix, end, t->start->pos) == t->start->node);
        t->start->pins++;
        t->start->uses++;
        snapshot_touch(sc, t->start);
        t->pos = t->start->pos;
    }
    /* Nobody waits for one that computes everything: its reader takes an event for every token of
     * the prompt, and may take its time. */
    if (!t->small && !t->fresh)
        plan_track(sc, t, l, q);
    if (t->session)
        t->session->running = true;
    sc->tracks++;
    *out = t;
    return 0;
}

int statecache_begin(struct statecache *sc, const struct statecache_query *q, struct track **out,
                     struct statecache_start *start, struct err *e)
{
    struct lookup l = {0};
    *out = NULL;
    enter(sc);
    int rc = look_up(sc, q, &l, e);
    if (!rc && !q->fresh && (l.total >= SMALL_TOKENS || l.session)) {
        struct node *best = prefix_snapshot_above(whole(&l.match), l.match.depth);
        if (awaited(sc, &l) >= (best ? best->end : 0) + WAIT_TOKENS) {
            sc->stats.waits += !q->again;
            rc = E_BUSY;
        } else {
            rc = look_up(sc, q, &l, e); /* a cut may have split the node the match ended in */
            if (!rc)
                rc = find_hit(sc, &l);
        }
        if (rc == E_BUSY)
            err_set(e, rc, "a state of this prompt is being computed or read");
    }
    if (!rc)
        rc = look_up(sc, q, &l, e); /* waiting for room and cuts may have changed the tree */
    if (!rc)
        rc = start_track(sc, q, &l, out, e);
    if (!rc) {
        count(sc, &l, *out);
        const struct snapshot *s = l.hit;
        *start = (struct statecache_start){
            .position = s ? s->pos : 0,
            .base = l.base->end,
            .end = l.total,
            .logits = s && s->pos == l.total ? s->logits : NULL,
            .sampler = s ? s->sampler : NULL,
            .sampler_bytes = s && s->sampler ? s->sampler_bytes : 0,
        };
    }
    leave(sc);
    return rc;
}

/* ---- while it runs ------------------------------------------------------------------------ */

static void end_swap(struct statecache *sc, struct track *t)
{
    struct snapshot *s = t->swap;
    t->swap = NULL;
    if (s->kind == POINT_SWAP)
        s->kind = POINT_GRID; /* from now on as good as any, and as mortal */
    snapshot_unpin(sc, s);
}

/* Device pages that restoring s needs beyond the free ones. */
static int32_t pages_short(const struct statecache *sc, const struct snapshot *s)
{
    int32_t need = s->tail != NULL;
    for (int32_t i = 0; i < s->n_blocks; i++)
        need += s->blocks[i]->page < 0;
    return need > 0 ? need - sc->o.pages->n_free : 0;
}

int statecache_restore(struct statecache *sc, struct track *t, int32_t slot, int32_t *table,
                       struct err *e)
{
    struct snapshot *s = t->swap ? t->swap : t->start;
    int rc;
    enter(sc);
    if (!s) {
        rc = sc->o.device->backend->slot_zero(sc->o.device, slot, e);
        goto out;
    }
    /* Making room may take pages of this very path, which other snapshots share: ask again. If it
     * is not enough, the restore says so. */
    while (pages_short(sc, s) > 0 && tiers_free_pages(sc, pages_short(sc, s)))
        ;
    rc = snapshot_restore(sc, s, slot, table, e);
    if (!rc && t->swap) {
        sc->stats.swaps_in++;
        t->pos = s->pos;
        end_swap(sc, t);
    }
out:
    leave(sc);
    return rc;
}

void statecache_tokens(struct statecache *sc, const struct track *t, int64_t from, int64_t to,
                       int32_t *out)
{
    pthread_mutex_lock(&sc->lock);
    int64_t known = t->end->end;
    ASSERT(from >= 0 && from <= to && to <= known + t->n_tail);
    if (from < known)
        prefix_tokens(t->end, from, MIN(to, known), out);
    for (int64_t p = MAX(from, known); p < to; p++)
        out[p - from] = t->tail[p - known];
    pthread_mutex_unlock(&sc->lock);
}

/* Positions up to `upto` are past: nobody should wait for them any more. */
static void unplan(struct statecache *sc, struct track *t, int64_t upto)
{
    for (struct node *n = t->end, *up; n; n = up) {
        up = n->parent;
        if (n->planner != t || n->end > upto)
            continue;
        n->planner = NULL;
        sc->changes++;
        if (n != t->end)
            prefix_prune(&sc->prefix, n); /* it has a child: at most it is joined with it */
    }
}

int64_t statecache_cut(struct statecache *sc, struct track *t, int64_t pos)
{
    if (t->small)
        return pos < t->prompt_end ? t->prompt_end : INT64_MAX;
    enter(sc);
    t->pos = pos;
    int64_t cut = pos < t->prompt_end ? t->prompt_end : pos - pos % sc->grid + sc->grid;
    if (pos < t->prompt_end) {
        unplan(sc, t, pos);
        for (const struct node *n = t->end; n && n->end > pos; n = n->parent)
            if (n->planner == t)
                cut = MIN(cut, n->end);
    }
    leave(sc);
    return cut;
}

int64_t statecache_known(struct statecache *sc, const struct track *t)
{
    pthread_mutex_lock(&sc->lock);
    int64_t known = t->end->end + t->n_tail;
    pthread_mutex_unlock(&sc->lock);
    return known;
}

int statecache_append(struct statecache *sc, struct track *t, const int32_t *tokens, int32_t n,
                      struct err *e)
{
    (void)sc; /* the tail is the track's own until a capture puts it into the tree */
    if (n > t->cap_tail - t->n_tail) {
        int32_t cap = MAX(t->cap_tail * 2, t->n_tail + n + PLANNER_GRID);
        int32_t *more = mem_realloc(t->tail, (size_t)cap * sizeof(*more));
        if (!more)
            return err_set(e, E_NOMEM, "no memory for %d more tokens", n);
        t->tail = more;
        t->cap_tail = cap;
    }
    if (n > 0)
        memcpy(t->tail + t->n_tail, tokens, (size_t)n * sizeof(*tokens));
    t->n_tail += n;
    return 0;
}

/* The node at pos of the track's path, which may reach into the tail. NULL = no memory. */
static struct node *node_at(struct statecache *sc, struct track *t, int64_t pos)
{
    int64_t known = t->end->end;
    ASSERT(pos >= 0 && pos <= known + t->n_tail);
    if (pos <= known)
        return prefix_at(&sc->prefix, t->end, pos);
    int32_t n = (int32_t)(pos - known);
    struct node *node = prefix_insert(&sc->prefix, t->end, t->tail, n), *old = t->end;
    if (!node)
        return NULL;
    memmove(t->tail, t->tail + n, (size_t)(t->n_tail - n) * sizeof(*t->tail));
    t->n_tail -= n;
    node->pins++;
    old->pins--;
    if (old->planner == t)
        old->planner = NULL;
    t->end = node;
    prefix_prune(&sc->prefix, old);
    return node;
}

/* Takes a snapshot at node. 0 also if there is no room: *s is NULL then. */
static int take(struct statecache *sc, struct tenant *tenant, struct node *node, enum point kind,
                int32_t slot, const int32_t *table, bool keep_slot, struct snapshot **out,
                struct err *e)
{
    struct err why = {0};
    *out = NULL;
    node->pins++;
    struct snapshot *s = snapshot_new(sc, tenant, node, kind);
    int rc = s ? snapshot_fill(sc, s, slot, table, keep_slot, &why) : E_NOMEM;
    if (rc && s)
        snapshot_destroy(sc, s, false);
    node->pins--;
    if (rc == E_NOMEM) {
        sc->stats.captures_skipped++;
        return 0;
    }
    if (rc)
        return err_set(e, rc, "%s", why.text);
    sc->stats.captures++;
    *out = s;
    return 0;
}

static enum point point_of(const struct track *t, enum capture_kind kind, const struct node *n)
{
    if (kind == CAPTURE_SWAP)
        return POINT_SWAP;
    if (n->planner == t)
        return (enum point)n->planned_kind;
    return kind == CAPTURE_END ? POINT_END : POINT_GRID;
}

int statecache_capture(struct statecache *sc, struct track *t, enum capture_kind kind, int64_t pos,
                       int32_t slot, const int32_t *table, const float *logits,
                       const void *sampler, size_t sampler_bytes, bool *kept, struct err *e)
{
    int rc = 0;
    if (kept)
        *kept = false;
    if (t->small && kind != CAPTURE_SWAP)
        return 0;
    enter(sc);
    t->pos = pos;
    struct node *n = node_at(sc, t, pos);
    if (!n || !n->parent) /* no memory, or nothing computed */
        goto out;
    struct snapshot *s = n->snap;
    n->pins++; /* survives whatever making room prunes */
    bool park = kind == CAPTURE_END && kept &&
                sc->stats.entries[TIER_DEVICE] < (uint64_t)sc->o.park_slots;
    if (s && (snapshot_ready(s) || s->on_disk))
        snapshot_touch(sc, s);
    else if (!s)
        rc = take(sc, t->tenant, n, point_of(t, kind, n), slot, table, park, &s, e);
    if (s && !rc) {
        if (s->slot == slot && kept)
            *kept = true;
        s->pins++;
        if (snapshot_ready(s)) /* without them it is no exact hit, but still a hit */
            (void)!snapshot_set_logits(sc, s, logits, sampler, sampler_bytes);
        if (pos == t->prompt_end && t->pin_s > 0)
            s->pinned_until_ns = clock_now_ns() + (uint64_t)t->pin_s * NS_PER_S;
        s->pins--;
    }
    if (kind == CAPTURE_SWAP && s && snapshot_ready(s)) {
        s->pins++;
        t->swap = s;
        *kept = true;
        sc->stats.swaps_out++;
    }
    if (kind == CAPTURE_END)
        t->turn_end = pos;
    tiers_thin(sc, n);
    unplan(sc, t, kind == CAPTURE_CUT ? pos : INT64_MAX);
    sc->changes++;
    n->pins--;
    prefix_prune(&sc->prefix, n);
out:
    leave(sc);
    return rc;
}

/* ---- the end ------------------------------------------------------------------------------ */

int statecache_commit(struct statecache *sc, struct track *t, const void *answer, size_t n,
                      struct err *e)
{
    int rc;
    enter(sc);
    struct node *node = t->session && t->turn_end >= 0 ? node_at(sc, t, t->turn_end) : NULL;
    if (!t->session)
        rc = err_set(e, E_CONFLICT, "this sequence belongs to no session");
    else if (!node)
        rc = err_set(e, E_NOMEM, "no memory to end the turn of a session");
    else
        rc = session_commit(sc, t->session, node, answer, n, e);
    if (!rc)
        t->commit_generation = t->session->generation;
    leave(sc);
    return rc;
}

enum commit statecache_committed(struct statecache *sc, struct track *t)
{
    enum commit c = COMMIT_PENDING;
    pthread_mutex_lock(&sc->lock);
    const struct session *x = t->session;
    if (!sc->disk || x->dead || x->failed_generation >= t->commit_generation)
        c = COMMIT_MEMORY;
    if (sc->disk && x->saved_generation >= t->commit_generation)
        c = COMMIT_DURABLE;
    if (c == COMMIT_DURABLE)
        sc->stats.commits_durable++;
    if (c == COMMIT_MEMORY)
        sc->stats.commits_memory++;
    pthread_mutex_unlock(&sc->lock);
    return c;
}

void statecache_end(struct statecache *sc, struct track *t)
{
    if (!t)
        return;
    enter(sc);
    unplan(sc, t, INT64_MAX);
    if (t->start)
        snapshot_unpin(sc, t->start);
    if (t->swap)
        end_swap(sc, t);
    if (t->commit_generation) /* what it started from is no longer needed in RAM */
        tiers_settle(sc, t->end);
    t->end->pins--;
    prefix_prune(&sc->prefix, t->end);
    if (t->session)
        session_unclaim(sc, t->session);
    sc->tracks--;
    sc->changes++;
    mem_free(t->tail);
    mem_free(t);
    leave(sc);
}

bool statecache_reclaim_slot(struct statecache *sc)
{
    enter(sc);
    bool freed = tiers_free_slot(sc);
    leave(sc);
    return freed;
}

bool statecache_reclaim_pages(struct statecache *sc, int32_t n)
{
    enter(sc);
    bool freed = sc->o.pages && tiers_free_pages(sc, n);
    leave(sc);
    return freed;
}

void statecache_tick(struct statecache *sc)
{
    enter(sc);
    if (!sc->writer.started)
        writer_work(&sc->writer);
    tiers_tick(sc);
    uint64_t now = clock_unix_s();
    if (now >= sc->expire_at_s) {
        sc->expire_at_s = now + EXPIRE_EVERY_S;
        session_expire(sc);
    }
    leave(sc);
}
