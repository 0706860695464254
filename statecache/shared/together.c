/* Holding, putting and looking. What is found elsewhere becomes a session here in adopt.c. */
#include "statecache/shared/together.h"

#include <string.h>

#include "base/mem.h"
#include "statecache/shared/adopt.h"
#include "statecache/shared/shared.h"
#include "statecache/store/pathfile.h"

bool together_on(const struct statecache *sc) { return sc->shared && sc->shared->records.kv; }

bool together_up(const struct statecache *sc)
{
    return sc->shared->records.up && !sc->shared->stop_ns;
}

static int away(struct err *e)
{
    return err_field(e, E_TIMEOUT, "session", "the shared store is away, and only it says who may "
                     "go on with the session");
}

static int unknown(struct err *e)
{
    return err_field(e, E_NOENT, "session", "there is no such session");
}

/* What an errand's failure is to a client. */
static int told(const struct errand *a, struct err *e)
{
    if (a->rc == E_BUSY || a->rc == E_CONFLICT || a->rc == E_NOENT)
        return err_field(e, a->rc, "session", "%s", a->err.text);
    if (a->sealed)
        return err_field(e, E_DENIED, "session", "%s", a->err.text);
    if (a->rc == E_NOMEM || a->rc == E_RANGE)
        return err_set(e, E_NOMEM, "%s", a->err.text);
    return a->rc ? err_field(e, E_TIMEOUT, "session", "%s", a->err.text) : 0;
}

/* ---- putting ------------------------------------------------------------------------------ */

static bool encode(struct statecache *sc, const struct session *d, struct errand *a)
{
    int64_t stretch = sc->format.stretch, pos = d->node->end, whole = pos / stretch;
    int64_t n_turns = d->n_turns - d->lo_turn;
    unsigned char fields[SESSION_RECORD];
    int32_t *tail = mem_array((size_t)(pos % stretch), sizeof(*tail));
    int64_t *turns = mem_array((size_t)n_turns, sizeof(*turns));
    struct change c = {.kind = CHANGE_SESSION, .generation = d->generation,
                       .keep_tokens = whole * stretch, .fields = fields,
                       .tokens = tail, .n_tokens = (uint32_t)(pos % stretch), .turns = turns,
                       .n_turns = (uint32_t)n_turns, .answer = d->answer.p,
                       .n_answer = (uint32_t)d->answer.len};
    bool good = tail && turns;
    if (good) {
        if (c.n_tokens)
            prefix_tokens(d->node, whole * stretch, pos, tail);
        for (int64_t i = 0; i < n_turns; i++)
            turns[i] = d->turns[(d->lo_turn + i) % LIMIT_SESSION_TURNS];
        record_fields(d, NULL, fields);
        memcpy(c.tenant, d->tenant->tag.b, sizeof(c.tenant));
        memcpy(c.id, d->id.b, sizeof(c.id));
        good = change_encode(&a->change, &c) == 0;
    }
    mem_free(tail);
    mem_free(turns);
    return good;
}

/* Its stretches: the ids of those that are put, the tokens of those that are not. */
static bool gather(struct statecache *sc, const struct stored *st, const struct session *d,
                   struct errand *a)
{
    int64_t stretch = sc->format.stretch, whole = d->node->end / stretch;
    a->n_ids = (int32_t)MIN((int64_t)st->n_ids, whole);
    a->n_new = (int32_t)(whole - a->n_ids);
    a->ids = mem_array((size_t)whole + 1, SHARED_ID);
    a->tokens = mem_array((size_t)(a->n_new * stretch), sizeof(*a->tokens));
    if (!a->ids || !a->tokens)
        return false;
    if (a->n_ids)
        memcpy(a->ids, st->ids, (size_t)a->n_ids * SHARED_ID);
    if (a->n_new)
        prefix_tokens(d->node, a->n_ids * stretch, whole * stretch, a->tokens);
    return true;
}

int together_put(struct statecache *sc, const struct session *x, const struct session *draft,
                 struct errand **out, struct err *e)
{
    const struct stored *st = &x->stored;
    int64_t whole = draft->node->end / sc->format.stretch;
    int64_t from = MIN((int64_t)st->n_ids, whole) * sc->format.stretch;
    *out = NULL;
    int rc = whole > RECORD_STRETCHES
                 ? err_set(e, E_RANGE, "a session of %lld tokens is too long to be shared",
                           (long long)draft->node->end)
                 : stretch_ask(sc, draft->node, from, draft->node->end, e);
    if (rc)
        return rc;
    struct errand *a = errand_new(sc, ERRAND_PUT, &x->tenant->tag, &x->id);
    if (!a || !encode(sc, draft, a) || !gather(sc, st, draft, a)) {
        if (a)
            errand_free(a);
        return err_set(e, E_NOMEM, "no memory for a session's record");
    }
    a->known = *st;
    a->generation = draft->generation;
    a->ttl_s = sc->shared->ttl_s ? sc->shared->ttl_s : (int64_t)draft->ttl_s;
    a->node = draft->node;
    a->node->pins++;
    a->next.fence = st->claim ? st->claim : st->seen + 1;
    if (st->claim) {
        struct claim held = {.fence = st->claim};
        memcpy(held.holder, sc->shared->me, sizeof(held.holder));
        memcpy(held.nonce, st->nonce, sizeof(held.nonce));
        claim_head(&held, a->expected);
        a->n_expected = CLAIM_HEAD;
    }
    *out = a;
    return 0;
}

static void unclaimed(struct statecache *sc, struct session *x)
{
    if (x->stored.claim)
        sc->shared->held--;
    x->stored.claim = 0;
}

static void claimed(struct statecache *sc, struct session *x, const struct claim *c)
{
    if (!x->stored.claim)
        sc->shared->held++;
    x->stored.claim = x->stored.seen = c->fence;
    memcpy(x->stored.nonce, c->nonce, sizeof(c->nonce));
}

int together_settle(struct statecache *sc, struct session *x, struct errand *a, struct err *e)
{
    struct stored *st = &x->stored;
    int rc = told(a, e);
    unclaimed(sc, x); /* with the record, or it was lost; what is not known the next claim finds */
    if (!rc) {
        st->fence = st->seen = a->next.fence;
        memcpy(st->nonce, a->next.nonce, sizeof(st->nonce));
        st->generation = a->generation;
        mem_free(st->ids);
        st->ids = a->ids;
        st->n_ids = a->n_ids + a->n_new;
        a->ids = NULL;
        sc->stats.shared[sc->shared->records.store].session_writes++;
        if (memcmp(a->next.holder, sc->shared->me, sizeof(a->next.holder)) == 0)
            claimed(sc, x, &a->next);
    } else if (a->gone) {
        st->n_ids = 0; /* all of its path anew, next time */
    }
    errand_free(a);
    return rc;
}

void together_mark(struct statecache *sc, struct session *x)
{
    if (x->stored.fence)
        return;
    x->stored.fence = 1;
    x->generation++;
    journal_changed(sc, x);
}

void together_as_called(const struct session *x, struct errand *a)
{
    a->next.fence = x->stored.fence;
    memcpy(a->next.holder, a->name.b, sizeof(a->next.holder));
}

enum hold { HOLD_NOT, HOLD_OURS, HOLD_CALL };

/* x, which is busy, as it is, and then held so. found: what is there instead of its record. */
static int put_as_it_is(struct statecache *sc, struct session *x, const struct errand *found,
                        enum hold hold, struct err *e)
{
    struct timespec until = stretch_deadline();
    struct errand *a;
    int rc;
    together_mark(sc, x);
    do
        rc = together_put(sc, x, x, &a, e);
    while (rc == E_BUSY && stretch_wait(sc, &until, e));
    if (rc)
        return rc;
    if (found) {
        memcpy(a->expected, found->expected, sizeof(a->expected));
        a->n_expected = found->n_expected;
    }
    if (hold == HOLD_OURS)
        memcpy(a->next.holder, sc->shared->me, sizeof(a->next.holder));
    if (hold == HOLD_CALL) {
        a->call = true;
        together_as_called(x, a);
    }
    errand_push(a);
    errand_wait(a);
    if (a->skip && !x->stored.seen) /* it was never sent */
        x->stored.fence = 0;
    return together_settle(sc, x, a, e);
}

void together_born(struct statecache *sc, struct session *x)
{
    if (together_on(sc) && together_up(sc))
        x->stored.fence = 1;
}

void together_share(struct statecache *sc, struct session *x)
{
    struct err ignored = {0}; /* it stays local, and is tried again */
    if (!together_on(sc) || !together_up(sc) || x->busy || x->stored.seen)
        return;
    x->busy = true;
    x->ticket = ++sc->n_tickets;
    (void)!put_as_it_is(sc, x, NULL, HOLD_NOT, &ignored);
    session_unclaim(sc, x);
}

/* ---- holding ------------------------------------------------------------------------------ */

static bool arriving(const struct shared *h, const struct session_id *id)
{
    const struct errand *a = h->arrivals;
    while (a && memcmp(a->id.b, id->b, sizeof(id->b)) != 0)
        a = a->arrival;
    return a != NULL;
}

static void arrive(struct shared *h, struct errand *a)
{
    a->arrival = h->arrivals;
    h->arrivals = a;
}

static void arrived(struct shared *h, struct errand *a)
{
    struct errand **at = &h->arrivals;
    while (*at && *at != a)
        at = &(*at)->arrival;
    if (*at)
        *at = a->arrival;
}

/* The store has spoken. */
static int take(struct statecache *sc, const struct tenant_tag *tenant, struct errand *a,
                struct session **x, struct err *e)
{
    int rc = told(a, e);
    if (rc)
        return rc;
    if (a->deleted || (a->gone && !*x) || (*x && (*x)->dead))
        return unknown(e);

    if (!a->claimed && a->forgotten) {
        sc->stats.shared[sc->shared->records.store].session_calls++;
        rc = put_as_it_is(sc, *x, a, HOLD_CALL, e);
        return rc ? rc : err_field(e, E_BUSY, "session", "the shared store had forgotten the "
                                   "session; for %d s replicas that have newer turns of it may put "
                                   "them there", CLAIM_CALL_MS / 1000);
    }
    if (!a->claimed)
        return put_as_it_is(sc, *x, a, HOLD_OURS, e);
    if (a->fresh)
        rc = adopt(sc, tenant, a, x, e);
    if (*x) {
        claimed(sc, *x, &a->next);
        (*x)->stored.fence = MAX((*x)->stored.fence, 1);
    }
    return rc;
}

int together_hold(struct statecache *sc, const struct tenant_tag *tenant,
                  const struct session_id *id, struct session **x, struct err *e)
{
    struct shared *h = sc->shared;
    if ((*x && (*x)->busy) || arriving(h, id))
        return err_field(e, E_BUSY, "session", "the session is busy with a turn");
    if (!together_up(sc) && (!*x || (*x)->stored.fence))
        return away(e);
    struct errand *a = together_up(sc) ? errand_new(sc, ERRAND_CLAIM, tenant, id) : NULL;
    if (!a && together_up(sc))
        return err_set(e, E_NOMEM, "no memory to ask for a session");
    if (*x) {
        (*x)->busy = true;
        (*x)->ticket = ++sc->n_tickets;
    }
    if (!a)
        return 0; /* local, and the store is away */
    if (*x) {
        a->known = (*x)->stored;
        a->local = true;
    }
    arrive(h, a);
    errand_push(a);
    errand_wait(a);
    int rc = take(sc, tenant, a, x, e);
    arrived(h, a);
    if (rc && a->claimed && !*x) { /* nobody here has the claim */
        struct errand *r = errand_new(sc, ERRAND_RELEASE, tenant, id);
        if (r) {
            r->next = a->next;
            r->loose = true;
            errand_push(r);
        }
    }
    if (!rc && (*x)->dead)
        rc = unknown(e);
    if (rc && *x) {
        bool forget = a->deleted && !(*x)->dead;
        session_unclaim(sc, *x);
        if (forget)
            session_forget(sc, *x);
    }
    errand_free(a);
    return rc;
}

void together_release(struct statecache *sc, struct session *x)
{
    struct errand *a = x->stored.claim && sc->shared
                           ? errand_new(sc, ERRAND_RELEASE, &x->tenant->tag, &x->id) : NULL;
    if (a) {
        a->next.fence = x->stored.claim;
        memcpy(a->next.holder, sc->shared->me, sizeof(a->next.holder));
        memcpy(a->next.nonce, x->stored.nonce, sizeof(a->next.nonce));
        a->loose = true;
        errand_push(a);
    }
    if (sc->shared)
        unclaimed(sc, x);
}

int together_look(struct statecache *sc, const struct tenant_tag *tenant,
                  const struct session_id *id, struct session **x, bool *elsewhere, struct err *e)
{
    struct err ignored = {0}; /* then it is as this replica knows it */
    if (!together_on(sc) || (*x && ((*x)->busy || !(*x)->stored.fence)) ||
        arriving(sc->shared, id))
        return 0;
    if (!together_up(sc))
        return away(e);
    struct errand *a = errand_new(sc, ERRAND_LOOK, tenant, id);
    if (!a)
        return err_set(e, E_NOMEM, "no memory to ask for a session");
    if (*x)
        a->known = (*x)->stored;
    errand_push(a);
    errand_wait(a);
    *x = session_of(sc, tenant, id);
    bool ours = memcmp(a->next.holder, sc->shared->me, sizeof(a->next.holder)) == 0;
    if (elsewhere)
        *elsewhere = a->busy && !ours;
    if (!a->rc && *x && !(*x)->busy && a->deleted) {
        session_forget(sc, *x);
        *x = NULL;
    } else if (!a->rc && a->fresh && !arriving(sc->shared, id) && (!*x || !(*x)->busy) &&
               (!*x || a->r.fence > (*x)->stored.fence)) {
        arrive(sc->shared, a);
        (void)!adopt(sc, tenant, a, x, &ignored);
        arrived(sc->shared, a);
        if (*x)
            session_unclaim(sc, *x);
        *x = session_of(sc, tenant, id);
    }
    int rc = told(a, e);
    errand_free(a);
    return rc;
}

int together_remove(struct statecache *sc, const struct tenant_tag *tenant,
                    const struct session_id *id, struct session *x, struct err *e)
{
    struct change c = {.kind = CHANGE_DELETED, .generation = x ? x->generation + 1 : 1};
    if (!together_up(sc))
        return x && !x->stored.fence ? 0 : away(e);
    struct errand *a = errand_new(sc, ERRAND_REMOVE, tenant, id);
    memcpy(c.tenant, tenant->b, sizeof(c.tenant));
    memcpy(c.id, id->b, sizeof(c.id));
    if (!a || change_encode(&a->change, &c)) {
        if (a)
            errand_free(a);
        return err_set(e, E_NOMEM, "no memory to delete a session");
    }
    if (x)
        a->known = x->stored;
    a->ttl_s = sc->o.session_ttl_s;
    errand_push(a);
    errand_wait(a);
    int rc = told(a, e);
    if (!rc && (a->deleted || (a->gone && !a->next.fence)) && !session_of(sc, tenant, id))
        rc = unknown(e);
    errand_free(a);
    return rc;
}

/* ---- the engine's side -------------------------------------------------------------------- */

int together_commit(struct statecache *sc, struct session *x, struct node *node,
                    const void *answer, size_t n, struct errand **out, struct err *e)
{
    struct session d = *x;
    bool keep = x->claimed_turn[0] && n <= LIMIT_ANSWER_BYTES;
    buf_init(&d.answer, LIMIT_ANSWER_BYTES);
    d.turns = mem_array((size_t)x->cap_turns, sizeof(*d.turns));
    if (d.turns && x->cap_turns)
        memcpy(d.turns, x->turns, (size_t)x->cap_turns * sizeof(*d.turns));
    if (keep && n && buf_add(&d.answer, answer, n))
        keep = false;
    memset(d.turn_id, 0, sizeof(d.turn_id));
    if (keep)
        memcpy(d.turn_id, x->claimed_turn, sizeof(d.turn_id));
    d.node = node;
    d.generation++;
    d.used_s = clock_unix_s();
    int rc = d.turns && !session_push_turn(&d, node->end)
                 ? together_put(sc, x, &d, out, e)
                 : err_set(e, E_NOMEM, "no memory for the end of a turn");
    if (!rc) {
        struct errand *a = *out;
        a->answer = d.answer;
        a->answered = keep;
        buf_init(&d.answer, 0);
        errand_push(a);
    }
    buf_free(&d.answer);
    mem_free(d.turns);
    return rc;
}
