/* What a waiting request lacks, looked for in the shared stores, one after the other.
 *
 * A search runs in the thread of its connection, into memory of its own; what it found enters
 * the tree whole, under the lock, or not at all. When the time is over the request goes on without
 * it; an answer that comes after that is for the next one. The cold store is asked where the hot
 * one leaves COLD_GAIN tokens or more to compute; if it has nothing deeper, what the hot one has
 * is fetched after all.
 *
 * A request waits only where waiting.h says that it pays. If it does not, the store is asked all
 * the same, now and then and with nobody waiting: that shows how long it takes by now. */
#include <string.h>

#include "base/mem.h"
#include "statecache/shared/shared.h"
#include "statecache/store/pathfile.h"

#define COLD_GAIN 256 /* tokens that are worth a question to a store that takes its time */
#define ROUNDS 3      /* answers in a row that a state takes: where, what, its pieces */
#define ROUNDS_GROUPED 2 /* … of a bucket, where all before the pieces are told as one */
#define UNWAITED_MS 2000 /* a question that nobody waits for has so long, at least; … */
#define UNWAITED_EVERY_NS NS_PER_S /* … and is asked so often, at most */

struct ask {
    struct job job;
    struct ask *next;       /* on their way */
    struct statecache *sc;
    uint64_t ticket, start_ns, deadline_ns;
    uint64_t begun_ns;  /* when it began to wait for this store, in line with others, … */
    uint64_t asked_ns;  /* … and when that was asked */
    uint64_t limit_ns;  /* the request goes on by then, which is never after deadline_ns */
    uint64_t token_ns;  /* as in struct shared_query */
    int64_t before;     /* likewise, at begun_ns, with what those who wait already may save */
    bool waits;         /* a request does */
    bool gone;          /* … did, and has seen that its time was over */
    bool unwaited;      /* none waits for this store; it was asked for what that shows */
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
    uint64_t bytes, refused, fetch_ns, fetch_bytes;
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

/* The request's time is over: it goes on without this store. */
static void let_go(struct ask *a)
{
    a->waits = false;
    a->sc->stats.shared[a->store].waits_late++;
    core_changed(a->sc);
}

static struct waiting *waiting_of(const struct ask *a)
{
    return &a->sc->shared->store[a->store].waiting;
}

static void prepare_ask(struct job *job)
{
    struct ask *a = (struct ask *)job;
    const struct shared *h = a->sc->shared;
    uint64_t now = clock_now_ns();
    a->skip = !h->store[a->store].in.up || h->stop_ns || now >= a->deadline_ns ||
              !(a->waits || a->unwaited); /* it was let go before it was asked */
    a->last = a->unwaited || usable(h, a->store + 1) < 0;
    a->found = false;
    a->rc = 0;
    a->bytes = a->refused = a->fetch_ns = a->fetch_bytes = 0;
    a->count = (struct compress_count){0};
    err_clear(&a->err);
    err_clear(&a->odd);
    a->asked_ns = now;
    if (!a->skip && !a->fetch)
        waiting_asked(waiting_of(a), now);
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

/* The store has said what it has: so long does it take. Whether the rest is worth waiting for is
 * known, too: how many bytes it is, and how many tokens. */
static void answered(struct ask *a)
{
    struct statecache *sc = a->sc;
    pthread_mutex_lock(&sc->lock);
    struct waiting *w = waiting_of(a);
    uint64_t now = clock_now_ns();
    bool typical = !a->found || sc->shared->store[a->store].in.kv->grouped;
    waiting_answered(w, now - a->asked_ns, typical, now);
    shared_judge(sc, a->store, now);
    if (a->waits && a->fetch) {
        int64_t tokens = a->before + a->m.head.position - a->local;
        uint64_t most = a->begun_ns + waiting_worth(w, tokens, a->token_ns);
        if (now + waiting_fetch(w, a->m.bytes, now) > MIN(a->limit_ns, most))
            let_go(a);
    }
    pthread_mutex_unlock(&sc->lock);
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
        if (!a->rc)
            answered(a);
    }
    uint64_t start = clock_now_ns(), before = o.bytes;
    o.keys = a->old ? &h->old_keys : &h->keys;
    if (!a->rc && a->fetch)
        a->rc = fetch(a, &o);
    a->fetch_ns = clock_now_ns() - start;
    a->fetch_bytes = o.bytes - before;
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

/* What waiting for that store is worth, if `tokens` may be computed meanwhile: what it saves, and
 * what is before that; 0: it does not pay. Its answers come one after the other. */
static uint64_t worth(const struct shared *h, int store, int64_t tokens, uint64_t token_ns)
{
    const struct waiting *w = &h->store[store].waiting;
    uint64_t most = waiting_worth(w, tokens, token_ns);
    int rounds = h->store[store].in.kv->grouped ? ROUNDS_GROUPED : ROUNDS, line = 1;
    for (const struct ask *a = h->asks; a; a = a->next)
        line += a->store == store && a->waits;
    return waiting_pays(w, most, rounds * line, clock_now_ns()) ? most : 0;
}

/* Tokens that are computed before this prompt's `saves`, if nobody waits: those of others who wait
 * may be found, too, but if they are not they are in its way. Prompts share the engine, so none
 * takes more from this one than it has itself. */
static int64_t before(const struct shared *h, const struct shared_query *q, int64_t saves)
{
    int64_t n = MIN(q->before, q->others * saves);
    for (const struct ask *a = h->asks; a; a = a->next)
        n += a->waits ? MIN(a->n - a->local, saves) : 0;
    return n;
}

/* What is left of that by now. */
static int64_t still_before(const struct ask *a)
{
    uint64_t done = a->token_ns ? (clock_now_ns() - a->begun_ns) / a->token_ns : 0;
    return done < (uint64_t)a->before ? a->before - (int64_t)done : 0;
}

/* Whether a store may be asked without anybody waiting; then it is. */
static bool may_ask_unwaited(struct shared *h, int store)
{
    struct shared_store *t = &h->store[store];
    uint64_t now = clock_now_ns();
    if (t->unwaited || (t->unwaited_ns && now < t->unwaited_ns + UNWAITED_EVERY_NS))
        return false;
    t->unwaited = true;
    t->unwaited_ns = now;
    return true;
}

static void push(struct ask *a, int store, uint64_t worth_ns)
{
    struct shared *h = a->sc->shared;
    uint64_t now = clock_now_ns(), ns = (uint64_t)h->wait_ms[store] * NS_PER_MS;
    a->store = store;
    a->begun_ns = now;
    a->limit_ns = now + worth_ns;
    a->deadline_ns = now + (a->unwaited ? MAX(ns, UNWAITED_MS * NS_PER_MS) : ns);
    a->job = (struct job){.prepare = prepare_ask, .run = run_ask, .done = done_ask};
    writer_push(&h->store[store].in.jobs, &a->job);
    if (a->waits && a->limit_ns < h->look_ns)
        pthread_cond_signal(&h->look);
}

/* What one store had to say, in its counters. True: its state is in the tree. */
static bool conclude(struct ask *a)
{
    struct statecache *sc = a->sc;
    struct shared_stats *st = &sc->stats.shared[a->store];
    struct waiting *w = waiting_of(a);
    uint64_t now = clock_now_ns();
    if (a->waits && now >= a->limit_ns)
        let_go(a);
    if (a->skip) {
        st->timeouts++;
        st->waits_late += a->waits;
        return false;
    }
    if (a->rc == E_TIMEOUT && w->asked_ns)
        waiting_given_up(w, now - a->asked_ns, now);
    else if (w->asked_ns)
        waiting_broken(w);
    waiting_fetched(w, a->fetch_bytes, a->fetch_ns);
    bool used = !a->rc && a->fetch && settle(a);
    int rc = a->rc == E_NOENT ? 0 : a->rc; /* the store gave a chunk up: its right */
    shared_settle(sc, &sc->shared->store[a->store].in, rc, &a->err);
    st->errors += a->refused;
    if (a->odd.code)
        shared_warn(sc, a->store, a->odd.text);
    st->waits_late += a->waits && rc;
    st->waits_hit += a->waits && used;
    st->waits_miss += a->waits && !used && !rc && (a->fetch || !a->found);
    st->hits += used;
    st->misses += !used && !rc && (a->fetch || !a->found);
    st->timeouts += a->rc == E_TIMEOUT;
    st->read_bytes += a->bytes;
    compress_counted(&st->expanded, &a->count);
    latency_add(&st->get, clock_now_ns() - a->start_ns);
    return used;
}

/* The store behind it, if that may have something deeper, which is worth waiting for. */
static int next_store(struct ask *a, uint64_t *worth_ns)
{
    struct shared *h = a->sc->shared;
    int next = usable(h, a->store + 1);
    int64_t has = a->m.n_chunks ? a->m.head.position : a->local;
    if (next < 0 || !worth_more(a) || a->gone)
        return -1;
    int64_t left = still_before(a);
    *worth_ns = worth(h, next, left + a->n - has, a->token_ns);
    if (*worth_ns) {
        a->before = left;
        return next;
    }
    a->sc->stats.shared[next].waits_skipped++;
    if (a->m.n_chunks || !may_ask_unwaited(h, next))
        return -1;
    a->waits = false; /* the request goes on, the question, too */
    a->gone = a->unwaited = true;
    core_changed(a->sc);
    return next;
}

static void done_ask(struct job *job)
{
    struct ask *a = (struct ask *)job;
    struct statecache *sc = a->sc;
    struct shared *h = sc->shared;
    uint64_t worth_ns = 0;
    bool fetched = a->fetch, used = conclude(a);
    int next = used || fetched || h->stop_ns ? -1 : next_store(a, &worth_ns);
    if (next < 0 && !fetched && !a->gone && a->m.n_chunks && h->store[a->from].in.up &&
        !h->stop_ns) {
        a->fetch = true; /* the one of before is the deepest */
        next = a->from;
        a->before = still_before(a);
        worth_ns = waiting_worth(&h->store[next].waiting,
                                 a->before + a->m.head.position - a->local, a->token_ns);
    }
    shared_judge(sc, a->store, clock_now_ns());
    if (next >= 0) {
        a->waits = !a->unwaited;
        push(a, next, worth_ns);
        return;
    }
    if (a->unwaited)
        h->store[a->store].unwaited = false;
    leave(a);
    core_changed(sc);
    free_ask(a);
}

/* ---- asking ------------------------------------------------------------------------------- */

static struct ask *with_ticket(const struct shared *h, uint64_t ticket)
{
    struct ask *a = h->asks;
    while (a && a->ticket != ticket)
        a = a->next;
    return a;
}

/* For its request. If not, that does not come back. */
static bool on_its_way(struct ask *a)
{
    if (a->waits && clock_now_ns() >= a->limit_ns)
        let_go(a);
    a->gone |= !a->waits;
    return a->waits;
}

uint64_t shared_waits_over(struct statecache *sc, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (struct ask *a = sc->shared->asks; a; a = a->next) {
        if (a->waits && (now >= a->limit_ns || waiting_of(a)->off))
            let_go(a);
        if (a->waits)
            next = MIN(next, a->limit_ns);
    }
    return next;
}

static struct ask *new_ask(struct statecache *sc, const struct shared_query *q)
{
    struct shared *h = sc->shared;
    int64_t total = q->base->end + q->n;
    struct ask *a = h->asking < SHARED_ASKS ? mem_zalloc(sizeof(*a)) : NULL;
    if (!a || !(a->tokens = mem_array((size_t)total, sizeof(*a->tokens)))) {
        mem_free(a);
        return NULL;
    }
    if (q->base->end)
        prefix_tokens(q->base, 0, q->base->end, a->tokens);
    if (q->n)
        memcpy(a->tokens + q->base->end, q->tokens, (size_t)q->n * sizeof(*q->tokens));
    memcpy(a->tenant, q->tenant->tag.b, sizeof(a->tenant));
    a->sc = sc;
    a->n = total;
    a->local = q->local;
    a->token_ns = q->token_ns;
    a->start_ns = clock_now_ns();
    a->ticket = ++h->n_asks;
    a->next = h->asks;
    h->asks = a;
    h->asking++;
    return a;
}

/* A question to a store that nobody waits for, so that it is known when that pays again. */
static void ask_unwaited(struct statecache *sc, int store, const struct shared_query *q)
{
    if (sc->shared->asking >= SHARED_ASKS || !may_ask_unwaited(sc->shared, store))
        return;
    struct ask *a = new_ask(sc, q);
    sc->shared->store[store].unwaited = a != NULL;
    if (!a)
        return;
    a->gone = a->unwaited = true;
    push(a, store, 0);
}

bool shared_wait(struct statecache *sc, const struct shared_query *q, uint64_t *ticket)
{
    struct shared *h = sc->shared;
    int64_t saves = q->base->end + q->n - q->local;
    if (!h || !ticket)
        return false;
    int store = 0;
    if (*ticket) {
        struct ask *a = with_ticket(h, *ticket);
        if (!a || on_its_way(a))
            return a != NULL;
        store = a->store + 1; /* it is late, and this is the first look since */
    }
    if (h->stop_ns || saves < SHARED_GAIN || prefix_cold(q->base, 0, q->base->end))
        return false;
    uint64_t worth_ns = 0;
    int64_t tokens = before(h, q, saves) + saves;
    store = usable(h, store);
    while (store >= 0 && saves >= (store ? COLD_GAIN : SHARED_GAIN) &&
           !(worth_ns = worth(h, store, tokens, q->token_ns))) {
        sc->stats.shared[store].waits_skipped++;
        ask_unwaited(sc, store, q);
        store = usable(h, store + 1);
    }
    struct ask *a = worth_ns ? new_ask(sc, q) : NULL;
    *ticket = a ? a->ticket : ++h->n_asks; /* it has been decided, once */
    if (!a)
        return false;
    a->waits = true;
    a->before = tokens - saves;
    push(a, store, worth_ns);
    return true;
}
