/* The face of the cache: opening, and what a running sequence asks. Engine thread, but for
 * statecache_tenant, statecache_changes and statecache_stats. */
#include "statecache/statecache.h"

#include <sodium.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "statecache/checkpoint.h"
#include "statecache/due.h"
#include "statecache/shared/shared.h"
#include "statecache/shared/together.h"
#include "statecache/store/dirstore.h"
#include "statecache/store/statefile.h"
#include "statecache/store/pathfile.h"
#include "statecache/value/behind.h"
#include "statecache/value/copies.h"
#include "statecache/value/tiers.h"

#define DEFAULT_TTL_S (30 * 24 * 3600)
#define DEFAULT_SESSIONS 10000
#define EXPIRE_EVERY_S 30
#define SHARED_WAIT 100
#define SHARED_COLD_WAIT 1000

static void init_locks(struct statecache *sc)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&sc->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CORE_CLOCK); /* a clock every Linux has */
    pthread_cond_init(&sc->changed, &attr);
    pthread_condattr_destroy(&attr);
}

/* ---- opening and closing ------------------------------------------------------------------ */

static int open_disk(struct statecache *sc, struct err *e)
{
    const struct fsio *io = sc->o.io ? sc->o.io : &fsio_real;
    lived_open(&sc->lived, io, sc->o.dir);
    if (sc->o.key_file_old && !sc->o.key_file)
        return err_set(e, E_CONFLICT, "state-key-old is %s, and no state-key is given that seals "
                       "from now on", sc->o.key_file_old);
    if (!sc->o.dir && sc->o.shared_url && sc->o.key_file)
        return installkey_load(&sc->format, io, sc->o.key_file, sc->o.key_file_old, e);
    if (!sc->o.dir) {
        randombytes_buf(sc->format.key, sizeof(sc->format.key)); /* no file outlives it */
        memcpy(sc->format.names, sc->format.key, sizeof(sc->format.names));
        return 0;
    }
    int rc = dirstore_open(&sc->store, sc->o.dir, sc->o.key_file, sc->o.key_file_old, io,
                           &sc->format, e);
    sc->store.compress = sc->o.compress_disk;
    if (rc)
        return rc;
    sc->disk = sc->opening = true;
    rc = stretch_scan(sc, e);
    if (!rc)
        rc = statefile_scan(sc, e);
    if (!rc)
        rc = journal_open(sc, e);
    if (!rc)
        rc = record_scan(sc, e);
    if (!rc)
        rc = journal_replay(sc, e);
    sc->unread |= rc != 0;
    statefile_scan_end(sc);
    stretch_scan_end(sc);
    sc->opening = false;
    sc->health = sc->store.health;
    return rc;
}

static int open_shared(struct statecache *sc, struct err *e)
{
    const struct statecache_options *o = &sc->o;
    struct shared_options s = {.store = {.url = o->shared_url, .ca = o->shared_ca,
                                         .password = o->shared_password,
                                         .endpoint = o->shared_endpoint,
                                         .region = o->shared_region,
                                         .credentials = o->shared_credentials},
                               .wait_ms = o->shared_wait_ms > 0 ? o->shared_wait_ms : SHARED_WAIT,
                               .cold_wait_ms = o->shared_cold_wait_ms > 0 ? o->shared_cold_wait_ms
                                                                          : SHARED_COLD_WAIT,
                               .cold_after_s = o->shared_cold_after_s,
                               .ttl_s = o->shared_ttl_s,
                               .bytes_s = o->shared_bytes_s};
    if (s.store.url && !o->key_file)
        return err_set(e, E_CONFLICT, "shared: replicas share with one key, and no state-key is "
                       "given");
    return shared_open(sc, &s, e);
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
    if (!o->checkpoint_ms)
        o->checkpoint_ms = CHECKPOINT_MS;
    if (!o->checkpoint_tokens)
        o->checkpoint_tokens = CHECKPOINT_TOKENS;
    sc->due.prev = sc->due.next = &sc->due;
    sc->behind.prev = sc->behind.next = &sc->behind;
    codec_layout(&sc->format, o->plan, o->stretch > 0 ? o->stretch : PREFIX_STRETCH);
    memcpy(sc->format.fingerprint, o->fingerprint, sizeof(sc->format.fingerprint));
    codec_numerics(o->numerics, sc->format.numerics);
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
    init_locks(sc);
    defaults(sc);
    int32_t n_pages = o->pages ? o->pages->n_total : 0;
    sc->block_of_page = mem_array((size_t)n_pages, sizeof(struct block *));
    sc->dead_pages = mem_array((size_t)n_pages, sizeof(int32_t));
    sc->dead_slots = mem_array((size_t)o->slots->n_total, sizeof(int32_t));
    sc->sessions = mem_array(SESSION_BUCKETS, sizeof(struct session *));
    int rc = sc->block_of_page && sc->dead_pages && sc->dead_slots && sc->sessions
                 ? prefix_init(&sc->prefix, sc->format.stretch)
                 : E_NOMEM;
    if (rc)
        err_set(e, rc, "no memory for the state cache");
    if (!rc)
        rc = writer_open(&sc->writer, &sc->lock, !o->no_writer_thread, e);
    if (!rc)
        rc = writer_open(&sc->journal.writer, &sc->lock, !o->no_writer_thread, e);
    if (!rc) {
        pthread_mutex_lock(&sc->lock); /* the writer starts on what opening leaves to do */
        rc = open_disk(sc, e);
        if (!rc)
            rc = open_shared(sc, e);
        pthread_mutex_unlock(&sc->lock);
    }
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

void statecache_save(struct statecache *sc, int seconds)
{
    struct timespec until = core_deadline(seconds * 1000);
    core_enter(sc);
    copies_end(sc);
    checkpoint_all(sc);
    shared_hand_over(sc, &until);
    if (!tiers_save(sc, &until))
        log_info("states that were not written within %d s are given up", seconds);
    core_leave(sc);
}

void statecache_close(struct statecache *sc)
{
    if (!sc)
        return;
    ASSERT(sc->tracks == 0);
    pthread_mutex_lock(&sc->lock);
    copies_end(sc);
    pthread_mutex_unlock(&sc->lock);
    writer_close(&sc->writer);
    journal_close(sc);
    shared_close(sc);
    sc->prefix.gone = NULL; /* the files stay */
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
        lived_close(&sc->lived, sc->o.io ? sc->o.io : &fsio_real, sc->o.dir);
    store_close(&sc->store);
    sodium_memzero(&sc->format, sizeof(sc->format));
    pthread_cond_destroy(&sc->changed);
    pthread_mutex_destroy(&sc->lock);
    mem_free(sc->foreign);
    mem_free(sc->block_of_page);
    mem_free(sc->dead_pages);
    mem_free(sc->dead_slots);
    mem_free(sc->sessions);
    mem_free(sc);
}

void statecache_tenant(struct statecache *sc, const char *key_id, struct tenant_tag *tag)
{
    codec_tenant(sc->format.names, key_id, tag->b);
}

bool statecache_secret(struct statecache *sc, const char *what, bool old, unsigned char out[16])
{
    codec_tenant(old ? sc->format.old : sc->format.key, what, out);
    return !old || sc->format.two;
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
    core_enter(sc);
    if (!s) {
        rc = sc->o.device->backend->slot_zero(sc->o.device, slot, e);
        goto out;
    }
    rc = copies_ahead(sc, s, &t->ahead, e);
    if (rc)
        goto out;
    /* Making room may take pages of this very path, which other snapshots share: ask again. If it
     * is not enough, the restore says so. */
    while (pages_short(sc, s) > 0 && tiers_free_pages(sc, pages_short(sc, s)))
        ;
    rc = snapshot_restore(sc, s, t->ahead, slot, table, e);
    if (!rc)
        copies_ahead_end(sc, &t->ahead);
    if (!rc && t->swap) {
        sc->stats.swaps_in++;
        t->pos = s->pos;
        end_swap(sc, t);
    }
out:
    core_leave(sc);
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
    if (t->small && pos < t->prompt_end)
        return t->prompt_end;
    core_enter(sc);
    t->pos = pos;
    int64_t cut = pos < t->prompt_end ? t->prompt_end : pos - pos % sc->grid + sc->grid;
    if (pos < t->prompt_end) {
        unplan(sc, t, pos);
        for (const struct node *n = t->end; n && n->end > pos; n = n->parent)
            if (n->planner == t)
                cut = MIN(cut, n->end);
    }
    core_leave(sc);
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

/* Is anything cold in the way of node_at? Rare, because what a sequence computes has just been put
 * there, unless it says again what was said here long ago. */
static int clear_way(struct statecache *sc, struct track *t, int64_t pos, struct err *e)
{
    return pos <= t->end->end ? stretch_ask_at(sc, t->end, pos, e)
                              : stretch_ask_below(sc, t->end, t->tail, pos - t->end->end, e);
}

int statecache_clear(struct statecache *sc, struct track *t, int64_t pos, struct err *e)
{
    core_enter(sc);
    int rc = clear_way(sc, t, pos, e);
    if (!rc && t->session && t->session->stored.claim) { /* a record takes what no stretch has */
        int64_t known = MIN(pos, t->end->end);
        int64_t from = t->session->stored.n_ids * sc->format.stretch;
        rc = from < known ? stretch_ask(sc, t->end, from, known, e) : 0;
    }
    core_leave(sc);
    if (rc == E_BUSY)
        err_set(e, rc, "what is needed of the path was not read in time");
    return rc;
}

/* The node at pos of the track's path, which may reach into the tail. NULL = no memory, or part of
 * the path is not there: it is being read, or cannot be. */
static struct node *node_at(struct statecache *sc, struct track *t, int64_t pos)
{
    int64_t known = t->end->end;
    ASSERT(pos >= 0 && pos <= known + t->n_tail);
    struct err ignored = {0}; /* the turn or the state is not kept, and that is said */
    if (clear_way(sc, t, pos, &ignored))
        return NULL;
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
    /* Another one may plan the end of a prompt that both have. */
    return kind == CAPTURE_END || n->end == t->prompt_end ? POINT_END : POINT_GRID;
}

int statecache_capture(struct statecache *sc, struct track *t, enum capture_kind kind, int64_t pos,
                       int32_t slot, const int32_t *table, const float *logits, bool *kept,
                       struct err *e)
{
    int rc = 0;
    if (kept)
        *kept = false;
    if (t->small && kind != CAPTURE_SWAP && pos < SMALL_TOKENS)
        return 0;
    core_enter(sc);
    t->pos = pos;
    struct node *n = node_at(sc, t, pos);
    if (!n || !n->parent) { /* no memory, nothing computed, or ids are being read: without it */
        sc->stats.captures_skipped += !n;
        goto out;
    }
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
            (void)!snapshot_set_logits(sc, s, logits);
        if (!t->session)
            behind_add(sc, s);
        shared_offer(sc, s);
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
    unplan(sc, t, kind == CAPTURE_END ? INT64_MAX : pos);
    sc->changes++;
    n->pins--;
    prefix_prune(&sc->prefix, n);
out:
    core_leave(sc);
    return rc;
}

/* ---- the end ------------------------------------------------------------------------------ */

int statecache_commit(struct statecache *sc, struct track *t, const void *answer, size_t n,
                      struct err *e)
{
    int rc;
    core_enter(sc);
    struct node *node = t->session && t->turn_end >= 0 ? node_at(sc, t, t->turn_end) : NULL;
    if (!t->session)
        rc = err_set(e, E_CONFLICT, "this sequence belongs to no session");
    else if (!node)
        rc = err_set(e, E_NOMEM, "no memory to end the turn of a session");
    else if (t->session->stored.claim) /* the store first: it may say that it is not ours */
        rc = together_commit(sc, t->session, node, answer, n, &t->errand, e);
    else
        rc = session_commit(sc, t->session, node, answer, n, e);
    if (!rc && !t->errand)
        t->commit_generation = t->session->generation;
    core_leave(sc);
    return rc;
}

/* The store has spoken: now the turn is in force here, or did not happen. */
static void settle_errand(struct statecache *sc, struct track *t)
{
    struct errand *a = t->errand;
    struct buf answer = a->answer;
    bool kept = a->answered;
    struct node *node = a->node;
    t->errand = NULL;
    buf_init(&a->answer, 0);
    node->pins++;
    int rc = together_settle(sc, t->session, a, &t->lost);
    if (!rc)
        rc = session_commit(sc, t->session, node, answer.p, kept ? answer.len : SIZE_MAX,
                            &t->lost);
    if (!rc)
        t->commit_generation = t->session->generation;
    node->pins--;
    prefix_prune(&sc->prefix, node);
    buf_free(&answer);
}

enum commit statecache_committed(struct statecache *sc, struct track *t)
{
    enum commit c = COMMIT_PENDING;
    pthread_mutex_lock(&sc->lock);
    const struct session *x = t->session;
    if (t->errand && t->errand->done)
        settle_errand(sc, t);
    if (t->errand || t->lost.code) {
        c = t->errand ? COMMIT_PENDING : COMMIT_LOST;
        pthread_mutex_unlock(&sc->lock);
        return c;
    }
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

void statecache_lost(struct statecache *sc, const struct track *t, struct err *e)
{
    pthread_mutex_lock(&sc->lock);
    *e = t->lost;
    pthread_mutex_unlock(&sc->lock);
}

void statecache_await(struct statecache *sc, struct track *t)
{
    pthread_mutex_lock(&sc->lock);
    if (t->errand)
        errand_wait(t->errand);
    pthread_mutex_unlock(&sc->lock);
}

bool statecache_shares_sessions(struct statecache *sc) { return together_on(sc); }

void statecache_end(struct statecache *sc, struct track *t)
{
    if (!t)
        return;
    core_enter(sc);
    if (t->errand && t->errand->done) {
        settle_errand(sc, t);
    } else if (t->errand) { /* what comes of it the next claim will find */
        t->errand->loose = true;
        t->errand = NULL;
    }
    unplan(sc, t, INT64_MAX);
    copies_ahead_end(sc, &t->ahead);
    if (t->start)
        snapshot_unpin(sc, t->start);
    if (t->swap)
        end_swap(sc, t);
    /* What it started from is no longer needed in RAM, and no checkpoint is due that sees to it. */
    if (t->commit_generation && !t->session->due.prev)
        tiers_settle(sc, t->end);
    t->end->pins--;
    prefix_prune(&sc->prefix, t->end);
    if (t->session)
        session_unclaim(sc, t->session);
    sc->tracks--;
    sc->changes++;
    mem_free(t->tail);
    mem_free(t);
    core_leave(sc);
}

bool statecache_reclaim_slot(struct statecache *sc)
{
    core_enter(sc);
    bool freed = tiers_free_slot(sc);
    core_leave(sc);
    return freed;
}

bool statecache_reclaim_pages(struct statecache *sc, int32_t n)
{
    core_enter(sc);
    bool freed = sc->o.pages && tiers_free_pages(sc, n);
    core_leave(sc);
    return freed;
}

void statecache_tick(struct statecache *sc)
{
    core_enter(sc);
    copies_tick(sc);
    bool more = checkpoint_tick(sc) | shared_tick(sc);
    while (!sc->writer.started && more) { /* a test with one thread is the writers, too */
        writer_work(&sc->journal.writer);
        writer_work(&sc->writer);
        shared_work(sc);
        more = checkpoint_tick(sc) | shared_tick(sc);
    }
    tiers_tick(sc);
    uint64_t now = lived_now(&sc->lived);
    if (now >= sc->expire_at_s) {
        sc->expire_at_s = now + EXPIRE_EVERY_S;
        session_expire(sc);
    }
    core_leave(sc);
}
