/* What every file of the cache asks of the cache itself: its tenants, its lock, who waits. */
#include <string.h>

#include "base/mem.h"
#include "statecache/statecache_int.h"

struct timespec core_deadline(int ms)
{
    struct timespec until;
    clock_gettime(CORE_CLOCK, &until); /* cannot fail with this clock id */
    int64_t ns = until.tv_nsec + (int64_t)(ms % 1000) * (int64_t)NS_PER_MS;
    until.tv_sec += ms / 1000 + ns / (int64_t)NS_PER_S;
    until.tv_nsec = ns % (int64_t)NS_PER_S;
    return until;
}

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

void core_charge(struct statecache *sc, struct tenant *t, enum tier tier, int64_t bytes)
{
    sc->stats.bytes[tier] += (uint64_t)bytes;
    t->bytes[tier] += (uint64_t)bytes;
}

void core_leaves(struct statecache *sc, uint64_t bytes) { sc->leaving += bytes; }

void core_left(struct statecache *sc, uint64_t bytes, bool removed)
{
    ASSERT(sc->leaving >= bytes);
    sc->leaving -= bytes;
    if (!removed)
        sc->stuck += bytes;
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

void core_enter(struct statecache *sc)
{
    pthread_mutex_lock(&sc->lock);
    core_bury(sc);
}

void core_leave(struct statecache *sc)
{
    core_bury(sc);
    pthread_mutex_unlock(&sc->lock);
}
