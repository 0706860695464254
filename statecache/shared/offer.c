/* States on their way to the shared store: a list of those that were taken, then a job each. */
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "statecache/shared/shared.h"
#include "statecache/store/pathfile.h"
#include "statecache/store/statefile.h"

#define LATE_NS (10 * NS_PER_S)    /* what waited longer makes room for what comes after it */
#define PUT_MS 2000                /* an answer to one command may take so long */

void shared_offer(struct statecache *sc, struct snapshot *s)
{
    struct shared *h = sc->shared;
    if (!h || s->offer.prev || s->shared || s->sharing || s->kind == POINT_GRID ||
        s->kind == POINT_SWAP || s->pos < SHARED_GAIN)
        return; /* those between the points cost as much and save little */
    if (!h->out.up) {
        sc->stats.shared.dropped++;
        return;
    }
    s->offer_ns = clock_now_ns();
    s->offer = (struct link){h->offers.prev, &h->offers};
    h->offers.prev->next = &s->offer;
    h->offers.prev = &s->offer;
}

struct put_job {
    struct job job;
    struct statecache *sc;
    struct snapshot *s;   /* pinned: its bytes stay */
    int32_t *tokens;
    struct piece piece[3], *pages; /* tokens, slab, logits; [n_blocks + 1] */
    struct part part[PARTS];
    struct head head;
    bool release, skip;
    struct compress_count count;
    uint64_t ns, cpu_ns, bytes;
    int rc;
    struct err err;
};

static void free_job(struct put_job *j)
{
    mem_free(j->tokens);
    mem_free(j->pages);
    mem_free(j);
}

static void prepare_put(struct job *job)
{
    struct put_job *j = (struct put_job *)job;
    const struct shared *h = j->sc->shared;
    j->skip = !h->out.up || (h->stop_ns && clock_now_ns() > h->stop_ns);
}

/* Of this thread: while it waits for the network others compute. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void run_put(struct job *job)
{
    struct put_job *j = (struct put_job *)job;
    struct shared *h = j->sc->shared;
    if (j->skip)
        return;
    uint64_t start = clock_now_ns(), cpu = cpu_ns();
    uint64_t per_mib = j->sc->format.slot_bytes >> 20;
    struct objects o = {.kv = h->out.kv, .keys = &h->keys, .format = &j->sc->format,
                        .compressor = h->out.compressor, .compress = j->sc->o.compress_shared,
                        .ttl_s = h->ttl_s,
                        .deadline_ns = start + (PUT_MS + per_mib * 100) * NS_PER_MS};
    j->head.created_s = clock_unix_s();
    j->rc = objects_put(&o, j->tokens, &j->head, j->part, &j->err);
    j->bytes = o.bytes;
    j->count = o.count;
    j->ns = clock_now_ns() - start;
    j->cpu_ns = cpu_ns() - cpu;
}

static void done_put(struct job *job)
{
    struct put_job *j = (struct put_job *)job;
    struct statecache *sc = j->sc;
    struct snapshot *s = j->s;
    s->sharing = false;
    if (j->skip) {
        sc->stats.shared.dropped++;
    } else {
        shared_settle(sc, &sc->shared->out, j->rc, &j->err);
        s->shared = !j->rc;
        sc->stats.shared.dropped += j->rc != 0;
        sc->stats.shared.writes += !j->rc;
        sc->stats.shared.written_bytes += j->bytes;
        compress_counted(&sc->stats.shared.packed, &j->count);
        sc->stats.shared.write_cpu_ns += j->cpu_ns;
        allowance_spend(&sc->shared->left, 0, j->cpu_ns);
        latency_add(&sc->stats.shared.put, j->ns);
    }
    if (j->release && s->slot >= 0 && s->pins == 1 && !s->writing && !s->copy && !s->dead)
        snapshot_drop_ram(sc, s);
    snapshot_unpin(sc, s);
    core_changed(sc);
    free_job(j);
}

/* Where the state's bytes lie, all of its path among them; s is on the host, its path in memory. */
static bool describe(struct put_job *j)
{
    struct snapshot *s = j->s;
    j->tokens = mem_array((size_t)s->pos, sizeof(*j->tokens));
    if (!j->tokens || !statefile_parts(j->sc, s, j->piece, &j->pages, j->part, &j->head))
        return false;
    prefix_tokens(s->node, 0, s->pos, j->tokens);
    j->piece[0] = (struct piece){j->tokens, (size_t)s->pos * sizeof(*j->tokens)};
    j->head.kind = CODEC_SHARED;
    return true;
}

static uint64_t bytes_of(const struct put_job *j)
{
    uint64_t bytes = 0;
    for (int i = 0; i < PARTS; i++)
        for (size_t k = 0; k < j->part[i].n_pieces; k++)
            bytes += j->part[i].piece[k].n;
    return bytes;
}

/* ENGINE. 0; E_BUSY: later; else it cannot be. */
static int put(struct statecache *sc, struct snapshot *s)
{
    struct err ignored = {0};
    if (s->reading || s->copy || !snapshot_ready(s))
        return s->dead || (!s->slab && s->slot < 0 && !s->reading) ? E_NOENT : E_BUSY;
    bool parked = s->slot >= 0 && !s->slab;
    s->pins++; /* making room must not take this one */
    int rc = stretch_ask(sc, s->node, 0, s->pos, &ignored);
    if (!rc && !snapshot_on_host(s))
        rc = snapshot_to_host(sc, s, &ignored);
    struct put_job *j = rc ? NULL : mem_zalloc(sizeof(*j));
    if (j) {
        *j = (struct put_job){.sc = sc, .s = s, .release = parked,
                              .job = {.prepare = prepare_put, .run = run_put, .done = done_put}};
        if (describe(j)) {
            s->sharing = true;
            allowance_spend(&sc->shared->left, bytes_of(j), 0);
            writer_push(&sc->shared->out.jobs, &j->job);
            return 0; /* the job has the pin */
        }
        free_job(j);
    }
    snapshot_unpin(sc, s);
    return rc ? rc : E_NOMEM;
}

void shared_offers_due(struct statecache *sc, uint64_t now)
{
    struct shared *h = sc->shared;
    struct link *l = h->offers.next, *next;
    for (; l != &h->offers; l = next) {
        struct snapshot *s = (struct snapshot *)((char *)l - offsetof(struct snapshot, offer));
        next = l->next;
        bool late = now > s->offer_ns + LATE_NS || !h->out.up;
        bool paid = allowance_left(&h->left, &h->limits);
        bool room = paid && h->out.jobs.queued < SHARED_QUEUE;
        if (!late && !room)
            break;
        if (next != &h->offers) /* making room in RAM must not free what comes next */
            ((struct snapshot *)((char *)next - offsetof(struct snapshot, offer)))->pins++;
        int rc = late ? E_TIMEOUT : put(sc, s);
        if (rc != E_BUSY) {
            snapshot_withdraw(s);
            sc->stats.shared.dropped += rc != 0;
            sc->stats.shared.over_budget += late && h->out.up && !paid;
        }
        if (next != &h->offers) {
            struct snapshot *t = (struct snapshot *)((char *)next -
                                                     offsetof(struct snapshot, offer));
            bool dead = t->dead;
            snapshot_unpin(sc, t);
            if (dead)
                break; /* it left the list */
        }
    }
}
