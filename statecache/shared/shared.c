/* Opening, closing and turning of the shared tier. */
#include "statecache/shared/shared.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define CLOSE_NS (2 * NS_PER_S)

static int open_line(struct statecache *sc, struct shared_line *l, const char *ca, struct err *e)
{
    int rc = wire_open(&l->wire, &sc->shared->to, ca, e);
    return rc ? rc : writer_open(&l->jobs, &sc->lock, !sc->o.no_writer_thread, e);
}

int shared_open(struct statecache *sc, const struct shared_options *o, struct err *e)
{
    if (!o->url)
        return 0;
    struct shared *h = mem_zalloc(sizeof(*h));
    if (!h)
        return err_set(e, E_NOMEM, "no memory for the shared store");
    sc->shared = h;
    sc->stats.shared.on = true;
    h->offers.prev = h->offers.next = &h->offers;
    h->wait_ms = o->wait_ms;
    h->ttl_s = o->ttl_s;
    int rc = shared_address_parse(o->url, &h->to, e);
    if (!rc && o->password && !*h->to.password &&
        (size_t)snprintf(h->to.password, SHARED_WORD, "%s", o->password) >= SHARED_WORD)
        rc = err_set(e, E_RANGE, "shared: the password has %zu bytes, at most %d are possible",
                     strlen(o->password), SHARED_WORD - 1);
    if (!rc && *h->to.user && !*h->to.password)
        rc = err_set(e, E_FORMAT, "shared: user \"%s\" has no password", h->to.user);
    seal_keys(&h->keys, sc->format.key);
    if (sc->format.two)
        seal_keys(&h->old_keys, sc->format.old);
    if (!rc)
        rc = open_line(sc, &h->out, o->ca, e);
    if (!rc)
        rc = open_line(sc, &h->in, o->ca, e);
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
    pthread_mutex_lock(&sc->lock);
    while (h->offers.next != &h->offers)
        snapshot_withdraw((struct snapshot *)((char *)h->offers.next -
                                              offsetof(struct snapshot, offer)));
    sc->shared = NULL;
    pthread_mutex_unlock(&sc->lock);
    wire_close(h->out.wire);
    wire_close(h->in.wire);
    sodium_memzero(h, sizeof(*h)); /* keys, and the password */
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
    shared_offers_due(sc, now);
    return h->out.jobs.queued > 0 || h->in.jobs.queued > 0;
}

void shared_work(struct statecache *sc)
{
    if (!sc->shared)
        return;
    writer_work(&sc->shared->in.jobs);
    writer_work(&sc->shared->out.jobs);
}
