/* What a request costs with the cache, and that every state it hands out is of the right tokens.
 * Every run of the fake engine compares its logits with a run from nothing. */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "tests/unit/fake_cache.h"

static struct fake f;
static int32_t a[6000], b[6000];

static void open_plain(void)
{
    fake_init(&f, false, 4, 0);
    fake_open(&f);
    fake_tokens(a, 6000, 1);
    fake_tokens(b, 6000, 2);
}
static void open_paged(void)
{
    fake_init(&f, true, 4, 400);
    fake_open(&f);
    fake_tokens(a, 6000, 1);
    fake_tokens(b, 6000, 2);
}
static void close_fake(void) { fake_fini(&f); }

TestSuite(cost, .init = open_plain, .fini = close_fake);
TestSuite(hybrid, .init = open_paged, .fini = close_fake);

/* The prompt a[0, keep) + b[keep, n). */
static int32_t *mixed(int64_t keep, int64_t n)
{
    static int32_t out[6000];
    memcpy(out, a, (size_t)keep * sizeof(*out));
    memcpy(out + keep, b + keep, (size_t)(n - keep) * sizeof(*out));
    if (keep < n && out[keep] == a[keep])
        out[keep] = (out[keep] + 1) % FAKE_VOCAB;
    return out;
}

Test(cost, the_same_prompt_again_computes_nothing)
{
    cr_assert_eq(fake_serve(&f, a, 2000, 3), 2000);
    cr_assert_eq(fake_serve(&f, a, 2000, 3), 0);
    cr_assert_eq(fake_serve(&f, a, 2000, 3), 0);
}

Test(cost, appending_computes_the_new_tokens)
{
    cr_assert_eq(fake_serve(&f, a, 2000, 1), 2000);
    cr_assert_eq(fake_serve(&f, mixed(2000, 2050), 2050, 1), 50);
}

Test(cost, changes_at_the_end_compute_little_more_than_the_changes)
{
    cr_assert_eq(fake_serve(&f, a, 2000, 1), 2000);
    cr_assert_leq(fake_serve(&f, mixed(1800, 2000), 2000, 1), 264);
    cr_assert_leq(fake_serve(&f, mixed(1000, 2000), 2000, 1), 1320);
}

Test(cost, a_shared_system_prompt_is_found_by_the_third_request)
{
    int32_t p[1600];
    memcpy(p, a, 1500 * sizeof(*p));
    for (int i = 0; i < 6; i++) {
        fake_tokens(p + 1500, 100, 100 + (uint64_t)i);
        p[1500] = i; /* they part exactly there */
        int64_t computed = fake_serve(&f, p, 1600, 2);
        cr_assert_eq(computed, i == 0 ? 1600 : i == 1 ? 1600 - 1472 : 100, "request %d: %lld", i,
                     (long long)computed);
    }
}

/* A prompt that begins while another one runs that shares its first tokens. */
static void meet(int32_t shared, int64_t cut, bool waits)
{
    struct run first, second;
    int32_t p[300];
    fake_tokens(p, 300, 50 + (uint64_t)shared);
    run_init(&first, &f, p, 300, 1);
    cr_assert(run_step(&first, 0));
    p[shared] = (p[shared] + 1) % FAKE_VOCAB;
    run_init(&second, &f, p, 300, 1);
    cr_expect_eq(run_step(&second, 0), !waits, "%d tokens in common", shared);
    cr_expect_eq(statecache_cut(f.sc, first.t, 0), cut, "%d tokens in common", shared);
    cr_assert(run_step(&first, 100));
    int64_t computed = run_all(&second, 50);
    cr_expect_eq(computed, waits ? 300 - shared : 300, "%d in common: %d", shared, (int)computed);
    cr_expect_eq(run_all(&first, 50), 300);
    run_free(&first);
    run_free(&second);
}

Test(cost, nobodys_prompt_is_cut_for_a_few_tokens_in_common)
{
    meet(1, 64, false); /* a token that begins every text */
    meet(31, 64, false);
    meet(32, 32, true);
}

Test(cost, message_boundaries_help_from_the_second_request_on)
{
    for (int i = 0; i < 3; i++) {
        struct run r;
        int32_t p[1600];
        memcpy(p, a, 1500 * sizeof(*p));
        fake_tokens(p + 1500, 100, 100 + (uint64_t)i);
        run_init(&r, &f, p, 1600, 1);
        r.marks[r.n_marks++] = 1490;
        int64_t computed = run_all(&r, 512);
        cr_assert(i == 0 ? computed == 1600 : computed <= 110, "%lld", (long long)computed);
        run_free(&r);
    }
}

Test(cost, concurrent_requests_on_a_warm_prefix_compute_their_own_tokens)
{
    struct run r[4], first;
    int32_t p[840];
    run_init(&first, &f, a, 800, 1);
    cr_assert_eq(run_all(&first, 100), 800);
    int32_t answer = first.path[800];
    run_free(&first);
    for (int i = 0; i < 4; i++) {
        memcpy(p, a, 800 * sizeof(*p));
        fake_tokens(p + 800, 40, 50 + (uint64_t)i);
        p[800] = (answer + 1 + i) % FAKE_VOCAB; /* none goes on as the answer did */
        run_init(&r[i], &f, p, 840, 5);
    }
    for (int i = 0; i < 400; i++)
        run_step(&r[i % 4], 16);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(run_all(&r[i], 16), 40);
        run_free(&r[i]);
    }
}

Test(cost, concurrent_requests_compute_a_new_prefix_once)
{
    struct run r[4];
    int32_t p[840];
    int64_t all = 0;
    for (int i = 0; i < 4; i++) {
        memcpy(p, a, 800 * sizeof(*p));
        fake_tokens(p + 800, 40, 70 + (uint64_t)i);
        p[800] = (i + 1) % FAKE_VOCAB == 0 ? 0 : i + 1; /* below: none goes on as the answer did */
        p[800] = i;
        run_init(&r[i], &f, p, 840, 5);
    }
    for (int i = 0; i < 800; i++)
        run_step(&r[i % 4], 16);
    for (int i = 0; i < 4; i++) {
        int64_t computed = run_all(&r[i], 16);
        cr_assert_geq(computed, 0);
        all += computed;
        run_free(&r[i]);
    }
    cr_assert_eq(all, 800 + 4 * 40, "%lld tokens computed", (long long)all);
    struct statecache_stats s;
    statecache_stats(f.sc, &s);
    cr_assert_gt(s.waits, 0);
}

Test(cost, who_waits_for_a_cancelled_request_goes_on_alone)
{
    struct run r[2];
    run_init(&r[0], &f, a, 2000, 1);
    run_init(&r[1], &f, a, 2000, 1);
    for (int i = 0; i < 10; i++) {
        run_step(&r[0], 16);
        run_step(&r[1], 16);
    }
    cr_assert_eq(r[1].phase, RUN_WAIT);
    run_drop(&r[0]);
    int64_t computed = run_all(&r[1], 100);
    cr_assert(computed > 1500 && computed <= 2000, "%lld", (long long)computed);
    run_free(&r[0]);
    run_free(&r[1]);
}

Test(cost, sessions_round_robin_on_few_slots_compute_only_new_tokens)
{
    struct session_info s[16];
    struct err e = {0};
    struct tenant_tag none = {0};
    for (int i = 0; i < 16; i++) {
        cr_assert_eq(session_create(f.sc, &none, 0, &s[i], &e), 0);
        cr_assert_eq(fake_turn(&f, &s[i].id, a + i * 7, 458, 8), 458);
    }
    for (int turn = 0; turn < 3; turn++)
        for (int i = 0; i < 16; i++)
            cr_assert_eq(fake_turn(&f, &s[i].id, b + i * 50 + turn, 50, 8), 50);
}

Test(cost, a_rewound_session_computes_little_again)
{
    struct session_info s;
    struct err e = {0};
    struct tenant_tag none = {0};
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    cr_assert_eq(fake_turn(&f, &s.id, a, 1007, 8), 1007);
    cr_assert_eq(session_rewind(f.sc, &none, &s.id, 1007, -1, 0, &s, &e), 0);
    cr_assert_eq(fake_turn(&f, &s.id, b, 13, 4), 13); /* 1007 is the end of a prompt */
    cr_assert_eq(session_rewind(f.sc, &none, &s.id, 1000, -1, 0, &s, &e), 0);
    int64_t computed = fake_turn(&f, &s.id, b, 20, 4);
    cr_assert(computed >= 20 && computed <= 80, "%lld", (long long)computed);
}

Test(cost, a_fresh_request_computes_everything)
{
    struct run r;
    fake_serve(&f, a, 500, 1);
    run_init(&r, &f, a, 500, 2);
    r.fresh = true;
    cr_assert_eq(run_all(&r, 64), 500);
    run_free(&r);
}

Test(cost, nobody_waits_for_one_that_computes_everything)
{
    struct run r[2];
    run_init(&r[0], &f, a, 500, 2);
    run_init(&r[1], &f, a, 500, 2);
    r[0].fresh = true;
    run_step(&r[0], 16);
    run_step(&r[0], 16); /* and then its reader stalls */
    cr_assert_eq(run_all(&r[1], 64), 500);
    cr_assert_eq(run_all(&r[0], 64), 500);
    run_free(&r[0]);
    run_free(&r[1]);
}

static void swap_out(struct run *r)
{
    bool kept = false;
    cr_assert_eq(statecache_capture(f.sc, r->t, CAPTURE_SWAP, r->pos, r->slot, r->table, NULL,
                                    &kept, &r->err), 0);
    cr_assert(kept);
    memset(f.dev.slots[r->slot], 1, sizeof(f.dev.slots[r->slot]));
}

static void swap_in(struct run *r)
{
    int32_t other = slots_take(&f.slots); /* it comes back to another slot */
    slots_put(&f.slots, r->slot);
    r->slot = other;
    cr_assert_eq(statecache_restore(f.sc, r->t, r->slot, r->table, &r->err), 0);
}

Test(cost, preempted_sequences_come_back_where_they_were)
{
    struct run r;
    run_init(&r, &f, a, 900, 40);
    for (int i = 0; i < 60; i++) {
        run_step(&r, 50);
        if (i % 7 == 3 && r.phase == RUN_PREFILL && r.pos < r.n_path) {
            swap_out(&r);
            swap_in(&r);
        }
    }
    cr_assert_eq(run_all(&r, 50), 900, "%d wrong", r.wrong);
    run_free(&r);
}

Test(cost, what_a_preempted_sequence_planned_is_kept)
{
    struct run r;
    int32_t p[960];
    run_init(&r, &f, a, 900, 40);
    r.marks[r.n_marks++] = 490;
    run_step(&r, 50);
    run_step(&r, 50);
    swap_out(&r);
    swap_in(&r);
    cr_assert_eq(run_all(&r, 50), 900);
    run_free(&r);
    memcpy(p, a, sizeof(p));
    for (int at = 900; at >= 490; at -= 410) { /* the prompt's end, the end of a message */
        p[at] = (p[at] + 1) % FAKE_VOCAB;
        cr_assert_eq(fake_serve(&f, p, 960, 1), 960 - at, "at %d", at);
    }
}

Test(cost, nobody_waits_for_one_that_was_preempted)
{
    struct run r[2];
    for (int i = 0; i < 2; i++)
        run_init(&r[i], &f, a, 500, 2);
    run_step(&r[0], 50);
    run_step(&r[0], 50);
    swap_out(&r[0]);
    cr_assert_geq(run_all(&r[1], 64), 400); /* or fails after so many steps without an end */
    swap_in(&r[0]);
    cr_assert_geq(run_all(&r[0], 64), 0, "%d wrong", r[0].wrong);
    for (int i = 0; i < 2; i++)
        run_free(&r[i]);
    cr_assert_eq(fake_serve(&f, a, 500, 1), 0);
}

Test(cost, misses_have_reasons)
{
    struct statecache_stats s;
    fake_serve(&f, a, 10, 1);
    fake_serve(&f, a, 500, 1);
    fake_serve(&f, mixed(40, 300), 300, 1);
    fake_serve(&f, b, 300, 1);
    statecache_stats(f.sc, &s);
    cr_assert_eq(s.misses[MISS_TOO_SHORT], 1);
    cr_assert_eq(s.misses[MISS_TOKENS_DIVERGED], 1);
    cr_assert_eq(s.misses[MISS_NO_CHECKPOINT], 2);
    cr_assert_eq(s.hits, 0);
}

Test(cost, the_budget_of_ram_is_never_exceeded)
{
    statecache_close(f.sc);
    f.o.ram_bytes = 40 * (FAKE_STATE * 4 + FAKE_VOCAB * 4);
    fake_open(&f);
    struct statecache_stats s;
    for (int i = 0; i < 40; i++) {
        int64_t computed = fake_serve(&f, a + i * 3, 700 + i, 30);
        cr_assert_geq(computed, 0);
        statecache_stats(f.sc, &s);
        cr_assert_leq(s.bytes[TIER_RAM], f.o.ram_bytes);
    }
    cr_assert_gt(s.evictions[TIER_RAM], 0);
    fake_serve(&f, a, 700, 1);
    statecache_stats(f.sc, &s);
    cr_assert_geq(s.misses[MISS_EVICTED] + s.hits, 1);
}

Test(cost, parked_states_stay_in_slots_until_they_are_needed)
{
    statecache_close(f.sc);
    f.o.park_slots = 3;
    fake_open(&f);
    struct statecache_stats s;
    cr_assert_eq(fake_serve(&f, a, 300, 4), 300);
    cr_assert_eq(fake_serve(&f, b, 300, 4), 300);
    statecache_stats(f.sc, &s);
    cr_assert_eq(s.entries[TIER_DEVICE], 2);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(fake_serve(&f, a + i, 200 + i, 2) > 0, true);
    cr_assert_eq(fake_serve(&f, a, 300, 4), 0);
    statecache_stats(f.sc, &s);
    cr_assert_leq(s.entries[TIER_DEVICE], 3);
}

Test(cost, a_slot_is_given_back_without_the_pages_of_its_state)
{
    fake_fini(&f);
    fake_init(&f, true, 4, 400);
    f.o.park_slots = 3;
    fake_open(&f);
    cr_assert_eq(fake_serve(&f, a, 300, 4), 300);
    int32_t free_slots = f.slots.n_free;
    int64_t before = f.dev.page_reads;
    cr_assert(statecache_reclaim_slot(f.sc));
    cr_assert_eq(f.slots.n_free, free_slots + 1);
    cr_assert_eq(f.dev.page_reads, before, "an engine that waits for pages makes no steps");
    cr_assert(statecache_reclaim_pages(f.sc, f.pages.n_free + 1), "they go when others need them");
    cr_assert_gt(f.dev.page_reads, before);
    cr_assert_eq(fake_serve(&f, a, 300, 4), 0);
}

/* Whatever allocation fails: a request may fail, a state may not be kept, nothing else. */
static void starve(bool paged)
{
    for (uint64_t k = 1; k < 400; k++) {
        fake_fini(&f);
        fake_init(&f, paged, 4, 200);
        fake_open(&f);
        fake_serve(&f, a, 300, 3);
        struct run r[2];
        run_init(&r[0], &f, mixed(150, 400), 400, 5);
        run_init(&r[1], &f, a, 330, 5);
        mem_fail_at(k);
        for (int i = 0; i < 60; i++)
            run_step(&r[i % 2], 50);
        mem_fail_at(0);
        for (int i = 0; i < 2; i++) {
            run_all(&r[i], 50);
            cr_assert_eq(r[i].wrong, 0, "allocation %llu", (unsigned long long)k);
            run_free(&r[i]);
        }
        cr_assert_geq(fake_serve(&f, a, 350, 3), 0, "allocation %llu", (unsigned long long)k);
        for (struct tenant *t = f.sc->tenants; t; t = t->next)
            cr_assert(prefix_check(&f.sc->prefix, t->root));
        cr_assert_eq(f.slots.n_free, 4);
    }
}

Test(cost, any_allocation_may_fail) { starve(false); }
Test(hybrid, any_allocation_may_fail) { starve(true); }

Test(hybrid, pages_are_shared_and_restored)
{
    cr_assert_eq(fake_serve(&f, a, 1000, 5), 1000);
    cr_assert_eq(fake_serve(&f, a, 1000, 5), 0);
    cr_assert_eq(fake_serve(&f, mixed(1000, 1100), 1100, 5), 100);
    cr_assert_leq(fake_serve(&f, mixed(800, 1000), 1000, 5), 264);
}

Test(hybrid, a_shortage_of_pages_moves_them_to_ram)
{
    fake_fini(&f);
    fake_init(&f, true, 4, 40); /* 2,560 tokens in all */
    fake_open(&f);
    for (int i = 0; i < 12; i++)
        cr_assert_eq(fake_serve(&f, a + i * 100, 900, 5) >= 0, true, "prompt %d", i);
    for (int i = 11; i >= 0; i--) {
        struct run r;
        run_init(&r, &f, a + i * 100, 900, 5);
        int64_t computed = run_all(&r, 100);
        cr_assert_eq(computed, 0, "prompt %d: %lld, %d wrong, %s", i, (long long)computed, r.wrong,
                     r.err.text);
        run_free(&r);
    }
}
