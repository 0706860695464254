/* What is told when a store is not waited for any more, or is again. */
#include "base/log.h"
#include "statecache/shared/shared.h"

void shared_judge(struct statecache *sc, int store, uint64_t now)
{
    struct shared_store *t = &sc->shared->store[store];
    struct waiting *w = &t->waiting;
    struct shared_stats *st = &sc->stats.shared[store];
    if (waiting_look(w, now) && !sc->shared->stop_ns) {
        if (w->off)
            log_warn("shared store %s: its answers are late again and again (later than %d ms): "
                     "requests do not wait for it until they come in time", t->in.kv->shown,
                     sc->shared->wait_ms[store]);
        else
            log_info("shared store %s: it answers in time, requests wait for it again",
                     t->in.kv->shown);
    }
    st->waited_for = st->up && !w->off;
    st->answer_ns = waiting_expected(w, 1, now);
    st->lacks = waiting_lacks(w);
}
