/* States on their way to the shared store: a list of those that were taken, then a job each. */
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "statecache/shared/shared.h"
#include "statecache/store/pathfile.h"
#include "statecache/store/statefile.h"

#define LATE_NS (10 * NS_PER_S)    /* what waited longer makes room for what comes after it */
#define PUT_MS 2000                /* an answer to one command may take so long */

static struct snapshot *of_offer(struct link *l, int store)
{
    return (struct snapshot *)((char *)l - offsetof(struct snapshot, share) -
                               (size_t)store * sizeof(struct share) -
                               offsetof(struct share, offer));
}

static void offer_to(struct statecache *sc, struct snapshot *s, int store)
{
    struct shared_store *t = &sc->shared->store[store];
    struct share *x = &s->share[store];
    if (x->offer.prev || x->there || x->going)
        return;
    if (!t->out.up && store == 0) { /* a cold one has time */
        sc->stats.shared[store].dropped++;
        return;
    }
    x->offer_ns = clock_now_ns();
    x->offer = (struct link){t->offers.prev, &t->offers};
    t->offers.prev->next = &x->offer;
    t->offers.prev = &x->offer;
    sc->stats.shared[store].pending++;
}

void shared_offer(struct statecache *sc, struct snapshot *s)
{
    struct shared *h = sc->shared;
    if (!h || s->kind == POINT_GRID || s->kind == POINT_SWAP || s->pos < SHARED_GAIN)
        return; /* those between the points cost as much and save little */
    for (int i = 0; i < h->n_stores; i++)
        offer_to(sc, s, i);
}

void shared_offers_drop(struct statecache *sc)
{
    for (int i = 0; i < sc->shared->n_stores; i++) {
        struct shared_store *t = &sc->shared->store[i];
        while (t->offers.next != &t->offers)
            snapshot_withdraw(sc, of_offer(t->offers.next, i), i);
    }
}

void shared_offers_rest(struct statecache *sc)
{
    struct shared *h = sc->shared;
    const int cold = SHARED_STORES - 1;
    struct link *all = &h->store[cold].offers;
    h->cold_ns = 0;
    for (struct link *l = all->next; l != all; l = l->next)
        of_offer(l, cold)->share[cold].offer_ns = clock_now_ns();
}

struct put_job {
    struct job job;
    struct statecache *sc;
    struct snapshot *s;   /* pinned: its bytes stay */
    int store;            /* into which */
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
    j->skip = !h->store[j->store].out.up || (h->stop_ns && clock_now_ns() > h->stop_ns);
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
    struct shared_line *out = &h->store[j->store].out;
    if (j->skip)
        return;
    uint64_t start = clock_now_ns(), cpu = cpu_ns();
    uint64_t per_mib = j->sc->format.slot_bytes >> 20;
    struct objects o = {.kv = out->kv, .keys = &h->keys, .format = &j->sc->format,
                        .compressor = out->compressor, .compress = j->sc->o.compress_shared,
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
    struct shared_store *t = &sc->shared->store[j->store];
    struct shared_stats *st = &sc->stats.shared[j->store];
    s->share[j->store].going = false;
    st->pending--;
    if (j->skip) {
        st->dropped++;
    } else {
        shared_settle(sc, &t->out, j->rc, &j->err);
        s->share[j->store].there = !j->rc;
        st->dropped += j->rc != 0;
        st->writes += !j->rc;
        st->written_bytes += j->bytes;
        compress_counted(&st->packed, &j->count);
        st->write_cpu_ns += j->cpu_ns;
        allowance_spend(&t->left, 0, j->cpu_ns);
        latency_add(&st->put, j->ns);
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
static int put(struct statecache *sc, struct snapshot *s, int store)
{
    struct err ignored = {0};
    struct shared_store *t = &sc->shared->store[store];
    if (s->reading || s->copy || !snapshot_ready(s))
        return s->dead || (!s->slab && s->slot < 0 && !s->reading) ? E_NOENT : E_BUSY;
    bool parked = s->slot >= 0 && !s->slab;
    s->pins++; /* making room must not take this one */
    int rc = stretch_ask(sc, s->node, 0, s->pos, &ignored);
    if (!rc && !snapshot_on_host(s))
        rc = snapshot_to_host(sc, s, &ignored);
    struct put_job *j = rc ? NULL : mem_zalloc(sizeof(*j));
    if (j) {
        *j = (struct put_job){.sc = sc, .s = s, .store = store, .release = parked,
                              .job = {.prepare = prepare_put, .run = run_put, .done = done_put}};
        if (describe(j)) {
            s->share[store].going = true;
            sc->stats.shared[store].pending++;
            allowance_spend(&t->left, bytes_of(j), 0);
            writer_push(&t->out.jobs, &j->job);
            return 0; /* the job has the pin */
        }
        free_job(j);
    }
    snapshot_unpin(sc, s);
    return rc ? rc : E_NOMEM;
}

/* What a cold store is for: where a conversation that rests goes on, and what many begin with. */
static bool rests(const struct snapshot *s)
{
    return s->kind == POINT_SYSTEM || prefix_is_last(s->node);
}

/* One that is due. False: it stays in the list, and so do those behind it. */
static bool offer_due(struct statecache *sc, struct snapshot *s, int store, uint64_t now)
{
    struct shared *h = sc->shared;
    struct shared_store *t = &h->store[store];
    struct shared_stats *st = &sc->stats.shared[store];
    uint64_t due = s->share[store].offer_ns + (store ? h->cold_ns : 0);
    if (now < due)
        return false;
    if (store && !rests(s)) {
        snapshot_withdraw(sc, s, store);
        return true;
    }
    bool late = now > due + LATE_NS || !t->out.up;
    bool paid = allowance_left(&t->left, &h->limits);
    if (!late && !(paid && t->out.jobs.queued < SHARED_QUEUE))
        return false;
    int rc = late ? E_TIMEOUT : put(sc, s, store);
    if (rc == E_BUSY)
        return true;
    snapshot_withdraw(sc, s, store);
    st->dropped += rc != 0;
    st->over_budget += late && t->out.up && !paid;
    return true;
}

static void store_due(struct statecache *sc, int store, uint64_t now)
{
    struct shared_store *t = &sc->shared->store[store];
    for (struct link *l = t->offers.next, *next; l != &t->offers; l = next) {
        next = l->next;
        struct snapshot *after = next != &t->offers ? of_offer(next, store) : NULL;
        if (after) /* making room in RAM must not free what comes next */
            after->pins++;
        bool on = offer_due(sc, of_offer(l, store), store, now);
        if (!after && !on)
            break;
        if (!after)
            continue;
        bool dead = after->dead;
        snapshot_unpin(sc, after);
        if (dead || !on)
            break; /* it left the list */
    }
}

void shared_offers_due(struct statecache *sc, uint64_t now)
{
    for (int i = 0; i < sc->shared->n_stores; i++)
        store_due(sc, i, now);
}
