/* Fair turns, simulated: who gets slots and tokens, whatever the others do. */
#include <criterion/criterion.h>

#include "base/rng.h"
#include "scheduler/fair.h"

#define SLOTS 8
#define CLIENTS 12

static struct fair *f;

static void setup(void) { cr_assert_eq(fair_open(&f, 4096, NULL), 0); }
static void teardown(void) { fair_close(f); }

TestSuite(fair, .init = setup, .fini = teardown);

/* A client that always has `backlog` requests of `tokens` tokens each. */
struct client {
    struct fair_id id;
    int32_t backlog, tokens, weight, waiting;
    int64_t served, finished, longest; /* steps that its first waiting request waited */
    int64_t since;
};

struct job { int32_t client, flow, left; int64_t ran; bool used; };

static struct job slots[SLOTS];
static int32_t parked[4096], n_parked; /* flow of jobs without a slot; their tokens in `left_of` */
static int32_t left_of[4096], client_of[4096];
static int64_t yields;

static void refill(struct client *c, int n, int32_t *flow)
{
    static const struct fair_id none;
    for (int i = 0; i < n; i++)
        for (; c[i].waiting < c[i].backlog; c[i].waiting++)
            flow[i] = fair_enter(f, &c[i].id, &none, c[i].weight);
}

static struct job *free_slot(void)
{
    for (int i = 0; i < SLOTS; i++)
        if (!slots[i].used)
            return &slots[i];
    return NULL;
}

static struct job *loser(int32_t flow)
{
    struct job *best = NULL;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].ran >= 16 && (!best || slots[i].ran > best->ran) &&
            fair_yields(f, slots[i].flow, flow))
            best = &slots[i];
    return best;
}

/* One admission or resumption, as the scheduler does it. */
static bool turn(struct client *c, int n, int32_t *flow, int64_t now)
{
    bool by_slots = !free_slot();
    int best = -1, back = -1;
    for (int i = 0; i < n; i++)
        if (c[i].waiting && (best < 0 || fair_compare(f, flow[i], 0, flow[best], 0, by_slots) < 0))
            best = i;
    for (int i = 0; i < n_parked; i++)
        if (back < 0 || fair_compare(f, parked[i], 0, parked[back], 0, by_slots) < 0)
            back = i;
    if (best < 0 && back < 0)
        return false;
    bool resume = back >= 0 &&
                  (best < 0 || fair_compare(f, parked[back], 0, flow[best], 0, by_slots) <= 0);
    int32_t which = resume ? parked[back] : flow[best];
    struct job *to = free_slot();
    if (!to && (to = loser(which))) {
        fair_move(f, to->flow, FAIR_RUNNING, FAIR_PARKED);
        parked[n_parked] = to->flow;
        left_of[n_parked] = to->left;
        client_of[n_parked++] = to->client;
        yields++;
    }
    if (!to)
        return false;
    if (resume) {
        *to = (struct job){client_of[back], which, left_of[back], 0, true};
        fair_move(f, which, FAIR_PARKED, FAIR_RUNNING);
        n_parked--;
        parked[back] = parked[n_parked];
        left_of[back] = left_of[n_parked];
        client_of[back] = client_of[n_parked];
        return true;
    }
    *to = (struct job){best, which, c[best].tokens, 0, true};
    fair_move(f, which, FAIR_WAITING, FAIR_RUNNING);
    c[best].waiting--;
    c[best].longest = MAX(c[best].longest, now - c[best].since);
    c[best].since = now;
    return true;
}

static void simulate(struct client *c, int n, int64_t steps)
{
    int32_t flow[CLIENTS];
    n_parked = 0;
    memset(slots, 0, sizeof slots);
    for (int64_t now = 0; now < steps; now++) {
        refill(c, n, flow);
        for (int guard = 0; turn(c, n, flow, now); guard++)
            cr_assert_lt(guard, 4 * SLOTS, "turns without an end");
        for (int i = 0; i < SLOTS; i++) {
            struct job *j = &slots[i];
            if (!j->used)
                continue;
            fair_charge(f, j->flow, 1);
            c[j->client].served++;
            j->ran++;
            if (--j->left > 0)
                continue;
            c[j->client].finished++;
            fair_leave(f, j->flow, FAIR_RUNNING);
            *j = (struct job){0};
        }
    }
}

static struct client client(int id, int32_t backlog, int32_t tokens)
{
    return (struct client){.id = {{(unsigned char)id}}, .backlog = backlog, .tokens = tokens,
                           .weight = 1};
}

Test(fair, a_flood_of_long_requests_delays_another_client_by_a_few_steps)
{
    struct client c[2] = {client(1, 400, 100000), client(2, 1, 16)};
    simulate(c, 2, 5000);
    cr_assert_leq(c[1].longest, 40, "%lld steps", (long long)c[1].longest); /* 16 of its own */
    cr_assert_gt(c[1].finished, 250);
}

Test(fair, equal_clients_get_equal_tokens_whatever_their_requests_are)
{
    struct client c[4] = {client(1, 100, 10), client(2, 8, 5000), client(3, 50, 300),
                          client(4, 400, 100000)};
    simulate(c, 4, 20000);
    for (int i = 0; i < 4; i++)
        cr_assert(c[i].served > 38000 && c[i].served < 42000, "client %d: %lld of 40000", i,
                  (long long)c[i].served);
}

Test(fair, weights_divide_the_tokens)
{
    struct client c[2] = {client(1, 50, 1000), client(2, 50, 1000)};
    c[1].weight = 3;
    simulate(c, 2, 20000);
    double ratio = (double)c[1].served / (double)c[0].served;
    cr_assert(ratio > 2.7 && ratio < 3.3, "%g", ratio);
}

Test(fair, more_clients_than_slots_all_move_on_with_long_requests)
{
    struct client c[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        c[i] = client(i + 1, 4, 1000000);
    simulate(c, CLIENTS, 30000);
    int64_t each = 30000 * SLOTS / CLIENTS;
    for (int i = 0; i < CLIENTS; i++)
        cr_assert(c[i].served > each - 400 && c[i].served < each + 400, "client %d: %lld of %lld",
                  i, (long long)c[i].served, (long long)each);
    cr_assert_lt(yields, 30000 * SLOTS / 60, "%lld", (long long)yields); /* no thrashing */
}

Test(fair, who_was_away_has_saved_up_nothing)
{
    struct client c[2] = {client(1, 20, 1000), client(2, 0, 1000)};
    simulate(c, 2, 10000);
    teardown();
    setup();
    c[0].waiting = c[1].waiting = 0;
    c[0].served = 0;
    c[1].backlog = 20; /* has used nothing so far */
    simulate(c, 2, 4000);
    cr_assert(c[0].served > 15000 && c[1].served > 15000, "%lld, %lld", (long long)c[0].served,
              (long long)c[1].served);
}

Test(fair, nobody_gets_rid_of_a_debt_by_leaving_for_a_moment)
{
    static const struct fair_id none, a = {{1}}, b = {{2}};
    int32_t fa = fair_enter(f, &a, &none, 1), fb = fair_enter(f, &b, &none, 1);
    fair_charge(f, fa, 1000);
    fair_charge(f, fb, 10);
    fair_leave(f, fa, FAIR_WAITING);
    fa = fair_enter(f, &a, &none, 1);
    cr_assert_gt(fair_compare(f, fa, 0, fb, 0, false), 0);
}

Test(fair, sessions_of_one_client_share_its_part_and_no_more)
{
    static const struct fair_id none, a = {{1}}, b = {{2}};
    int32_t other = fair_enter(f, &b, &none, 1), of[100];
    for (int i = 0; i < 100; i++) {
        struct fair_id session = {{(unsigned char)(i + 1)}};
        of[i] = fair_enter(f, &a, &session, 1);
    }
    fair_charge(f, of[0], 100);
    cr_assert_lt(fair_compare(f, other, 0, of[99], 0, false), 0); /* the client has used 100 */
    cr_assert_gt(fair_compare(f, of[0], 0, of[99], 0, false), 0);
    cr_assert_eq(fair_count(f, of[7], FAIR_WAITING), 100);
}

Test(fair, the_table_forgets_only_the_idle)
{
    static const struct fair_id none;
    struct rng r = {.seed = 1};
    int32_t live[64];
    struct fair_id id[64];
    for (int i = 0; i < 64; i++) {
        id[i] = (struct fair_id){{(unsigned char)i, 1}};
        live[i] = fair_enter(f, &id[i], &none, 1);
        fair_charge(f, live[i], i);
    }
    for (int i = 0; i < 20000; i++) {
        uint64_t x = rng_below(&r, UINT64_MAX);
        struct fair_id passing;
        memcpy(passing.b, &x, 8);
        memcpy(passing.b + 8, &x, 8);
        fair_leave(f, fair_enter(f, &passing, &none, 1), FAIR_WAITING);
    }
    for (int i = 0; i < 64; i++)
        cr_assert_eq(fair_enter(f, &id[i], &none, 1), live[i]);
}
