/* Opening, closing and turning of the shared tier. */
#include "statecache/shared/shared.h"

#include <sodium.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "statecache/shared/claim.h"
#include "statecache/shared/tend.h"

#define CLOSE_NS (2 * NS_PER_S)
/* What putting may take of the processors, all of them together: a twentieth (a MiB that is sealed
 * and sent costs some 2 ms), and never more than the one that its thread has; a quarter of a second
 * at once. Of the network: what --shared-rate says, two seconds of it at once. */
#define PUT_SHARE 20
#define PUT_NS (250 * NS_PER_MS)
#define PUT_BURST_S 2

static struct allowance_limits put_limits(uint64_t bytes_s)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return (struct allowance_limits){.bytes_s = bytes_s, .bytes_max = bytes_s * PUT_BURST_S,
                                  .share = (uint64_t)MAX(PUT_SHARE / MAX(n, 1), 1),
                                  .ns_max = PUT_NS};
}

static int open_line(struct statecache *sc, struct shared_line *l, int store,
                     const struct kv_options *o, struct err *e)
{
    l->store = store;
    int rc = kv_open(&l->kv, o, e);
    return rc ? rc : writer_open(&l->jobs, &sc->lock, !sc->o.no_writer_thread, e);
}

/* For states, which may be compressed. */
static int open_states(struct statecache *sc, struct shared_line *l, int store,
                       const struct kv_options *o, struct err *e)
{
    int rc = compressor_open(&l->compressor, e);
    return rc ? rc : open_line(sc, l, store, o, e);
}

static int open_store(struct statecache *sc, int store, const struct kv_options *o, struct err *e)
{
    struct shared_store *t = &sc->shared->store[store];
    sc->stats.shared[store].on = true;
    int rc = open_states(sc, &t->out, store, o, e);
    if (!rc)
        rc = open_states(sc, &t->in, store, o, e);
    if (!rc && sc->shared->ttl_s && t->out.kv->lasting)
        log_warn("shared-ttl: %s knows no times to live, its own rules (a bucket's lifecycle) say "
                 "how long states stay", t->out.kv->shown);
    return rc;
}

static void beat(void *sc) { tend_beat(sc); }

/* The connection of sessions' records: to the first store that can compare and set. */
static int open_records(struct statecache *sc, const struct kv_options o[KV_STORES],
                        struct err *e)
{
    struct shared *h = sc->shared;
    int store = 0;
    while (store < h->n_stores && !kv_redis_wire(h->store[store].in.kv))
        store++;
    if (store == h->n_stores)
        return 0;
    rng_system(h->me, sizeof(h->me));
    sc->stats.shared[store].sessions = true;
    int rc = open_line(sc, &h->records, store, &o[store], e);
    if (!rc && h->records.jobs.started)
        writer_beat(&h->records.jobs, CLAIM_RENEW_MS, beat, sc);
    return rc;
}

/* Claims that are left, if any, are over with it. */
static void close_records(struct shared *h)
{
    if (h->records.kv && h->records.up)
        (void)!claim_end(kv_redis_wire(h->records.kv), h->me, clock_now_ns() + CLOSE_NS, NULL);
    kv_close(h->records.kv);
}

static int open_stores(struct statecache *sc, const struct kv_options *all, struct err *e)
{
    struct shared *h = sc->shared;
    struct kv_options o[KV_STORES];
    char *urls;
    int n, rc = kv_list(all, o, &n, &urls, e);
    for (int i = 0; i < n && !rc; i++) {
        h->n_stores++;
        rc = open_store(sc, i, &o[i], e);
    }
    if (!rc)
        rc = open_records(sc, o, e);
    mem_free(urls);
    return rc;
}

int shared_open(struct statecache *sc, const struct shared_options *o, struct err *e)
{
    if (!o->store.url)
        return 0;
    struct shared *h = mem_zalloc(sizeof(*h));
    if (!h)
        return err_set(e, E_NOMEM, "no memory for the shared store");
    sc->shared = h;
    for (int i = 0; i < SHARED_STORES; i++) {
        h->store[i].offers.prev = h->store[i].offers.next = &h->store[i].offers;
        h->wait_ms[i] = i ? o->cold_wait_ms : o->wait_ms;
        waiting_init(&h->store[i].waiting, (uint64_t)h->wait_ms[i] * NS_PER_MS);
    }
    h->cold_ns = (uint64_t)o->cold_after_s * NS_PER_S;
    h->ttl_s = o->ttl_s;
    h->limits = put_limits(o->bytes_s);
    seal_keys(&h->keys, sc->format.key);
    if (sc->format.two)
        seal_keys(&h->old_keys, sc->format.old);
    int rc = open_stores(sc, &o->store, e);
    if (!rc && h->records.kv)
        shared_connect(sc, &h->records);
    for (int i = 0; i < h->n_stores && !rc; i++) {
        shared_connect(sc, &h->store[i].out);
        shared_connect(sc, &h->store[i].in);
    }
    return rc ? rc : shared_watch_open(sc, e);
}

void shared_close(struct statecache *sc)
{
    struct shared *h = sc->shared;
    if (!h)
        return;
    pthread_mutex_lock(&sc->lock);
    h->stop_ns = clock_now_ns() + CLOSE_NS;
    pthread_mutex_unlock(&sc->lock);
    shared_watch_close(h);
    for (int i = 0; i < h->n_stores; i++) {
        writer_close(&h->store[i].out.jobs);
        writer_close(&h->store[i].in.jobs);
    }
    writer_close(&h->records.jobs);
    pthread_mutex_lock(&sc->lock);
    shared_offers_drop(sc);
    sc->shared = NULL;
    pthread_mutex_unlock(&sc->lock);
    for (int i = 0; i < h->n_stores; i++) {
        kv_close(h->store[i].out.kv);
        kv_close(h->store[i].in.kv);
        compressor_close(h->store[i].out.compressor);
        compressor_close(h->store[i].in.compressor);
    }
    close_records(h);
    mem_free(h->called);
    mem_free(h->called_sorted);
    sodium_memzero(h, sizeof(*h)); /* keys */
    mem_free(h);
}

static void reconnect(struct statecache *sc, struct shared_line *l, uint64_t now)
{
    if (l->kv && !l->up && now >= l->retry_ns)
        shared_connect(sc, l);
}

bool shared_tick(struct statecache *sc)
{
    struct shared *h = sc->shared;
    if (!h)
        return false;
    uint64_t now = clock_now_ns();
    bool more = false;
    for (int i = 0; i < h->n_stores; i++) {
        reconnect(sc, &h->store[i].out, now);
        reconnect(sc, &h->store[i].in, now);
        allowance_refill(&h->store[i].left, &h->limits, now);
    }
    reconnect(sc, &h->records, now);
    tend_tick(sc);
    shared_offers_due(sc, now);
    if (!h->watching)
        shared_watch(sc, now);
    for (int i = 0; i < h->n_stores; i++)
        more |= h->store[i].out.jobs.queued > 0 || h->store[i].in.jobs.queued > 0;
    return more || h->records.jobs.queued > 0;
}

void shared_work(struct statecache *sc)
{
    struct shared *h = sc->shared;
    if (!h)
        return;
    writer_work(&h->records.jobs);
    for (int i = 0; i < h->n_stores; i++) {
        writer_work(&h->store[i].in.jobs);
        writer_work(&h->store[i].out.jobs);
    }
}
