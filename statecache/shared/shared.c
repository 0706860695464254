/* Opening, closing and turning of the shared tier. */
#include "statecache/shared/shared.h"

#include <sodium.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "statecache/shared/together.h"

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

static int open_line(struct statecache *sc, struct shared_line *l, const struct kv_options *o,
                     struct err *e)
{
    int rc = kv_open(&l->kv, o, e);
    return rc ? rc : writer_open(&l->jobs, &sc->lock, !sc->o.no_writer_thread, e);
}

/* For states, which may be compressed. */
static int open_states(struct statecache *sc, struct shared_line *l, const struct kv_options *o,
                       struct err *e)
{
    int rc = compressor_open(&l->compressor, e);
    return rc ? rc : open_line(sc, l, o, e);
}

static void beat(void *sc) { together_live(sc); }

/* The connection of sessions' records, where the store can compare and set. */
static int open_records(struct statecache *sc, const struct kv_options *o, struct err *e)
{
    struct shared *h = sc->shared;
    if (!kv_redis_wire(h->in.kv))
        return 0;
    rng_system(h->me, sizeof(h->me));
    int rc = open_line(sc, &h->records, o, e);
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

int shared_open(struct statecache *sc, const struct shared_options *o, struct err *e)
{
    if (!o->store.url)
        return 0;
    struct shared *h = mem_zalloc(sizeof(*h));
    if (!h)
        return err_set(e, E_NOMEM, "no memory for the shared store");
    sc->shared = h;
    sc->stats.shared.on = true;
    h->offers.prev = h->offers.next = &h->offers;
    h->wait_ms = o->wait_ms;
    h->ttl_s = o->ttl_s;
    h->limits = put_limits(o->bytes_s);
    seal_keys(&h->keys, sc->format.key);
    if (sc->format.two)
        seal_keys(&h->old_keys, sc->format.old);
    int rc = open_states(sc, &h->out, &o->store, e);
    if (!rc)
        rc = open_states(sc, &h->in, &o->store, e);
    if (!rc && h->ttl_s && h->out.kv->lasting)
        log_warn("shared-ttl: %s knows no times to live, its own rules (a bucket's lifecycle) say "
                 "how long states stay", h->out.kv->shown);
    if (!rc)
        rc = open_records(sc, &o->store, e);
    if (!rc && h->records.kv)
        shared_connect(sc, &h->records);
    if (!rc) {
        shared_connect(sc, &h->out);
        shared_connect(sc, &h->in);
    }
    return rc;
}

void shared_close(struct statecache *sc)
{
    struct shared *h = sc->shared;
    if (!h)
        return;
    pthread_mutex_lock(&sc->lock);
    h->stop_ns = clock_now_ns() + CLOSE_NS;
    pthread_mutex_unlock(&sc->lock);
    writer_close(&h->out.jobs);
    writer_close(&h->in.jobs);
    writer_close(&h->records.jobs);
    pthread_mutex_lock(&sc->lock);
    while (h->offers.next != &h->offers)
        snapshot_withdraw((struct snapshot *)((char *)h->offers.next -
                                              offsetof(struct snapshot, offer)));
    sc->shared = NULL;
    pthread_mutex_unlock(&sc->lock);
    kv_close(h->out.kv);
    kv_close(h->in.kv);
    compressor_close(h->out.compressor);
    compressor_close(h->in.compressor);
    close_records(h);
    sodium_memzero(h, sizeof(*h)); /* keys */
    mem_free(h);
}

bool shared_tick(struct statecache *sc)
{
    struct shared *h = sc->shared;
    if (!h)
        return false;
    uint64_t now = clock_now_ns();
    if (!h->out.up && now >= h->out.retry_ns)
        shared_connect(sc, &h->out);
    if (!h->in.up && now >= h->in.retry_ns)
        shared_connect(sc, &h->in);
    if (h->records.kv && !h->records.up && now >= h->records.retry_ns)
        shared_connect(sc, &h->records);
    together_tick(sc);
    allowance_refill(&h->left, &h->limits, now);
    shared_offers_due(sc, now);
    return h->out.jobs.queued > 0 || h->in.jobs.queued > 0 ||
           h->records.jobs.queued > 0;
}

void shared_work(struct statecache *sc)
{
    if (!sc->shared)
        return;
    writer_work(&sc->shared->records.jobs);
    writer_work(&sc->shared->in.jobs);
    writer_work(&sc->shared->out.jobs);
}
