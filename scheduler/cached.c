/* The engine's cache hooks over the state cache.
 *
 * Invariant: q->track is set exactly while the cache knows the sequence. The track knows the
 * prompt and the drawn tokens that were computed: told() before every capture. */
#include "scheduler/cached.h"

#include "base/log.h"
#include "base/mem.h"
#include "scheduler/answer.h"
#include "scheduler/deliver.h"

/* What a planned end may take to write states: service managers wait 90 s, draining takes 30. */
#define SAVE_SECONDS 10

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

static int begin(void *arg, struct seq *q, struct err *e)
{
    struct cached *c = arg;
    struct request *r = q->r;
    struct statecache_query query = {
        .tenant = r->tenant, .session = r->in_session ? &r->session : NULL, .ticket = r->ticket,
        .tokens = r->prompt, .n = r->n_prompt, .marks = r->marks, .n_marks = r->n_marks,
        .fresh = r->prompt_logprobs, .whole = q->seen.place != NULL, .again = r->waited,
        .pin_s = r->pin_s,
    };
    struct statecache_start start;
    struct track *t;
    int rc = statecache_begin(c->sc, &query, &t, &start, e);
    r->waited = rc == E_BUSY;
    if (rc)
        return rc;
    struct source from = {c->sc, t};
    rc = seq_continue(q, start.base, start.position, copy_context, &from, c->en->positions, e);
    if (rc) {
        statecache_end(c->sc, t);
        return rc;
    }
    q->track = t;
    q->ready = start.logits;
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

static int reached(void *arg, struct seq *q, const float *logits, struct err *e)
{
    return capture(arg, q, CAPTURE_CUT, logits, NULL, e);
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
        return false;
    }
    return kept;
}

/* ---- the end of a request ----------------------------------------------------------------- */

static void free_ending(struct cached *c, struct ending *x)
{
    while (x->n_pages > 0)
        pages_unref(&c->en->pages, x->pages[--x->n_pages]);
    if (x->slot >= 0)
        slots_put(&c->en->slots, x->slot);
    if (x->track)
        statecache_end(c->sc, x->track);
    request_unref(x->r);
    mem_free(x->pages);
    mem_free(x->output);
    mem_free(x);
}

/* Takes over what the end of a turn needs: the logits of this step are still being read, so
 * nothing may run now. */
static struct ending *take_over(struct cached *c, struct seq *q)
{
    struct ending *x = mem_zalloc(sizeof *x);
    if (!x)
        return NULL;
    x->slot = -1;
    x->pages = mem_array((size_t)c->en->o.pages_per_seq, sizeof *x->pages);
    x->output = mem_array((size_t)q->n_output, sizeof *x->output);
    if (!x->pages || !x->output) {
        free_ending(c, x);
        return NULL;
    }
    for (; x->n_pages < q->n_pages; x->n_pages++) {
        x->pages[x->n_pages] = q->pages[x->n_pages];
        pages_ref(&c->en->pages, q->pages[x->n_pages]);
    }
    for (; x->n_output < q->n_output; x->n_output++)
        x->output[x->n_output] = seq_tokens(q, q->n_prompt)[x->n_output];
    x->slot = q->slot;
    x->pos = q->pos;
    x->n_prompt = q->n_prompt;
    x->left = seq_left(q) > 0;
    x->track = q->track;
    q->track = NULL;
    x->next = c->endings;
    c->endings = x;
    return x;
}

static bool end(void *arg, struct seq *q, enum finish finish)
{
    struct cached *c = arg;
    struct err e = {0};
    bool kept = false, good = finish == FINISH_STOP || finish == FINISH_LENGTH;
    if (!q->track)
        return false;
    if (good && q->slot >= 0 && q->pos >= q->n_prompt) {
        if (told(c, q, &e) == 0 && q->r->in_session)
            return take_over(c, q) != NULL; /* if not, defer says so */
        if (!q->r->in_session && capture(c, q, CAPTURE_END, NULL, &kept, &e))
            log_warn("the state at the end of a request is not kept: %s", e.text);
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
    if (q->track || deliver(q->r, &without_end)) {
        /* Without memory the turn did not happen: the session is as it was. */
        err_set(&e, E_NOMEM, "no memory to end the turn of a session");
        deliver_end(q->r, FINISH_ERROR, &e);
        if (q->track)
            statecache_end(c->sc, q->track);
        q->track = NULL;
        if (x && !x->r) {
            c->endings = x->next;
            free_ending(c, x);
        }
        return true;
    }
    request_ref(q->r);
    x->r = q->r;
    x->finish = last->finish;
    return true;
}

/* ---- the end of a session's turn ---------------------------------------------------------- */

static bool own_pages(struct cached *c, struct ending *x)
{
    struct engine *en = c->en;
    int32_t need = (int32_t)(x->pos / PAGE_TOKENS) + 1;
    while (en->o.pages > 0 && x->n_pages < need) {
        if (x->n_pages == en->o.pages_per_seq ||
            (en->pages.n_free == 0 && !statecache_reclaim_pages(c->sc, 1)))
            return false;
        x->pages[x->n_pages++] = pages_take(&en->pages);
    }
    return true;
}

/* One row for every turn that ended in the last step, so that their states have seen all of their
 * tokens and the next turns compute only what is new. */
static int run_last_rows(struct cached *c, struct err *e)
{
    struct engine *en = c->en;
    struct batch *b = &en->batch; /* between two steps its arrays are free */
    b->n_seqs = 0;
    for (struct ending *x = c->endings; x && b->n_seqs < en->o.slots; x = x->next) {
        if (x->settled || !x->left || !own_pages(c, x))
            continue;
        int32_t i = b->n_seqs++;
        en->tokens[i] = x->output[x->n_output - 1];
        en->slot_of[i] = x->slot;
        en->pos_of[i] = x->pos;
        en->cu_seqlens[i] = en->logit_rows[i] = i;
        for (int32_t k = 0; k < x->n_pages; k++)
            en->page_table[(size_t)i * (size_t)en->o.pages_per_seq + (size_t)k] = x->pages[k];
    }
    b->n_tokens = b->n_logits = b->n_seqs;
    en->cu_seqlens[b->n_seqs] = b->n_seqs;
    return b->n_seqs ? en->device->backend->run(en->device, b, e) : 0;
}

static int keep(struct cached *c, struct ending *x, const float *logits, struct err *e)
{
    bool kept = false;
    int rc = 0;
    if (logits) {
        rc = statecache_append(c->sc, x->track, &x->output[x->n_output - 1], 1, e);
        x->pos++;
    }
    if (!rc)
        rc = statecache_capture(c->sc, x->track, CAPTURE_END, x->pos, x->slot, x->pages, logits,
                                &kept, e);
    if (kept)
        x->slot = -1; /* the cache's now */
    return rc;
}

static int commit(struct cached *c, struct ending *x, struct err *e)
{
    struct request *r = x->r;
    struct buf packed;
    buf_init(&packed, LIMIT_ANSWER_BYTES);
    pthread_mutex_lock(&r->lock);
    struct answer a = {
        .finish = x->finish, .n_prompt = x->n_prompt, .n_cached = r->n_cached,
        .n_output = x->n_output, .ids = (const unsigned char *)x->output, .n_ids = x->n_output,
        .text = r->said.p, .n_text = r->said.len,
    };
    bool whole = !r->said.failed && answer_pack(&packed, &a) == 0;
    pthread_mutex_unlock(&r->lock);
    int rc = statecache_commit(c->sc, x->track, whole ? packed.p : NULL,
                               whole ? packed.len : SIZE_MAX, e);
    buf_free(&packed);
    return rc;
}

static void settle(struct cached *c)
{
    struct err e = {0};
    int32_t row = 0, rows;
    int rc = run_last_rows(c, &e);
    rows = rc ? 0 : c->en->batch.n_seqs;
    for (struct ending **at = &c->endings; *at;) {
        struct ending *x = *at;
        struct err why = {0};
        if (x->settled) {
            at = &x->next;
            continue;
        }
        /* Rows were given in this order, to those that had something left and pages for it. */
        bool ran = x->left && row < rows && c->en->pos_of[row] == x->pos &&
                   c->en->slot_of[row] == x->slot;
        const float *logits = NULL;
        int failed = !ran ? 0 : c->en->device->backend->logits(c->en->device, row++, &logits, &why);
        if (x->left && !ran)
            failed = err_set(&why, rc ? rc : E_BUSY, "%s",
                             rc ? e.text : "no KV page for the end of a turn");
        if (!failed)
            failed = keep(c, x, logits, &why);
        if (!failed)
            failed = commit(c, x, &why);
        x->settled = true;
        if (!failed) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        struct request *r = x->r;
        request_ref(r);
        free_ending(c, x);
        deliver_end(r, FINISH_ERROR, &why);
        request_unref(r);
    }
}

/* Gives back what a settled turn no longer needs, and tells the readers of those that are safe. */
static void tell(struct cached *c, bool all)
{
    for (struct ending **at = &c->endings; *at;) {
        struct ending *x = *at;
        while (x->n_pages > 0)
            pages_unref(&c->en->pages, x->pages[--x->n_pages]);
        if (x->slot >= 0)
            slots_put(&c->en->slots, x->slot);
        x->slot = -1;
        enum commit state = x->settled ? statecache_committed(c->sc, x->track) : COMMIT_MEMORY;
        if (state == COMMIT_PENDING && !all) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        struct request *r = x->r;
        struct err lost = {0};
        bool settled = x->settled;
        enum finish finish = settled ? x->finish : FINISH_ERROR;
        if (!settled)
            err_set(&lost, E_CLOSED, "the server stopped before the turn was kept");
        request_ref(r);
        pthread_mutex_lock(&r->lock);
        r->durable = settled && state == COMMIT_DURABLE;
        pthread_mutex_unlock(&r->lock);
        free_ending(c, x); /* before the reader hears: it may send the next turn at once */
        deliver_end(r, finish, &lost);
        request_unref(r);
    }
}

static void tick(void *arg)
{
    struct cached *c = arg;
    statecache_tick(c->sc);
    if (!c->endings)
        return;
    settle(c);
    tell(c, false);
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
    c->hooks = (struct engine_cache){
        .arg = c, .begin = begin, .restore = restore, .cut = cut, .reached = reached,
        .swap = swap, .end = end, .defer = defer, .tick = tick, .reclaim_slot = reclaim_slot,
        .reclaim_pages = reclaim_pages,
    };
    en->cache = &c->hooks;
    *out = c;
    return 0;
}

void cached_close(struct cached *c)
{
    if (!c)
        return;
    tell(c, true);
    statecache_save(c->sc, SAVE_SECONDS);
    statecache_close(c->sc); /* writes what is queued */
    mem_free(c);
}
