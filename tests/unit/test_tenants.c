/* Eight keys doing everything at random, against a model that is a list of what each one did. */
#include <criterion/criterion.h>

#include "tests/unit/fake_cache.h"

#define KEYS 8
#define EACH 4    /* sessions of a key at once */
#define RUNS 6    /* requests in flight */

struct mine {
    bool used, busy;
    struct session_id id;
    int32_t *path;
    int64_t n;
};

static struct fake f;
static struct tenant_tag key[KEYS];
static struct mine mine[KEYS][EACH];

static int32_t prompt[400];

/* Prompts of all keys come from the same few streams: equal prefixes are the rule. */
static int32_t random_prompt(struct rng *r)
{
    int32_t n = 1 + (int32_t)rng_below(r, 300);
    fake_tokens(prompt, n, rng_below(r, 4));
    if (n > 10 && rng_below(r, 2))
        fake_tokens(prompt + n / 2, n - n / 2, rng_below(r, 100));
    return n;
}

static void check(int k, const struct mine *m)
{
    struct session_info s;
    struct err e = {0};
    int32_t path[20000];
    int64_t n = ARRAY_LEN(path);
    cr_assert_eq(session_get(f.sc, &key[k], &m->id, &s, &e), 0, "%s", e.text);
    cr_assert_eq(s.position, m->n);
    cr_assert_eq(session_tokens(f.sc, &key[k], &m->id, 0, path, &n, &e), 0);
    cr_assert_eq(n, m->n);
    if (n)
        cr_assert_arr_eq(path, m->path, (size_t)n * sizeof(*path));
    for (int other = 0; other < KEYS; other++) {
        struct err none = {0};
        if (other != k)
            cr_assert_eq(session_get(f.sc, &key[other], &m->id, &s, &none), E_NOENT);
    }
}

static void set_path(struct mine *m, const int32_t *path, int64_t n)
{
    free(m->path);
    m->path = malloc((size_t)(n + 1) * sizeof(*path));
    if (n)
        memcpy(m->path, path, (size_t)n * sizeof(*path));
    m->n = n;
}

static void manage(struct rng *r, int k, struct mine *m)
{
    struct session_info s;
    struct err e = {0};
    if (!m->used) {
        cr_assert_eq(session_create(f.sc, &key[k], 0, &s, &e), 0);
        *m = (struct mine){.used = true, .id = s.id};
        set_path(m, NULL, 0);
        return;
    }
    if (!m->busy) /* a turn may be committed and not landed yet */
        check(k, m);
    struct mine *free_one = NULL;
    for (int i = 0; i < EACH; i++)
        if (!mine[k][i].used)
            free_one = &mine[k][i];
    switch (rng_below(r, 4)) {
    case 0:
        if (!free_one)
            break;
        int64_t at = (int64_t)rng_below(r, (uint64_t)m->n + 1);
        cr_assert_eq(session_fork(f.sc, &key[k], &m->id, at, &s, &e), 0);
        *free_one = (struct mine){.used = true, .id = s.id};
        set_path(free_one, m->path, at);
        break;
    case 1:
        if (m->busy)
            break;
        m->n = (int64_t)rng_below(r, (uint64_t)m->n + 1);
        cr_assert_eq(session_rewind(f.sc, &key[k], &m->id, m->n, -1, 0, &s, &e), 0);
        break;
    case 2:
        if (m->busy)
            break;
        cr_assert_eq(session_delete(f.sc, &key[k], &m->id, NULL, &e), 0);
        m->used = false;
        free(m->path);
        m->path = NULL;
        break;
    default: cr_assert_eq(session_delete(f.sc, &key[(k + 1) % KEYS], &m->id, NULL, &e), E_NOENT);
    }
}

struct flight {
    struct run r;
    struct mine *m; /* NULL: a plain request */
    int k;
    bool on;
};

static void take_off(struct rng *r, struct flight *x)
{
    struct session_info s;
    struct err e = {0};
    bool repeated;
    x->k = (int)rng_below(r, KEYS);
    struct mine *m = &mine[x->k][rng_below(r, EACH)];
    int32_t n = random_prompt(r);
    run_init(&x->r, &f, prompt, n, (int32_t)rng_below(r, 20));
    x->r.tenant = key[x->k];
    x->m = NULL;
    if (m->used && rng_below(r, 2)) {
        int rc = session_claim(f.sc, &key[x->k], &m->id, NULL, &repeated, NULL, &s, &e);
        cr_assert_eq(rc, m->busy ? E_BUSY : 0);
        if (rc) {
            run_free(&x->r);
            return;
        }
        x->m = m;
        m->busy = true;
        x->r.in_session = true;
        x->r.session = m->id;
        x->r.ticket = s.ticket;
    }
    x->on = true;
}

static void land(struct flight *x, bool cancelled)
{
    cr_assert_eq(x->r.wrong, 0, "a state of other tokens was used");
    if (!cancelled)
        cr_assert_eq(x->r.phase, RUN_DONE, "%s", x->r.err.text);
    if (x->m) {
        if (!cancelled)
            set_path(x->m, x->r.path, x->r.n_path);
        else if (x->r.phase == RUN_WAIT)
            session_release(f.sc, &key[x->k], &x->m->id, x->r.ticket);
        x->m->busy = false;
    }
    run_free(&x->r);
    x->on = false;
}

static void life(uint64_t seed, bool paged)
{
    struct rng r = {seed, 0};
    static struct flight flight[RUNS];
    memset(mine, 0, sizeof(mine));
    memset(flight, 0, sizeof(flight));
    fake_init(&f, paged, RUNS, 300);
    f.o.tenants = KEYS;
    f.o.park_slots = seed % 2 ? 3 : 0;
    if (seed % 3 == 0) {
        f.o.ram_bytes = 60 * (FAKE_STATE * 4 + FAKE_VOCAB * 4) + 400 * 64 * FAKE_ROW * 4;
    }
    fake_open(&f);
    for (int k = 0; k < KEYS; k++) {
        char name[8];
        snprintf(name, sizeof(name), "key%d", k);
        statecache_tenant(f.sc, name, &key[k]);
    }
    for (int step = 0; step < 2000; step++) {
        struct flight *x = &flight[rng_below(&r, RUNS)];
        int k = (int)rng_below(&r, KEYS);
        if (rng_below(&r, 8) == 0)
            manage(&r, k, &mine[k][rng_below(&r, EACH)]);
        else if (!x->on)
            take_off(&r, x);
        else if (x->r.phase < RUN_COMMIT && rng_below(&r, 60) == 0)
            land(x, true);
        else
            run_step(&x->r, 1 + (int64_t)rng_below(&r, 200));
        if (x->on && x->r.phase >= RUN_DONE)
            land(x, false);
        if (step % 5 == 0)
            statecache_tick(f.sc);
    }
    for (int i = 0; i < RUNS; i++)
        if (flight[i].on) {
            while (flight[i].r.phase == RUN_COMMIT)
                run_step(&flight[i].r, 1);
            land(&flight[i], flight[i].r.phase < RUN_DONE);
        }
    for (int k = 0; k < KEYS; k++)
        for (int i = 0; i < EACH; i++) {
            if (mine[k][i].used)
                check(k, &mine[k][i]);
            free(mine[k][i].path);
        }
    for (struct tenant *t = f.sc->tenants; t; t = t->next)
        cr_assert(prefix_check(&f.sc->prefix, t->root));
    fake_fini(&f);
}

Test(tenants, never_see_each_other_whatever_they_do)
{
    for (uint64_t seed = 1; seed <= 40; seed++)
        life(seed, false);
}

Test(tenants, nor_with_pages)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        life(seed, true);
}

Test(tenants, a_flood_leaves_the_others_their_floor)
{
    struct statecache_stats s;
    fake_init(&f, false, 4, 0);
    f.o.tenants = 2;
    f.o.ram_bytes = 100 * (FAKE_STATE * 4 + FAKE_VOCAB * 4);
    fake_open(&f);
    struct tenant_tag quiet = {{1}}, loud = {{2}};
    struct run r;
    fake_tokens(prompt, 300, 5);
    run_init(&r, &f, prompt, 300, 2);
    r.tenant = quiet;
    cr_assert_eq(run_all(&r, 100), 300);
    run_free(&r);
    for (uint64_t i = 0; i < 60; i++) {
        fake_tokens(prompt, 300, 100 + i);
        run_init(&r, &f, prompt, 300, 2);
        r.tenant = loud;
        run_all(&r, 100);
        run_free(&r);
    }
    statecache_stats(f.sc, &s);
    cr_assert_gt(s.evictions[TIER_RAM], 0);
    fake_tokens(prompt, 300, 5);
    run_init(&r, &f, prompt, 300, 2);
    r.tenant = quiet;
    cr_assert_eq(run_all(&r, 100), 0);
    run_free(&r);
    fake_fini(&f);
}

/* Requests of one tenant after the other; returns what its states take in RAM and on disk. */
static struct tenant_usage fill(const struct tenant_tag *t, uint64_t seed, int n)
{
    struct tenant_usage u;
    struct run r;
    for (int i = 0; i < n; i++) {
        fake_tokens(prompt, 300, seed + (uint64_t)i);
        run_init(&r, &f, prompt, 300, 2);
        r.tenant = *t;
        run_all(&r, 100);
        run_free(&r);
        statecache_tick(f.sc);
    }
    statecache_usage(f.sc, t, &u);
    return u;
}

Test(tenants, a_limit_of_one_takes_only_its_own_states)
{
    struct err e = {0};
    struct tenant_tag a = {{1}}, b = {{2}};
    fake_init(&f, false, 4, 0);
    f.o.tenants = 2;
    fake_open(&f);
    uint64_t state = FAKE_STATE * 4 + FAKE_VOCAB * 4;
    struct tenant_limits few = {INT64_MAX, 20 * state, UINT64_MAX};
    struct tenant_limits none = {INT64_MAX, 0, UINT64_MAX};
    cr_assert_eq(statecache_limit(f.sc, &a, &few, &e), 0);
    struct tenant_usage free_one = fill(&b, 1000, 40);
    struct tenant_usage limited = fill(&a, 2000, 40);
    cr_assert_gt(free_one.bytes[TIER_RAM], few.ram_bytes, "the test must reach the limit");
    cr_assert_leq(limited.bytes[TIER_RAM], few.ram_bytes);
    cr_assert_gt(limited.bytes[TIER_RAM], few.ram_bytes / 2);
    struct tenant_usage after;
    statecache_usage(f.sc, &b, &after);
    cr_assert_eq(after.bytes[TIER_RAM], free_one.bytes[TIER_RAM], "the other one's are untouched");
    cr_assert_eq(statecache_limit(f.sc, &a, &none, &e), 0);
    cr_assert_eq(fill(&a, 3000, 3).bytes[TIER_RAM], 0, "lowered: with the next state");
    fake_fini(&f);
}
