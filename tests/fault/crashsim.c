/* The promise of the disk tier, tried thousands of times: after a crash at any call, whatever the
 * file system did with what was not synced, an acknowledged session is there as it was
 * acknowledged or newer, and goes on with exactly its tokens; and a call that fails costs
 * persistence, never an answer.
 *
 *   crashsim [--seeds N] [--from SEED] [-v]
 *
 * Each seed: one random life, one crash, one restart. */
#include "base/log.h"
#include "tests/fault/fake_fs.h"
#include "tests/unit/fake_cache.h"

#define SESSIONS 6
#define STEPS 14
#define GENERATIONS 64

/* Everything a session has ever been, by generation, and what the client was told is safe. */
struct known {
    struct session_id id;
    uint64_t acked;              /* generation; 0 = nothing */
    bool deleted;
    int32_t *path[GENERATIONS];
    int64_t n[GENERATIONS];
};

static struct fs fs;
static struct fake f;
static struct known all[SESSIONS];
static int n_all;
static const struct tenant_tag none;
static const char *problem;

static void learn(struct known *k)
{
    struct session_info s;
    struct err e = {0};
    if (k->deleted || session_get(f.sc, &none, &k->id, &s, &e))
        return;
    if (s.generation >= GENERATIONS)
        abort();
    if (!k->path[s.generation]) {
        int64_t n = s.position;
        k->path[s.generation] = malloc(((size_t)n + 1) * sizeof(int32_t));
        k->n[s.generation] = n;
        int rc = session_tokens(f.sc, &none, &k->id, 0, k->path[s.generation], &n, &e);
        if (rc == E_IO && fs.unreadable)
            k->n[s.generation] = -1; /* and nobody else knows them */
        else if (rc || n != s.position)
            problem = "a session does not know its own tokens";
    }
    if (s.persist == PERSIST_PENDING && !fs.crashed)
        problem = "a change is pending after all file work is done";
    if (s.persist == PERSIST_DURABLE)
        k->acked = s.generation;
}

static void turn(struct known *k, struct rng *r)
{
    int32_t tokens[200];
    int32_t n = 1 + (int32_t)rng_below(r, 150);
    fake_tokens(tokens, n, rng_next(r));
    int rc;
    if (fake_try_turn(&f, &k->id, tokens, n, (int32_t)rng_below(r, 4), &rc) < 0 &&
        !(rc == E_IO && fs.unreadable))
        problem = "a turn failed or saw another context";
}

static void live(struct rng *r)
{
    struct session_info s;
    struct err e = {0};
    struct known *k = n_all ? &all[rng_below(r, (uint64_t)n_all)] : NULL;
    switch (k && !k->deleted ? rng_below(r, 12) : 0) {
    case 0:
    case 1:
        if (n_all < SESSIONS && !session_create(f.sc, &none, 0, &s, &e))
            all[n_all++] = (struct known){.id = s.id};
        break;
    case 2:
        if (n_all < SESSIONS && !session_fork(f.sc, &none, &k->id, -1, &s, &e))
            all[n_all++] = (struct known){.id = s.id};
        break;
    case 3:
        if (!session_get(f.sc, &none, &k->id, &s, &e) && s.position > 0)
            (void)!session_rewind(f.sc, &none, &k->id,
                                  (int64_t)rng_below(r, (uint64_t)s.position + 1), -1, 0, &s, &e);
        break;
    case 4:
        if (rng_below(r, 3) == 0) {
            k->deleted = true;
            (void)!session_delete(f.sc, &none, &k->id, &e);
        }
        break;
    default: turn(k, r);
    }
    statecache_tick(f.sc);
    for (int i = 0; i < n_all; i++)
        learn(&all[i]);
}

static void check(struct known *k)
{
    struct session_info s;
    struct err e = {0};
    int32_t path[8192];
    if (k->deleted)
        return; /* may be gone or be back: nobody was promised either */
    if (session_get(f.sc, &none, &k->id, &s, &e)) {
        if (k->acked)
            problem = "an acknowledged session is lost";
        return;
    }
    if (s.generation < k->acked)
        problem = "a session came back older than it was acknowledged";
    if (s.generation >= GENERATIONS || !k->path[s.generation]) {
        problem = "a session came back as it never was";
        return;
    }
    int64_t n = ARRAY_LEN(path);
    if (session_tokens(f.sc, &none, &k->id, 0, path, &n, &e))
        problem = "the tokens of a session that came back cannot be read";
    else if (k->n[s.generation] >= 0 &&
             (n != k->n[s.generation] ||
              memcmp(path, k->path[s.generation], (size_t)n * sizeof(*path)) != 0))
        problem = "a session came back with other tokens";
    struct rng r = {s.generation + 77, 0};
    /* Turns compare their logits with a run from nothing. Back a little, and the states that were
     * written without a sync are looked at, too. */
    if (n > 0 && rng_below(&r, 2))
        (void)!session_rewind(f.sc, &none, &k->id, (int64_t)rng_below(&r, (uint64_t)n), -1, 0, &s,
                              &e);
    turn(k, &r);
    turn(k, &r);
}

static void forget(void)
{
    for (int i = 0; i < n_all; i++)
        for (int g = 0; g < GENERATIONS; g++)
            free(all[i].path[g]);
    n_all = 0;
    memset(all, 0, sizeof(all));
}

static const char *one(uint64_t seed)
{
    struct rng r = {seed, 0};
    bool paged = rng_below(&r, 3) == 0;
    bool crash = rng_below(&r, 4) != 0;
    problem = NULL;
    fs_init(&fs, seed ^ 0x5eed);
    fake_init(&f, paged, 3, 200);
    f.o.dir = "/s";
    f.o.io = &fs.io;
    f.o.stretch = 16 << 2 * rng_below(&r, 4); /* many files of paths, some, or hardly any */
    if (rng_below(&r, 3) == 0) /* little room: states come and go between the tiers */
        f.o.ram_bytes = 12 * (FAKE_STATE * 4 + FAKE_VOCAB * 4 + 8) + 30 * 64 * FAKE_ROW * 4;
    if (rng_below(&r, 4) == 0)
        f.o.disk_bytes = 40000;
    fake_open(&f);
    int64_t start = fs.calls;
    if (crash) {
        fs.crash_at = start + 1 + (int64_t)rng_below(&r, 700);
    } else {
        fs.fail_at = start + 1 + (int64_t)rng_below(&r, 400);
        fs.fail_count = rng_below(&r, 2) ? 1 : 1 + (int)rng_below(&r, 60);
        fs.error = rng_below(&r, 2) ? EIO : ENOSPC;
    }
    int blind = rng_below(&r, 4) ? STEPS : (int)rng_below(&r, STEPS);
    for (int i = 0; i < STEPS && !fs.crashed && !problem; i++) {
        fs.unreadable = i < blind ? NULL : "/paths/"; /* the medium has a bad day */
        live(&r);
    }
    fs.unreadable = NULL;
    if (crash)
        fs.crashed = true;
    else
        fs.fail_at = 0;
    statecache_close(f.sc);
    f.sc = NULL;
    fs_power_on(&fs);
    if (!problem)
        fake_open(&f);
    for (int i = 0; i < n_all && !problem; i++)
        check(&all[i]);
    fake_fini(&f);
    fs_fini(&fs);
    forget();
    return problem;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1000, from = 1;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0)
            verbose = true;
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            seeds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
            from = strtoull(argv[++i], NULL, 10);
    }
    if (!verbose)
        log_set_level(-1); /* every failure is expected, thousands of times */
    for (uint64_t s = from; s < from + seeds; s++) {
        const char *what = one(s);
        if (what) {
            printf("seed %llu: %s\nagain: crashsim --from %llu --seeds 1 -v\n",
                   (unsigned long long)s, what, (unsigned long long)s);
            return 1;
        }
    }
    printf("%llu crashes and failures: no acknowledged session lost, nothing false accepted\n",
           (unsigned long long)seeds);
    return 0;
}
