/* The engine's step. Engine thread only; see engine.h.
 *
 * Invariants: `active` is in order of admission, the oldest first, and seniority decides who gets
 * scarce pages, so the oldest one that can run always makes progress. Every sequence in `picked`
 * is active, has a slot of its own and pages for all of its history. Nothing is allocated here
 * after engine_open but what seq_begin takes for a new sequence. */
#include "scheduler/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"


/* ---- start and end -------------------------------------------------------------------- */

static int check_options(const struct plan *p, const struct sched_options *o, struct err *e)
{
    if (o->queue < 1)
        return err_set(e, E_RANGE, "a queue of %d requests: at least 1 is needed", (int)o->queue);
    if (o->slots < 1 || o->step_tokens < o->slots)
        return err_set(e, E_RANGE, "a step of %d tokens cannot hold a row of each of %d slots",
                       (int)o->step_tokens, (int)o->slots);
    if (o->logit_rows < o->slots)
        return err_set(e, E_RANGE, "%d rows of logits are not enough for %d slots",
                       (int)o->logit_rows, (int)o->slots);
    if (p->page_token_floats > 0 && (o->pages < 1 || o->pages_per_seq < 1))
        return err_set(e, E_RANGE, "the model has full attention and needs KV pages: %d given, "
                       "%d a sequence", (int)o->pages, (int)o->pages_per_seq);
    return 0;
}

static int allocate(struct engine *en, struct err *e)
{
    size_t slots = (size_t)en->o.slots, width = (size_t)en->o.pages_per_seq;
    size_t places = slots + (size_t)en->o.queue;
    en->n_places = (int32_t)places;
    en->seqs = mem_array(places, sizeof *en->seqs);
    en->active = mem_array(places, sizeof *en->active);
    en->picked = mem_array(slots, sizeof *en->picked);
    en->want = mem_array(slots, sizeof *en->want);
    en->rows = mem_array(slots, sizeof *en->rows);
    en->order = mem_array(slots, sizeof *en->order);
    en->logit_at = mem_array(slots, sizeof *en->logit_at);
    en->told_at = mem_array(slots, sizeof *en->told_at);
    en->tokens = mem_array((size_t)en->o.step_tokens, sizeof *en->tokens);
    en->cu_seqlens = mem_array(slots + 1, sizeof *en->cu_seqlens);
    en->slot_of = mem_array(slots, sizeof *en->slot_of);
    en->pos_of = mem_array(slots, sizeof *en->pos_of);
    en->logit_rows = mem_array((size_t)en->o.logit_rows, sizeof *en->logit_rows);
    en->asked = mem_array((size_t)en->o.logit_rows, sizeof *en->asked);
    en->told = mem_array((size_t)en->o.logit_rows, sizeof *en->told);
    en->banned = mem_array(slots, BANNED_MAX * sizeof *en->banned);
    en->n_mask = sample_words(en->plan->vocab);
    en->masks = mem_array(slots, en->n_mask * sizeof *en->masks);
    en->page_table = mem_array(slots, width * sizeof *en->page_table);
    en->tables = mem_array(places, width * sizeof *en->tables);
    en->wakes = (struct wakes){.list = mem_array(places, sizeof *en->wakes.list),
                               .cap = (int32_t)places, .lock = PTHREAD_MUTEX_INITIALIZER};
    if (!en->seqs || !en->active || !en->picked || !en->want || !en->rows || !en->order ||
        !en->logit_at || !en->tokens || !en->cu_seqlens || !en->slot_of || !en->pos_of ||
        !en->logit_rows || !en->told_at || !en->asked || !en->told || !en->banned || !en->masks ||
        !en->page_table || !en->tables || !en->wakes.list)
        return err_set(e, E_NOMEM, "no memory to schedule %d slots", (int)en->o.slots);
    for (size_t i = 0; i < places; i++) {
        en->seqs[i] = (struct seq){.slot = -1, .pages = en->tables + i * width};
        for (size_t j = 0; j < width; j++)
            en->seqs[i].pages[j] = -1;
    }
    en->batch = (struct batch){.tokens = en->tokens, .cu_seqlens = en->cu_seqlens,
                               .slots = en->slot_of, .pos = en->pos_of,
                               .logit_rows = en->logit_rows, .pages = en->page_table,
                               .pages_per_seq = en->o.pages_per_seq};
    return 0;
}

int engine_open(struct engine *en, const struct model *m, struct device *d,
                const struct piece_source *pieces, const struct engine_cache *cache,
                const struct sched_options *o, struct err *e)
{
    *en = (struct engine){.plan = &m->plan, .device = d, .pieces = *pieces, .o = *o,
                          .pace = {.target_ns = o->gap_ns, .single_rows = d->single_rows},
                          .positions = INT64_MAX / 2};
    if (o->origin) {
        en->origin = *o->origin;
        en->o.origin = &en->origin;
    }
    engine_use_cache(en, cache);
    int rc = check_options(en->plan, o, e);
    if (rc)
        return rc;
    if (en->plan->page_token_floats == 0)
        en->o.pages = en->o.pages_per_seq = 0;
    else
        en->positions = (int64_t)MIN(o->pages, o->pages_per_seq) * PAGE_TOKENS;
    if (m->context_max > 0)
        en->positions = MIN(en->positions, m->context_max);
    for (int32_t i = 0; i < m->n_eos; i++)
        if (m->eos[i] >= 0 && m->eos[i] < en->plan->vocab)
            en->eos[en->n_eos++] = m->eos[i];
    /* The queue holds as many again as there are places. */
    if ((rc = allocate(en, e)) || (rc = fair_open(&en->fair, 2 * en->n_places, e)) ||
        (rc = slots_init(&en->slots, o->slots, e)) ||
        (rc = pages_init(&en->pages, en->o.pages, e)) ||
        (rc = sample_init(&en->sampler, en->plan->vocab, e)))
        engine_close(en);
    return rc;
}

void engine_close(struct engine *en)
{
    ASSERT(en->n_active == 0);
    slots_fini(&en->slots);
    pages_fini(&en->pages);
    sample_fini(&en->sampler);
    fair_close(en->fair);
    receipts_close(en->receipts);
    void *arrays[] = {en->seqs, en->active, en->picked, en->want, en->rows, en->order,
                      en->logit_at, en->tokens, en->cu_seqlens, en->slot_of, en->pos_of,
                      en->logit_rows, en->told_at, en->asked, en->told, en->banned, en->masks,
                      en->page_table, en->tables, en->wakes.list};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        mem_free(arrays[i]);
    *en = (struct engine){0};
}

static int check_ids(const int32_t *ids, int32_t n, int32_t vocab, const char *field,
                     struct err *e)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return err_field(e, E_RANGE, field, "%s: token id %d, and the model has %d tokens",
                             field, (int)ids[i], (int)vocab);
    return 0;
}

/* A device adds all of a row's biases at once: none may meet another. */
static int check_bias(const struct sampling *p, int32_t vocab, struct err *e)
{
    if (p->n_bias < 0 || p->n_bias > LIMIT_LOGIT_BIAS)
        return err_field(e, E_RANGE, "logit_bias", "logit_bias: %d entries, at most %d",
                         (int)p->n_bias, LIMIT_LOGIT_BIAS);
    for (int32_t i = 0; i < p->n_bias; i++) {
        int rc = check_ids(&p->bias[i].id, 1, vocab, "logit_bias", e);
        if (rc)
            return rc;
        for (int32_t j = 0; j < i; j++)
            if (p->bias[j].id == p->bias[i].id)
                return err_field(e, E_RANGE, "logit_bias", "logit_bias: token id %d is named twice",
                                 (int)p->bias[i].id);
    }
    return 0;
}

int engine_check(const struct engine *en, const struct request *r, struct err *e)
{
    int32_t vocab = en->plan->vocab;
    if (r->n_prompt < 1)
        return err_field(e, E_RANGE, "prompt", "the prompt is empty: at least 1 token is needed");
    int64_t n = r->n_context + r->n_prompt;
    if (n + (r->max_tokens > 0) > en->positions)
        return err_field(e, E_RANGE, "prompt", "the prompt has %lld tokens, and the model takes "
                         "%lld with the answer", (long long)n, (long long)en->positions);
    if (r->logprobs > LIMIT_TOP_LOGPROBS)
        return err_field(e, E_RANGE, "logprobs", "logprobs: %d asked for, at most %d",
                         (int)r->logprobs, LIMIT_TOP_LOGPROBS);
    if (r->n_stops < 0 || r->n_stops > LIMIT_STOPS || r->n_stop_ids < 0 ||
        r->n_stop_ids > LIMIT_STOP_IDS)
        return err_field(e, E_RANGE, "stop", "stop: %d strings and %d ids, at most %d and %d",
                         (int)r->n_stops, (int)r->n_stop_ids, LIMIT_STOPS, LIMIT_STOP_IDS);
    int rc = check_bias(&r->sampling, vocab, e);
    if (!rc)
        rc = check_ids(r->prompt, r->n_prompt, vocab, "prompt", e);
    return rc ? rc : check_ids(r->stop_ids, r->n_stop_ids, vocab, "stop_token_ids", e);
}

/* Requests over which the time of one is averaged. */
#define SERVICE_MEAN 32

/* ---- places --------------------------------------------------------------------------- */

static void count_end(struct engine *en, enum finish finish, const struct err *error)
{
    if (finish == FINISH_CANCELLED)
        en->stats.cancelled++;
    else if (finish != FINISH_ERROR)
        en->stats.finished++;
    else if (error->code == E_TIMEOUT)
        en->stats.timeouts++;
    else
        en->stats.failed++;
}

void engine_refuse(struct engine *en, struct request *r, enum finish finish,
                   const struct err *error)
{
    count_end(en, finish, error);
    fair_leave(en->fair, r->flow, FAIR_WAITING);
    deliver_end(r, finish, error, &en->wakes);
    request_unref(r);
}

static void drop_pages(struct engine *en, struct seq *q)
{
    while (q->n_pages > 0) {
        int32_t *page = &q->pages[--q->n_pages];
        pages_unref(&en->pages, *page);
        *page = -1;
    }
}

/* Before the reader hears of the end: what it then looks for in the trace is on its way. */
static void end_trace(struct engine *en, struct seq *q, const struct delivery *last)
{
    struct trace_record *x = q->trace;
    q->trace = NULL;
    if (!x)
        return;
    pthread_mutex_lock(&q->r->lock);
    x->submit_ns = q->r->t_submit_ns;
    x->first_ns = q->r->t_first_ns;
    pthread_mutex_unlock(&q->r->lock);
    x->end_ns = clock_now_ns();
    x->finish = last->finish;
    x->code = last->error ? last->error->code : 0;
    en->o.trace.done(en->o.trace.arg, x);
}

/* The last delivery. A whole answer with a receipt ends when that is made. */
static void say_last(struct engine *en, struct seq *q, const struct delivery *last)
{
    struct delivery d = *last;
    struct err no_text = {0};
    struct request *r = q->r;
    bool due = q->receipt && (d.finish == FINISH_STOP || d.finish == FINISH_LENGTH), tells = due;
    if (due) {
        pthread_mutex_lock(&r->lock);
        r->receipt_due = true;
        pthread_mutex_unlock(&r->lock);
        d.finish = FINISH_NONE;
    }
    if (q->begun && en->cache.defer(en->cache.arg, q, last)) {
        pthread_mutex_lock(&r->lock);
        due = due && r->finish == FINISH_NONE; /* there was no memory for the end of the turn */
        pthread_mutex_unlock(&r->lock);
        tells = false;
    } else if (deliver(r, &d, &en->wakes)) {
        err_set(&no_text, E_NOMEM, "no memory for %zu bytes of text", last->n_text);
        deliver_end(r, FINISH_ERROR, &no_text, &en->wakes);
        due = false;
    }
    if (no_text.code)
        count_end(en, FINISH_ERROR, &no_text);
    else
        count_end(en, last->finish, last->error);
    if (q->receipt)
        engine_receipt_end(en, q, due ? last->finish : FINISH_ERROR, tells);
}

void engine_finish(struct engine *en, struct seq *q, const struct delivery *last)
{
    end_trace(en, q, last);
    deliver_wake(&en->wakes);
    bool kept = q->begun && en->cache.end(en->cache.arg, q, last->finish);
    fair_leave(en->fair, q->r->flow, q->parked ? FAIR_PARKED : FAIR_RUNNING);
    uint64_t took = clock_now_ns() - q->admitted_ns, *mean = &en->stats.service_ns;
    *mean += took / SERVICE_MEAN - *mean / SERVICE_MEAN;
    drop_pages(en, q);
    if (q->slot >= 0 && !kept)
        slots_put(&en->slots, q->slot);
    q->slot = -1;
    int32_t i = 0;
    while (en->active[i] != q)
        i++;
    memmove(&en->active[i], &en->active[i + 1],
            (size_t)(--en->n_active - i) * sizeof(struct seq *));
    say_last(en, q, last);
    seq_end(q);
}

void engine_finish_all(struct engine *en, enum finish finish, const struct err *error)
{
    while (en->n_active > 0)
        engine_finish(en, en->active[0], &(struct delivery){.finish = finish, .error = error});
}

static void fail(struct engine *en, struct seq *q, const struct err *error)
{
    engine_finish(en, q, &(struct delivery){.finish = FINISH_ERROR, .error = error});
}

void engine_lose(struct engine *en, const struct err *error)
{
    log_error("the device is lost: %s", error->text);
    en->lost = true;
    engine_finish_all(en, FINISH_ERROR, error);
}

/* ---- pages and slots ------------------------------------------------------------------ */

void engine_preempt(struct engine *en, struct seq *q)
{
    bool saved = en->cache.swap(en->cache.arg, q);
    int32_t slot = q->slot;
    drop_pages(en, q);
    seq_lose_slot(q, saved);
    slots_put(&en->slots, slot);
    log_debug("a sequence of %lld tokens is preempted, its state is %s", (long long)q->n_history,
              saved ? "kept" : "computed again");
}

/* Whom q may take pages from: a sequence whose reader stalls, the youngest first; then the
 * youngest that is younger than q. NULL = nobody. */
static struct seq *victim(struct engine *en, const struct seq *q)
{
    for (int32_t i = en->n_active; i-- > 0;)
        if (en->active[i] != q && en->active[i]->phase == SEQ_HELD && en->active[i]->n_pages)
            return en->active[i];
    for (int32_t i = en->n_active; i-- > 0 && en->active[i] != q;)
        if (en->active[i]->n_pages)
            return en->active[i];
    return NULL;
}

/* Pages q lacks for all of its history. All or none are taken: half a set helps nobody. */
static int32_t lacking(const struct engine *en, const struct seq *q)
{
    if (en->o.pages == 0)
        return 0;
    return (int32_t)((q->n_history + PAGE_TOKENS - 1) / PAGE_TOKENS) - q->n_pages;
}

static bool free_pages(struct engine *en, const struct seq *q, int32_t n)
{
    while (en->pages.n_free < n) {
        int32_t missing = n - en->pages.n_free;
        if (en->cache.reclaim_pages(en->cache.arg, missing))
            continue;
        struct seq *other = victim(en, q);
        if (!other)
            return false;
        engine_preempt(en, other);
    }
    return true;
}

static bool take_pages(struct engine *en, struct seq *q)
{
    int32_t n = lacking(en, q);
    if (n <= 0)
        return true;
    if (!free_pages(en, q, n))
        return false;
    while (n-- > 0)
        q->pages[q->n_pages++] = pages_take(&en->pages);
    return true;
}

static int32_t take_slot(struct engine *en)
{
    int32_t slot = slots_take(&en->slots);
    if (slot < 0 && en->cache.reclaim_slot(en->cache.arg))
        slot = slots_take(&en->slots);
    return slot;
}

/* The state that q goes on from, in a slot of its own. The slot is never left as it was found:
 * it holds what another conversation put there. */
static int load_state(struct engine *en, struct seq *q, struct err *e)
{
    if (q->pos > 0)
        return en->cache.restore(en->cache.arg, q, e);
    return en->device->backend->slot_zero(en->device, q->slot, e);
}

/* WAIT -> a slot and a state. True: q is gone (failed), or the device is. */
static bool start(struct engine *en, struct seq *q)
{
    struct err e = {0};
    if (!q->begun) {
        int rc = en->cache.begin(en->cache.arg, q, &e);
        if (rc == E_BUSY)
            return false;
        if (rc) {
            fail(en, q, &e);
            return true;
        }
        q->begun = true;
        en->stats.cached_tokens += (uint64_t)q->pos;
        fair_charge(en->fair, q->r->flow, seq_left(q) - q->r->n_prompt); /* what it really costs */
        pthread_mutex_lock(&q->r->lock);
        q->r->n_cached = q->pos;
        q->r->n_matched = q->matched;
        q->r->why = q->why;
        q->r->n_context = q->n_prompt - q->r->n_prompt;
        pthread_mutex_unlock(&q->r->lock);
    }
    if (!free_pages(en, q, MAX(lacking(en, q), 0)) || (q->slot = take_slot(en)) < 0)
        return false;
    int rc = load_state(en, q, &e);
    if (rc == E_BUSY) {
        slots_put(&en->slots, q->slot);
        q->slot = -1;
        return false;
    }
    if (rc) {
        if (rc == E_DEVICE)
            engine_lose(en, &e);
        else
            fail(en, q, &e);
        return true;
    }
    seq_settle(q, 1);
    return false;
}

/* ---- the step ------------------------------------------------------------------------- */

/* When it has run out of time; 0 = never. A stream may take as long as it moves. */
static uint64_t late_at(const struct seq *q)
{
    const struct request *r = q->r;
    return r->deadline_ns && r->silence_ns ? MAX(r->deadline_ns, q->moved_ns + r->silence_ns)
                                           : r->deadline_ns;
}

/* Cancelled and late requests leave; the others get a slot, a phase, and a place in the pick. */
static bool look(struct engine *en, struct seq *q, uint64_t now)
{
    bool cancelled;
    size_t room = deliver_room(q->r, &cancelled);
    if (cancelled) {
        engine_finish(en, q, &(struct delivery){.finish = FINISH_CANCELLED});
        return false;
    }
    uint64_t late = late_at(q);
    if (late && now >= late) {
        struct err e = {0};
        err_set(&e, E_TIMEOUT, "the request ran out of time after %d tokens", (int)q->n_output);
        fail(en, q, &e);
        return false;
    }
    if (!seq_reader(q, room, now, en->o.stall_ns)) {
        struct err e = {0};
        seq_too_slow(q, &e);
        fail(en, q, &e);
        return false;
    }
    if (q->parked)
        return true;
    if (q->phase == SEQ_WAIT && start(en, q))
        return false;
    if (q->phase == SEQ_WAIT)
        return true;
    seq_settle(q, room);
    if (q->phase == SEQ_HELD || engine_receipt_waits(en, q))
        return true;
    int32_t i = en->n_picked;
    q->cut = en->cache.cut(en->cache.arg, q);
    if (seq_want(q, q->cut, room, &en->want[i]))
        en->picked[en->n_picked++] = q;
    return true;
}

static void gather(struct engine *en)
{
    uint64_t now = clock_now_ns();
    en->n_picked = 0;
    engine_receipts_look(en);
    for (int32_t i = 0; i < en->n_active;) {
        struct seq *q = en->active[i];
        i += look(en, q, now); /* a sequence that left made room for the next */
    }
}

/* Logits that a cache had ready need no row: these draw at once. */
static bool draw_ready(struct engine *en)
{
    bool any = false;
    for (int32_t i = 0; i < en->n_active;) {
        struct seq *q = en->active[i];
        if (q->phase != SEQ_PREFILL || seq_left(q) > 0) {
            i++;
            continue;
        }
        ASSERT(q->ready);
        if (q->max_output > 0 && !engine_receipt_row(en, q)) {
            i++;
            continue;
        }
        any = true;
        if (q->max_output == 0)
            engine_finish(en, q, &(struct delivery){.finish = FINISH_LENGTH});
        else
            i += engine_draw(en, q, q->ready);
    }
    return any;
}

/* Rows of this step. */
static int32_t budget(struct engine *en)
{
    int32_t decode = 0, others, first;
    bool calm = true;
    if (!en->o.paced)
        return en->o.step_tokens;
    for (int32_t i = 0; i < en->n_picked; i++)
        if (en->want[i].decode) {
            decode++;
            calm = calm && en->picked[i]->n_output >= PACE_SHORT;
        }
    first = pace_first(&en->pace, decode, en->o.step_tokens);
    first = batch_first(en->want, en->n_picked, first, &others);
    int32_t rows = pace_rows(&en->pace, decode, first, calm, others, en->o.step_tokens);
    if (first > 0 && others > 0)
        en->stats.gap_ns = pace_most(&en->pace, decode ? decode : first, en->pace.calm);
    return rows;
}

/* Rows for the picked, oldest first; those whose turn it is not, whose pages cannot be had, or were
 * taken by an older one, sit this step out. */
static void pick(struct engine *en)
{
    int32_t n = 0;
    batch_pick(en->want, en->n_picked, budget(en), en->o.logit_rows, &en->turn, en->rows);
    for (int32_t i = 0; i < en->n_picked; i++) {
        struct seq *q = en->picked[i];
        if (en->rows[i] == 0 || q->phase == SEQ_WAIT || !take_pages(en, q))
            continue;
        en->picked[n] = q;
        en->want[n] = en->want[i];
        en->rows[n++] = en->rows[i];
    }
    en->n_picked = n;
    engine_receipt_rows(en);
    for (int32_t i = 0; i < en->n_picked; i++)
        ASSERT(en->picked[i]->phase != SEQ_WAIT); /* older ones never lose pages to younger */
}

/* The i-th of the picked into the batch. */
static void add_to_batch(struct engine *en, int32_t i)
{
    struct batch *b = &en->batch;
    struct seq *q = en->picked[i];
    int32_t n = en->rows[i];
    memcpy(en->tokens + b->n_tokens, seq_tokens(q, q->pos), (size_t)n * sizeof *en->tokens);
    en->logit_at[i] = b->n_logits;
    for (int32_t row = 0; row < n; row++)
        if (batch_logits(&en->want[i], row + 1) > batch_logits(&en->want[i], row))
            en->logit_rows[b->n_logits++] = b->n_tokens + row;
    memcpy(en->page_table + (size_t)b->n_seqs * (size_t)en->o.pages_per_seq, q->pages,
           (size_t)q->n_pages * sizeof *q->pages);
    en->slot_of[b->n_seqs] = q->slot;
    en->pos_of[b->n_seqs] = q->pos;
    b->n_tokens += n;
    en->cu_seqlens[++b->n_seqs] = b->n_tokens;
}

static int by_rows(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sequences of one row first: a device may have something faster for these. Of the others the
 * longest last: where their rows are made one after the other a device begins there (plan.h). */
static void fill_batch(struct engine *en)
{
    struct batch *b = &en->batch;
    size_t several = 0;
    b->n_seqs = b->n_tokens = b->n_logits = 0;
    en->cu_seqlens[0] = 0;
    for (int32_t i = 0; i < en->n_picked; i++)
        if (en->rows[i] > 1)
            en->order[several++] = (uint64_t)en->rows[i] << 32 | (uint32_t)i;
        else
            add_to_batch(en, i);
    qsort(en->order, several, sizeof *en->order, by_rows);
    for (size_t i = 0; i < several; i++)
        add_to_batch(en, (int32_t)(en->order[i] & INT32_MAX));
    ASSERT(b->n_tokens <= en->o.step_tokens && b->n_logits <= en->o.logit_rows);
}

/* The states have moved on by their rows: what is asked of the logits. The device is still at
 * work, if it is one of its own: what constraints allow is found meanwhile. */
static int32_t ask(struct engine *en)
{
    int32_t n = 0;
    for (int32_t i = 0; i < en->n_picked; i++) {
        struct seq *q = en->picked[i];
        int64_t from = q->pos;
        q->pos += en->rows[i];
        en->told_at[i] = n;
        uint32_t *mask = en->masks + (size_t)i * en->n_mask;
        engine_prepare(en, q, mask);
        n += engine_ask(en, q, from, &en->want[i], en->logit_at[i],
                        en->banned + (size_t)i * BANNED_MAX, mask, en->asked + n);
    }
    ASSERT(n <= en->batch.n_logits);
    return n;
}

/* False: the step failed, and those in it are gone. */
static bool run(struct engine *en)
{
    struct err e = {0};
    uint64_t start_ns = clock_now_ns();
    const struct backend *k = en->device->backend;
    int rc = k->run(en->device, &en->batch, &e);
    int32_t n = rc ? 0 : ask(en);
    if (n > 0)
        rc = k->sample(en->device, en->asked, n, en->told, &e);
    else if (rc == 0 && k->wait && en->o.paced) /* or its time would be the next step's */
        rc = k->wait(en->device, &e);
    uint64_t took_ns = clock_now_ns() - start_ns;
    en->stats.step_ns += took_ns;
    en->stats.steps++;
    if (rc == 0) {
        const struct batch *b = &en->batch;
        bool single = b->n_tokens == b->n_seqs && b->n_logits == b->n_tokens;
        pace_note(&en->pace, b->n_tokens, single, took_ns);
        en->stats.step_tokens += (uint64_t)en->batch.n_tokens;
        return true;
    }
    if (rc == E_DEVICE) {
        engine_lose(en, &e);
        return false;
    }
    /* Their states are in an unknown condition; those of the others are not touched. */
    for (int32_t i = 0; i < en->n_picked; i++)
        fail(en, en->picked[i], &e);
    return false;
}

/* What the step gave to the i-th of the picked. */
static void hand_out(struct engine *en, int32_t i)
{
    struct seq *q = en->picked[i];
    int64_t from = q->pos - en->rows[i];
    q->ran += en->rows[i];
    q->steps += q->steps < INT32_MAX;
    if (from >= q->n_prompt)
        fair_charge(en->fair, q->r->flow, en->rows[i]);
    if (q->trace) {
        q->trace->slot = q->slot;
        q->trace->steps++;
    }
    if (from < q->n_prompt)
        en->stats.prompt_tokens += (uint64_t)(MIN(q->pos, q->n_prompt) - from);
    engine_tokens(en, q, from, &en->want[i], en->logit_at[i], en->told + en->told_at[i]);
}

static bool step(struct engine *en)
{
    if (en->lost)
        return false;
    en->cache.tick(en->cache.arg);
    gather(en);
    bool drawn = !en->lost && draw_ready(en);
    if (en->lost || en->n_picked == 0)
        return drawn;
    pick(en);
    if (en->n_picked == 0)
        return drawn;
    fill_batch(en);
    if (!run(en))
        return true;
    for (int32_t i = 0; i < en->n_picked && !en->lost; i++)
        if (!en->picked[i]->receipt)
            hand_out(en, i);
    /* Copies of logits take time: the others have their tokens before. What was handed out may be
     * gone, its place taken by nobody yet. */
    for (int32_t i = 0; i < en->n_picked && !en->lost; i++)
        if (en->picked[i]->receipt) {
            deliver_wake(&en->wakes);
            hand_out(en, i);
        }
    return true;
}

bool engine_step(struct engine *en)
{
    bool busy = step(en);
    deliver_wake(&en->wakes);
    receipts_go(en->receipts);
    return busy;
}

uint64_t engine_deadline(const struct engine *en)
{
    uint64_t first = 0;
    for (int32_t i = 0; i < en->n_active; i++) {
        uint64_t at = late_at(en->active[i]);
        if (at && (first == 0 || at < first))
            first = at;
    }
    return first;
}
