/* What a waiting request lacks, looked for in the shared stores, one after the other.
 *
 * A search runs in the thread of its connection, into memory of its own; what it found enters
 * the tree whole, under the lock, or not at all. When the time is over the request goes on without
 * it. The cold store is asked where the hot one leaves COLD_GAIN tokens or more to compute; if it
 * has nothing deeper, what the hot one has is fetched after all. */
#include <string.h>

#include "base/mem.h"
#include "statecache/shared/shared.h"
#include "statecache/store/pathfile.h"

#define COLD_GAIN 256 /* tokens that are worth a question to a store that takes its time */

struct ask {
    struct job job;
    struct ask *next;       /* on their way */
    struct statecache *sc;
    uint64_t ticket, start_ns, deadline_ns;
    unsigned char tenant[16];
    int32_t *tokens;
    int64_t n, local;
    int store, from;  /* asked now; that has what m describes */
    bool last;        /* no other store will be asked for something deeper */
    bool skip, old;   /* old: it lies under the names of the key of before */
    bool found, fetch; /* by this store, now; its bytes are fetched from it */
    struct manifest m; /* the deepest so far */
    /* What was fetched, each as snapshot_allocate makes it. */
    int32_t *seen;          /* the tokens in it */
    float *slab, *tail, *logits, **pages;
    int32_t n_pages;
    uint64_t bytes, refused;
    struct compress_count count;
    int rc;
    struct err err, odd;
};

/* ---- memory ------------------------------------------------------------------------------- */

static void free_fetched(struct ask *a)
{
    const struct format *f = &a->sc->format;
    for (int32_t i = 0; i < a->n_pages; i++)
        mem_aligned_free(a->pages[i], f->page_bytes);
    mem_aligned_free(a->slab, f->slot_bytes);
    mem_aligned_free(a->tail, f->page_bytes);
    mem_free(a->pages);
    mem_free(a->logits);
    mem_free(a->seen);
    a->slab = a->tail = a->logits = NULL;
    a->pages = NULL;
    a->seen = NULL;
    a->n_pages = 0;
}

static void free_ask(struct ask *a)
{
    free_fetched(a);
    manifest_free(&a->m);
    mem_free(a->tokens);
    mem_free(a);
}

/* Memory for the state that m describes: its sizes are those of our own layout. */
static bool make_room(struct ask *a)
{
    const struct format *f = &a->sc->format;
    const struct head *h = &a->m.head;
    int32_t whole = f->page_bytes ? (int32_t)(h->position / f->page_tokens) : 0;
    a->seen = mem_array((size_t)h->position, sizeof(*a->seen));
    a->slab = mem_aligned(f->slot_bytes);
    a->pages = mem_array((size_t)whole + 1, sizeof(*a->pages));
    bool ok = a->seen && a->slab && a->pages;
    for (; ok && a->n_pages < whole; a->n_pages += ok)
        ok = (a->pages[a->n_pages] = mem_aligned(f->page_bytes)) != NULL;
    if (ok && f->page_bytes && h->position % f->page_tokens)
        ok = (a->tail = mem_aligned(f->page_bytes)) != NULL;
    if (ok && h->bytes[PART_LOGITS])
        ok = (a->logits = mem_array(1, h->bytes[PART_LOGITS])) != NULL;
    return ok;
}

static int fetch(struct ask *a, struct objects *o)
{
    const struct format *f = &a->sc->format;
    size_t n = 0;
    if (!make_room(a))
        return err_set(&a->err, E_NOMEM, "no memory for a shared state of %llu bytes",
                       (unsigned long long)a->m.bytes);
    struct piece *pages = mem_array((size_t)a->n_pages + 1, sizeof(*pages));
    if (!pages)
        return err_set(&a->err, E_NOMEM, "no memory for a shared state");
    struct piece tokens = {a->seen, (size_t)a->m.head.position * sizeof(*a->seen)};
    struct piece slab = {a->slab, f->slot_bytes};
    struct piece logits = {a->logits, a->m.head.bytes[PART_LOGITS]};
    for (int32_t i = 0; i < a->n_pages; i++)
        pages[n++] = (struct piece){a->pages[i], f->page_bytes};
    if (a->tail)
        pages[n++] = (struct piece){a->tail, f->page_bytes};
    struct part part[PARTS] = {
        [PART_TOKENS] = {&tokens, 1}, [PART_STATE] = {&slab, 1}, [PART_PAGES] = {pages, n},
        [PART_LOGITS] = {&logits, a->logits ? 1 : 0},
    };
    int rc = objects_fetch(o, a->tokens, &a->m, part, &a->err);
    mem_free(pages);
    return rc;
}

/* ---- the job ------------------------------------------------------------------------------ */

static void done_ask(struct job *job);

static bool worth_more(const struct ask *a)
{
    return a->n >= (a->m.n_chunks ? a->m.head.position : a->local) + COLD_GAIN;
}

/* The next store that can be asked; -1: none. */
static int usable(const struct shared *h, int store)
{
    while (store < h->n_stores && !h->store[store].in.up)
        store++;
    return store < h->n_stores ? store : -1;
}

static void prepare_ask(struct job *job)
{
    struct ask *a = (struct ask *)job;
    const struct shared *h = a->sc->shared;
    a->skip = !h->store[a->store].in.up || h->stop_ns || clock_now_ns() >= a->deadline_ns;
    a->last = usable(h, a->store + 1) < 0;
    a->found = false;
    a->rc = 0;
    a->bytes = a->refused = 0;
    a->count = (struct compress_count){0};
    err_clear(&a->err);
    err_clear(&a->odd);
}

/* One that is deeper than what is known, under the names of that key. */
static int find_under(struct ask *a, struct objects *o, const struct seal_keys *keys, bool old)
{
    struct manifest m;
    int64_t above = a->m.n_chunks ? a->m.head.position : a->local;
    o->keys = keys;
    int rc = objects_find(o, a->tenant, a->tokens, a->n, above, &m, &a->odd, &a->err);
    if (rc || !m.n_chunks)
        return rc;
    manifest_free(&a->m);
    a->m = m;
    a->old = old;
    a->from = a->store;
    a->found = true;
    return 0;
}

/* The deepest state under the names of both keys. */
static int find(struct ask *a, struct objects *o)
{
    const struct shared *h = a->sc->shared;
    int rc = find_under(a, o, &h->keys, false);
    return rc || !a->sc->format.two ? rc : find_under(a, o, &h->old_keys, true);
}

static void run_ask(struct job *job)
{
    struct ask *a = (struct ask *)job;
    struct shared *h = a->sc->shared;
    struct shared_line *in = &h->store[a->store].in;
    if (a->skip)
        return;
    struct objects o = {.kv = in->kv, .format = &a->sc->format, .compressor = in->compressor,
                        .deadline_ns = a->deadline_ns};
    if (!a->fetch) {
        a->rc = find(a, &o);
        a->fetch = !a->rc && a->found && (a->last || !worth_more(a));
    }
    o.keys = a->old ? &h->old_keys : &h->keys;
    if (!a->rc && a->fetch)
        a->rc = fetch(a, &o);
    a->bytes = o.bytes;
    a->count = o.count;
    a->refused = o.refused;
}

static void swap(float **a, float **b)
{
    float *t = *a;
    *a = *b;
    *b = t;
}

/* Under the lock: what was fetched becomes a state like any other. False: there is one by now, or
 * no room. */
static bool settle(struct ask *a)
{
    struct statecache *sc = a->sc;
    struct err ignored = {0};
    int64_t pos = a->m.head.position;
    struct tenant *t = core_tenant(sc, a->tenant);
    if (!t || stretch_ask_below(sc, t->root, a->tokens, pos, &ignored))
        return false;
    struct node *node = prefix_insert(&sc->prefix, t->root, a->tokens, pos);
    if (!node || node->snap)
        return node != NULL;
    struct snapshot *s = snapshot_new(sc, t, node, (enum point)a->m.head.point);
    if (!s) {
        prefix_prune(&sc->prefix, node);
        return false;
    }
    if (s->kind == POINT_SWAP)
        s->kind = POINT_END;
    s->has_logits = a->logits != NULL;
    s->share[a->from].there = !a->old; /* else it is put again, under today's key's name */
    s->pins++;
    int rc = snapshot_allocate(sc, s);
    if (!rc) { /* the memory changes hands: nothing is copied under the lock */
        swap(&s->slab, &a->slab);
        swap(&s->tail, &a->tail);
        swap(&s->logits, &a->logits);
        for (int32_t i = 0; i < s->n_blocks; i++)
            swap(&s->blocks[i]->host, &a->pages[i]);
        snapshot_arrived(sc, s);
        shared_offer(sc, s);
    } else {
        snapshot_destroy(sc, s, false);
    }
    snapshot_unpin(sc, s);
    return !rc;
}

static void leave(struct ask *a)
{
    struct ask **at = &a->sc->shared->asks;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    a->sc->shared->asking--;
}

static void push(struct ask *a, int store)
{
    struct shared *h = a->sc->shared;
    a->store = store;
    a->deadline_ns = clock_now_ns() + (uint64_t)h->wait_ms[store] * NS_PER_MS;
    a->job = (struct job){.prepare = prepare_ask, .run = run_ask, .done = done_ask};
    writer_push(&h->store[store].in.jobs, &a->job);
}

/* What one store had to say, in its counters. True: its state is in the tree. */
static bool conclude(struct ask *a)
{
    struct statecache *sc = a->sc;
    struct shared_stats *st = &sc->stats.shared[a->store];
    if (a->skip) {
        st->timeouts++;
        return false;
    }
    bool used = !a->rc && a->fetch && settle(a);
    int rc = a->rc == E_NOENT ? 0 : a->rc; /* the store gave a chunk up: its right */
    shared_settle(sc, &sc->shared->store[a->store].in, rc, &a->err);
    st->errors += a->refused;
    if (a->odd.code)
        shared_warn(sc, a->odd.text);
    st->hits += used;
    st->misses += !used && !rc && (a->fetch || !a->found);
    st->timeouts += a->rc == E_TIMEOUT;
    st->read_bytes += a->bytes;
    compress_counted(&st->expanded, &a->count);
    latency_add(&st->get, clock_now_ns() - a->start_ns);
    return used;
}

static void done_ask(struct job *job)
{
    struct ask *a = (struct ask *)job;
    struct statecache *sc = a->sc;
    struct shared *h = sc->shared;
    bool fetched = a->fetch, used = conclude(a);
    int next = used || fetched || h->stop_ns || !worth_more(a) ? -1 : usable(h, a->store + 1);
    if (next < 0 && !fetched && a->m.n_chunks && h->store[a->from].in.up && !h->stop_ns) {
        a->fetch = true; /* the one of before is the deepest */
        next = a->from;
    }
    if (next >= 0) {
        push(a, next);
        return;
    }
    leave(a);
    core_changed(sc);
    free_ask(a);
}

/* ---- asking ------------------------------------------------------------------------------- */

static bool on_its_way(const struct shared *h, uint64_t ticket)
{
    const struct ask *a = h->asks;
    while (a && a->ticket != ticket)
        a = a->next;
    return a && clock_now_ns() < a->deadline_ns; /* later its thread is late, not we */
}

bool shared_wait(struct statecache *sc, struct tenant *t, struct node *base, const int32_t *tokens,
                 int32_t n, int64_t local, uint64_t *ticket)
{
    struct shared *h = sc->shared;
    int64_t total = base->end + n;
    if (!h || !ticket)
        return false;
    if (*ticket)
        return on_its_way(h, *ticket);
    int store = usable(h, 0);
    if (store < 0 || h->stop_ns || total < local + (store ? COLD_GAIN : SHARED_GAIN) ||
        h->asking >= SHARED_ASKS || prefix_cold(base, 0, base->end))
        return false;
    struct ask *a = mem_zalloc(sizeof(*a));
    if (!a || !(a->tokens = mem_array((size_t)total, sizeof(*a->tokens)))) {
        mem_free(a);
        return false;
    }
    if (base->end)
        prefix_tokens(base, 0, base->end, a->tokens);
    if (n)
        memcpy(a->tokens + base->end, tokens, (size_t)n * sizeof(*tokens));
    memcpy(a->tenant, t->tag.b, sizeof(a->tenant));
    a->sc = sc;
    a->n = total;
    a->local = local;
    a->start_ns = clock_now_ns();
    a->ticket = *ticket = ++h->n_asks;
    a->next = h->asks;
    h->asks = a;
    h->asking++;
    push(a, store);
    return true;
}
