/* Before a planned end: states of sessions that the shared store has not got yet go there, so that
 * the replica that goes on with them need not compute them again. Their records are there already;
 * claims are given up with the connection (shared.c). */
#include "statecache/shared/shared.h"

#define LOOK_MS 100
#define NO_BOUND (INT64_MAX / 4) /* nobody else needs the network or the processors now */

static bool is_over(const struct shared *h, const struct timespec *until)
{
    struct timespec now;
    bool done = true;
    clock_gettime(CORE_CLOCK, &now);
    for (int i = 0; i < h->n_stores; i++) {
        const struct shared_store *t = &h->store[i];
        done &= !t->out.up || (t->offers.next == &t->offers && !t->out.jobs.queued);
    }
    return done || now.tv_sec > until->tv_sec ||
           (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

void shared_hand_over(struct statecache *sc, const struct timespec *until)
{
    struct shared *h = sc->shared;
    if (!h)
        return;
    shared_offers_rest(sc); /* nobody goes on with it here */
    for (int i = 0; i < SESSION_BUCKETS; i++)
        for (struct session *x = sc->sessions[i]; x; x = x->chain)
            if (x->tip && !x->tip->dead && x->stored.fence)
                shared_offer(sc, x->tip);
    while (!is_over(h, until)) {
        for (int i = 0; i < h->n_stores; i++)
            h->store[i].left = (struct allowance){.bytes = NO_BOUND, .cost_ns = NO_BOUND};
        shared_offers_due(sc, clock_now_ns());
        if (!h->store[0].out.jobs.started) { /* a test with one thread is the writer, too */
            shared_work(sc);
        } else {
            struct timespec soon = core_deadline(LOOK_MS);
            pthread_cond_timedwait(&sc->changed, &sc->lock, &soon);
        }
    }
}
