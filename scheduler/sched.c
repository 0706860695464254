/* The public face of the scheduler and the loop of the engine thread.
 *
 * Any thread submits, cancels and kicks: that leaves a note under `lock` and pokes the engine,
 * which does everything itself. Invariant: a request whose submission succeeded gets exactly one
 * finish, whatever happens: end, cancel, deadline, lost device, close. */
#include "scheduler/sched.h"

#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "models/text/tokenizer.h"
#include "scheduler/cache_hooks.h"
#include "scheduler/sched_int.h"

/* An idle engine still shows that it lives this often: a tenth of the usual watchdog time. */
#define HEARTBEAT_NS NS_PER_S

/* ---- the engine thread ---------------------------------------------------------------- */

/* The next waiting request that will never run, and why. NULL = none. */
static struct request *next_leaver(struct sched *s, enum finish *finish, struct err *error)
{
    uint64_t now = clock_now_ns();
    bool cancelled = true;
    pthread_mutex_lock(&s->lock);
    bool lost = s->engine.lost;
    struct request *r = s->closing || lost ? queue_take(&s->queue)
                                           : queue_take_leaver(&s->queue, now, &cancelled);
    s->in_engine += r != NULL;
    bool closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    *finish = FINISH_ERROR;
    err_clear(error);
    if (lost && !closing)
        err_set(error, E_DEVICE, "the device was lost while the request waited");
    else if (cancelled)
        *finish = FINISH_CANCELLED;
    else
        err_set(error, E_TIMEOUT, "the request ran out of time before a place was free");
    return r;
}

/* The waiting request or the parked sequence whose turn it is gets a slot; others make room for it
 * as far as fairness says. False: nobody, or nobody can. */
static bool next_turn(struct sched *s)
{
    struct engine *en = &s->engine;
    bool by_slots = !engine_has_slot(en);
    struct seq *parked = engine_parked(en, by_slots);
    pthread_mutex_lock(&s->lock);
    struct request *r = s->closing ? NULL : queue_first(&s->queue, by_slots);
    if (r && parked && fair_compare(en->fair, parked->r->flow, parked->r->lead, r->flow, r->lead,
                                    by_slots) <= 0)
        r = NULL;
    pthread_mutex_unlock(&s->lock);
    /* Only this thread takes from the queue: r is still there. */
    if ((!r && !parked) || !engine_make_slot(en, r ? r->flow : parked->r->flow))
        return false;
    if (!r) {
        engine_resume(en, parked);
        return true;
    }
    if (!engine_make_place(en))
        return false;
    pthread_mutex_lock(&s->lock);
    queue_remove(&s->queue, r);
    s->in_engine++;
    pthread_mutex_unlock(&s->lock);
    engine_admit(en, r);
    return true;
}

static void publish(struct sched *s)
{
    struct engine *en = &s->engine;
    pthread_mutex_lock(&s->lock);
    s->published = en->stats;
    s->published.running = s->in_engine = en->n_active;
    s->published.slots_total = en->slots.n_total;
    s->published.slots_used = en->slots.n_total - en->slots.n_free;
    s->published.heartbeat_ns = clock_now_ns();
    s->lost = en->lost;
    pthread_mutex_unlock(&s->lock);
}

bool sched_turn(struct sched *s)
{
    struct request *r;
    enum finish finish;
    struct err error;
    while ((r = next_leaver(s, &finish, &error)))
        engine_refuse(&s->engine, r, finish, &error);
    while (!s->engine.lost && next_turn(s))
        ;
    bool busy = engine_step(&s->engine);
    publish(s);
    return busy;
}

/* Under lock: until a poke, a deadline or the next heartbeat. */
static void sleep_until_poked(struct sched *s)
{
    uint64_t wait_ns = HEARTBEAT_NS, now = clock_now_ns();
    uint64_t deadlines[] = {engine_deadline(&s->engine), queue_deadline(&s->queue)};
    for (size_t i = 0; i < ARRAY_LEN(deadlines); i++)
        if (deadlines[i])
            wait_ns = MIN(wait_ns, deadlines[i] > now ? deadlines[i] - now : 0);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail with this clock id */
    until.tv_nsec += (long)wait_ns;         /* at most one second */
    if (until.tv_nsec >= (long)NS_PER_S) {
        until.tv_sec++;
        until.tv_nsec -= (long)NS_PER_S;
    }
    while (!s->poked && !s->closing)
        if (pthread_cond_timedwait(&s->poke, &s->lock, &until))
            break;
}

/* Everything in flight ends; next_leaver empties the queue. */
static void shut_down(struct sched *s)
{
    engine_finish_all(&s->engine, FINISH_CANCELLED, NULL);
    receipts_flush(s->engine.receipts); /* turns that ended wait for theirs */
    (void)sched_turn(s); /* nothing is left that could run */
}

static void *engine_main(void *arg)
{
    struct sched *s = arg;
    for (bool closing = false; !closing;) {
        bool busy = sched_turn(s);
        pthread_mutex_lock(&s->lock);
        if (!busy)
            sleep_until_poked(s);
        s->poked = false;
        closing = s->closing;
        pthread_mutex_unlock(&s->lock);
    }
    shut_down(s);
    return NULL;
}

/* ---- open and close ------------------------------------------------------------------- */

static void kick(void *s) { sched_kick(s); }

static int init_locks(struct sched *s)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr))
        return E_NOMEM;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a clock every Linux has */
    int rc = pthread_cond_init(&s->poke, &attr);
    pthread_condattr_destroy(&attr);
    if (rc)
        return E_NOMEM;
    if (pthread_mutex_init(&s->lock, NULL) == 0)
        return 0;
    pthread_cond_destroy(&s->poke);
    return E_NOMEM;
}

int sched_init(struct sched **out, struct model *m, struct device *d,
               const struct piece_source *pieces, const struct engine_cache *cache,
               const struct sched_options *o, struct err *e)
{
    *out = NULL;
    struct sched *s = mem_zalloc(sizeof *s);
    if (!s || init_locks(s)) {
        mem_free(s);
        return err_set(e, E_NOMEM, "no memory for the scheduler");
    }
    int rc = engine_open(&s->engine, m, d, pieces, cache, o, e);
    if (rc == 0)
        rc = engine_receipts_open(&s->engine, kick, s, e);
    if (rc == 0)
        rc = queue_init(&s->queue, o->queue, o->queue_share ? o->queue_share : o->queue,
                        o->slots, s->engine.fair, e);
    if (rc) {
        engine_close(&s->engine);
        pthread_mutex_destroy(&s->lock);
        pthread_cond_destroy(&s->poke);
        mem_free(s);
        return rc;
    }
    publish(s);
    *out = s;
    return 0;
}

static const char *model_piece(const void *arg, int32_t id, size_t *len)
{
    return tokenizer_piece(arg, id, len);
}

static const char *model_piece_shown(const void *arg, int32_t id, size_t *len)
{
    return tokenizer_piece_shown(arg, id, len);
}

struct statecache *sched_cache(struct sched *s)
{
    return s->cached ? s->cached->sc : NULL;
}

struct piece_source sched_pieces(const struct model *m)
{
    return (struct piece_source){m->tok ? model_piece : NULL, m->tok, model_piece_shown};
}

int sched_open(struct sched **out, struct model *m, struct device *d,
               const struct sched_options *o, struct err *e)
{
    struct piece_source pieces = sched_pieces(m);
    int rc = sched_init(out, m, d, &pieces, NULL, o, e);
    if (!rc && o->cache) {
        struct statecache_options c = *o->cache;
        c.wake = kick;
        c.wake_arg = *out;
        rc = cached_open(&(*out)->cached, &(*out)->engine, &c, e);
        if (rc) {
            sched_close(*out);
            *out = NULL;
        }
    }
    if (rc)
        return rc;
    /* Signals are the main thread's: a new thread inherits the mask. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&(*out)->thread, NULL, engine_main, *out);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        sched_close(*out);
        *out = NULL;
        return err_set(e, E_NOMEM, "the engine thread cannot be started: error %d", rc);
    }
    (*out)->has_thread = true;
    return 0;
}

static void poke(struct sched *s) /* under lock */
{
    s->poked = true;
    pthread_cond_signal(&s->poke);
}

void sched_close(struct sched *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->draining = s->closing = true;
    poke(s);
    pthread_mutex_unlock(&s->lock);
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    else
        shut_down(s);
    cached_close(s->cached);
    engine_close(&s->engine);
    queue_fini(&s->queue);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->poke);
    mem_free(s);
}

/* ---- any thread ----------------------------------------------------------------------- */

int sched_submit(struct sched *s, struct request *r, struct err *e)
{
    int rc = engine_check(&s->engine, r, e);
    if (rc)
        return rc;
    uint64_t now = clock_now_ns();
    request_ref(r);
    pthread_mutex_lock(&r->lock);
    r->t_submit_ns = now;
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_lock(&s->lock);
    if (s->lost)
        rc = err_set(e, E_DEVICE, "the device is lost and the server is about to stop");
    else if (s->draining)
        rc = err_set(e, E_CLOSED, "the server is shutting down");
    else
        rc = queue_push(&s->queue, r, now, e);
    s->n_requests += rc == 0;
    s->n_rejected += rc != 0;
    if (rc == 0)
        poke(s);
    pthread_mutex_unlock(&s->lock);
    if (rc)
        request_unref(r);
    return rc;
}

void sched_cancel(struct sched *s, struct request *r)
{
    pthread_mutex_lock(&r->lock);
    r->cancelled = true;
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_lock(&s->lock);
    queue_cancel(&s->queue, r);
    poke(s);
    pthread_mutex_unlock(&s->lock);
}

void sched_kick(struct sched *s)
{
    pthread_mutex_lock(&s->lock);
    poke(s);
    pthread_mutex_unlock(&s->lock);
}

void sched_on_wakes(struct sched *s, void (*round)(void *arg, bool begins, bool ended), void *arg)
{
    struct wakes *w = &s->engine.wakes;
    pthread_mutex_lock(&w->lock);
    w->round = round;
    w->arg = arg;
    pthread_mutex_unlock(&w->lock);
}

void sched_drain(struct sched *s)
{
    pthread_mutex_lock(&s->lock);
    s->draining = true;
    pthread_mutex_unlock(&s->lock);
}

bool sched_idle(struct sched *s)
{
    pthread_mutex_lock(&s->lock);
    bool idle = s->queue.n == 0 && s->in_engine == 0;
    pthread_mutex_unlock(&s->lock);
    return idle && receipts_idle(s->engine.receipts);
}

void sched_stats(struct sched *s, struct sched_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->published;
    out->requests = s->n_requests;
    out->rejected = s->n_rejected;
    out->waiting = s->queue.n;
    out->running = MAX(out->running, s->in_engine); /* also those of a step that does not end */
    pthread_mutex_unlock(&s->lock);
    receipts_count(s->engine.receipts, &out->receipt_rows, &out->receipt_ns);
}

bool sched_device_lost(struct sched *s)
{
    pthread_mutex_lock(&s->lock);
    bool lost = s->lost;
    pthread_mutex_unlock(&s->lock);
    return lost;
}
