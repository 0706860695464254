/* What is done for shared sessions that nobody asks for: a few of them at a time. */
#include "statecache/shared/tend.h"

#include "statecache/shared/recall.h"
#include "statecache/shared/shared.h"
#include "statecache/shared/together.h"

#define PUSHES 4 /* local sessions on their way to the store at once, … */
#define REPLIES 64 /* … and those that are called for, who have three seconds */
#define PATROL 8 /* sessions a quarter of a second whose records are looked for without a call */
#define CHAINS 256 /* of the table of sessions, looked at in one turn of the engine */

/* This replica still lives, if that is due. */
static void live(struct statecache *sc)
{
    struct shared *h = sc->shared;
    uint64_t now = clock_now_ns();
    if (!h || !h->held || h->renewing || !together_up(sc) ||
        now < h->renewed_ns + CLAIM_RENEW_MS * NS_PER_MS)
        return;
    struct errand *a = errand_new(sc, ERRAND_LIVE, NULL, NULL);
    if (!a)
        return;
    h->renewed_ns = now;
    h->renewing = a->loose = true;
    errand_push(a);
}

/* Its errand is done. */
static void pushed(struct errand *a)
{
    struct statecache *sc = a->sc;
    struct session *x = a->pushed; /* busy, so it is there */
    struct err ignored = {0};
    sc->shared->pushing--;
    if (a->skip)
        x->stored.fence = 0;
    if (a->rc == E_CONFLICT)
        x->stored.seen = 1; /* the store has it; the next claim takes that over */
    (void)!together_settle(sc, x, a, &ignored); /* if not, it is tried again or looked for */
    session_unclaim(sc, x);
}

static void push_one(struct statecache *sc, struct session *x)
{
    struct err ignored = {0};
    struct errand *a;
    together_mark(sc, x);
    if (session_persistence(sc, x) == PERSIST_PENDING || together_put(sc, x, x, &a, &ignored))
        return; /* later: the disk does not know yet, its ids are being read, there is no memory */
    x->busy = true;
    x->ticket = ++sc->n_tickets;
    a->pushed = x;
    a->finish = pushed;
    sc->shared->pushing++;
    errand_push(a);
}

static void replied(struct errand *a)
{
    struct statecache *sc = a->sc;
    struct session *x = session_of(sc, &a->tenant, &a->id); /* it was free to go on, or to go */
    struct err ignored = {0};
    sc->shared->pushing--;
    if (a->rc || a->skip || !x || x->busy || x->stored.fence != a->known.fence)
        errand_free(a); /* what is there is as new; or the next turn finds out */
    else
        (void)!together_settle(sc, x, a, &ignored);
}

/* Its copy here, if the store has an older one, or none. Nobody waits for it meanwhile. */
static void reply_one(struct statecache *sc, struct session *x)
{
    struct err ignored = {0};
    struct errand *a;
    int rc = together_put(sc, x, x, &a, &ignored);
    if (rc == E_BUSY)
        return; /* its ids are being read */
    recall_done(sc, x);
    if (rc)
        return;
    a->reply = true;
    together_as_called(x, a);
    a->finish = replied;
    sc->shared->pushing++;
    errand_push(a);
}

/* Some more of the sessions. */
static void look_through(struct statecache *sc)
{
    struct shared *h = sc->shared;
    for (int i = MIN(SESSION_BUCKETS, CHAINS); i > 0; i--, h->at = (h->at + 1) % SESSION_BUCKETS)
        for (struct session *x = sc->sessions[h->at]; x; x = x->chain) {
            if (x->busy || h->pushing >= (x->stored.seen ? REPLIES : PUSHES))
                continue;
            if (!x->stored.seen)
                push_one(sc, x);
            else if (recall_is_due(sc, x))
                reply_one(sc, x);
            else
                recall_done(sc, x);
        }
}

/* All sessions one after the other, for ever: a record that was evicted is there again before
 * somebody asks for it where it was never seen; and a store that evicts sees that it is used. */
static void patrol(struct statecache *sc, uint64_t now)
{
    struct shared *h = sc->shared;
    int n = 0;
    if (now < h->patrol_ns + CLAIM_RENEW_MS * NS_PER_MS)
        return;
    h->patrol_ns = now;
    for (int i = MIN(SESSION_BUCKETS, CHAINS); i > 0 && n < PATROL;
         i--, h->patrol = (h->patrol + 1) % SESSION_BUCKETS)
        for (struct session *x = sc->sessions[h->patrol]; x; x = x->chain)
            if (!x->busy && x->stored.seen && h->pushing < REPLIES) {
                reply_one(sc, x);
                n++;
            }
}

static void care(struct statecache *sc)
{
    uint64_t now = clock_now_ns();
    recall_hear(sc, now);
    patrol(sc, now);
}

void tend_tick(struct statecache *sc)
{
    if (!together_on(sc))
        return;
    live(sc);
    if (!together_up(sc) || !sc->n_sessions)
        return;
    care(sc);
    look_through(sc);
}

/* The engine may have nothing to do for seconds: then all sessions at once. */
void tend_beat(struct statecache *sc)
{
    live(sc);
    if (!sc->shared || !together_up(sc) || !sc->n_sessions)
        return;
    care(sc);
    for (int i = 0; i < SESSION_BUCKETS && recall_news(sc); i += CHAINS)
        look_through(sc);
}
