/* The state cache with all its threads: an engine, the writer, and clients that manage sessions.
 * A plain program, for ThreadSanitizer. Exit 1 if a request saw a state of other tokens. */
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>

#include "base/log.h"
#include "statecache/stats.h"
#include "tests/unit/fake_cache.h"

#define CLIENTS 3
#define SESSIONS 12
#define ROUNDS 100

static struct fake f;
static const struct tenant_tag none;
static pthread_mutex_t ids_lock = PTHREAD_MUTEX_INITIALIZER;
static struct session_id known[SESSIONS]; /* under ids_lock */
static int n_known, stop;

static bool any_id(struct rng *r, struct session_id *id)
{
    pthread_mutex_lock(&ids_lock);
    bool some = n_known > 0;
    if (some)
        *id = known[rng_below(r, (uint64_t)n_known)];
    pthread_mutex_unlock(&ids_lock);
    return some;
}

static void keep_id(struct rng *r, const struct session_id *id)
{
    pthread_mutex_lock(&ids_lock);
    known[n_known < SESSIONS ? n_known++ : (int)rng_below(r, SESSIONS)] = *id;
    pthread_mutex_unlock(&ids_lock);
}

static void *client(void *arg)
{
    struct rng r = {(uint64_t)(uintptr_t)arg, 0};
    struct session_info s, page[4];
    struct statecache_stats st;
    struct buf blob;
    bool more;
    buf_init(&blob, 1 << 22);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct err e = {0};
        struct session_id id;
        if (!any_id(&r, &id) || rng_below(&r, 10) == 0) {
            if (!session_create(f.sc, &none, 0, &s, &e))
                keep_id(&r, &s.id);
            continue;
        }
        switch (rng_below(&r, 8)) { /* any of them may be refused: the others change things */
        case 0:
            if (!session_fork(f.sc, &none, &id, -1, &s, &e))
                keep_id(&r, &s.id);
            break;
        case 1: (void)!session_rewind(f.sc, &none, &id, -1, 0, 0, &s, &e); break;
        case 2: (void)!session_delete(f.sc, &none, &id, NULL, &e); break;
        case 3: session_list(f.sc, &none, NULL, page, 4, &more); break;
        case 4: statecache_stats(f.sc, &st); break;
        case 5: (void)session_durable(f.sc, &none, &id, 20); break;
        default:
            buf_clear(&blob);
            if (!session_export(f.sc, &none, &id, &blob, &e) &&
                !session_import(f.sc, &none, blob.p, blob.len, &s, &e))
                keep_id(&r, &s.id);
        }
        usleep(200);
    }
    buf_free(&blob);
    return NULL;
}

/* One request of the engine, through a session if there is one to claim. */
static bool serve(struct rng *r)
{
    int32_t tokens[300];
    int32_t n = 1 + (int32_t)rng_below(r, 300);
    struct session_info s;
    struct run x;
    bool repeated;
    fake_tokens(tokens, n, rng_below(r, 5));
    run_init(&x, &f, tokens, n, (int32_t)rng_below(r, 10));
    if (any_id(r, &x.session) &&
        !session_claim(f.sc, &none, &x.session, NULL, &repeated, NULL, &s, &x.err)) {
        x.in_session = true;
        x.ticket = s.ticket;
    }
    for (int idle = 0; x.phase < RUN_DONE && idle < 5000;) {
        if (run_step(&x, 64)) {
            idle = 0;
        } else {
            idle++;
            usleep(500);
        }
        statecache_tick(f.sc);
    }
    bool good = x.wrong == 0;
    run_free(&x);
    return good;
}

int main(void)
{
    pthread_t t[CLIENTS];
    struct rng r = {99, 0};
    char dir[] = "/tmp/recurd-race-XXXXXX", cmd[64];
    bool good = mkdtemp(dir) != NULL;
    log_set_level(LOG_ERROR);
    fake_init(&f, true, 4, 200);
    f.o.dir = dir;
    f.o.no_writer_thread = false;
    f.o.checkpoint_ms = 3; /* some turns are only logged for a while */
    f.o.park_slots = 2;
    f.o.ram_bytes = 1 << 20;
    fake_open(&f);
    for (int i = 0; i < CLIENTS; i++)
        if (pthread_create(&t[i], NULL, client, (void *)(uintptr_t)(i + 1)))
            return 2;
    for (int i = 0; i < ROUNDS && good; i++)
        good = serve(&r);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < CLIENTS; i++) /* an export may still wait for the engine */
        for (int tries = 0; pthread_tryjoin_np(t[i], NULL) && tries < 100000; tries++) {
            statecache_tick(f.sc);
            usleep(100);
        }
    fake_fini(&f);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    if (system(cmd))
        return 2;
    puts(good ? "no request saw a state of other tokens" : "a state of other tokens was used");
    return good ? 0 : 1;
}
