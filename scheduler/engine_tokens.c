/* From rows of logits to events and text: the engine's half after the device. Engine thread.
 *
 * Decisions users can see:
 *  - eos and stop ids end the text and are counted in n_output, as in the usage of other servers,
 *    but are neither text nor an event; a token that completes a stop string is an event.
 *  - before min_tokens, eos and stop ids cannot be drawn and stop strings do not count; text from
 *    before is never part of a stop string. With ignore_eos, eos is a token like any other.
 *  - a text with a constraint may end where the constraint says that it is whole, and nowhere else;
 *    where nothing may follow it ends by eos or a stop id, and at once if it has none.
 *  - a row that is not finite ends its own request and no other. */
#include "scheduler/deliver.h"
#include "scheduler/engine.h"

static bool fail(struct engine *en, struct seq *q, const struct err *e)
{
    engine_finish(en, q, &(struct delivery){.finish = FINISH_ERROR, .error = e});
    return false;
}

int32_t engine_ends(const struct engine *en, const struct request *r, int32_t *out)
{
    int32_t n = 0;
    for (int32_t i = 0; !r->ignore_eos && i < en->n_eos; i++)
        out[n++] = en->eos[i];
    for (int32_t i = 0; i < r->n_stop_ids; i++)
        out[n++] = r->stop_ids[i];
    return n;
}

/* Ids that may not be drawn now. */
static int32_t banned(const struct engine *en, const struct seq *q, int32_t *ids)
{
    return q->n_output < q->r->min_tokens ? engine_ends(en, q->r, ids) : 0;
}

static void set_bit(uint32_t *mask, int32_t id, bool on)
{
    if (on)
        mask[id / 32] |= 1u << (id % 32);
    else
        mask[id / 32] &= ~(1u << (id % 32));
}

void engine_prepare(const struct engine *en, struct seq *q, uint32_t *mask)
{
    const struct request *r = q->r;
    struct constrain_state now;
    if (seq_left(q) > 0 || q->max_output == 0)
        return;
    seq_shape(q);
    if (!r->constraint ||
        r->constraint->ops->mask(r->constraint, mask, &now, &q->fault))
        return;
    int32_t n_ends = r->n_stop_ids + (r->ignore_eos ? 0 : en->n_eos);
    for (int32_t i = 0; i < en->n_eos && !r->ignore_eos; i++)
        set_bit(mask, en->eos[i], now.whole);
    for (int32_t i = 0; i < r->n_stop_ids; i++)
        set_bit(mask, r->stop_ids[i], now.whole);
    q->ended = now.whole && !now.more && (n_ends == 0 || q->n_output < r->min_tokens);
}

/* The draw of q's next token; ids: room for BANNED_MAX. */
static struct sample_row next_token(const struct engine *en, const struct seq *q, int32_t *ids,
                                    const uint32_t *mask)
{
    struct sample_row r = seq_row(q);
    r.n_top = q->r->logprobs;
    r.banned = ids;
    r.n_banned = banned(en, q, ids);
    r.allowed = q->r->constraint ? mask : NULL;
    return r;
}

int32_t engine_ask(const struct engine *en, const struct seq *q, int64_t from,
                   const struct batch_want *w, int32_t logit_at, int32_t *ids,
                   const uint32_t *mask, struct sample_row *out)
{
    int32_t n = 0;
    for (int64_t i = MAX(q->n_echoed, 1); q->r->logprobs >= 0; i++) {
        if (i >= q->n_prompt || i > q->pos)
            break;
        out[n] = choice_lookup(*seq_tokens(q, i));
        out[n].n_top = q->r->logprobs;
        out[n++].logits = logit_at + batch_logits(w, (int32_t)(i - 1 - from));
    }
    if (seq_left(q) == 0 && q->max_output > 0 && !q->ended && !q->fault.code) {
        out[n] = next_token(en, q, ids, mask);
        out[n++].logits = logit_at + batch_logits(w, (int32_t)(q->pos - from)) - 1;
    }
    return n;
}

/* The prompt's own tokens, as far as the state has seen: token i with the row of token i - 1.
 * Moves *told past what it used. */
static bool echo(struct engine *en, struct seq *q, const struct sample_result **told)
{
    struct err e = {0};
    while (q->n_echoed < q->n_prompt && q->n_echoed <= q->pos) {
        int64_t i = q->n_echoed;
        struct token_event ev = {.id = *seq_tokens(q, i), .prompt = true};
        if (i > 0 && q->r->logprobs >= 0 &&
            choice_logprobs((*told)++, en->plan->vocab, &ev, &e)) {
            err_wrap(&e, "prompt token %lld", (long long)i);
            return fail(en, q, &e);
        }
        q->n_echoed++;
        trace_scored(q->trace, &ev);
        int rc = deliver(q->r, &(struct delivery){.ev = &ev}, &en->wakes);
        ASSERT(rc == 0); /* no text in it */
    }
    return true;
}

/* Tells the cache of a position it wants, with the logits there, if the step has them. */
static bool reach(struct engine *en, struct seq *q, int64_t from, const struct batch_want *w,
                  int32_t logit_at)
{
    struct err e = {0};
    int32_t n = batch_logits(w, (int32_t)(q->pos - from)), rc = 0;
    const float *last = NULL;
    if (q->pos != q->cut)
        return true;
    if (n > batch_logits(w, (int32_t)(q->pos - from) - 1))
        rc = en->device->backend->logits(en->device, logit_at + n - 1, &last, &e);
    trace_cut(q->trace, q->pos);
    deliver_wake(&en->wakes);
    if (!rc)
        rc = en->cache.reached(en->cache.arg, q, last, &e);
    if (rc == E_DEVICE) {
        engine_lose(en, &e);
        return false;
    }
    return rc ? fail(en, q, &e) : true;
}

static bool ends(const struct engine *en, const struct request *r, int32_t id)
{
    for (int32_t i = 0; !r->ignore_eos && i < en->n_eos; i++)
        if (en->eos[i] == id)
            return true;
    for (int32_t i = 0; i < r->n_stop_ids; i++)
        if (r->stop_ids[i] == id)
            return true;
    return false;
}

/* The drawn token's bytes through the stop strings; *ready may go out. */
static int feed_text(struct engine *en, struct seq *q, int32_t id, enum finish *finish,
                     size_t *ready, struct err *e)
{
    *ready = 0;
    if (!en->pieces.piece)
        return 0;
    size_t n = 0;
    bool shown = false;
    for (int32_t i = 0; i < q->r->n_shown && en->pieces.shown; i++)
        shown = shown || q->r->shown[i] == id;
    const char *bytes = (shown ? en->pieces.shown : en->pieces.piece)(en->pieces.arg, id, &n);
    if (n > LIMIT_TOKEN_BYTES)
        return err_set(e, E_FORMAT, "token %d has %zu bytes, and %d are allowed", (int)id, n,
                       LIMIT_TOKEN_BYTES);
    if (stop_feed(&q->stop, bytes, n, q->n_output > q->r->min_tokens, ready)) {
        *finish = FINISH_STOP;
        q->r->stopped_by = q->stop.met; /* nobody looks before the end is delivered */
    }
    return 0;
}

/* The event of a token, its text, and the end if this was the last: one delivery. */
static bool give(struct engine *en, struct seq *q, const struct token_event *ev,
                 enum finish finish, size_t ready)
{
    if (finish == FINISH_NONE && q->n_output == q->max_output) {
        finish = FINISH_LENGTH;
        ready = stop_flush(&q->stop);
    }
    struct delivery d = {.ev = ev, .text = q->stop.held.p, .n_text = ready,
                         .n_output = q->n_output, .finish = finish};
    if (finish != FINISH_NONE) {
        engine_finish(en, q, &d);
        return false;
    }
    int rc = deliver(q->r, &d, &en->wakes);
    if (rc) {
        struct err e = {0};
        err_set(&e, rc, "no memory for %zu bytes of text", ready);
        return fail(en, q, &e);
    }
    stop_take(&q->stop, ready);
    return true;
}

/* From a draw to its event and text. It was made from `logits`, or where that is NULL from that row
 * of the step. */
static bool drawn(struct engine *en, struct seq *q, const struct sample_result *told,
                  const float *logits, int32_t row)
{
    struct err e = {0};
    struct token_event ev = {.id = told->id};
    int32_t vocab = en->plan->vocab;
    int rc = sample_check(told->status, vocab, &e);
    if (!rc && (ev.id < 0 || ev.id >= vocab))
        rc = err_set(&e, E_DEVICE, "the device drew token %d of %d", (int)ev.id, (int)vocab);
    if (!rc && q->r->logprobs >= 0)
        rc = choice_logprobs(told, vocab, &ev, &e);
    if (!rc && q->receipt &&
        (rc = engine_receipt_note(en, q, ev.id, logits, row, &e)) == E_DEVICE) {
        engine_lose(en, &e);
        return false;
    }
    if (rc || seq_push(q, ev.id, &e)) {
        err_wrap(&e, "output token %d", (int)q->n_output + 1);
        return fail(en, q, &e);
    }
    seq_drawn(q, told);
    en->stats.output_tokens++;
    trace_drawn(q->trace, ev.id, &ev);
    struct constraint *c = q->r->constraint;
    if (c && !ends(en, q->r, ev.id) && c->ops->accept(c, ev.id, &e))
        return fail(en, q, &e);
    if (ends(en, q->r, ev.id))
        return give(en, q, NULL, FINISH_STOP, stop_flush(&q->stop));
    enum finish finish = FINISH_NONE;
    size_t ready;
    if (feed_text(en, q, ev.id, &finish, &ready, &e))
        return fail(en, q, &e);
    return give(en, q, &ev, finish, ready);
}

/* A constraint that failed, or ended the text, and nothing was drawn. False: neither. */
static bool undrawn(struct engine *en, struct seq *q)
{
    struct err e = q->fault;
    if (e.code)
        return fail(en, q, &e), true;
    return q->ended && (give(en, q, NULL, FINISH_STOP, stop_flush(&q->stop)), true);
}

bool engine_tokens(struct engine *en, struct seq *q, int64_t from, const struct batch_want *w,
                   int32_t logit_at, const struct sample_result *told)
{
    if (!echo(en, q, &told) || !reach(en, q, from, w, logit_at))
        return false;
    if (seq_left(q) > 0)
        return true;
    if (q->max_output == 0) {
        engine_finish(en, q, &(struct delivery){.finish = FINISH_LENGTH});
        return false;
    }
    int32_t row = logit_at + batch_logits(w, (int32_t)(q->pos - from)) - 1;
    return !undrawn(en, q) && drawn(en, q, told, NULL, row);
}

bool engine_draw(struct engine *en, struct seq *q, const float *logits)
{
    int32_t ids[BANNED_MAX];
    engine_prepare(en, q, en->masks);
    if (undrawn(en, q))
        return false;
    struct sample_row row = next_token(en, q, ids, en->masks);
    struct sample_result told;
    sample_choose(&en->sampler, logits, &row, &told);
    return drawn(en, q, &told, logits, -1);
}
