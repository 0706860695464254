/* A scheduler without a thread on the fake device, readers that take what they are given, and
 * the text each request must get, computed alone from the definition. */
#ifndef RECURD_SCHED_RIG_H
#define RECURD_SCHED_RIG_H

#include <criterion/criterion.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/rng.h"
#include "scheduler/sched_int.h"
#include "tests/unit/fake_backend.h"

#define RIG_VOCAB 97
#define RIG_EOS 3
#define RIG_TOKENS 4096

static struct fake fake;
static struct model model;
static struct sched *sched;

/* Bytes of a token: letters; from 90 on the halves of e-acute, so characters span tokens. */
static const char *rig_piece(const void *arg, int32_t id, size_t *len)
{
    static char letters[RIG_VOCAB][2];
    (void)arg;
    *len = id != RIG_EOS;
    letters[id][0] = (char)(id < 90 ? 'a' + id % 26 : id % 2 ? '\xA9' : '\xC3');
    return letters[id];
}

static inline void rig_open_cached(struct sched_options o, const struct engine_cache *cache)
{
    struct piece_source pieces = {.piece = rig_piece};
    struct err e = {0};
    fake_open(&fake, RIG_VOCAB,
              (struct capacity){.tokens = o.step_tokens, .logits = o.logit_rows, .slots = o.slots,
                                .seqs = o.slots, .pages = o.pages,
                                .pages_per_seq = o.pages_per_seq});
    model = (struct model){.plan = fake.plan, .eos = {RIG_EOS}, .n_eos = 1};
    cr_assert_eq(sched_init(&sched, &model, &fake.base, &pieces, cache, &o, &e), 0, "%s", e.text);
}

static inline void rig_open(struct sched_options o)
{
    rig_open_cached(o, NULL);
}

#define RIG_DEFAULT ((struct sched_options){.slots = 16, .queue = 64, .step_tokens = 64, \
                                            .logit_rows = 16})

static inline void rig_close(void)
{
    sched_close(sched);
    cr_assert_not(fake.broken, "the engine broke a promise about batches");
    fake_close(&fake);
}

/* A random prompt of n tokens; eos is ignored so that lengths are known. */
static inline struct request *rig_request(uint64_t seed, int32_t n, int32_t max_tokens)
{
    struct rng r = {.seed = seed};
    struct request *q = request_new();
    cr_assert_not_null(q);
    q->prompt = mem_array((size_t)MAX(n, 1), sizeof *q->prompt);
    q->n_prompt = n;
    for (int32_t i = 0; i < n; i++)
        q->prompt[i] = (int32_t)rng_below(&r, RIG_VOCAB);
    q->max_tokens = max_tokens;
    q->ignore_eos = true;
    q->sampling.seed = seed;
    return q;
}

static inline struct request *rig_submit(struct request *r)
{
    struct err e = {0};
    cr_assert_eq(sched_submit(sched, r, &e), 0, "%s", e.text);
    return r;
}

/* What a reader got. */
struct rig_reply {
    int32_t n, n_prompt, ids[RIG_TOKENS];
    float logprobs[RIG_TOKENS];
    char text[4 * RIG_TOKENS];
    size_t n_text;
};

/* Takes at most max events, and all the text. */
static inline void rig_read(struct request *r, struct rig_reply *out, size_t max)
{
    struct token_event ev;
    pthread_mutex_lock(&r->lock);
    while (max-- > 0 && ring_pop(&r->events, &ev)) {
        cr_assert(!ev.prompt || out->n == out->n_prompt, "a prompt event after an output event");
        cr_assert_lt(out->n, RIG_TOKENS);
        out->n_prompt += ev.prompt;
        out->logprobs[out->n] = ev.has_logprob ? ev.logprob : NAN;
        out->ids[out->n++] = ev.id;
    }
    cr_assert(r->text.len < sizeof out->text - out->n_text);
    if (r->text.len)
        memcpy(out->text + out->n_text, r->text.p, r->text.len + 1);
    out->n_text += r->text.len;
    buf_clear(&r->text);
    pthread_mutex_unlock(&r->lock);
}

/* Turns until all n requests have finished, reading in between. */
static inline void rig_run(struct request **r, struct rig_reply *out, int n)
{
    for (int turn = 0, left = 1; left; turn++) {
        cr_assert_lt(turn, 100000, "the scheduler does not come to an end");
        sched_turn(sched);
        left = 0;
        for (int i = 0; i < n; i++) {
            rig_read(r[i], &out[i], SIZE_MAX);
            left += r[i]->finish == FINISH_NONE;
        }
    }
}

/* The next token of a text, from the definition. */
static inline int32_t rig_next(const struct request *r, const int32_t *text, int64_t n,
                               struct tally *seen)
{
    static struct sampler s;
    static float row[RIG_VOCAB];
    uint64_t hash = 0;
    struct sample_result told;
    if (!s.vocab)
        cr_assert_eq(sample_init(&s, RIG_VOCAB, NULL), 0);
    for (int64_t i = 0; i < n; i++)
        hash = fake_next(hash, text[i]);
    fake_row(hash, RIG_VOCAB, row);
    struct sample_row ask = choice_draw(&r->sampling, seen, n);
    sample_choose(&s, row, &ask, &told);
    cr_assert_eq(told.status, SAMPLE_OK);
    return told.id;
}

/* Asserts that the reply's output is what the request gets alone (eos ignored, no stops). */
static inline void rig_check(const struct request *r, const struct rig_reply *got)
{
    static int32_t text[RIG_TOKENS];
    struct tally seen;
    cr_assert_eq(tally_init(&seen, RIG_VOCAB, r->sampling.presence_penalty,
                            r->sampling.frequency_penalty, NULL), 0);
    tally_prompt(&seen, r->prompt, r->n_prompt);
    memcpy(text, r->prompt, (size_t)r->n_prompt * sizeof *text);
    cr_assert_eq(got->n - got->n_prompt, r->n_output);
    for (int32_t i = 0; i < r->n_output; i++) {
        int64_t n = r->n_prompt + i;
        text[n] = rig_next(r, text, n, &seen);
        tally_output(&seen, text[n]);
        cr_assert_eq(got->ids[got->n_prompt + i], text[n], "token %d", (int)i);
    }
    tally_fini(&seen);
}

#endif
