/* The end of a session's turn, after its text is out: one more row, so that the state has seen the
 * token drawn last; then the state is kept and committed, and when it is safe the reader hears.
 *
 * Invariant: an ending is in the list from turn_end_take until its reader was told. Slot and pages
 * are its own until it is settled. */
#include "scheduler/turn_end.h"

#include "base/clock.h"
#include "base/mem.h"
#include "scheduler/answer.h"
#include "scheduler/cache_hooks.h"
#include "scheduler/deliver.h"

/* For ids in a state's way to be read: 1,000 times what it takes when nothing else goes on. */
#define WAIT_NS (10 * NS_PER_S)

static void give_back(struct cached *c, struct ending *x)
{
    while (x->n_pages > 0)
        pages_unref(&c->en->pages, x->pages[--x->n_pages]);
    if (x->slot >= 0)
        slots_put(&c->en->slots, x->slot);
    x->slot = -1;
}

void turn_end_free(struct cached *c, struct ending *x)
{
    give_back(c, x);
    if (x->track)
        statecache_end(c->sc, x->track);
    request_unref(x->r);
    mem_free(x->pages);
    mem_free(x->output);
    mem_free(x);
}

struct ending *turn_end_take(struct cached *c, struct seq *q)
{
    struct ending *x = mem_zalloc(sizeof *x);
    if (!x)
        return NULL;
    x->slot = -1;
    x->pages = mem_array((size_t)c->en->o.pages_per_seq, sizeof *x->pages);
    x->output = mem_array((size_t)q->n_output, sizeof *x->output);
    if (!x->pages || !x->output) {
        turn_end_free(c, x);
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
    x->until_ns = clock_now_ns() + WAIT_NS;
    q->track = NULL;
    x->next = c->endings;
    c->endings = x;
    return x;
}

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

/* Tells the cache of the token drawn last, and asks whether a state behind it can be kept now. What
 * is in its way is read by another thread: the engine does not wait, it looks again next step. */
static void prepare(struct cached *c, struct ending *x)
{
    err_clear(&x->why);
    pthread_mutex_lock(&x->r->lock);
    bool due = x->r->receipt_due, no_receipt = x->r->receipt.failed;
    pthread_mutex_unlock(&x->r->lock);
    x->waits = due; /* its thread pokes the engine */
    if (no_receipt)
        err_set(&x->why, E_NOMEM, "no memory for the receipt");
    if (due || no_receipt)
        return;
    int rc = 0;
    if (x->left && !x->told)
        rc = statecache_append(c->sc, x->track, &x->output[x->n_output - 1], 1, &x->why);
    x->told = !rc;
    if (!rc)
        rc = statecache_clear(c->sc, x->track, x->pos + x->left, &x->why);
    x->waits = rc == E_BUSY && clock_now_ns() < x->until_ns;
}

/* One row for every turn that ended in the last step, so that their states have seen all of their
 * tokens and the next turns compute only what is new. */
static int run_last_rows(struct cached *c, struct err *e)
{
    struct engine *en = c->en;
    struct batch *b = &en->batch; /* between two steps its arrays are free */
    b->n_seqs = 0;
    for (struct ending *x = c->endings; x && b->n_seqs < en->o.slots; x = x->next) {
        if (x->settled || x->waits || x->why.code || !x->left || !own_pages(c, x))
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
    int rc;
    if (logits)
        x->pos++;
    rc = statecache_capture(c->sc, x->track, CAPTURE_END, x->pos, x->slot, x->pages, logits, &kept,
                            e);
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
        .text = r->said.p, .n_text = r->said.len, .receipt = r->receipt.p,
        .n_receipt = r->receipt.len, .scores = (const unsigned char *)r->scores.p,
        .n_scores = r->scores.failed ? 0 : r->scores.len,
    };
    bool whole = !r->said.failed && answer_pack(&packed, &a) == 0;
    if (!whole && !r->said.failed && a.n_scores) { /* the answer is worth more */
        a.n_scores = 0;
        buf_free(&packed);
        buf_init(&packed, LIMIT_ANSWER_BYTES);
        whole = answer_pack(&packed, &a) == 0;
    }
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
    for (struct ending *x = c->endings; x; x = x->next)
        if (!x->settled)
            prepare(c, x);
    int rc = run_last_rows(c, &e);
    cached_note(c, &e);
    rows = rc ? 0 : c->en->batch.n_seqs;
    for (struct ending **at = &c->endings; *at;) {
        struct ending *x = *at;
        struct err why = x->why;
        if (x->settled || x->waits) {
            at = &x->next;
            continue;
        }
        /* Rows were given in this order, to those that had something left and pages for it. */
        bool ran = x->left && row < rows && c->en->pos_of[row] == x->pos &&
                   c->en->slot_of[row] == x->slot;
        const float *logits = NULL;
        int failed = why.code;
        if (ran)
            failed = c->en->device->backend->logits(c->en->device, row++, &logits, &why);
        if (!failed && x->left && !ran)
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
        cached_note(c, &why);
        *at = x->next;
        struct request *r = x->r;
        request_ref(r);
        turn_end_free(c, x);
        deliver_end(r, FINISH_ERROR, &why, &c->en->wakes);
        request_unref(r);
    }
}

/* Gives back what a settled turn no longer needs, and tells the readers of those that are safe. */
static void tell(struct cached *c, bool all)
{
    for (struct ending **at = &c->endings; *at;) {
        struct ending *x = *at;
        if (x->waits && !all) {
            at = &x->next;
            continue;
        }
        give_back(c, x);
        enum commit state = x->settled ? statecache_committed(c->sc, x->track) : COMMIT_MEMORY;
        if (state == COMMIT_PENDING && !all) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        struct request *r = x->r;
        struct err lost = {0};
        bool settled = x->settled && state != COMMIT_LOST;
        enum finish finish = settled ? x->finish : FINISH_ERROR;
        if (state == COMMIT_LOST)
            statecache_lost(c->sc, x->track, &lost);
        else if (!settled)
            err_set(&lost, E_CLOSED, "the server stopped before the turn was kept");
        request_ref(r);
        pthread_mutex_lock(&r->lock);
        r->durable = settled && state == COMMIT_DURABLE;
        pthread_mutex_unlock(&r->lock);
        turn_end_free(c, x); /* before the reader hears: it may send the next turn at once */
        deliver_end(r, finish, &lost, &c->en->wakes);
        request_unref(r);
    }
}

void turn_end_tick(struct cached *c)
{
    if (!c->endings)
        return;
    settle(c);
    tell(c, false);
}

void turn_end_close(struct cached *c)
{
    for (struct ending *x = c->endings; x; x = x->next)
        if (x->settled)
            statecache_await(c->sc, x->track);
    tell(c, true);
}
