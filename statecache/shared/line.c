/* The connections: made by a job of their own thread, tried again after longer and longer
 * pauses, and one line in the log when it changes whether the store can be used. */
#include "statecache/shared/shared.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"

#define CONNECT_MS 2000
#define PROBE_MS 2000 /* what says nothing for so long, or for shared-wait-ms, is gone, not late */
#define PAUSE_NS (250 * NS_PER_MS)
#define PAUSE_MAX_NS (4 * NS_PER_S)
#define WARN_NS (60 * NS_PER_S)

struct connect_job {
    struct job job;
    struct statecache *sc;
    struct shared_line *line;
    int wait_ms, rc;
    uint64_t start_ns, ns; /* of a probe */
    bool skip;
    struct err err;
};

/* Under the lock. */
static void tell(struct statecache *sc, int store, const char *why)
{
    struct shared_store *t = &sc->shared->store[store];
    bool up = t->in.up && t->out.up;
    if (up == t->told_up || sc->shared->stop_ns)
        return;
    t->told_up = up;
    sc->stats.shared[store].up = up;
    shared_judge(sc, store, clock_now_ns());
    if (up)
        log_info("shared store %s: in use", t->in.kv->shown);
    else
        log_warn("shared store %s: serving goes on without it, and it is tried again: %s",
                 t->in.kv->shown, why);
}

void shared_warn(struct statecache *sc, int store, const char *what)
{
    struct shared_store *t = &sc->shared->store[store];
    uint64_t now = clock_now_ns();
    if (t->warned_ns && now - t->warned_ns < WARN_NS)
        return;
    t->warned_ns = now;
    const char *name = t->in.kv->shown;
    bool named = strncmp(what, name, strlen(name)) == 0; /* most sentences of a connection do */
    log_warn("shared store %s%s%s (recurd_shared_errors_total counts the others of this minute)",
             named ? "" : name, named ? "" : ": ", what);
}

/* The next try: later after every one that failed, and not at the same time as all replicas. */
static void down(struct shared_line *l)
{
    unsigned char r;
    rng_system(&r, sizeof(r));
    l->up = false;
    l->pause_ns = l->pause_ns ? MIN(l->pause_ns * 2, PAUSE_MAX_NS) : PAUSE_NS;
    l->retry_ns = clock_now_ns() + l->pause_ns / 2 + l->pause_ns / 512 * r;
}

static void run_connect(struct job *job)
{
    struct connect_job *j = (struct connect_job *)job;
    if (!j->skip)
        j->rc = j->line->kv->ops->connect(j->line->kv, CONNECT_MS, j->wait_ms, &j->err);
}

static void prepare_connect(struct job *job)
{
    struct connect_job *j = (struct connect_job *)job;
    j->skip = j->sc->shared->stop_ns != 0;
}

static void done_connect(struct job *job)
{
    struct connect_job *j = (struct connect_job *)job;
    struct shared *h = j->sc->shared;
    int store = j->line->store;
    j->line->connecting = false;
    if (!j->skip) {
        if (j->rc)
            down(j->line);
        else
            j->line->up = true;
        j->sc->stats.shared[store].errors += j->rc != 0;
        if (j->rc && !h->store[store].told_up && !h->store[store].warned_ns)
            shared_warn(j->sc, store, j->err.text); /* never there: that is worth a line, too */
        tell(j->sc, store, j->err.text);
    }
    mem_free(j);
}

void shared_connect(struct statecache *sc, struct shared_line *l)
{
    if (l->connecting || l->up || sc->shared->stop_ns)
        return;
    struct connect_job *j = mem_zalloc(sizeof(*j));
    if (!j) {
        down(l);
        return;
    }
    /* States go through a connection that is slow, too; who waits for them is another question
     * (waiting.h). Sessions cannot go on without their records' answers. */
    bool states = l != &sc->shared->records && l->kv->ops->probe;
    int wait_ms = sc->shared->wait_ms[l->store];
    *j = (struct connect_job){.sc = sc, .line = l,
                              .wait_ms = states ? MAX(wait_ms, PROBE_MS) : wait_ms,
                              .job = {.prepare = prepare_connect, .run = run_connect,
                                      .done = done_connect}};
    l->connecting = true;
    writer_push(&l->jobs, &j->job);
}

/* ---- is it there? ------------------------------------------------------------------------- */

/* Where requests may wait for it, an answer says how long they would. NULL: nobody does. */
static struct waiting *waiting_of(const struct connect_job *j)
{
    struct shared_store *t = &j->sc->shared->store[j->line->store];
    return j->line == &t->in ? &t->waiting : NULL;
}

static void prepare_probe(struct job *job)
{
    struct connect_job *j = (struct connect_job *)job;
    struct waiting *w = waiting_of(j);
    j->skip = j->sc->shared->stop_ns || !j->line->up;
    j->start_ns = clock_now_ns();
    if (w && !j->skip)
        waiting_asked(w, j->start_ns);
}

static void run_probe(struct job *job)
{
    struct connect_job *j = (struct connect_job *)job;
    struct kv *kv = j->line->kv;
    if (j->skip)
        return;
    j->rc = kv->ops->connected(kv)
                ? kv->ops->probe(kv, clock_now_ns() + (uint64_t)j->wait_ms * NS_PER_MS, &j->err)
                : err_set(&j->err, E_IO, "shared store %s: the connection is closed", kv->shown);
    j->ns = clock_now_ns() - j->start_ns;
}

static void done_probe(struct job *job)
{
    struct connect_job *j = (struct connect_job *)job;
    struct waiting *w = waiting_of(j);
    j->line->probing = false;
    if (!j->skip) {
        if (w && !j->rc)
            waiting_answered(w, j->ns, true, clock_now_ns());
        else if (w && j->rc == E_TIMEOUT)
            waiting_given_up(w, j->ns, clock_now_ns());
        else if (w)
            waiting_broken(w);
        shared_settle(j->sc, j->line, j->rc, &j->err);
        shared_judge(j->sc, j->line->store, clock_now_ns());
    }
    mem_free(j);
}

void shared_probe(struct statecache *sc, struct shared_line *l)
{
    if (!l->kv->ops->probe || l->probing || sc->shared->stop_ns)
        return;
    struct connect_job *j = mem_zalloc(sizeof(*j));
    if (!j)
        return; /* the next one that is late asks */
    int ms = sc->shared->wait_ms[l->store];
    *j = (struct connect_job){.sc = sc, .line = l,
                              .wait_ms = l == &sc->shared->records ? ms : MAX(ms, PROBE_MS),
                              .job = {.prepare = prepare_probe, .run = run_probe,
                                      .done = done_probe}};
    l->probing = true;
    writer_push_read(&l->jobs, &j->job);
}

void shared_settle(struct statecache *sc, struct shared_line *l, int rc, const struct err *e)
{
    bool connected = l->kv->ops->connected(l->kv);
    struct shared_stats *st = &sc->stats.shared[l->store];
    st->requests += l->kv->requests;
    st->repeated += l->kv->repeated;
    l->kv->requests = l->kv->repeated = 0;
    if (!rc)
        l->pause_ns = 0; /* it works */
    else
        st->errors++;
    if (!connected && l->up) {
        down(l);
        tell(sc, l->store, e->text);
    } else if (rc && connected) {
        shared_warn(sc, l->store, e->text);
        /* One may be late because this machine is: that is no reason that others, who wait behind
         * it, get nothing. So it is asked at once. */
        if (rc == E_TIMEOUT)
            shared_probe(sc, l);
    }
}
