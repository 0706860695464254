/* Whether stores answer in time, and whose wait is over.
 *
 * A store is asked whether it is there when nothing else was asked for BEAT_NS: so that it is late
 * is seen before a request waits for it, and that it is not any more, too. A thread of its own does
 * so: that of the connection may be waiting for an answer, the engine for that very request. */
#include <time.h>

#include "statecache/shared/shared.h"

#define BEAT_NS (250 * NS_PER_MS)

void shared_watch(struct statecache *sc, uint64_t now)
{
    struct shared *h = sc->shared;
    for (int i = 0; i < h->n_stores; i++) {
        struct shared_store *t = &h->store[i];
        shared_judge(sc, i, now);
        if (t->in.up && !t->waiting.asked_ns && now >= t->waiting.heard_ns + BEAT_NS)
            shared_probe(sc, &t->in);
    }
}

/* When there is something to look at again. */
static uint64_t next_look(const struct shared *h, uint64_t over, uint64_t now)
{
    uint64_t next = MIN(over, now + BEAT_NS);
    for (int i = 0; i < h->n_stores; i++) {
        const struct waiting *w = &h->store[i].waiting;
        if (w->asked_ns && !w->off) /* late, and late again */
            next = MIN(next, w->asked_ns + ((now - w->asked_ns) / w->limit_ns + 1) * w->limit_ns);
    }
    return MAX(next, now + NS_PER_MS);
}

static void sleep_until(struct statecache *sc, uint64_t next, uint64_t now)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail with this clock id */
    uint64_t ns = (uint64_t)until.tv_nsec + (next - now);
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    pthread_cond_timedwait(&sc->shared->look, &sc->lock, &until);
}

static void *watch_main(void *arg)
{
    struct statecache *sc = arg;
    pthread_mutex_lock(&sc->lock);
    while (!sc->shared->stop_ns) {
        uint64_t now = clock_now_ns();
        shared_watch(sc, now);
        uint64_t over = shared_waits_over(sc, now);
        sc->shared->look_ns = next_look(sc->shared, over, now);
        sleep_until(sc, sc->shared->look_ns, now);
    }
    pthread_mutex_unlock(&sc->lock);
    return NULL;
}

int shared_watch_open(struct statecache *sc, struct err *e)
{
    struct shared *h = sc->shared;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a clock every Linux has */
    pthread_cond_init(&h->look, &attr);
    pthread_condattr_destroy(&attr);
    h->looks = true;
    if (sc->o.no_writer_thread)
        return 0;
    if (pthread_create(&h->watch, NULL, watch_main, sc))
        return err_set(e, E_NOMEM, "the thread that looks after the shared store does not start");
    h->watching = true;
    return 0;
}

void shared_watch_close(struct shared *h)
{
    if (!h->looks)
        return; /* it was never opened */
    pthread_cond_signal(&h->look);
    if (h->watching)
        pthread_join(h->watch, NULL);
    pthread_cond_destroy(&h->look);
}
