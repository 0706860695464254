/* The tiers' budgets.
 *
 * RAM is hard: nothing is allocated for a state before its bytes are counted, and making room
 * never waits. So states are copied to disk ahead of need, from three quarters of the budget on,
 * and making room mostly means dropping a copy. */
#include "statecache/value/tiers.h"

#include "statecache/index/evict.h"
#include "statecache/store/statefile.h"
#include "statecache/store/pathfile.h"

#define CANDIDATES 32   /* oldest entries the policy chooses from: the rest is younger than those */
#define LOOK_AT 512     /* list entries looked at to find them; bounds one eviction */
#define FOREIGN_AT 2    /* others' states go first while ours have less than half of the disk */
#define SPILL_QUEUE 32  /* file jobs waiting before no more are made ahead of need */

/* ---- making room -------------------------------------------------------------------------- */

static bool evictable(const struct snapshot *s, enum tier t, bool reluctantly)
{
    if (s->pins > 0 || s->reading)
        return false;
    if (t == TIER_DISK)
        return s->holds == 0;
    bool elsewhere = s->on_disk || (t == TIER_RAM && s->slot >= 0);
    return elsewhere || reluctantly || (s->holds == 0 && s->pinned_until_ns <= clock_now_ns());
}

static double saved_tokens(const struct snapshot *s)
{
    struct node *above = prefix_snapshot_above(s->node->parent, s->pos);
    return (double)(s->pos - (above ? above->end : 0));
}

/* One path leads through it and on to another state: nobody's next turn begins there. */
static bool is_inner(const struct snapshot *s)
{
    return s->holds == 0 && s->kind != POINT_SYSTEM && s->node->n_children == 1 &&
           !prefix_is_last(s->node);
}

/* The state to give up in tier t for tenant `by`, or NULL. own: one of its own. */
static struct snapshot *victim(struct statecache *sc, enum tier t, const struct tenant *by,
                               bool own, bool reluctantly)
{
    struct evict_entry entry[CANDIDATES];
    struct snapshot *of[CANDIDATES];
    uint64_t budget = sc->stats.bytes_max[t], now = clock_now_ns();
    uint64_t floor = evict_floor(budget, sc->o.tenants);
    int n = 0, looked = 0;
    for (struct snapshot *s = snapshot_oldest(sc, t); s && n < CANDIDATES && looked < LOOK_AT;
         s = snapshot_newer(sc, s, t)) {
        if (own && s->tenant != by)
            continue;
        looked++;
        if (!evictable(s, t, reluctantly))
            continue;
        of[n] = s;
        entry[n++] = (struct evict_entry){
            .saved_tokens = saved_tokens(s),
            .inner = is_inner(s),
            .uses = s->uses,
            .age_s = (double)(now - s->used_ns) / (double)NS_PER_S,
            .bytes = t == TIER_DISK ? s->file_bytes : sc->format.slot_bytes,
            .floor = by && s->tenant != by && s->tenant->bytes[t] <= floor,
        };
    }
    int i = evict_pick(entry, n);
    return i < 0 ? NULL : of[i];
}

static bool evict_ram(struct statecache *sc, const struct tenant *by, bool own)
{
    struct snapshot *s = victim(sc, TIER_RAM, by, own, false);
    if (!s)
        s = victim(sc, TIER_RAM, by, own, true);
    if (!s)
        return false;
    sc->stats.evictions[TIER_RAM]++;
    if (s->on_disk || s->slot >= 0)
        snapshot_drop_ram(sc, s);
    else
        snapshot_destroy(sc, s, true);
    return true;
}

bool tiers_evict_disk(struct statecache *sc, const struct tenant *by, bool own)
{
    bool little = sc->stats.bytes[TIER_DISK] < sc->o.disk_bytes / FOREIGN_AT;
    if (!own && little && statefile_remove_foreign(sc))
        return true; /* else what waits since an upgrade leaves no room to those who are here */
    struct snapshot *s = victim(sc, TIER_DISK, by, own, false);
    if (!s) /* what explains misses keeps files of paths */
        return prefix_forget_ghost(&sc->prefix) || (!own && statefile_remove_foreign(sc));
    sc->stats.evictions[TIER_DISK]++;
    if (s->slab || s->slot >= 0)
        statefile_remove(sc, s);
    else
        snapshot_destroy(sc, s, true);
    return true;
}

/* What the disk tier has, but for what is on its way out. */
static uint64_t disk_used(const struct statecache *sc)
{
    return sc->stats.bytes[TIER_DISK] + sc->stuck + sc->health.quarantine_bytes +
           sc->journal.quarantined;
}

int tiers_make_room(struct statecache *sc, struct tenant *t, uint64_t bytes, struct err *e)
{
    uint64_t budget = sc->o.disk_bytes - turnlog_share(sc->o.disk_bytes);
    while (t && t->bytes[TIER_DISK] + bytes > t->limits.disk_bytes)
        if (!tiers_evict_disk(sc, t, true))
            return err_set(e, E_RANGE, "the key's disk budget of %llu bytes is full of sessions",
                           (unsigned long long)t->limits.disk_bytes);
    while (disk_used(sc) + bytes > budget)
        if (!tiers_evict_disk(sc, t, false))
            return err_set(e, E_RANGE, "the disk budget of %llu bytes is full of sessions",
                           (unsigned long long)sc->o.disk_bytes);
    return disk_used(sc) + sc->leaving + bytes > budget ? E_BUSY : 0;
}

bool tiers_reserve(struct statecache *sc, struct tenant *t, uint64_t bytes)
{
    while (t->bytes[TIER_RAM] + bytes > t->limits.ram_bytes)
        if (!evict_ram(sc, t, true))
            return false;
    while (sc->stats.bytes[TIER_RAM] + bytes > sc->o.ram_bytes)
        if (!evict_ram(sc, t, false))
            return false;
    sc->stats.bytes[TIER_RAM] += bytes;
    t->bytes[TIER_RAM] += bytes;
    return true;
}

void tiers_release(struct statecache *sc, struct tenant *t, uint64_t bytes)
{
    ASSERT(sc->stats.bytes[TIER_RAM] >= bytes && t->bytes[TIER_RAM] >= bytes);
    sc->stats.bytes[TIER_RAM] -= bytes;
    t->bytes[TIER_RAM] -= bytes;
}

/* ---- along a path ------------------------------------------------------------------------- */

static bool lasting(const struct snapshot *s)
{
    return s->pins > 0 || s->holds > 0 || s->pinned_until_ns > clock_now_ns();
}

void tiers_thin(struct statecache *sc, struct node *end)
{
    int64_t T = end->end, newer = T;
    uint64_t ram = 0;
    for (struct node *n = end->parent, *up; n && n->parent; n = up) {
        up = n->parent;
        struct snapshot *s = n->snap;
        bool branch = n->n_children > 1;
        if (branch) /* what is above also serves the paths that part here */
            T = newer = n->end;
        if (!s)
            continue;
        if (branch || lasting(s) || planner_keep(s->kind, s->pos, T, newer, sc->grid)) {
            newer = n->end;
            ram += s->slab ? sc->format.slot_bytes : 0;
            bool plain = s->kind == POINT_GRID || s->kind == POINT_END;
            if (ram <= sc->o.path_bytes || !plain || lasting(s))
                continue;
            if (s->on_disk) {
                snapshot_drop_ram(sc, s);
                continue;
            }
        }
        sc->stats.thinned++;
        snapshot_destroy(sc, s, false);
    }
}

void tiers_settle(struct statecache *sc, struct node *end)
{
    if (!core_disk_on(sc))
        return;
    for (struct node *n = end->parent, *up; n; n = up) {
        n->pins++; /* spilling may evict, and that prunes */
        struct snapshot *s = n->snap;
        bool shared = n->n_children > 1 || (s && s->kind != POINT_GRID && s->kind != POINT_END);
        stretch_cool(sc, n);
        if (s && s->slab && s->on_disk && !shared && s->pins == 0)
            snapshot_drop_ram(sc, s);
        else if (s && s->slab && statefile_save(sc, s, false) && !shared)
            s->release = !s->on_disk;
        n->pins--;
        up = n->parent;
        prefix_prune(&sc->prefix, n);
    }
}

/* ---- device memory ------------------------------------------------------------------------ */

bool tiers_free_slot(struct statecache *sc)
{
    int32_t before = sc->o.slots->n_free;
    struct snapshot *s = snapshot_oldest(sc, TIER_DEVICE);
    while (s && s->pins > 0)
        s = snapshot_newer(sc, s, TIER_DEVICE);
    if (s) {
        struct err ignored = {0};
        sc->stats.evictions[TIER_DEVICE]++;
        bool roomy = sc->stats.bytes[TIER_RAM] + sc->format.slot_bytes < sc->o.ram_bytes / 4 * 3;
        s->pins++;
        int rc = s->slab || (s->on_disk && !roomy) ? 0 : snapshot_fetch(sc, s, &ignored);
        s->pins--;
        if (rc && !s->on_disk)
            snapshot_destroy(sc, s, true);
        else
            snapshot_drop_slot(sc, s);
    }
    core_bury(sc);
    return sc->o.slots->n_free > before;
}

/* Gives back the device pages that only snapshots use. */
static void pages_to_host(struct statecache *sc, struct snapshot *s)
{
    struct err ignored = {0};
    if (s->on_disk && s->slot < 0) {
        snapshot_drop_ram(sc, s);
        return;
    }
    s->pins++;
    int rc = snapshot_to_host(sc, s, &ignored);
    s->pins--;
    if (rc) {
        snapshot_destroy(sc, s, true);
        return;
    }
    for (int32_t i = 0; i < s->n_blocks; i++) {
        struct block *b = s->blocks[i];
        if (b->page < 0 || pages_refs(sc->o.pages, b->page) > 1)
            continue;
        sc->block_of_page[b->page] = NULL;
        pages_unref(sc->o.pages, b->page);
        b->page = -1;
    }
}

bool tiers_free_pages(struct statecache *sc, int32_t n)
{
    core_bury(sc);
    int32_t before = sc->o.pages->n_free;
    static const enum tier order[] = {TIER_RAM, TIER_DEVICE};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct snapshot *s = snapshot_oldest(sc, order[i]), *next;
        int left = (int)sc->stats.entries[order[i]]; /* the list may grow at its end meanwhile */
        for (; s && left-- > 0 && sc->o.pages->n_free < before + n; s = next) {
            next = snapshot_newer(sc, s, order[i]);
            if (s->pins > 0 || s->reading || !s->n_blocks)
                continue;
            if (next)
                next->pins++; /* making room in RAM must not free what comes next */
            pages_to_host(sc, s);
            core_bury(sc);
            if (next)
                next->pins--;
        }
    }
    return sc->o.pages->n_free > before;
}

/* Another thread wants these in RAM, to export them. */
static void fetch_wanted(struct statecache *sc)
{
    static const enum tier order[] = {TIER_DEVICE, TIER_RAM};
    for (size_t i = 0; i < ARRAY_LEN(order) && sc->wanted > 0; i++) {
        struct snapshot *s = snapshot_oldest(sc, order[i]);
        for (; s && sc->wanted > 0; s = snapshot_newer(sc, s, order[i])) {
            if (!s->wanted)
                continue;
            struct err ignored = {0}; /* whoever waits sees that it is still not there */
            s->wanted = false;
            sc->wanted--;
            s->pins++;
            (void)!snapshot_to_host(sc, s, &ignored);
            s->pins--;
            core_changed(sc);
        }
    }
}

void tiers_tick(struct statecache *sc)
{
    if (sc->wanted > 0)
        fetch_wanted(sc);
    if (!core_disk_on(sc))
        return;
    int left = LOOK_AT;
    for (struct snapshot *s = snapshot_oldest(sc, TIER_RAM), *next;
         s && left-- > 0 && sc->writer.queued < SPILL_QUEUE &&
         sc->stats.bytes[TIER_RAM] > sc->o.ram_bytes / 4 * 3;
         s = next) {
        next = snapshot_newer(sc, s, TIER_RAM);
        if (!s->on_disk && !s->writing && s->pins == 0 && snapshot_on_host(s))
            (void)statefile_save(sc, s, false); /* if it does not work now, the next tick tries */
    }
}

/* ---- before the end ----------------------------------------------------------------------- */

/* Waits until another file job may be queued. False: not in time. */
static bool await_writer(struct statecache *sc, const struct timespec *until)
{
    while (sc->writer.queued >= SPILL_QUEUE) {
        if (!sc->writer.started)
            writer_work(&sc->writer);
        else if (pthread_cond_timedwait(&sc->changed, &sc->lock, until) != 0)
            return false;
    }
    return true;
}

bool tiers_save(struct statecache *sc, const struct timespec *until)
{
    static const enum tier order[] = {TIER_DEVICE, TIER_RAM};
    bool in_time = true;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct snapshot *s = snapshot_newest(sc, order[i]), *next;
        for (; s && in_time && core_disk_on(sc); s = next) {
            next = snapshot_older(sc, s, order[i]);
            if (next)
                next->pins++; /* making room, or a file that fails, must not free what comes next */
            if (s->pins == 0 && !s->on_disk && !s->writing)
                (void)statefile_save(sc, s, false); /* the others may still find room */
            in_time = await_writer(sc, until);
            if (!next)
                continue;
            bool dead = next->dead;
            snapshot_unpin(sc, next);
            if (dead)
                next = NULL; /* its neighbours are not known any more */
        }
    }
    return in_time;
}
