/* A shared store that answers late, never, and in time again: who waits for it, and who does not.
 * What is late a limit says that the test sets, not how fast this machine is. */
#include "tests/unit/redis_rig.h"

#define LONG 600

static struct waiting *waiting_of(struct fake *f) { return &f->sc->shared->store[0].waiting; }

/* Until the store is waited for, or not any more, by what the background asks. */
static void until_waited_for(struct fake *f, bool wanted)
{
    for (int i = 0; i < 3000 && fake_shared_stats(f).waited_for != wanted; i++) {
        nap();
        statecache_tick(f->sc);
    }
    cr_assert_eq(fake_shared_stats(f).waited_for, wanted);
}

/* Every answer is late, or none can be. */
static void late_from_now_on(struct fake *f)
{
    waiting_of(f)->limit_ns = 1;
    until_waited_for(f, false);
}
static void timely_from_now_on(struct fake *f)
{
    waiting_of(f)->limit_ns = 3600 * NS_PER_S;
    until_waited_for(f, true);
}

/* A prompt whose tokens take so long each, with those of others before it; -> the tokens that were
 * computed. */
static int64_t asks_behind(struct fake *f, const int32_t *t, int32_t n, uint64_t token_ns,
                           int64_t before, int32_t others)
{
    struct run r;
    uint64_t ask = 0;
    run_init(&r, f, t, n, 3);
    r.ask = &ask;
    r.token_ns = token_ns;
    r.before = before;
    r.others = others;
    int64_t computed = run_all(&r, 100);
    run_free(&r);
    return computed;
}

static int64_t asks(struct fake *f, const int32_t *t, int32_t n, uint64_t token_ns)
{
    return asks_behind(f, t, n, token_ns, 0, 0);
}

/* Every answer has taken so long, a state thrice that; none is waited for beyond the limit. */
static void answers_take(struct fake *f, uint64_t seconds, uint64_t limit)
{
    waiting_of(f)->limit_ns = limit * NS_PER_S;
    for (int i = 0; i < WAITING_KEPT; i++)
        waiting_answered(waiting_of(f), seconds * NS_PER_S, true, clock_now_ns());
}

/* The prompt of this seed, whose states a has put into the store. */
static const int32_t *put_by(struct fake *a, int32_t *t, uint64_t seed)
{
    fake_tokens(t, LONG, seed);
    cr_expect_eq(fake_asks(a, t, LONG), LONG);
    return t;
}

/* It is not tried again before that: each try takes two seconds of a test that has one thread. */
static void retry_at(struct fake *f, uint64_t ns)
{
    struct shared *h = f->sc->shared;
    h->store[0].in.retry_ns = h->store[0].out.retry_ns = h->records.retry_ns = ns;
    h->store[0].out.up = h->records.up = false;
}

static bool opened(struct rig *r, struct fake *a, struct fake *b)
{
    *r = (struct rig){0};
    if (!rig_open(r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return false;
    }
    cache_open(a, r, false);
    cache_open(b, r, false);
    return true;
}

static void closed(struct rig *r, struct fake *a, struct fake *b)
{
    fake_fini(a);
    fake_fini(b);
    rig_close(r);
}

Test(late_store, is_not_waited_for_until_it_answers_in_time)
{
    struct rig r;
    struct fake a, b;
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    until_waited_for(&b, true);
    late_from_now_on(&b);
    for (uint64_t seed = 1; seed < 4; seed++) {
        cr_expect_eq(fake_asks(&b, put_by(&a, t, seed), LONG), LONG,
                     "nobody waits, and nobody has to find out");
    }
    struct shared_stats s = fake_shared_stats(&b);
    cr_expect_eq(s.waits_skipped, 3);
    cr_expect_eq(s.waits_late + s.waits_hit + s.waits_miss, 0);
    cr_expect(s.up, "states go there all the same");
    timely_from_now_on(&b);
    cr_expect_eq(fake_asks(&b, put_by(&a, t, 9), LONG), 0);
    cr_expect_eq(fake_shared_stats(&b).waits_hit, 1);
    closed(&r, &a, &b);
}

Test(late_store, is_asked_without_anybody_waiting)
{
    struct rig r;
    struct fake a, b;
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    until_waited_for(&b, true);
    late_from_now_on(&b);
    cr_expect_eq(fake_asks(&b, put_by(&a, t, 1), LONG), LONG);
    for (int i = 0; i < 3000 && !fake_shared_stats(&b).hits; i++) {
        nap();
        statecache_tick(b.sc);
    }
    cr_expect_eq(fake_shared_stats(&b).hits, 1, "what it had to say is taken");
    fake_tokens(t, LONG, 2);
    clock_fake_set(MIN(clock_now_ns(), b.sc->shared->store[0].unwaited_ns + NS_PER_S / 2));
    cr_expect_eq(fake_asks(&b, t, LONG), LONG);
    clock_fake_set(0);
    cr_expect_eq(fake_shared_stats(&b).misses, 0, "once a second is enough");
    closed(&r, &a, &b);
}

Test(late_store, that_says_nothing_costs_one_wait)
{
    struct rig r;
    struct fake a, b;
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    for (uint64_t seed = 1; seed < 4; seed++) {
        fake_tokens(t, LONG, seed);
        cr_expect_eq(fake_asks(&a, t, LONG), LONG);
    }
    until_waited_for(&b, true);
    waiting_of(&b)->limit_ns = 20 * NS_PER_MS; /* nothing answers in any time: how short is no */
    b.sc->shared->wait_ms[0] = 20;             /* question of speed */
    kill(r.redis, SIGSTOP);
    waiting_of(&b)->heard_ns = clock_now_ns(); /* the request comes before the next PING */
    waiting_of(&b)->n = 0;
    retry_at(&b, UINT64_MAX);
    fake_tokens(t, LONG, 1);
    cr_expect_eq(fake_asks(&b, t, LONG), LONG);
    cr_expect_eq(fake_shared_stats(&b).waits_late, 1);
    cr_expect_not(fake_shared_stats(&b).waited_for);
    retry_at(&b, UINT64_MAX);
    fake_tokens(t, LONG, 2);
    cr_expect_eq(fake_asks(&b, t, LONG), LONG);
    cr_expect_eq(fake_shared_stats(&b).waits_late, 1, "the others do not wait");
    kill(r.redis, SIGCONT);
    retry_at(&b, 0);
    b.sc->shared->wait_ms[0] = 3600 * 1000;
    timely_from_now_on(&b);
    fake_tokens(t, LONG, 3);
    cr_expect_eq(fake_asks(&b, t, LONG), 0);
    closed(&r, &a, &b);
}

Test(late_store, is_waited_for_where_that_pays)
{
    struct rig r;
    struct fake a, b;
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    until_waited_for(&b, true);
    answers_take(&b, 1200, 7200);
    cr_expect_eq(asks(&b, put_by(&a, t, 1), LONG, 5 * NS_PER_S), LONG,
                 "3,000 s are computed sooner");
    cr_expect_eq(fake_shared_stats(&b).waits_skipped, 1);
    cr_expect_eq(asks(&b, put_by(&a, t, 2), LONG, 7 * NS_PER_S), 0, "4,200 s are not");
    cr_expect_eq(asks(&b, put_by(&a, t, 3), LONG, 0), 0, "nor what is not known");
    cr_expect_eq(fake_shared_stats(&b).waits_skipped, 1);
    cr_expect_eq(fake_shared_stats(&b).waits_hit, 2);
    closed(&r, &a, &b);
}

/* As long as others are computed before it, nothing is lost by waiting. */
Test(late_store, is_waited_for_while_others_are_computed)
{
    struct rig r;
    struct fake a, b;
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    until_waited_for(&b, true);
    answers_take(&b, 1200, 7200);
    cr_expect_eq(asks_behind(&b, put_by(&a, t, 1), LONG, 5 * NS_PER_S, 100, 1), LONG,
                 "3,500 s of an hour");
    cr_expect_eq(asks_behind(&b, put_by(&a, t, 4), LONG, 2900 * NS_PER_MS, 100000, 1), LONG,
                 "3,480 s: a long one does not keep it waiting for longer than it takes itself");
    cr_expect_eq(asks_behind(&b, put_by(&a, t, 2), LONG, 5 * NS_PER_S, 130, 1), 0, "3,650 s");
    cr_expect_eq(asks_behind(&b, put_by(&a, t, 3), LONG, 2900 * NS_PER_MS, 100000, 2), 0,
                 "5,220 s");
    cr_expect_eq(fake_shared_stats(&b).waits_hit, 2);
    cr_expect_eq(fake_shared_stats(&b).waits_skipped, 2);
    closed(&r, &a, &b);
}

/* Who waits together would be computed one after the other: each waits as long as that took it. */
Test(late_store, those_who_wait_are_before_those_who_come)
{
    enum { N = 3 };
    struct rig r;
    struct fake a, b;
    struct run run[N];
    uint64_t ask[N] = {0}, now = clock_now_ns();
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    until_waited_for(&b, true);
    waiting_of(&b)->limit_ns = 36000 * NS_PER_S;
    b.sc->shared->wait_ms[0] = 36000 * 1000;
    waiting_answered(waiting_of(&b), NS_PER_S, true, now);
    for (int i = 0; i < N; i++) {
        fake_tokens(t, LONG, (uint64_t)i + 1);
        run_init(&run[i], &b, t, LONG, 3);
        run[i].ask = &ask[i];
        run[i].token_ns = 10 * NS_PER_S;
        cr_expect_not(run_step(&run[i], 100)); /* asked, and nothing can answer yet */
    }
    now = clock_now_ns();
    uint64_t next = shared_waits_over(b.sc, now);
    cr_expect(next > now + 5900 * NS_PER_S && next <= now + 6000 * NS_PER_S);
    next = shared_waits_over(b.sc, now + 6000 * NS_PER_S);
    cr_expect(next > now + 11900 * NS_PER_S && next <= now + 12000 * NS_PER_S);
    next = shared_waits_over(b.sc, now + 12000 * NS_PER_S);
    cr_expect(next > now + 17900 * NS_PER_S && next <= now + 18000 * NS_PER_S);
    cr_expect_eq(fake_shared_stats(&b).waits_late, N - 1);
    for (int i = 0; i < N; i++) {
        cr_expect_eq(run_all(&run[i], 100), LONG);
        run_free(&run[i]);
    }
    closed(&r, &a, &b);
}

/* Answers come one after the other: who comes to a line waits for all of it. */
Test(late_store, a_line_of_questions_is_waited_for_where_that_pays)
{
    struct rig r;
    struct fake a, b;
    struct run first;
    uint64_t ask = 0;
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    until_waited_for(&b, true);
    b.sc->shared->wait_ms[0] = 36000 * 1000;
    answers_take(&b, 1200, 36000);
    fake_tokens(t, LONG, 1);
    run_init(&first, &b, t, 100, 3);
    first.ask = &ask;
    first.token_ns = 40 * NS_PER_S;
    cr_expect_not(run_step(&first, 100)); /* 4,000 s, for 3,600 */
    fake_tokens(t, LONG, 2);
    cr_expect_eq(asks(&b, t, 100, 35 * NS_PER_S), 100, "7,000 s, for 7,200");
    cr_expect_eq(fake_shared_stats(&b).waits_skipped, 1);
    cr_expect_eq(run_all(&first, 100), 100);
    run_free(&first);
    closed(&r, &a, &b);
}

/* What the state is, is known before its bytes are: then it may be too far away. */
Test(late_store, a_state_that_takes_too_long_is_for_the_next_one)
{
    struct rig r;
    struct fake a, b;
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    until_waited_for(&b, true);
    waiting_of(&b)->byte_ns = 3600e9;
    fake_tokens(t, LONG, 1);
    cr_expect_eq(fake_asks(&a, t, LONG), LONG);
    (void)fake_asks(&b, t, LONG); /* it was let go, and may find it all the same */
    cr_expect_eq(fake_shared_stats(&b).waits_late, 1);
    cr_expect_eq(fake_shared_stats(&b).waits_hit, 0);
    cr_expect_eq(fake_shared_stats(&b).hits, 1, "it came, and is kept");
    cr_expect_eq(fake_asks(&b, t, LONG), 0);
    closed(&r, &a, &b);
}

/* A turn cannot do without the session's record, however late; without its state it can. */
Test(late_store, sessions_go_on)
{
    struct rig r;
    struct fake a, b;
    struct session_info s;
    static const struct tenant_tag none;
    int32_t t[LONG];
    if (!opened(&r, &a, &b))
        return;
    fake_tokens(t, LONG, 1);
    until_waited_for(&b, true);
    statecache_tick(a.sc), statecache_tick(b.sc); /* the third connection */
    cr_assert_eq(session_create(a.sc, &none, 0, &s, NULL), 0);
    cr_expect_eq(fake_turn(&a, &s.id, t, 200, 5), 200);
    late_from_now_on(&b);
    cr_expect_eq(fake_turn(&b, &s.id, t, 100, 5), 305, "its tokens are in the record");
    cr_expect_eq(fake_shared_stats(&b).waits_skipped, 1);
    cr_expect_eq(fake_turn(&a, &s.id, t, 50, 5), 50);
    cr_assert_eq(session_look(b.sc, &none, &s.id, &s, NULL), 0);
    cr_expect(s.position == 365 && s.turns == 3 && s.shared);
    closed(&r, &a, &b);
}
