/* From rows of logits to events and text: the engine's half after the device. Engine thread.
 *
 * Decisions users can see:
 *  - eos and stop ids end the text and are counted in n_output, as in the usage of other servers,
 *    but are neither text nor an event; a token that completes a stop string is an event.
 *  - before min_tokens, eos and stop ids cannot be drawn and stop strings do not count; text from
 *    before is never part of a stop string. With ignore_eos, eos is a token like any other.
 *  - a row that is not finite ends its own request and no other. */
#include "scheduler/deliver.h"
#include "scheduler/engine.h"

static bool fail(struct engine *en, struct seq *q, const struct err *e)
{
    engine_finish(en, q, &(struct delivery){.finish = FINISH_ERROR, .error = e});
    return false;
}

/* The prompt's own tokens, as far as the state has seen: token i with the row of token i - 1. */
static bool echo(struct engine *en, struct seq *q, int64_t from, const struct batch_want *w,
                 int32_t logit_at)
{
    struct err e = {0};
    while (q->n_echoed < q->n_prompt && q->n_echoed <= q->pos) {
        int64_t i = q->n_echoed;
        struct token_event ev = {.id = q->history[i], .prompt = true};
        if (i > 0 && q->r->logprobs >= 0) {
            int32_t row = logit_at + batch_logits(w, (int32_t)(i - 1 - from));
            const float *logits = en->device->backend->logits(en->device, row);
            if (sample_logprobs(&en->sampler, logits, q->r->logprobs, &ev, &e)) {
                err_wrap(&e, "prompt token %lld", (long long)i);
                return fail(en, q, &e);
            }
        }
        q->n_echoed++;
        int rc = deliver(q->r, &(struct delivery){.ev = &ev});
        ASSERT(rc == 0); /* no text in it */
    }
    return true;
}

bool engine_tokens(struct engine *en, struct seq *q, int64_t from, const struct batch_want *w,
                   int32_t logit_at)
{
    int32_t n = (int32_t)(q->pos - from);
    const float *last = NULL;
    if (batch_logits(w, n) > batch_logits(w, n - 1))
        last = en->device->backend->logits(en->device, logit_at + batch_logits(w, n) - 1);
    if (!echo(en, q, from, w, logit_at))
        return false;
    if (en->cache->reached && (q->pos == q->n_prompt || q->pos == q->cut)) {
        struct err e = {0};
        if (en->cache->reached(en->cache->arg, q, last, &e))
            return fail(en, q, &e);
    }
    if (seq_left(q) > 0)
        return true;
    if (q->max_output == 0) {
        engine_finish(en, q, &(struct delivery){.finish = FINISH_LENGTH});
        return false;
    }
    return engine_draw(en, q, last);
}

/* Ids that may not be drawn now. */
static int32_t banned(const struct engine *en, const struct seq *q, int32_t *ids)
{
    int32_t n = 0;
    if (q->n_output >= q->r->min_tokens)
        return 0;
    for (int32_t i = 0; !q->r->ignore_eos && i < en->n_eos; i++)
        ids[n++] = en->eos[i];
    for (int32_t i = 0; i < q->r->n_stop_ids; i++)
        ids[n++] = q->r->stop_ids[i];
    return n;
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
    const char *bytes = en->pieces.piece(en->pieces.arg, id, &n);
    if (n > LIMIT_TOKEN_BYTES)
        return err_set(e, E_FORMAT, "token %d has %zu bytes, and %d are allowed", (int)id, n,
                       LIMIT_TOKEN_BYTES);
    if (stop_feed(&q->stop, bytes, n, q->n_output > q->r->min_tokens, ready))
        *finish = FINISH_STOP;
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
    int rc = deliver(q->r, &d);
    if (rc) {
        struct err e = {0};
        err_set(&e, rc, "no memory for %zu bytes of text", ready);
        return fail(en, q, &e);
    }
    stop_take(&q->stop, ready);
    return true;
}

bool engine_draw(struct engine *en, struct seq *q, const float *logits)
{
    struct err e = {0};
    int32_t not_now[MODEL_EOS_MAX + LIMIT_STOP_IDS];
    struct sample_in in = {.logits = logits, .params = &q->r->sampling, .seen = &q->seen,
                           .banned = not_now, .n_banned = banned(en, q, not_now),
                           .pos = q->n_history};
    struct token_event ev = {0};
    if (sample_token(&en->sampler, &in, &ev.id, &e) ||
        (q->r->logprobs >= 0 &&
         sample_logprobs(&en->sampler, logits, q->r->logprobs, &ev, &e)) ||
        seq_push(q, ev.id, &e)) {
        err_wrap(&e, "output token %d", (int)q->n_output + 1);
        return fail(en, q, &e);
    }
    en->stats.output_tokens++;
    if (ends(en, q->r, ev.id))
        return give(en, q, NULL, FINISH_STOP, stop_flush(&q->stop));
    enum finish finish = FINISH_NONE;
    size_t ready;
    if (feed_text(en, q, ev.id, &finish, &ready, &e))
        return fail(en, q, &e);
    return give(en, q, &ev, finish, ready);
}
