/* The life of one sequence. Engine thread. Invariants: see the header; seq_check asserts them
 * after every transition, because a wrong position is a wrong answer to somebody. */
#include "scheduler/seq.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/plan.h"
#include "scheduler/choice.h"

/* Output tokens the history has room for at once; more doubles it. */
#define FIRST_OUTPUT 256
#define COUNTED 1024 /* tokens of a session that are looked at together */

void seq_check(const struct seq *q)
{
    ASSERT(q->r && q->phase != SEQ_DONE);
    ASSERT((q->phase == SEQ_WAIT) == (q->slot < 0));
    ASSERT(q->first >= 0 && q->first <= q->start && q->start <= q->n_history);
    ASSERT(q->first <= q->pos && q->pos <= q->n_history);
    ASSERT(q->n_history - q->first <= q->cap_history);
    ASSERT(q->n_history == q->n_prompt + q->n_output && q->n_output <= q->max_output);
    ASSERT(q->n_echoed >= 0 && q->n_echoed <= q->n_prompt);
    ASSERT(q->phase != SEQ_DECODE || (seq_left(q) == 1 && q->n_output > 0));
    ASSERT(q->n_pages == 0 || (int64_t)q->n_pages * PAGE_TOKENS >= q->pos);
}

/* What the penalties and DRY keep in mind. */
static int look_back(struct seq *q, const struct sampling *p, int32_t vocab,
                     const struct piece_source *pieces, struct err *e)
{
    int rc = dry_init(&q->dry, p, vocab, pieces, e);
    if (rc || !choice_penalises(p))
        return rc;
    rc = tally_init(&q->seen, vocab, p->presence_penalty, p->frequency_penalty, e);
    return rc || p->repeat_last_n <= 0 ? rc : tally_limit(&q->seen, p->repeat_last_n, e);
}

static void look_at(struct seq *q, const int32_t *ids, int64_t n)
{
    tally_prompt(&q->seen, ids, n);
    dry_see(&q->dry, ids, n);
}

int seq_begin(struct seq *q, struct request *r, int32_t vocab, const struct piece_source *pieces,
              int64_t positions, struct err *e)
{
    *q = (struct seq){.r = r, .phase = SEQ_WAIT, .slot = -1, .pages = q->pages,
                      .n_prompt = r->n_prompt};
    int64_t room = positions - r->n_prompt;
    ASSERT(r->n_prompt > 0 && room >= 0);
    q->max_output = (int32_t)MIN(room, (int64_t)MAX(r->max_tokens, 0));
    q->n_echoed = r->prompt_logprobs ? 0 : q->n_prompt;
    int rc = stop_init(&q->stop, (const char (*)[LIMIT_STOP_BYTES + 1])r->stops, r->n_stops, e);
    if (rc == 0)
        rc = look_back(q, &r->sampling, vocab, pieces, e);
    q->mu = 2 * (double)r->sampling.mirostat_tau;
    q->cap_history = q->n_prompt + MIN(q->max_output, FIRST_OUTPUT);
    if (rc == 0) {
        q->history = mem_array((size_t)q->cap_history, sizeof *q->history);
        if (!q->history)
            rc = err_set(e, E_NOMEM, "no memory for a history of %lld tokens",
                         (long long)q->cap_history);
    }
    if (rc) {
        seq_end(q);
        return rc;
    }
    memcpy(q->history, r->prompt, (size_t)q->n_prompt * sizeof *q->history);
    q->n_history = q->n_prompt;
    look_at(q, q->history, q->n_prompt);
    seq_check(q);
    return 0;
}

void seq_end(struct seq *q)
{
    ASSERT(q->slot < 0 && q->n_pages == 0 && !q->receipt && !q->row);
    stop_fini(&q->stop);
    tally_fini(&q->seen);
    dry_fini(&q->dry);
    mem_free(q->history);
    trace_free(q->trace);
    request_unref(q->r);
    *q = (struct seq){.slot = -1, .pages = q->pages};
}

/* What the session said before counts as the prompt does. */
static void count_before(struct seq *q, int64_t n,
                         void (*copy)(void *arg, int64_t from, int64_t to, int32_t *out),
                         void *arg)
{
    int32_t some[COUNTED];
    if (n == 0 || !seq_looks_back(q))
        return;
    tally_clear(&q->seen);
    dry_clear(&q->dry);
    for (int64_t at = 0; at < n; at += COUNTED) {
        int64_t to = MIN(n, at + COUNTED);
        copy(arg, at, to, some);
        look_at(q, some, to - at);
    }
    look_at(q, q->r->prompt, q->r->n_prompt);
}

int seq_continue(struct seq *q, int64_t n, int64_t start,
                 void (*copy)(void *arg, int64_t from, int64_t to, int32_t *out), void *arg,
                 int64_t positions, struct err *e)
{
    ASSERT(q->pos == 0 && q->n_output == 0 && start <= n + q->n_prompt);
    int64_t n_prompt = n + q->n_prompt, room = positions - n_prompt;
    if (room < (q->max_output > 0))
        return err_field(e, E_RANGE, "session", "session and prompt have %lld tokens, and the "
                         "model takes %lld with the answer", (long long)n_prompt,
                         (long long)positions);
    int64_t first = MIN(start, n), context = n - first;
    int64_t cap = n_prompt - first + MIN(MIN(room, (int64_t)q->max_output), FIRST_OUTPUT);
    int32_t *history = mem_array((size_t)cap, sizeof *history);
    if (!history)
        return err_set(e, E_NOMEM, "no memory for a history of %lld tokens", (long long)cap);
    if (context > 0)
        copy(arg, first, n, history);
    memcpy(history + context, q->history, (size_t)q->n_prompt * sizeof *history);
    mem_free(q->history);
    q->history = history;
    q->cap_history = cap;
    q->first = first;
    q->pos = q->start = start;
    q->n_echoed += n; /* what a session said before is never echoed */
    q->n_history = q->n_prompt = n_prompt;
    q->max_output = (int32_t)MIN(room, (int64_t)q->max_output);
    count_before(q, n, copy, arg);
    seq_check(q);
    return 0;
}

int seq_push(struct seq *q, int32_t id, struct err *e)
{
    if (q->n_history - q->first == q->cap_history) {
        int64_t cap = MIN(2 * q->cap_history, q->n_prompt - q->first + q->max_output);
        int32_t *p = mem_realloc(q->history, (size_t)cap * sizeof *p);
        if (!p)
            return err_set(e, E_NOMEM, "no memory for a history of %lld tokens", (long long)cap);
        q->history = p;
        q->cap_history = cap;
    }
    q->history[q->n_history++ - q->first] = id;
    q->n_output++;
    q->ready = NULL;
    tally_output(&q->seen, id);
    dry_see(&q->dry, &id, 1);
    seq_check(q);
    return 0;
}

void seq_shape(struct seq *q)
{
    q->shaped = choice_shape(&q->r->sampling, q->n_history, &q->shape);
    q->shape.mu = q->mu;
    if (!q->dry.p)
        return;
    q->shape.n_repeats = dry_repeats(&q->dry);
    q->shape.repeats = q->dry.edits;
    q->shaped = q->shaped || q->shape.n_repeats > 0;
}

struct sample_row seq_row(const struct seq *q)
{
    struct sample_row r = choice_draw(&q->r->sampling, &q->seen, q->n_history);
    r.shape = q->shaped ? &q->shape : NULL;
    return r;
}

void seq_drawn(struct seq *q, const struct sample_result *told)
{
    if (q->shaped && q->shape.mirostat)
        q->mu -= (double)q->r->sampling.mirostat_eta *
                 (told->surprise - (double)q->r->sampling.mirostat_tau);
}

void seq_settle(struct seq *q, size_t room)
{
    struct batch_want w;
    ASSERT(q->slot >= 0);
    if (room == 0 || (seq_left(q) > 0 && !seq_want(q, INT64_MAX, room, &w)))
        q->phase = SEQ_HELD;
    else
        q->phase = seq_left(q) == 1 && q->n_output > 0 ? SEQ_DECODE : SEQ_PREFILL;
    seq_check(q);
}

void seq_lose_slot(struct seq *q, bool kept)
{
    ASSERT(q->n_pages == 0);
    q->slot = -1;
    if (!kept)
        q->pos = q->start;
    if (seq_left(q) > 0) /* else start was the end of the text, and its logits are still there */
        q->ready = NULL;
    q->phase = SEQ_WAIT;
    seq_check(q);
}

bool seq_want(const struct seq *q, int64_t cut, size_t room, struct batch_want *w)
{
    ASSERT(cut > q->pos);
    int64_t left = seq_left(q), most = MIN(cut - q->pos, left);
    if (q->n_echoed < q->n_prompt) {
        /* After n rows the events of the prompt tokens up to pos + n are due, and one of a drawn
         * token: (pos + n - n_echoed + 1) + 1 <= room. */
        most = MIN(most, (int64_t)room - 2 + q->n_echoed - q->pos);
    }
    if (left == 0 || room == 0 || most < 1)
        return false;
    bool scored = q->r->prompt_logprobs && q->r->logprobs >= 0;
    int64_t to = scored ? q->n_prompt - 1 - q->pos : 0;
    *w = (struct batch_want){
        .left = (int32_t)MIN(left, INT32_MAX),
        .most = (int32_t)MIN(most, INT32_MAX),
        /* Row i gives the logprob of token pos + i + 1; the first token has none. */
        .score_from = (int32_t)MIN(MAX(q->n_echoed - 1 - q->pos, 0), INT32_MAX),
        .score_to = (int32_t)MAX(MIN(to, INT32_MAX), 0),
        .draws = q->max_output > 0 && left <= INT32_MAX,
        .whole = (int32_t)MIN(left + q->ran, INT32_MAX),
        .had = q->steps,
        .decode = left == 1 && q->n_output > 0,
    };
    return true;
}

bool seq_reader(struct seq *q, size_t room, uint64_t now, uint64_t stall_ns)
{
    size_t ring = q->r->events.cap;
    bool stuck = q->phase == SEQ_HELD ? room == 0 : q->stalled && room < ring / 2;
    /* After a frozen time a clock that leaves it out may be a moment behind what it said before. */
    uint64_t since = now > q->looked_ns ? now - q->looked_ns : 0;
    q->looked_ns = now;
    if (q->stuck) {
        q->held_ns += since;
        q->silent_ns += since;
    }
    if (!stuck || room > q->room)
        q->silent_ns = 0;
    q->stuck = stuck;
    q->room = room;
    if (q->told != q->n_output + q->n_echoed)
        q->moved_ns = now;
    q->told = q->n_output + q->n_echoed;
    /* As much again for every ring that was read: a rate over the whole request. */
    uint64_t rings = (uint64_t)MAX(q->n_output - (int64_t)ring, 0) / ring;
    return !stall_ns || (q->silent_ns <= stall_ns && q->held_ns <= stall_ns * (1 + rings));
}

void seq_too_slow(const struct seq *q, struct err *e)
{
    err_set(e, E_TIMEOUT, "the reader was too slow: it let %llu ms pass without room for another "
            "token, of %d that were there", (unsigned long long)(q->held_ns / NS_PER_MS),
            (int)q->n_output);
}
