/* Many threads against the scheduler, for the thread sanitizer: submit, cancel, read, kick, drain,
 * stats, all at once. A plain program: the unit-test framework does not survive that sanitizer.
 *
 * Usage: race_sched [rounds]. Exit 0 = every request that was accepted ended exactly once, every
 * reader was woken, and every reference came back. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "scheduler/sched_int.h"
#include "tests/unit/fake_backend.h"

#define VOCAB 97
#define CLIENTS 6
#define REQUESTS 40 /* of each client in a round */
#define OPEN 8      /* at once */

#define CHECK(x) ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), abort()))

static struct sched *scheduler;
static _Atomic int ends[5], refused, receipts;
static const struct receipt_origin origin = {.numerics = "fake/1", .vocab = VOCAB};

/* One reader sleeping on its own condition, as a suspended connection does. */
struct reader {
    struct request *r;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool woken;
    int n_wakes, n_armed;
};

static void wake(void *arg)
{
    struct reader *w = arg;
    pthread_mutex_lock(&w->lock);
    w->woken = true;
    w->n_wakes++;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static struct request *make(struct rng *rng, struct reader *w)
{
    struct request *r = request_new();
    CHECK(r);
    r->n_prompt = 1 + (int32_t)rng_below(rng, 40);
    r->prompt = mem_array((size_t)r->n_prompt, sizeof *r->prompt);
    CHECK(r->prompt);
    for (int32_t i = 0; i < r->n_prompt; i++)
        r->prompt[i] = (int32_t)rng_below(rng, VOCAB);
    r->max_tokens = (int32_t)rng_below(rng, rng_below(rng, 8) ? 30 : 2 * LIMIT_EVENTS);
    r->logprobs = (int32_t)rng_below(rng, 4) - 1;
    r->prompt_logprobs = rng_below(rng, 4) == 0;
    r->ignore_eos = rng_below(rng, 2);
    r->sampling.seed = rng_next(rng);
    r->sampling.presence_penalty = (float)rng_below(rng, 2);
    if (rng_below(rng, 4) == 0)
        r->deadline_ns = clock_now_ns() + rng_below(rng, 20) * NS_PER_MS;
    r->wants_receipt = rng_below(rng, 3) == 0;
    r->receipt_ids = rng_below(rng, 2);
    r->wake = wake;
    r->wake_arg = w;
    return r;
}

/* Takes what is there. True: the end. Otherwise `waiting` is armed. */
static bool take(struct reader *w)
{
    struct token_event ev;
    pthread_mutex_lock(&w->r->lock);
    bool full = w->r->events.len == w->r->events.cap;
    while (ring_pop(&w->r->events, &ev))
        CHECK(ev.id >= 0 && ev.id < VOCAB);
    buf_clear(&w->r->text);
    bool end = w->r->finish != FINISH_NONE;
    w->r->waiting = !end;
    w->n_armed += !end;
    pthread_mutex_unlock(&w->r->lock);
    if (full)
        sched_kick(scheduler);
    return end;
}

static void read_to_end(struct reader *w, struct rng *rng)
{
    bool cancels = rng_below(rng, 4) == 0;
    while (!take(w)) {
        if (cancels && rng_below(rng, 3) == 0)
            sched_cancel(scheduler, w->r);
        pthread_mutex_lock(&w->lock);
        while (!w->woken)
            pthread_cond_wait(&w->cond, &w->lock);
        w->woken = false;
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_lock(&w->lock);
    CHECK(w->n_wakes <= w->n_armed);
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_lock(&w->r->lock);
    ends[w->r->finish]++;
    bool whole = w->r->finish == FINISH_STOP || w->r->finish == FINISH_LENGTH;
    CHECK((w->r->wants_receipt && whole) == (w->r->receipt.len > 0));
    receipts += whole && w->r->wants_receipt;
    CHECK(w->r->t_end_ns >= w->r->t_submit_ns);
    pthread_mutex_unlock(&w->r->lock);
}

static void *client(void *arg)
{
    struct rng rng = {.seed = (uint64_t)(uintptr_t)arg};
    for (int done = 0; done < REQUESTS; done += OPEN) {
        struct reader w[OPEN];
        for (int i = 0; i < OPEN; i++) {
            w[i] = (struct reader){.r = NULL};
            pthread_mutex_init(&w[i].lock, NULL);
            pthread_cond_init(&w[i].cond, NULL);
            w[i].r = make(&rng, &w[i]);
            struct err e = {0};
            int rc = sched_submit(scheduler, w[i].r, &e);
            CHECK(rc == 0 || rc == E_BUSY || rc == E_CLOSED || rc == E_RANGE);
            if (rc) {
                refused++;
                request_unref(w[i].r);
                w[i].r = NULL;
            }
        }
        for (int i = 0; i < OPEN; i++) {
            if (w[i].r) {
                read_to_end(&w[i], &rng);
                request_unref(w[i].r);
            }
        }
        /* The engine may still be inside a wake it began before the end was read. */
        while (!sched_idle(scheduler))
            sched_yield();
        for (int i = 0; i < OPEN; i++) {
            pthread_mutex_destroy(&w[i].lock);
            pthread_cond_destroy(&w[i].cond);
        }
    }
    return NULL;
}

static _Atomic bool stop_watching;

static void *watch(void *arg)
{
    (void)arg;
    while (!stop_watching) {
        struct sched_stats st;
        sched_stats(scheduler, &st);
        CHECK(st.running >= 0 && st.slots_used <= st.slots_total);
        sched_kick(scheduler);
        CHECK(!sched_device_lost(scheduler));
        sched_yield();
    }
    return NULL;
}

static void round_of(int round, bool drains)
{
    struct sched_options o = {.slots = 8, .queue = 24, .step_tokens = 64, .logit_rows = 16,
                              .pages = round % 2 ? 40 : 0, .pages_per_seq = round % 2 ? 10 : 0,
                              .origin = &origin, .receipt_rows = 1 + round,
                              .receipt_threads = 2};
    struct fake f;
    struct err e = {0};
    pthread_t clients[CLIENTS], watcher;
    fake_open(&f, VOCAB, (struct capacity){.tokens = 64, .logits = 16, .slots = 8, .seqs = 8,
                                           .pages = o.pages, .pages_per_seq = o.pages_per_seq});
    struct model m = {.plan = f.plan, .eos = {3}, .n_eos = 1};
    CHECK(sched_open(&scheduler, &m, &f.base, &o, &e) == 0);
    stop_watching = false;
    pthread_create(&watcher, NULL, watch, NULL);
    for (int i = 0; i < CLIENTS; i++)
        pthread_create(&clients[i], NULL, client, (void *)(uintptr_t)(round * 100 + i + 1));
    if (drains)
        sched_drain(scheduler);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    stop_watching = true;
    pthread_join(watcher, NULL);
    struct sched_stats st;
    sched_stats(scheduler, &st);
    CHECK(st.requests == st.finished + st.cancelled + st.failed + st.timeouts);
    CHECK(st.slots_used == 0 && st.running == 0 && st.waiting == 0 && st.failed == 0);
    CHECK(!f.broken);
    sched_close(scheduler);
    fake_close(&f);
}

/* Closing while clients are still busy: they all hear of it. */
static void close_in_the_middle(void)
{
    struct sched_options o = {.slots = 4, .queue = 64, .step_tokens = 16, .logit_rows = 4,
                              .origin = &origin};
    struct fake f;
    struct err e = {0};
    fake_open(&f, VOCAB, (struct capacity){.tokens = 16, .logits = 4, .slots = 4, .seqs = 4});
    struct model m = {.plan = f.plan};
    struct request *r[32];
    struct rng rng = {.seed = 5};
    CHECK(sched_open(&scheduler, &m, &f.base, &o, &e) == 0);
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        r[i] = make(&rng, NULL);
        r[i]->wake = NULL;
        CHECK(sched_submit(scheduler, r[i], &e) == 0);
    }
    sched_close(scheduler);
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        CHECK(r[i]->finish != FINISH_NONE && r[i]->refs == 1);
        request_unref(r[i]);
    }
    fake_close(&f);
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 4;
    for (int i = 0; i < rounds; i++) {
        round_of(i, i % 4 == 3);
        close_in_the_middle();
    }
    printf("race_sched: %d stopped, %d at length, %d cancelled, %d late, %d refused, %d receipts\n",
           ends[FINISH_STOP], ends[FINISH_LENGTH], ends[FINISH_CANCELLED], ends[FINISH_ERROR],
           refused, receipts);
    CHECK(receipts > 0);
    return 0;
}
