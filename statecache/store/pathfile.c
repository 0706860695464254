/* Stretches of paths as files. Invariants: a stretch is on disk only after the one before it, and
 * durable at once (one fsync for thousands of tokens); only what is on disk is ever cold; its file
 * goes when its node does, and that is after every state beyond it. */
#include "statecache/store/pathfile.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "statecache/value/tiers.h"

#define WARM_S 2  /* ids just read back stay: whoever asked for them has not looked yet */
#define WAIT_S 10 /* for ids or a state to be read: 1,000 times what it takes when nothing else goes
                     on */

struct stretch_job {
    struct job job;
    struct statecache *sc;
    struct node *node; /* pinned; NULL for a removal */
    struct head head;
    int32_t *tokens;
    struct piece piece;
    struct part part[PARTS];
    bool again, retried, cool; /* cool: once it is on disk nobody needs it in memory */
    int rc;
    struct err err;
};

static struct stretch_job *new_job(struct statecache *sc, struct node *n)
{
    struct stretch_job *j = mem_zalloc(sizeof(*j));
    if (!j)
        return NULL;
    j->sc = sc;
    j->node = n;
    return j;
}

static void job_finished(struct stretch_job *j)
{
    struct statecache *sc = j->sc;
    if (j->node) {
        j->node->pins--;
        prefix_prune(&sc->prefix, j->node);
    }
    sc->health = sc->store.health;
    core_changed(sc);
    mem_free(j->tokens);
    mem_free(j);
}

static int64_t file_bytes(const struct statecache *sc)
{
    return CODEC_HEAD + sc->format.stretch * (int64_t)sizeof(int32_t);
}

/* ---- removal ------------------------------------------------------------------------------ */

static void run_remove(struct job *job)
{
    struct stretch_job *j = (struct stretch_job *)job;
    /* Not durable: what comes back after a crash is found to be needed by nothing. */
    j->rc = store_remove(&j->sc->store, STORE_PATHS, j->head.id, false, &j->err);
}

static void done_remove(struct job *job)
{
    struct stretch_job *j = (struct stretch_job *)job;
    if (j->rc)
        log_warn("state directory: %s", j->err.text);
    core_left(j->sc, (uint64_t)file_bytes(j->sc), !j->rc);
    job_finished(j);
}

/* prefix.gone: the file goes with its node. */
static void gone(void *arg, const struct node *n)
{
    struct statecache *sc = arg;
    const struct stretch *x = n->stretch;
    if (!x->on_disk)
        return;
    core_charge(sc, x->tenant, TIER_DISK, -file_bytes(sc));
    /* Beyond what was lost, a new path with the same ids may use it. If it stays, a restart finds
     * it needless. */
    struct stretch_job *j = stretch_lost(n) ? NULL : new_job(sc, NULL);
    core_leaves(sc, (uint64_t)file_bytes(sc));
    if (!j) {
        core_left(sc, (uint64_t)file_bytes(sc), false);
        return;
    }
    memcpy(j->head.id, x->name, sizeof(j->head.id));
    j->job.run = run_remove;
    j->job.done = done_remove;
    writer_push(&sc->writer, &j->job);
}

/* ---- to disk ------------------------------------------------------------------------------ */

void stretch_name(const struct statecache *sc, struct node *at, unsigned char name[16])
{
    const struct node *n = prefix_stretch(&sc->prefix, at);
    memset(name, 0, 16);
    if (n->stretch)
        memcpy(name, n->stretch->name, 16);
}

int stretch_path(const struct statecache *sc, struct node *at, unsigned char name[16],
                 struct err *e)
{
    const struct node *n = prefix_stretch(&sc->prefix, at);
    stretch_name(sc, at, name);
    if (!n->parent)
        return 0;
    if (n->stretch && n->stretch->writing)
        return E_BUSY;
    if (!n->stretch || !n->stretch->on_disk || stretch_lost(n))
        return err_set(e, E_IO, "the path to token %lld is not on disk", (long long)n->end);
    return 0;
}

bool stretch_lost(const struct node *at)
{
    while (at->parent && at->first != PREFIX_LOST)
        at = at->parent;
    return at->parent != NULL;
}

static void prepare_put(struct job *job)
{
    struct stretch_job *j = (struct stretch_job *)job;
    struct statecache *sc = j->sc;
    struct node *n = j->node;
    j->rc = stretch_path(sc, n->parent, j->head.path, &j->err);
    j->again = j->rc == E_BUSY; /* that one was put back behind us: after it, then */
    if (!j->rc && stretch_lost(n))
        j->rc = err_set(&j->err, E_IO, "its tokens were lost");
    if (!j->rc && !j->tokens)
        j->tokens = mem_array((size_t)sc->format.stretch, sizeof(*j->tokens));
    if (!j->rc && !j->tokens)
        j->rc = err_set(&j->err, E_IO, "no memory for %lld tokens", (long long)sc->format.stretch);
    if (!j->rc) {
        j->rc = tiers_make_room(sc, n->stretch->tenant, (uint64_t)file_bytes(sc), &j->err);
        j->again = j->rc == E_BUSY;
    }
    if (j->rc)
        return;
    prefix_tokens(n, n->end - sc->format.stretch, n->end, j->tokens);
    j->piece = (struct piece){j->tokens, (size_t)sc->format.stretch * sizeof(*j->tokens)};
    j->part[PART_TOKENS] = (struct part){&j->piece, 1};
}

static void run_put(struct job *job)
{
    struct stretch_job *j = (struct stretch_job *)job;
    const struct format *f = &j->sc->format;
    unsigned char head[CODEC_HEAD];
    if (j->rc)
        return;
    codec_name(f, j->head.tenant, j->head.path, j->tokens, f->stretch, j->head.id);
    j->head.created_s = clock_unix_s();
    codec_seal(f, &j->head, j->part, head);
    j->rc = store_put(&j->sc->store, STORE_PATHS, j->head.id, head, j->part, true, NULL, &j->err);
}

static void done_put(struct job *job)
{
    struct stretch_job *j = (struct stretch_job *)job;
    struct statecache *sc = j->sc;
    struct stretch *x = j->node->stretch;
    bool room = j->rc == E_NOMEM && !j->retried && tiers_evict_disk(sc, x->tenant, false);
    if (j->again || room) {
        j->retried = j->retried || room; /* the disk was full: once more */
        err_clear(&j->err);
        sc->health = sc->store.health;
        writer_push(&sc->writer, job);
        return;
    }
    x->writing = false;
    if (j->rc) {
        log_warn("the path to token %lld stays in memory: %s", (long long)j->node->end,
                 j->err.text);
    } else {
        memcpy(x->name, j->head.id, sizeof(x->name));
        x->on_disk = true;
        core_charge(sc, x->tenant, TIER_DISK, file_bytes(sc));
        if (j->cool)
            stretch_cool(sc, j->node);
    }
    job_finished(j);
}

static struct stretch_job *put_job(struct statecache *sc, struct tenant *t, struct node *n)
{
    struct stretch_job *j = new_job(sc, n);
    if (j && !n->stretch)
        n->stretch = mem_zalloc(sizeof(*n->stretch));
    if (!j || !n->stretch) {
        mem_free(j);
        return NULL;
    }
    n->stretch->tenant = t;
    j->cool = sc->opening;
    j->head = (struct head){.kind = CODEC_PATH, .position = n->end};
    memcpy(j->head.tenant, t->tag.b, sizeof(j->head.tenant));
    j->job.prepare = prepare_put;
    j->job.run = run_put;
    j->job.done = done_put;
    return j;
}

bool stretch_save(struct statecache *sc, struct tenant *t, struct node *at)
{
    struct job *first = NULL, *next;
    bool whole = true;
    /* What is before a stretch that is on disk, or on its way, is so as well. */
    for (struct node *n = prefix_stretch(&sc->prefix, at);
         whole && n->parent && !(n->stretch && (n->stretch->on_disk || n->stretch->writing));
         n = prefix_stretch(&sc->prefix, n->parent)) {
        struct stretch_job *j = put_job(sc, t, n);
        whole = j != NULL;
        if (j) {
            j->job.next = first;
            first = &j->job;
        }
    }
    for (struct job *job = first; job; job = next) {
        struct stretch_job *j = (struct stretch_job *)job;
        next = job->next;
        if (!whole) {
            mem_free(j);
            continue;
        }
        j->node->stretch->writing = true;
        j->node->pins++;
        writer_push(&sc->writer, job);
    }
    return whole;
}

/* ---- from disk ---------------------------------------------------------------------------- */

/* Whether a file that could not be read for this reason is in its folder no more. */
static bool read_is_over(int rc)
{
    return rc == E_FORMAT || rc == E_DENIED || rc == E_RANGE || rc == E_NOENT;
}

/* want: name, path, tenant and position. The bytes must prove that they are those. */
static int read_ids(struct statecache *sc, const struct head *want, int32_t *tokens, struct err *e)
{
    struct store *st = &sc->store;
    struct head h;
    struct piece piece = {tokens, (size_t)sc->format.stretch * sizeof(*tokens)};
    struct part part = {&piece, 1};
    unsigned char name[16];
    int fd = -1;
    int rc = store_get(st, STORE_PATHS, want->id, &fd, &h, e);
    if (!rc && (memcmp(h.tenant, want->tenant, 16) != 0 || h.position != want->position ||
                memcmp(h.path, want->path, 16) != 0))
        rc = err_set(e, E_FORMAT, "the file is of another tenant or path");
    if (!rc)
        rc = store_part(st, fd, &h, PART_TOKENS, &part, e);
    store_done(st, fd);
    if (!rc) {
        codec_name(&sc->format, h.tenant, h.path, tokens, sc->format.stretch, name);
        if (memcmp(name, want->id, sizeof(name)) != 0)
            rc = err_set(e, E_FORMAT, "its name is not that of its tokens");
    }
    if (rc == E_FORMAT || rc == E_DENIED || rc == E_RANGE)
        store_quarantine(st, STORE_PATHS, want->id, e->text);
    return rc;
}

static void describe(const struct statecache *sc, const struct node *n, struct head *h)
{
    *h = (struct head){.position = n->end};
    memcpy(h->tenant, n->stretch->tenant->tag.b, sizeof(h->tenant));
    memcpy(h->id, n->stretch->name, sizeof(h->id));
    stretch_name(sc, n->parent, h->path);
}

static void lose(struct statecache *sc, struct node *n, const struct err *why)
{
    log_error("tokens %lld to %lld of a path cannot be read back: %s",
              (long long)(n->end - n->n), (long long)n->end, why->text);
    n->stretch->on_disk = false;
    core_charge(sc, n->stretch->tenant, TIER_DISK, -file_bytes(sc));
    if (!read_is_over(why->code)) /* it is still there, and a restart tries again */
        sc->stuck += (uint64_t)file_bytes(sc);
    prefix_lose(&sc->prefix, n);
}

static void run_load(struct job *job)
{
    struct stretch_job *j = (struct stretch_job *)job;
    j->rc = read_ids(j->sc, &j->head, j->tokens, &j->err);
}

static void done_load(struct job *job)
{
    struct stretch_job *j = (struct stretch_job *)job;
    struct stretch *x = j->node->stretch;
    x->reading = false;
    if (j->rc) {
        lose(j->sc, j->node, &j->err);
    } else {
        x->warm_ns = clock_now_ns();
        prefix_warm(&j->sc->prefix, j->node, j->tokens);
        j->tokens = NULL;
    }
    job_finished(j);
}

static int lost_error(const struct node *n, struct err *e)
{
    return err_set(e, E_IO, "the state directory lost tokens %lld to %lld of this path",
                   (long long)(n->end - n->n), (long long)n->end);
}

/* n is cold. Never 0. */
static int ask(struct statecache *sc, struct node *n, struct err *e)
{
    if (n->first == PREFIX_LOST)
        return lost_error(n, e);
    if (!n->stretch->reading) {
        struct stretch_job *j = new_job(sc, n);
        if (j)
            j->tokens = mem_array((size_t)n->n, sizeof(*j->tokens));
        if (!j || !j->tokens) {
            mem_free(j);
            return err_set(e, E_NOMEM, "no memory to read %d tokens back", n->n);
        }
        describe(sc, n, &j->head);
        j->job.run = run_load;
        j->job.done = done_load;
        n->pins++;
        n->stretch->reading = true;
        writer_push_read(&sc->writer, &j->job);
    }
    return E_BUSY;
}

int stretch_ask(struct statecache *sc, struct node *leaf, int64_t from, int64_t to, struct err *e)
{
    int rc = 0;
    for (struct node *n = prefix_cold(leaf, from, to); n && (!rc || rc == E_BUSY);
         n = prefix_cold(n->parent, from, to))
        rc = ask(sc, n, e);
    return rc;
}

/* The cold node that would have to be cut to end at pos. */
static struct node *cold_at(struct node *leaf, int64_t pos)
{
    struct node *n = pos > 0 ? prefix_cold(leaf, pos - 1, pos) : NULL;
    return n && n->end > pos ? n : NULL;
}

int stretch_ask_at(struct statecache *sc, struct node *leaf, int64_t pos, struct err *e)
{
    struct node *n = cold_at(leaf, pos);
    return n ? ask(sc, n, e) : 0;
}

int stretch_ask_below(struct statecache *sc, struct node *from, const int32_t *tokens, int64_t n,
                      struct err *e)
{
    struct node *cold = prefix_match(&sc->prefix, from, tokens, n).cold;
    int rc = cold ? ask(sc, cold, e) : 0;
    /* What follows will be wanted next, if the ids go on like this. */
    for (struct node *c = cold; rc == E_BUSY && c && c->end - from->end < n;
         c = c->n_children == 1 ? c->child : NULL)
        if (!c->tokens && c->first != PREFIX_LOST)
            rc = ask(sc, c, e);
    return rc;
}

struct timespec stretch_deadline(void) { return core_deadline(WAIT_S * 1000); }

bool stretch_wait(struct statecache *sc, const struct timespec *until, struct err *e)
{
    bool any = sc->writer.queued > 0;
    if (sc->writer.started)
        any = pthread_cond_timedwait(&sc->changed, &sc->lock, until) == 0;
    else
        writer_work(&sc->writer); /* a test with one thread is the writer, too */
    if (!any)
        err_set(e, E_BUSY, "what is needed of the session was not read within %d s", WAIT_S);
    return any;
}

void stretch_cool(struct statecache *sc, struct node *n)
{
    const struct stretch *x = n->stretch;
    if (x && x->on_disk && n->tokens && n->n == sc->format.stretch &&
        x->warm_ns + WARM_S * NS_PER_S <= clock_now_ns())
        prefix_cool(&sc->prefix, n);
}

/* ---- at start ----------------------------------------------------------------------------- */

/* A file found. node: where it is in the tree; NULL: not placed, or of another model. */
struct found {
    struct head head;
    struct node *node;
    bool foreign, needless; /* needless: nothing leads to it */
};

static void find_one(void *arg, const unsigned char name[16])
{
    struct statecache *sc = arg;
    struct err e = {0};
    struct head h;
    int fd = -1;
    int rc = store_get(&sc->store, STORE_PATHS, name, &fd, &h, &e);
    store_done(&sc->store, fd);
    if (rc == E_FORMAT || rc == E_DENIED || rc == E_RANGE)
        store_quarantine(&sc->store, STORE_PATHS, name, e.text);
    else if (rc && rc != E_CONFLICT)
        log_warn("a file of a path is left alone: %s", e.text);
    if (rc && rc != E_CONFLICT) {
        sc->unread |= rc == E_IO || rc == E_UNSUPPORTED;
        return;
    }
    if (sc->n_found == sc->cap_found) {
        size_t cap = sc->cap_found ? sc->cap_found * 2 : 64;
        struct found *more = mem_realloc(sc->found, cap * sizeof(*more));
        if (!more) {
            sc->unread = true;
            log_warn("no memory for %zu files of paths", cap);
            return;
        }
        sc->found = more;
        sc->cap_found = cap;
    }
    sc->found[sc->n_found++] = (struct found){.head = h, .foreign = rc == E_CONFLICT};
}

static int by_name(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return memcmp(x->head.id, y->head.id, sizeof(x->head.id));
}

static int by_position(const void *a, const void *b)
{
    const struct found *const *x = a, *const *y = b;
    return ((*x)->head.position > (*y)->head.position) -
           ((*x)->head.position < (*y)->head.position);
}

struct node *stretch_scanned(struct statecache *sc, const struct tenant *t, const struct head *h)
{
    int64_t begin = h->position - (int64_t)(h->bytes[PART_TOKENS] / sizeof(int32_t));
    struct found key = {0};
    if (begin == 0)
        return t->root;
    memcpy(key.head.id, h->path, sizeof(key.head.id));
    const struct found *x =
        sc->n_found ? bsearch(&key, sc->found, sc->n_found, sizeof(*x), by_name) : NULL;
    bool right = x && x->node && x->node->end == begin && x->node->stretch->tenant == t;
    return right ? x->node : NULL;
}

static int open_now(struct statecache *sc, struct node *n, struct err *e)
{
    struct head h;
    struct err why = {0};
    int32_t *tokens = mem_array((size_t)n->n, sizeof(*tokens));
    if (!tokens)
        return err_set(e, E_NOMEM, "no memory to read %d tokens back", n->n);
    describe(sc, n, &h);
    if (!read_ids(sc, &h, tokens, &why)) {
        prefix_warm(&sc->prefix, n, tokens);
        return 0;
    }
    mem_free(tokens);
    lose(sc, n, &why);
    return 0; /* it is out of the way */
}

int stretch_open_at(struct statecache *sc, struct node *leaf, int64_t pos, struct err *e)
{
    struct node *n = cold_at(leaf, pos);
    int rc = n ? open_now(sc, n, e) : 0;
    return !rc && n && !n->tokens ? lost_error(n, e) : rc;
}

int stretch_open_below(struct statecache *sc, struct node *from, const int32_t *tokens, int64_t n,
                       struct err *e)
{
    struct node *cold;
    int rc = 0;
    while (!rc && (cold = prefix_match(&sc->prefix, from, tokens, n).cold))
        rc = open_now(sc, cold, e);
    return rc;
}

/* Puts a file into the tree, below the one before it, which is there already. */
static int place(struct statecache *sc, struct found *x, int32_t *tokens, struct err *e)
{
    const struct head *h = &x->head;
    struct tenant *t = core_tenant(sc, h->tenant);
    struct node *up = t ? stretch_scanned(sc, t, h) : NULL;
    if (!t)
        return err_set(e, E_NOMEM, "no memory for a key's paths");
    if (!up)
        return err_set(e, E_NOENT, "the path before it is missing");
    int rc = read_ids(sc, h, tokens, e);
    if (!rc)
        rc = stretch_open_below(sc, up, tokens, sc->format.stretch, e);
    if (rc)
        return rc;
    struct node *n = prefix_insert(&sc->prefix, up, tokens, sc->format.stretch);
    if (n && !n->stretch)
        n->stretch = mem_zalloc(sizeof(*n->stretch));
    if (!n || !n->stretch)
        return err_set(e, E_NOMEM, "no memory for the index of paths");
    *n->stretch = (struct stretch){.tenant = t, .on_disk = true};
    memcpy(n->stretch->name, h->id, sizeof(n->stretch->name));
    core_charge(sc, t, TIER_DISK, file_bytes(sc));
    n->pins++; /* until the states are there that lead through it */
    x->node = n;
    stretch_cool(sc, n);
    return 0;
}

/* The files found, the first of every path first. NULL = no memory. */
static struct found **in_order(const struct statecache *sc)
{
    struct found **order = mem_array(sc->n_found, sizeof(*order));
    for (size_t i = 0; order && i < sc->n_found; i++)
        order[i] = &sc->found[i];
    if (order && sc->n_found)
        qsort(order, sc->n_found, sizeof(*order), by_position);
    return order;
}

int stretch_scan(struct statecache *sc, struct err *e)
{
    int rc = store_list(&sc->store, STORE_PATHS, find_one, sc, e);
    if (rc)
        return rc;
    sc->prefix.gone = gone;
    sc->prefix.arg = sc;
    if (sc->n_found)
        qsort(sc->found, sc->n_found, sizeof(*sc->found), by_name);
    struct found **order = in_order(sc);
    int32_t *tokens = mem_array((size_t)sc->format.stretch, sizeof(*tokens));
    if (!order || !tokens)
        rc = err_set(e, E_NOMEM, "no memory for %zu files of paths", sc->n_found);
    for (size_t i = 0; i < sc->n_found && !rc; i++) {
        struct err why = {0};
        int bad = order[i]->foreign ? 0 : place(sc, order[i], tokens, &why);
        if (bad)
            log_warn("a file of a path is not used: %s", why.text);
        order[i]->needless = bad == E_NOENT;
        sc->unread |= bad == E_IO || bad == E_NOMEM;
    }
    mem_free(order);
    mem_free(tokens);
    return rc;
}

void stretch_scan_end(struct statecache *sc)
{
    struct found **order = in_order(sc);
    for (size_t i = sc->n_found; order && i-- > 0;) {
        struct node *n = order[i]->node;
        struct err ignored = {0}; /* it is tried again at the next start */
        if (sc->unread)
            continue; /* what needs it may be there: until a start that reads all, it is pinned */
        if (n) {
            n->pins--;
            prefix_prune(&sc->prefix, n);
        } else if (order[i]->foreign ? !sc->foreign_states : order[i]->needless) {
            (void)!store_remove(&sc->store, STORE_PATHS, order[i]->head.id, false, &ignored);
        }
    }
    mem_free(order);
    mem_free(sc->found);
    sc->found = NULL;
    sc->n_found = sc->cap_found = 0;
}
