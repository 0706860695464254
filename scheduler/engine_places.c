/* Who has a place and who has a slot: admission, parking and turns. Engine thread.
 *
 * There are more places than slots: a sequence may be parked, its state swapped out by the cache
 * (or, without one, computed again later). Invariant: sequences that are not parked are never more
 * than slots, so each of them finds a slot; a parked one has neither slot nor pages. */
#include "base/clock.h"
#include "base/log.h"
#include "scheduler/engine.h"

/* Rows a sequence runs before it may lose its slot again, and what the way out and back costs. */
#define LEAST_ROWS 16
#define SWAP_TOKENS 32

static int32_t claimants(const struct engine *en)
{
    int32_t n = 0;
    for (int32_t i = 0; i < en->n_active; i++)
        n += !en->active[i]->parked;
    return n;
}

int32_t engine_room(const struct engine *en)
{
    return en->lost ? 0 : MIN(en->o.slots - claimants(en), en->n_places - en->n_active);
}

void engine_admit(struct engine *en, struct request *r)
{
    ASSERT(engine_room(en) > 0);
    int32_t ends[BANNED_MAX];
    struct err e = {0};
    struct seq *q = en->seqs;
    while (q->phase != SEQ_DONE)
        q++;
    request_ref(r); /* seq_begin drops one if it fails, and the reader must hear of it */
    if (seq_begin(q, r, en->plan->vocab, &en->pieces, en->positions, &e) ||
        engine_receipt_begin(en, q, ends, engine_ends(en, r, ends), &e)) {
        engine_refuse(en, r, FINISH_ERROR, &e);
        return;
    }
    request_unref(r);
    q->admitted_ns = q->looked_ns = q->moved_ns = clock_now_ns();
    pthread_mutex_lock(&q->r->lock);
    q->r->t_admit_ns = q->admitted_ns;
    pthread_mutex_unlock(&q->r->lock);
    q->told = q->n_echoed;
    if (en->o.trace.done)
        q->trace = trace_begin(r);
    fair_move(en->fair, r->flow, FAIR_WAITING, FAIR_RUNNING);
    fair_charge(en->fair, r->flow, r->n_prompt);
    en->active[en->n_active++] = q;
}

struct engine_ahead engine_ahead(const struct engine *en, const struct seq *q)
{
    struct engine_ahead a = {0};
    for (int32_t i = 0; i < en->n_active; i++) {
        const struct seq *x = en->active[i];
        if (x == q || !x->begun || x->parked || x->phase == SEQ_HELD)
            continue;
        if (x->phase == SEQ_DECODE) {
            a.streams++;
        } else {
            a.prompts++;
            a.rows += seq_left(x);
        }
    }
    return a;
}

/* ---- parking ---------------------------------------------------------------------------- */

static void park(struct engine *en, struct seq *q)
{
    int64_t at = q->pos;
    q->stalled = q->phase == SEQ_HELD;
    if (q->slot >= 0)
        engine_preempt(en, q);
    q->parked = true;
    q->owed = at - q->pos;
    if (q->stalled) /* the reader's doing */
        fair_charge(en->fair, q->r->flow, SWAP_TOKENS + q->owed);
    fair_move(en->fair, q->r->flow, FAIR_RUNNING, FAIR_PARKED);
    en->stats.parked++;
}

/* Its reader has made room again, or never lacked it. */
static bool is_ready(struct seq *q)
{
    bool cancelled;
    return !q->stalled || deliver_room(q->r, &cancelled) >= q->r->events.cap / 2;
}

struct seq *engine_parked(const struct engine *en, bool by_slots)
{
    struct seq *best = NULL;
    for (int32_t i = 0; i < en->n_active; i++) {
        struct seq *q = en->active[i];
        if (q->parked && is_ready(q) &&
            (!best || fair_compare(en->fair, q->r->flow, q->r->lead, best->r->flow, best->r->lead,
                                   by_slots) < 0))
            best = q;
    }
    return best;
}

void engine_resume(struct engine *en, struct seq *q)
{
    ASSERT(q->parked && engine_has_slot(en));
    q->parked = q->stalled = false;
    q->ran = 0;
    q->steps = 0;
    fair_move(en->fair, q->r->flow, FAIR_PARKED, FAIR_RUNNING);
}

bool engine_has_slot(const struct engine *en)
{
    return !en->lost && claimants(en) < en->o.slots;
}

/* A held one, the one longest at it; else one whose owner has more than its share. */
static struct seq *loser(const struct engine *en, int32_t flow)
{
    struct seq *held = NULL, *over = NULL;
    for (int32_t i = 0; i < en->n_active; i++) {
        struct seq *q = en->active[i];
        if (q->slot < 0)
            continue;
        if (q->phase == SEQ_HELD && (!held || q->held_ns > held->held_ns))
            held = q;
        if (q->ran >= LEAST_ROWS + 2 * q->owed && seq_left(q) > 0 &&
            (!over || q->ran > over->ran) &&
            fair_yields(en->fair, q->r->flow, flow))
            over = q;
    }
    return held ? held : over;
}

bool engine_make_slot(struct engine *en, int32_t flow)
{
    struct seq *q = engine_has_slot(en) || en->lost ? NULL : loser(en, flow);
    if (q)
        park(en, q);
    return engine_has_slot(en);
}

bool engine_make_place(struct engine *en)
{
    struct seq *longest = NULL;
    for (int32_t i = 0; i < en->n_active; i++) {
        struct seq *q = en->active[i];
        if (q->parked && q->stalled && (!longest || q->held_ns > longest->held_ns))
            longest = q;
    }
    if (en->n_active == en->n_places && longest) {
        struct err e = {0};
        seq_too_slow(longest, &e);
        engine_finish(en, longest, &(struct delivery){.finish = FINISH_ERROR, .error = &e});
    }
    return en->n_active < en->n_places;
}
