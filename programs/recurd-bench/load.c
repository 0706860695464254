/* A load: conversations started by a schedule that is fixed before the first one.
 *
 * Thread: one. Invariant: a run ends when no conversation is left and no start is due. */
#include "programs/recurd-bench/load.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "programs/recurd-bench/conv.h"

#define SCRATCH_BYTES MIB(64)
/* A dead server must not turn a closed loop into a spin. */
#define REFUSED_PAUSE_NS (100 * NS_PER_MS)
#define PROGRESS_NS NS_PER_S
/* A burst of starts is cut in pieces, between which replies are read: a connect on loopback takes
 * up to 0.1 ms, so that no reading waits more than 2 ms for it. */
#define STARTS_A_TURN 16
#define RESTART_LIMIT_S 300 /* loading a large model takes minutes */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    if (interrupted) {
        (void)signal(sig, SIG_DFL); /* it cannot fail for these signals */
        (void)raise(sig);
    }
    interrupted = 1;
}

void load_catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART: the wait must end */
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe after the table is not our crash */
}

bool load_interrupted(void)
{
    return interrupted != 0;
}

struct plan plan_from_args(const struct args *a)
{
    return (struct plan){
        .closed = a->closed,
        .concurrency = a->concurrency,
        .rate = a->rate,
        .ramped = a->ramp != NULL,
        .traced = a->trace != NULL,
        .requests = (size_t)a->requests,
        .duration_s = a->duration,
        .warmup_s = a->warmup,
        .progress = a->progress,
    };
}

/* The state of load_run that conv.c does not see. */
struct engine {
    struct load l;
    struct schedule starts; /* open: of conversations; closed: of workers */
    size_t next_start, started;
    size_t pending_workers; /* pausing after a refused connection */
    struct timer start_timer, progress_timer, drain_timer, pause_timer;
    bool draining;
};

static uint64_t conv_id(const struct engine *g, size_t i)
{
    const struct plan *p = g->l.plan;
    return p->first_conv + (p->order ? p->order[i] : i);
}

static bool more_convs(const struct engine *g, uint64_t now)
{
    const struct plan *p = g->l.plan;
    if (g->l.stopping || (p->requests && g->started >= p->requests))
        return false;
    return !(p->duration_s > 0) || (double)(now - g->l.t0) < p->duration_s * (double)NS_PER_S;
}

static void start_one(struct engine *g, uint64_t t_sched)
{
    if (conv_start(&g->l, conv_id(g, g->started), t_sched))
        g->l.run->skipped_turns++;
    g->started++;
}

static void on_start(struct timer *t, uint64_t now)
{
    struct engine *g = t->arg;
    const struct plan *p = g->l.plan;
    int left = STARTS_A_TURN;
    while (g->next_start < g->starts.n && g->l.t0 + g->starts.at_ns[g->next_start] <= now &&
           left--) {
        uint64_t at = g->l.t0 + g->starts.at_ns[g->next_start++];
        if (!p->closed || more_convs(g, now))
            start_one(g, at);
    }
    /* Due ones again in the next turn: a timer for now + 1 ns fires after the network was seen. */
    if (g->next_start < g->starts.n &&
        timer_set(&g->l.pool->timers, t,
                  MAX(now + 1, g->l.t0 + g->starts.at_ns[g->next_start])))
        g->next_start = g->starts.n; /* no memory for a timer: what remains was not sent */
}

static void on_pause_over(struct timer *t, uint64_t now)
{
    struct engine *g = t->arg;
    size_t n = g->pending_workers;
    g->pending_workers = 0;
    while (n-- && more_convs(g, now))
        start_one(g, now);
}

void load_conv_ended(struct load *l, bool refused)
{
    struct engine *g = (struct engine *)l; /* l is its first member */
    uint64_t now = clock_now_ns();
    if (!l->plan->closed || !more_convs(g, now))
        return;
    if (!refused) {
        start_one(g, now);
        return;
    }
    g->pending_workers++;
    g->pause_timer.fire = on_pause_over;
    g->pause_timer.arg = g;
    if (!g->pause_timer.pos &&
        timer_set(&l->pool->timers, &g->pause_timer, now + REFUSED_PAUSE_NS))
        g->pending_workers = 0; /* no memory for a timer: these workers are gone */
}

static int build_starts(struct engine *g, struct err *e)
{
    const struct plan *p = g->l.plan;
    const struct args *a = g->l.a;
    struct ramp ramp = {0};
    if (p->ramped)
        ramp = a->ramp_parsed;
    if (p->traced) {
        const struct trace *t = &g->l.w->trace;
        size_t n = p->requests ? MIN(p->requests, t->n) : t->n;
        g->starts.at_ns = mem_array(n, sizeof *g->starts.at_ns);
        if (!g->starts.at_ns)
            return err_set(e, E_NOMEM, "no memory for %zu arrivals", n);
        for (size_t i = 0; i < n; i++) {
            double at = (double)t->rows[i].at_ns * a->trace_scale;
            if (p->duration_s > 0 && at >= p->duration_s * (double)NS_PER_S)
                break;
            g->starts.at_ns[g->starts.n++] = (uint64_t)at;
        }
        return 0;
    }
    if (!p->closed)
        return schedule_build(&g->starts, a->arrivals, a->burstiness, p->rate, &ramp, p->requests,
                              p->duration_s, (uint64_t)a->seed, e);
    /* Worker k starts when the ramp reaches k workers; without a ramp all start at once. */
    size_t n = (size_t)p->concurrency;
    g->starts.at_ns = mem_array(n, sizeof *g->starts.at_ns);
    if (!g->starts.at_ns)
        return err_set(e, E_NOMEM, "no memory for %zu workers", n);
    double t = 0;
    for (size_t k = 0; k < n; k++) {
        while (p->ramped && ramp_at(&ramp, 0, t) < (double)(k + 1) && t < 1e5)
            t += 0.001;
        g->starts.at_ns[g->starts.n++] = (uint64_t)(t * (double)NS_PER_S);
    }
    return 0;
}

/* --- progress --- */

static void on_progress(struct timer *t, uint64_t now)
{
    struct engine *g = t->arg;
    struct load *l = &g->l;
    static uint64_t last_outputs; /* of the previous tick; one run at a time */
    if (l->n_outputs < last_outputs)
        last_outputs = 0;
    fprintf(stderr, "\r\033[K%.0f s  sent %llu  done %llu  failed %llu  open %zu  %llu tok/s",
            (double)(now - l->t0) / 1e9, (unsigned long long)l->n_sent,
            (unsigned long long)l->n_ok, (unsigned long long)l->n_failed, l->in_flight,
            (unsigned long long)(l->n_outputs - last_outputs));
    if (l->ttft_n)
        fprintf(stderr, "  ttft %.0f ms", l->ttft_sum_ms / (double)l->ttft_n);
    fflush(stderr);
    last_outputs = l->n_outputs;
    l->ttft_sum_ms = 0;
    l->ttft_n = 0;
    if (timer_set(&l->pool->timers, t, now + PROGRESS_NS))
        return; /* without memory for it the run goes on silently */
}

/* --- restart-then-resume --- */

static int restart(struct engine *g, struct err *e)
{
    struct load *l = &g->l;
    uint64_t t = clock_now_ns();
    pool_drop_idle(l->pool);
    int rc = system(l->a->restart);
    if (rc == -1 || !WIFEXITED(rc) || WEXITSTATUS(rc))
        return err_set(e, E_IO, "the restart command ended with status %d",
                       rc == -1 ? -1 : WEXITSTATUS(rc));
    for (;;) {
        struct err ignored = {0};
        int status = pool_fetch(l->pool, "GET", "/v1/models", NULL, 5, NULL, &ignored);
        if (status == 200)
            break;
        if (interrupted || clock_now_ns() - t > RESTART_LIMIT_S * NS_PER_S)
            return err_set(e, E_IO, "the server does not answer after its restart: %s",
                           status < 0 ? ignored.text : "not with status 200");
        pool_turn(l->pool, clock_now_ns() + 50 * NS_PER_MS);
    }
    uint64_t now = clock_now_ns(), first = UINT64_MAX;
    l->run->restart_ns = now - t;
    l->restarted = true;
    for (struct conv *c = l->parked; c; c = c->next_waiting)
        first = MIN(first, c->offset_ns);
    for (struct conv *c = l->parked, *next; c; c = next) {
        next = c->next_waiting;
        /* The second turns come in the rhythm of the first ones. */
        c->t_sched = now + (c->offset_ns - first);
        c->rest.arg = c;
        if (timer_set(&l->pool->timers, &c->rest, c->t_sched))
            return err_set(e, E_NOMEM, "no memory for a timer");
    }
    l->parked = NULL;
    l->n_parked = 0;
    return 0;
}

static void on_resume(struct timer *t, uint64_t now)
{
    (void)now;
    conv_go(t->arg);
}

static void on_drain(struct timer *t, uint64_t now)
{
    (void)now;
    struct engine *g = t->arg;
    conv_stop_all(&g->l);
}

/* Turns of the loop until nothing is left to do. */
static int turn_until_done(struct engine *g, struct err *e)
{
    struct load *l = &g->l;
    for (;;) {
        if (interrupted && !l->stopping) {
            l->run->interrupted = true;
            g->next_start = g->starts.n;
            timer_clear(&l->pool->timers, &g->start_timer);
            conv_stop_all(l);
        }
        uint64_t now = clock_now_ns();
        bool starts_over = g->next_start >= g->starts.n && !(l->plan->closed && more_convs(g, now));
        if (starts_over && !l->n_convs && !(g->pending_workers && more_convs(g, now)))
            return 0;
        if (starts_over && l->n_parked && l->n_parked == l->n_convs && !l->restarted) {
            for (struct conv *c = l->parked; c; c = c->next_waiting)
                c->rest.fire = on_resume;
            int rc = restart(g, e);
            if (rc) {
                conv_stop_all(l);
                return rc;
            }
            continue;
        }
        if (starts_over && !g->draining && !l->n_parked) {
            g->draining = true;
            g->drain_timer = (struct timer){.fire = on_drain, .arg = g};
            if (timer_set(&l->pool->timers, &g->drain_timer,
                          now + (uint64_t)(l->a->drain * (double)NS_PER_S)))
                conv_stop_all(l);
        }
        if (l->plan->closed && !l->n_convs && !g->pending_workers && g->next_start >= g->starts.n)
            return 0; /* every worker is gone: starts failed for want of memory */
        /* Not for ever: a signal may come between the check above and the wait. */
        pool_turn(l->pool, clock_now_ns() + NS_PER_S);
        l->run->peak_conns = MAX(l->run->peak_conns, l->pool->n_open);
    }
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int load_run(struct pool *pool, const struct workload *w, const char *model,
             const struct plan *plan, struct run *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    struct engine *g = mem_zalloc(sizeof *g);
    if (!g)
        return err_set(e, E_NOMEM, "no memory for a run");
    struct load *l = &g->l;
    *l = (struct load){.pool = pool, .w = w, .a = w->a, .plan = plan, .model = model, .run = out};
    buf_init(&l->scratch, SCRATCH_BYTES);
    int rc = build_starts(g, e);
    if (rc)
        goto out;
    out->planned = plan->closed ? plan->requests : g->starts.n;
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    memset(&pool->self, 0, sizeof pool->self);
    out->unix_start = clock_unix_s();
    pool->t_woke = 0;
    l->t0 = clock_now_ns();
    g->start_timer = (struct timer){.fire = on_start, .arg = g};
    g->progress_timer = (struct timer){.fire = on_progress, .arg = g};
    if ((g->starts.n && timer_set(&pool->timers, &g->start_timer, l->t0 + g->starts.at_ns[0])) ||
        (plan->progress && timer_set(&pool->timers, &g->progress_timer, l->t0 + PROGRESS_NS))) {
        rc = err_set(e, E_NOMEM, "no memory for a timer");
        goto out;
    }
    rc = turn_until_done(g, e);
    while (l->n_convs) /* stopped: the cancelled requests still have to be told */
        pool_turn(pool, clock_now_ns());
    out->wall_ns = clock_now_ns() - l->t0;
    getrusage(RUSAGE_SELF, &after);
    out->cpu_user_s = seconds(after.ru_utime) - seconds(before.ru_utime);
    out->cpu_sys_s = seconds(after.ru_stime) - seconds(before.ru_stime);
    out->self = pool->self;
    if (plan->progress)
        fputs("\r\033[K", stderr);
out:
    timer_clear(&pool->timers, &g->start_timer);
    timer_clear(&pool->timers, &g->progress_timer);
    timer_clear(&pool->timers, &g->drain_timer);
    timer_clear(&pool->timers, &g->pause_timer);
    schedule_free(&g->starts);
    buf_free(&l->scratch);
    mem_free(g);
    return rc;
}

void run_free(struct run *r)
{
    record_free_all(&r->records);
}
