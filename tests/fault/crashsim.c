/* The promise of the disk tier, tried thousands of times: after a crash at any call, whatever the
 * file system did with what was not synced, an acknowledged session is there as it was
 * acknowledged or newer, and goes on with exactly its tokens; an acknowledged deletion holds; and a
 * call that fails costs persistence, never an answer.
 *
 *   crashsim [--seeds N | --crashes N] [--from SEED] [-v]      --crashes: until there were so many
 *
 * Each seed: one random life of up to three runs, each ended by a crash (of the machine, or of the
 * process alone: then what was not synced is still there, and still not synced) or a close after
 * failures;
 * states follow their turns at once, later or never. Sometimes the medium changes bits of the log
 * of turns afterwards: then sessions may be older or gone, but never what they never were. */
#include <sodium.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
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
    bool deleted, gone;          /* gone: acknowledged so */
    int32_t *path[GENERATIONS];
    int64_t n[GENERATIONS];
    uint64_t fresh;              /* generations from here on were not seen in this run */
};

static struct fs fs;
static struct fake f;
static struct known all[SESSIONS];
static int n_all;
static const struct tenant_tag none;
static const char *problem;
static bool damaged; /* the medium changed what was safe */
static bool kills;   /* some crashes are of the process alone */
/* Over all lives: crashes, calls that failed, sessions found in the log and only there. */
static uint64_t crashes, failures, replayed, logged;

static void learn(struct known *k)
{
    struct session_info s;
    struct err e = {0};
    if (k->deleted || session_get(f.sc, &none, &k->id, &s, &e))
        return;
    if (s.generation >= GENERATIONS)
        abort();
    /* After a crash a generation that was never acknowledged may be another one now. */
    if (k->path[s.generation] && s.generation >= k->fresh) {
        free(k->path[s.generation]);
        k->path[s.generation] = NULL;
        k->fresh = s.generation + 1;
    }
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

/* The same life from the same seed: names, ids and clocks are the seed's. */
static struct rng random_bytes;
static uint64_t now_ns;

static const char *random_name(void) { return "of the seed"; }
static uint32_t random_word(void) { return (uint32_t)rng_next(&random_bytes); }
static void random_fill(void *p, const size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)p)[i] = (unsigned char)rng_next(&random_bytes);
}
static struct randombytes_implementation seeded = {
    .implementation_name = random_name, .random = random_word, .buf = random_fill};

/* Instead of the C library's. */
ssize_t getrandom(void *p, size_t n, unsigned flags)
{
    (void)flags;
    random_fill(p, n);
    return (ssize_t)n;
}
int clock_gettime(clockid_t id, struct timespec *t)
{
    (void)id;
    *t = (struct timespec){(time_t)(now_ns / NS_PER_S), (long)(now_ns % NS_PER_S)};
    return 0;
}
time_t time(time_t *t)
{
    time_t s = (time_t)(UINT64_C(1700000000) + now_ns / NS_PER_S);
    if (t)
        *t = s;
    return s;
}

static void pass_time(struct rng *r)
{
    now_ns += rng_below(r, 3) ? rng_below(r, 50 * NS_PER_MS) : rng_below(r, 3 * NS_PER_S);
}

static const char *err_name_of(int rc)
{
    static char text[64];
    snprintf(text, sizeof(text), "a turn failed with error %d", rc);
    return text;
}

static void turn(struct known *k, struct rng *r)
{
    int32_t tokens[200];
    int32_t n = 1 + (int32_t)rng_below(r, 150);
    fake_tokens(tokens, n, rng_next(r));
    int rc;
    if (fake_try_turn(&f, &k->id, tokens, n, (int32_t)rng_below(r, 4), &rc) < 0 &&
        !(rc == E_IO && fs.unreadable))
        problem = rc ? err_name_of(rc) : "a turn saw another context";
}

static void live(struct rng *r)
{
    struct session_info s;
    struct err e = {0};
    struct known *k = n_all ? &all[rng_below(r, (uint64_t)n_all)] : NULL;
    pass_time(r);
    if (rng_below(r, 8) == 0)
        statecache_save(f.sc, 1); /* whatever is due */
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
            (void)!session_delete(f.sc, &none, &k->id, &k->gone, &e);
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
    int rc = session_get(f.sc, &none, &k->id, &s, &e);
    if (k->gone && !rc && !damaged)
        problem = "a session whose deletion was acknowledged is back";
    k->gone = k->gone && rc;
    if (k->deleted)
        return; /* may be gone or be back: nobody was promised either */
    if (rc) {
        if (k->acked && !damaged)
            problem = "an acknowledged session is lost";
        k->deleted = true;
        return;
    }
    const struct session *x = session_of(f.sc, &none, &k->id);
    replayed += x->logged_segment != 0;
    logged += x->logged_segment != 0 && x->file_generation == 0;
    k->fresh = s.generation + 1;
    if (damaged)
        k->acked = MIN(k->acked, s.generation);
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
    statecache_tick(f.sc);
    learn(k);
    turn(k, &r);
    learn(k);
    turn(k, &r);
    learn(k);
}

static void forget(void)
{
    for (int i = 0; i < n_all; i++)
        for (int g = 0; g < GENERATIONS; g++)
            free(all[i].path[g]);
    n_all = 0;
    memset(all, 0, sizeof(all));
}

/* Some bits of what the medium has of the log. */
static void damage(struct rng *r)
{
    for (int i = 0; i < fs.n_now; i++) {
        struct fs_file *x = &fs.files[fs.now[i].file];
        if (!strstr(fs.now[i].path, "/log/") || !x->n_now || rng_below(r, 2))
            continue;
        for (uint64_t n = 1 + rng_below(r, 3); n > 0; n--) {
            /* most of a segment was never written: where it was */
            size_t at = rng_below(r, rng_below(r, 2) ? MIN(x->n_now, 2048) : x->n_now);
            x->now[at] ^= (unsigned char)(1 + rng_below(r, 255));
            x->safe[at] = x->now[at];
        }
    }
    damaged = true;
}

/* One run, to its crash or its close. */
static void run_once(struct rng *r)
{
    bool crash = rng_below(r, 4) != 0;
    int64_t start = fs.calls;
    uint64_t failed = fs.failures;
    damaged = false;
    if (crash) {
        fs.crash_at = start + 1 + (int64_t)rng_below(r, 500);
    } else {
        fs.fail_at = start + 1 + (int64_t)rng_below(r, 300);
        fs.fail_count = rng_below(r, 2) ? 1 : 1 + (int)rng_below(r, 60);
        fs.error = rng_below(r, 2) ? EIO : ENOSPC;
    }
    int blind = rng_below(r, 4) ? STEPS : (int)rng_below(r, STEPS);
    for (int i = 0; i < STEPS && !fs.crashed && !problem; i++) {
        fs.unreadable = i < blind ? NULL : "/paths/"; /* the medium has a bad day */
        live(r);
    }
    fs.unreadable = NULL;
    if (fs.most > f.o.disk_bytes + 64) /* beside it, the key and the file of the age */
        problem = "there are more bytes in the folder than its budget";
    if (crash)
        fs.crashed = true;
    else if (rng_below(r, 2))
        fs.fail_at = 0;
    statecache_close(f.sc);
    f.sc = NULL;
    crashes += crash;
    failures += fs.failures - failed;
    bool power = !kills || rng_below(r, 2) == 0;
    if (power)
        fs_power_on(&fs);
    else
        fs_restart(&fs);
    if (rng_below(r, 8) == 0 && power) /* the medium alone has what there is */
        damage(r);
}

/* Some starts cannot read what is in a folder, in half of the lives as another arithmetic: that
 * run has none of it, the next one all. */
static void blind_start(uint64_t seed, uint64_t nth)
{
    static const char *const folder[] = {"/paths/", "/states/", "/sessions/"};
    struct err e = {0};
    const char *numerics = f.o.numerics;
    if (rng_at(seed, 5, nth) % 6)
        return;
    if (rng_at(seed, 6, 0) % 2)
        f.o.numerics = rng_at(seed, 6, nth + 1) % 2 ? "fake/2" : "fake/3";
    fs.unreadable = folder[rng_at(seed, 7, nth) % ARRAY_LEN(folder)];
    if (!statecache_open(&f.sc, &f.o, &e))
        statecache_close(f.sc);
    fs.unreadable = NULL;
    f.sc = NULL;
    f.o.numerics = numerics;
}

/* In a quarter of the lives every start may be of another arithmetic, as after an upgrade and the
 * way back: states are not continued, sessions are. */
static void open_again(uint64_t seed, uint64_t nth)
{
    if (rng_at(seed, 3, 0) % 4 == 0)
        f.o.numerics = rng_at(seed, 4, nth) % 2 ? "fake/2" : "fake/1";
    blind_start(seed, nth);
    fake_open(&f);
}

static const char *one(uint64_t seed)
{
    struct rng r = {seed, 0};
    uint64_t starts = 0;
    bool paged = rng_below(&r, 3) == 0;
    problem = NULL;
    damaged = false;
    kills = rng_at(seed, 1, 0) % 3 == 0;
    random_bytes = (struct rng){.seed = seed ^ 0xb17e5};
    now_ns = NS_PER_S;
    fs_init(&fs, seed ^ 0x5eed);
    fake_init(&f, paged, 3, 200);
    f.o.dir = "/s";
    f.o.io = &fs.io;
    if (rng_at(seed, 2, 0) % 2)
        f.o.compress_disk = COMPRESS_NEVER;
    f.o.stretch = 16 << 2 * rng_below(&r, 4); /* many files of paths, some, or hardly any */
    f.o.disk_bytes = 1 << 20;
    if (rng_below(&r, 3) == 0) /* little room: states come and go between the tiers */
        f.o.ram_bytes = 12 * (FAKE_STATE * 4 + FAKE_VOCAB * 4 + 8) + 30 * 64 * FAKE_ROW * 4;
    if (rng_below(&r, 4) == 0)
        f.o.disk_bytes = 40000;
    if (rng_below(&r, 3))
        f.o.checkpoint_ms = INT64_C(3600000);
    f.o.checkpoint_tokens = 64 << 4 * rng_below(&r, 3);
    for (uint64_t runs = 1 + rng_below(&r, 3); runs > 0 && !problem; runs--) {
        if (!f.sc)
            open_again(seed, starts++);
        run_once(&r);
        if (problem)
            break;
        open_again(seed, starts++);
        for (int i = 0; i < n_all && !problem; i++)
            check(&all[i]);
    }
    fake_fini(&f);
    fs_fini(&fs);
    forget();
    return problem;
}

/* Lives that failed once: what was wrong is mended. A change of the simulator makes others of them,
 * which is no loss. */
static const uint64_t once[] = {3569, 8315, 11213, 10000792, 10020919, 30005441};

static bool went_well(uint64_t seed)
{
    const char *what = one(seed);
    if (what)
        printf("seed %llu: %s\nagain: crashsim --from %llu --seeds 1 -v\n",
               (unsigned long long)seed, what, (unsigned long long)seed);
    return !what;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1000, from = 1, enough = UINT64_MAX, s;
    bool verbose = false;
    randombytes_set_implementation(&seeded);
    if (sodium_init() < 0) /* it takes some bytes of the first life otherwise */
        return 2;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0) {
            verbose = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
            seeds = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc) {
            from = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--crashes") == 0 && i + 1 < argc) {
            enough = strtoull(argv[++i], NULL, 10);
            seeds = UINT64_MAX / 2;
        }
    }
    if (!verbose)
        log_set_level(-1); /* every failure is expected, thousands of times */
    for (size_t i = 0; from == 1 && i < ARRAY_LEN(once); i++)
        if (!went_well(once[i]))
            return 1;
    for (s = from; s < from + seeds && crashes < enough; s++)
        if (!went_well(s))
            return 1;
    double took = (double)clock() / CLOCKS_PER_SEC;
    printf("%llu lives with %llu crashes and %llu failed calls, %llu sessions found in the log, "
           "%llu only there: no acknowledged session lost, nothing false accepted "
           "(%.0f crashes a second of processor time)\n",
           (unsigned long long)(s - from), (unsigned long long)crashes,
           (unsigned long long)failures, (unsigned long long)replayed, (unsigned long long)logged,
           (double)crashes / took);
    return 0;
}
