/* Reading generations. Invariant: a choice holds one reference to its gen exactly while its
 * request is armed or a wake-up of it is under way. */
#include "server/api/gen.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/api/responses.h"

/* Events copied out under one hold of the request's lock: 32 x 176 bytes of stack. */
#define TAKE 32
/* What an empty buffer of a stream may keep. */
#define SPARE_BYTES KIB(16)

static void unref(struct gen *g)
{
    if (__atomic_sub_fetch(&g->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (int32_t i = 0; i < g->n_choices; i++) {
        struct choice *c = &g->choices[i];
        request_unref(c->r);
        buf_free(&c->text);
        buf_free(&c->raw);
        buf_free(&c->reasoning);
        buf_free(&c->calls);
        toolcall_free(c->reader);
        for (int k = 0; k < GEN_PARTS; k++)
            buf_free(&c->part[k]);
        ids_free(&c->ids);
        buf_free(&c->receipt);
    }
    for (int32_t i = 0; i < g->n_prompts; i++) {
        ids_free(&g->prompts[i].ids);
        ids_free(&g->prompts[i].marks);
    }
    mem_free(g->choices);
    mem_free(g->prompts);
    params_fini(&g->params);
    grammar_unref(g->grammar);
    toolset_free(g->tools);
    json_decref(g->keep);
    saving_unref(g->saving);
    buf_free(&g->chunk_head);
    waker_unref(g->waker);
    mem_free(g);
}

/* Engine thread, without the request's lock. */
void gen_wake(void *arg)
{
    struct choice *c = arg;
    struct gen *g = c->gen;
    if (!g->params.stream) {
        /* Nobody sees a whole reply before its end: let half a ring gather first. */
        struct request *r = c->r;
        pthread_mutex_lock(&r->lock);
        bool early = r->finish == FINISH_NONE && r->events.len < r->events.cap / 2 &&
                     r->text.len < r->text.max / 4;
        bool rearmed = r->waiting; /* by a reader that came for another choice meanwhile */
        if (early)
            r->waiting = true;
        pthread_mutex_unlock(&r->lock);
        if (early && rearmed)
            unref(g);
        if (early)
            return;
    }
    waker_signal(g->waker, 0);
    unref(g);
}

/* Moves at most TAKE events, and all text, out of the request; arms it when there is nothing.
 * Returns the number of events; *got = anything at all. */
static size_t take(struct choice *c, struct token_event *ev, bool *got, bool *more)
{
    struct request *r = c->r;
    size_t n = 0;
    bool was_full;
    pthread_mutex_lock(&r->lock);
    was_full = r->events.len >= r->events.cap / 2 || r->text.len >= r->text.max / 4;
    while (n < TAKE && ring_pop(&r->events, &ev[n]))
        n++;
    *more = r->events.len > 0;
    *got = n || r->text.len;
    if (r->text.len) {
        buf_add(&c->raw, r->text.p, r->text.len);
        buf_clear(&r->text);
    }
    if (r->finish != FINISH_NONE && !*more) {
        c->finish = r->finish;
        c->n_output = r->n_output;
        c->stopped_by = r->stopped_by < c->gen->params.n_stops ? r->stopped_by : -1;
        c->n_cached = r->n_cached;
        c->n_matched = r->n_matched;
        c->why = r->why;
        buf_free(&c->receipt);
        c->receipt = r->receipt; /* nobody else reads it any more */
        buf_init(&r->receipt, 0);
        c->n_prompt = r->n_context + r->n_prompt;
        if (r->finish == FINISH_ERROR && !c->gen->error.code)
            c->gen->error = r->error;
        *got = true;
    } else if (!*got && !r->waiting) {
        r->waiting = true;
        __atomic_add_fetch(&c->gen->refs, 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&r->lock);
    if (was_full)
        sched_kick(c->gen->served->sched);
    return n;
}

static void score(struct choice *c, const struct token_event *ev)
{
    if (ev->prompt || !ev->has_logprob)
        return;
    c->logprob += (double)ev->logprob;
    c->n_scored++;
}

static void observe(struct choice *c)
{
    struct stats *s = c->gen->stats;
    struct request *r = c->r; /* finished: nobody writes it any more */
    if (!r->t_first_ns || r->finish == FINISH_ERROR)
        return;
    const char *trace = c->gen->facts ? c->gen->facts->trace : NULL;
    stats_observe(&s->first_token, r->t_first_ns - r->t_submit_ns, trace);
    stats_observe(&s->request, r->t_end_ns - r->t_submit_ns, trace);
    if (r->n_output > 1)
        stats_observe(&s->per_token,
                      (r->t_end_ns - r->t_first_ns) / (uint64_t)(r->n_output - 1), trace);
}

static void add(uint64_t *counter, int64_t n)
{
    __atomic_add_fetch(counter, (uint64_t)n, __ATOMIC_RELAXED);
}

/* Nothing more is read: the key gets its share back, and what was used is put down to it. Before
 * the client sees the end, so that its next request finds the share free. */
static void settle(struct gen *g)
{
    if (!g->taken)
        return;
    for (int32_t i = 0; i < g->n_choices; i++) {
        struct request *r = g->choices[i].r;
        if (!r)
            continue;
        pthread_mutex_lock(&r->lock);
        if (r->t_first_ns) {
            add(&g->key->prompt_tokens, r->n_context + r->n_prompt);
            add(&g->key->cached_tokens, r->n_cached);
            add(&g->key->output_tokens, r->n_output);
            key_tokens(g->key, r->n_context + r->n_prompt - r->n_cached + r->n_output);
        }
        pthread_mutex_unlock(&r->lock);
    }
    key_give(g->key, g->taken);
    g->taken = 0;
}

static bool all_read(const struct gen *g)
{
    for (int32_t i = 0; i < g->n_choices; i++)
        if (g->choices[i].finish == FINISH_NONE)
            return false;
    return true;
}

bool gen_read(struct gen *g)
{
    bool any = false;
    for (int32_t i = 0; i < g->n_choices; i++) {
        struct choice *c = &g->choices[i];
        bool got = true, more = true;
        while (more && c->finish == FINISH_NONE) {
            struct token_event ev[TAKE];
            size_t n = take(c, ev, &got, &more);
            for (size_t k = 0; k < n; k++) {
                score(c, &ev[k]);
                if (g->api->token)
                    g->api->token(c, &ev[k]);
                if (!ev[k].prompt && g->params.return_ids && ids_add(&c->ids, ev[k].id))
                    c->text.failed = true;
            }
            any |= got;
            if (c->finish != FINISH_NONE)
                observe(c);
            if (n && g->params.stream)
                break; /* the rest waits as events, which are smaller, for who takes this */
        }
        if (any && gen_split(c, &g->error))
            return true;
        bool failed = c->text.failed || c->raw.failed || c->reasoning.failed || c->calls.failed;
        for (int k = 0; k < GEN_PARTS; k++)
            failed |= c->part[k].failed;
        if (failed && !g->error.code)
            err_set(&g->error, E_NOMEM, "the reply is too large");
        if (c->finish == FINISH_CANCELLED && !g->error.code)
            err_set(&g->error, E_CLOSED, "the request was cancelled");
        if (c->finish == FINISH_ERROR && !g->error.code)
            err_set(&g->error, E_IO, "the generation failed");
    }
    if (!g->saved && !gen_failed(g) && all_read(g)) {
        g->saved = !g->api->save || g->api->save(g);
        any |= g->saved;
    }
    if (gen_done(g))
        settle(g);
    return any;
}

void gen_shrink(struct gen *g)
{
    for (int32_t i = 0; i < g->n_choices; i++) {
        struct choice *c = &g->choices[i];
        struct buf *bufs[] = {&c->raw, &c->text, &c->reasoning, &c->calls};
        for (size_t k = 0; k < ARRAY_LEN(bufs) + GEN_PARTS; k++) {
            struct buf *b = k < GEN_PARTS ? &c->part[k] : bufs[k - GEN_PARTS];
            if (b->len == 0 && b->cap > SPARE_BYTES && !b->failed)
                buf_free(b);
        }
    }
}

size_t gen_bytes(const struct gen *g)
{
    size_t n = 0;
    for (int32_t i = 0; i < g->n_choices; i++) {
        const struct choice *c = &g->choices[i];
        n += c->receipt.cap + c->raw.cap + c->text.cap + c->reasoning.cap + c->calls.cap +
             c->ids.cap * sizeof *c->ids.p;
        for (int k = 0; k < GEN_PARTS; k++)
            n += c->part[k].cap;
    }
    return n;
}

bool gen_failed(const struct gen *g) { return g->error.code != 0; }

bool gen_done(const struct gen *g)
{
    return gen_failed(g) || g->saved;
}

/* Of a choice whose reader has gone, what there is. */
static void facts_of(struct request_facts *f, struct choice *c, bool counts_prompt)
{
    struct request *r = c->r;
    if (!r) { /* a kept answer, or never submitted */
        f->prompt += counts_prompt ? c->n_prompt : 0;
        f->cached += counts_prompt ? c->n_cached : 0;
        f->output += c->n_output;
        return;
    }
    pthread_mutex_lock(&r->lock);
    f->prompt += counts_prompt ? r->n_context + r->n_prompt : 0;
    f->cached += counts_prompt ? r->n_cached : 0;
    f->output += r->n_output;
    if (r->t_admit_ns && !f->queue_ns)
        f->queue_ns = r->t_admit_ns - r->t_submit_ns;
    if (!f->submitted_ns)
        f->submitted_ns = r->t_submit_ns;
    if (r->t_end_ns)
        f->last_ns = MAX(f->last_ns, r->t_end_ns - r->t_submit_ns);
    uint64_t first = r->t_first_ns ? r->t_first_ns - r->t_submit_ns : 0;
    if (first && (!f->first_ns || first < f->first_ns))
        f->first_ns = first;
    pthread_mutex_unlock(&r->lock);
}

static void note_facts(struct gen *g)
{
    struct request_facts *f = g->facts;
    bool submitted = g->n_choices > 0, left = !gen_done(g), error = gen_failed(g), length = false;
    if (!f || f->generated)
        return;
    for (int32_t i = 0; i < g->n_choices; i++) {
        struct choice *c = &g->choices[i];
        facts_of(f, c, i % g->params.n == 0);
        submitted &= c->r || c->finish != FINISH_NONE;
        left |= c->finish == FINISH_CANCELLED;
        error |= c->finish == FINISH_ERROR;
        length |= c->finish == FINISH_LENGTH;
    }
    f->finish = left ? "cancelled" : error ? "error" : length ? "length" : "stop";
    f->generated = submitted;
    if (submitted)
        stats_generation(g->stats, f);
}

void gen_end(struct gen *g)
{
    if (!g)
        return;
    note_facts(g);
    for (int32_t i = 0; i < g->n_choices; i++) {
        struct choice *c = &g->choices[i];
        if (!c->r)
            continue;
        pthread_mutex_lock(&c->r->lock);
        bool armed = c->r->waiting;
        bool over = c->r->finish != FINISH_NONE;
        c->r->waiting = false; /* from here on it never wakes; unless that is under way */
        pthread_mutex_unlock(&c->r->lock);
        if (!over)
            sched_cancel(g->served->sched, c->r);
        if (armed)
            unref(g);
    }
    settle(g);
    if (g->ticket)
        session_release(g->served->cache, &g->tenant, &g->session, g->ticket);
    __atomic_sub_fetch(&g->stats->generations, 1, __ATOMIC_RELAXED);
    unref(g);
}
