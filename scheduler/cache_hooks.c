/* The engine's cache hooks over the state cache.
 *
 * Invariant: q->track is set exactly while the cache knows the sequence. The track knows the
 * prompt and the drawn tokens that were computed: told() before every capture. */
#include "scheduler/cache_hooks.h"

#include "base/log.h"
#include "base/mem.h"
#include "scheduler/deliver.h"

/* What a planned end may take to write states: service managers wait 90 s, draining takes 30. */
#define SAVE_SECONDS 10
#define FEW_ROWS 64 /* the time of a step with fewer is not that of its rows */

/* ---- begin and go on ---------------------------------------------------------------------- */

struct source {
    struct statecache *sc;
    struct track *track;
};

static void copy_context(void *arg, int64_t from, int64_t to, int32_t *out)
{
    struct source *s = arg;
    statecache_tokens(s->sc, s->track, from, to, out);
}

static void trace_start(struct trace_record *x, struct source *from,
                        const struct statecache_start *start)
{
    if (!x)
        return;
    x->n_context = start->base;
    x->cached = start->position;
    x->matched = start->matched;
    x->why = start->why;
    x->context = mem_array((size_t)start->base, sizeof *x->context);
    if (x->context)
        copy_context(from, 0, start->base, x->context);
}

/* What computing the prompt takes: what is computed before it, and a token's time beside the
 * streams, as the latest steps took; 0 = not known. */
static void reckon(const struct engine *en, const struct seq *q, struct statecache_query *query)
{
    int32_t rows = MIN(MAX(q->r->n_prompt, FEW_ROWS), en->o.step_tokens);
    if (rows < 1)
        return;
    struct engine_ahead ahead = engine_ahead(en, q);
    query->before = ahead.rows;
    query->others = ahead.prompts;
    query->token_ns = pace_prompts_ns(&en->pace, en->o.paced ? ahead.streams : 0, rows,
                                      en->o.step_tokens) / (uint64_t)rows;
}

static int begin(void *arg, struct seq *q, struct err *e)
{
    struct cached *c = arg;
    struct request *r = q->r;
    struct statecache_query query = {
        .tenant = r->tenant, .session = r->in_session ? &r->session : NULL, .ticket = r->ticket,
        .tokens = r->prompt, .n = r->n_prompt, .marks = r->marks, .n_marks = r->n_marks,
        .fresh = r->prompt_logprobs, .whole = seq_looks_back(q) || q->trace || q->receipt,
        .again = r->waited, .pin_s = r->pin_s, .ask = &r->asked,
    };
    reckon(c->en, q, &query);
    struct statecache_start start;
    struct track *t;
    int rc = statecache_begin(c->sc, &query, &t, &start, e);
    r->waited = rc == E_BUSY;
    if (rc)
        return rc;
    struct source from = {c->sc, t};
    rc = seq_continue(q, start.base, start.position, copy_context, &from, c->en->positions, e);
    if (!rc && q->receipt)
        rc = receipt_before(receipts_of(q->receipt), start.base, copy_context, &from, e);
    if (rc) {
        statecache_end(c->sc, t);
        return rc;
    }
    q->track = t;
    q->ready = start.logits;
    q->matched = start.matched;
    q->why = start.why;
    trace_start(q->trace, &from, &start);
    return 0;
}

static int restore(void *arg, struct seq *q, struct err *e)
{
    struct cached *c = arg;
    int rc = statecache_restore(c->sc, q->track, q->slot, q->pages, e);
    if (rc == 0 && c->en->o.pages > 0)
        q->n_pages = (int32_t)((q->pos + PAGE_TOKENS - 1) / PAGE_TOKENS);
    return rc == E_NOMEM ? E_BUSY : rc; /* pages: they come back when others end */
}

static int64_t cut(void *arg, struct seq *q)
{
    struct cached *c = arg;
    return statecache_cut(c->sc, q->track, q->pos);
}

/* The drawn tokens that the state has seen by now. */
static int told(struct cached *c, struct seq *q, struct err *e)
{
    int64_t known = MAX(statecache_known(c->sc, q->track), q->n_prompt);
    if (q->pos <= known)
        return 0;
    return statecache_append(c->sc, q->track, seq_tokens(q, known), (int32_t)(q->pos - known), e);
}

static int capture(struct cached *c, struct seq *q, enum capture_kind kind, const float *logits,
                   bool *kept, struct err *e)
{
    int rc = told(c, q, e);
    return rc ? rc
              : statecache_capture(c->sc, q->track, kind, q->pos, q->slot, q->pages, logits,
                                   kept, e);
}

/* Behind its prompt, one token from where it ends at the latest: what is kept there is enough. */
static bool ends_here(const struct seq *q)
{
    int64_t fed = q->pos - q->n_prompt; /* of the output; the step before this draws one more */
    return fed > 0 && q->max_output - fed <= 2;
}

static int reached(void *arg, struct seq *q, const float *logits, struct err *e)
{
    return ends_here(q) ? 0 : capture(arg, q, CAPTURE_CUT, logits, NULL, e);
}

static bool swap(void *arg, struct seq *q)
{
    struct err e = {0};
    bool kept = false;
    /* Without a row left it has logits that no state brings back: cheaper to begin again. */
    if (!q->track || q->pos == 0 || seq_left(q) == 0)
        return false;
    if (capture(arg, q, CAPTURE_SWAP, NULL, &kept, &e)) {
        log_warn("a preempted sequence starts again: %s", e.text);
        cached_note(arg, &e);
        return false;
    }
    return kept;
}

/* ---- the end of a request ----------------------------------------------------------------- */

static bool end(void *arg, struct seq *q, enum finish finish)
{
    struct cached *c = arg;
    struct err e = {0};
    bool kept = false, good = finish == FINISH_STOP || finish == FINISH_LENGTH;
    if (!q->track)
        return false;
    if (good && q->slot >= 0 && q->pos >= q->n_prompt) {
        if (told(c, q, &e) == 0 && q->r->in_session)
            return turn_end_take(c, q) != NULL; /* if not, defer says so */
        if (!q->r->in_session && capture(c, q, CAPTURE_END, NULL, &kept, &e)) {
            log_warn("the state at the end of a request is not kept: %s", e.text);
            cached_note(c, &e);
        }
    }
    if (!good || !q->r->in_session) {
        statecache_end(c->sc, q->track);
        q->track = NULL;
    }
    return kept;
}

static bool defer(void *arg, struct seq *q, const struct delivery *last)
{
    struct cached *c = arg;
    struct ending *x = c->endings;
    struct delivery without_end = *last;
    struct err e = {0};
    if (!q->r->in_session || (!q->track && (!x || x->r)))
        return false;
    without_end.finish = FINISH_NONE;
    if (q->track || deliver(q->r, &without_end, &c->en->wakes)) {
        /* Without memory the turn did not happen: the session is as it was. */
        err_set(&e, E_NOMEM, "no memory to end the turn of a session");
        deliver_end(q->r, FINISH_ERROR, &e, &c->en->wakes);
        if (q->track)
            statecache_end(c->sc, q->track);
        q->track = NULL;
        if (x && !x->r) {
            c->endings = x->next;
            turn_end_free(c, x);
        }
        return true;
    }
    request_ref(q->r);
    x->r = q->r;
    x->finish = last->finish;
    return true;
}

static void tick(void *arg)
{
    struct cached *c = arg;
    statecache_tick(c->sc);
    turn_end_tick(c);
    if (c->lost.code && !c->en->lost)
        engine_lose(c->en, &c->lost);
}

static bool reclaim_slot(void *arg) { return statecache_reclaim_slot(((struct cached *)arg)->sc); }

static bool reclaim_pages(void *arg, int32_t n)
{
    return statecache_reclaim_pages(((struct cached *)arg)->sc, n);
}

/* ---- open and close ----------------------------------------------------------------------- */

int cached_open(struct cached **out, struct engine *en, const struct statecache_options *o,
                struct err *e)
{
    *out = NULL;
    struct cached *c = mem_zalloc(sizeof *c);
    if (!c)
        return err_set(e, E_NOMEM, "no memory for the state cache");
    struct statecache_options own = *o;
    own.plan = en->plan;
    own.device = en->device;
    own.slots = &en->slots;
    own.pages = en->o.pages > 0 ? &en->pages : NULL;
    int rc = statecache_open(&c->sc, &own, e);
    if (rc) {
        mem_free(c);
        return rc;
    }
    c->en = en;
    struct engine_cache hooks = {
        .arg = c, .begin = begin, .restore = restore, .cut = cut, .reached = reached,
        .swap = swap, .end = end, .defer = defer, .tick = tick, .reclaim_slot = reclaim_slot,
        .reclaim_pages = reclaim_pages,
    };
    engine_use_cache(en, &hooks);
    *out = c;
    return 0;
}

void cached_close(struct cached *c)
{
    if (!c)
        return;
    turn_end_close(c);
    statecache_save(c->sc, SAVE_SECONDS);
    statecache_close(c->sc); /* writes what is queued */
    mem_free(c);
}
