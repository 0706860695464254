/* States as files: written by the writer thread from the bytes of a pinned snapshot, read back into
 * one, and found again at start. */
#include "statecache/store/statefile.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "statecache/store/packed.h"
#include "statecache/store/pathfile.h"
#include "statecache/value/behind.h"
#include "statecache/value/tiers.h"

/* ---- jobs --------------------------------------------------------------------------------- */

/* One state on its way to or from the disk. */
struct state_job {
    struct job job;
    struct statecache *sc;
    struct snapshot *s;   /* pinned; NULL for a removal */
    struct tenant *tenant;
    int32_t *tokens;
    struct part part[PARTS];
    struct piece piece[3], *pages; /* tokens, slab, logits; [n_blocks + 1] */
    struct head head;
    int64_t n_tokens;     /* those beyond the last whole stretch */
    bool durable, retried, again;
    bool check; /* read it all before it counts as durable */
    uint64_t ns, cpu_ns; /* of writing */
    int rc;
    struct err err;
};

static void free_job(struct state_job *j)
{
    mem_free(j->tokens);
    mem_free(j->pages);
    mem_free(j);
}

static struct state_job *new_job(struct statecache *sc, struct snapshot *s)
{
    struct state_job *j = mem_zalloc(sizeof(*j));
    if (!j)
        return NULL;
    j->sc = sc;
    j->s = s;
    if (s)
        j->tenant = s->tenant;
    return j;
}

/* The state's own tokens. */
static int copy_tokens(struct state_job *j)
{
    struct snapshot *s = j->s;
    if (s->dead)
        return err_set(&j->err, E_CLOSED, "the state was given up meanwhile");
    j->n_tokens = s->pos % j->sc->format.stretch;
    if (!j->tokens)
        j->tokens = mem_array((size_t)j->n_tokens, sizeof(*j->tokens));
    if (!j->tokens)
        return err_set(&j->err, E_IO, "no memory for %lld tokens", (long long)j->n_tokens);
    prefix_tokens(s->node, s->pos - j->n_tokens, s->pos, j->tokens);
    j->piece[0] = (struct piece){j->tokens, (size_t)j->n_tokens * sizeof(*j->tokens)};
    return 0;
}

bool statefile_parts(const struct statecache *sc, const struct snapshot *s, struct piece piece[3],
                     struct piece **pages, struct part part[PARTS], struct head *head)
{
    const struct format *f = &sc->format;
    struct piece *list = mem_array((size_t)s->n_blocks + 1, sizeof(*list));
    size_t n = 0;
    if (!list)
        return false;
    piece[1] = (struct piece){s->slab, f->slot_bytes};
    piece[2] = (struct piece){s->logits, s->logits ? (size_t)f->vocab * sizeof(float) : 0};
    for (int32_t i = 0; i < s->n_blocks; i++)
        list[n++] = (struct piece){s->blocks[i]->host, f->page_bytes};
    if (s->tail)
        list[n++] = (struct piece){s->tail, f->page_bytes};
    part[PART_TOKENS] = (struct part){&piece[0], 1};
    part[PART_STATE] = (struct part){&piece[1], 1};
    part[PART_PAGES] = (struct part){list, n};
    part[PART_LOGITS] = (struct part){&piece[2], s->logits ? 1 : 0};
    *head = (struct head){.kind = CODEC_STATE, .position = s->pos, .point = (uint32_t)s->kind};
    memcpy(head->tenant, s->tenant->tag.b, sizeof(head->tenant));
    *pages = list;
    return true;
}

static bool describe(struct state_job *j)
{
    return statefile_parts(j->sc, j->s, j->piece, &j->pages, j->part, &j->head);
}

static void job_finished(struct state_job *j)
{
    j->sc->health = j->sc->store.health;
    core_changed(j->sc);
    free_job(j);
}

/* ---- removal ------------------------------------------------------------------------------ */

static void run_remove(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    /* Not durable: a state that comes back after a crash is as true as it was. */
    j->rc = store_remove(&j->sc->store, STORE_STATES, j->head.id, false, &j->err);
}

static void done_remove(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    if (j->rc)
        log_warn("state directory: %s", j->err.text);
    core_left(j->sc, j->head.file_bytes, !j->rc);
    job_finished(j);
}

static void push_remove(struct statecache *sc, const unsigned char name[16], uint64_t bytes)
{
    struct state_job *j = new_job(sc, NULL);
    core_leaves(sc, bytes);
    if (!j) {
        core_left(sc, bytes, false); /* the file stays until a restart finds it again */
        return;
    }
    memcpy(j->head.id, name, sizeof(j->head.id));
    j->head.file_bytes = bytes;
    j->job.run = run_remove;
    j->job.done = done_remove;
    writer_push(&sc->writer, &j->job);
}

void statefile_remove(struct statecache *sc, struct snapshot *s)
{
    if (!s->on_disk)
        return;
    if (!stretch_lost(s->node)) /* else a new path with the same ids may use it */
        push_remove(sc, s->name, s->file_bytes);
    else
        sc->stuck += s->file_bytes;
    snapshot_off_disk(sc, s);
}

struct foreign {
    unsigned char name[16];
    uint64_t bytes, stamp; /* when it was made, as lived counts */
    uint32_t holds; /* sessions whose paths are read from it */
};

bool statefile_remove_foreign(struct statecache *sc)
{
    if (sc->n_foreign == sc->n_foreign_held)
        return false;
    const struct foreign *x = &sc->foreign[--sc->n_foreign];
    sc->stuck -= x->bytes;
    push_remove(sc, x->name, x->bytes);
    return true;
}

static void swap_foreign(struct statecache *sc, size_t i, size_t j)
{
    struct foreign x = sc->foreign[i];
    sc->foreign[i] = sc->foreign[j];
    sc->foreign[j] = x;
}

void statefile_hold_foreign(struct statecache *sc, const unsigned char name[16], bool hold)
{
    size_t i = 0;
    while (i < sc->n_foreign && memcmp(sc->foreign[i].name, name, 16) != 0)
        i++;
    if (i == sc->n_foreign) /* it only goes with its age */
        return;
    sc->foreign[i].holds += hold ? 1u : -1u;
    if (hold && sc->foreign[i].holds == 1)
        swap_foreign(sc, i, sc->n_foreign_held++); /* those that are held come first */
    else if (!hold && sc->foreign[i].holds == 0)
        swap_foreign(sc, i, --sc->n_foreign_held);
}

void statefile_delete_foreign(struct statecache *sc, const unsigned char name[16])
{
    statefile_hold_foreign(sc, name, false);
    size_t i = sc->n_foreign_held;
    if (i == sc->n_foreign || memcmp(sc->foreign[i].name, name, 16) != 0)
        return; /* not listed, or another session's, too */
    struct foreign x = sc->foreign[i];
    memmove(&sc->foreign[i], &sc->foreign[i + 1], (--sc->n_foreign - i) * sizeof(x));
    sc->foreign[sc->n_foreign++] = x; /* the others stay in their order */
    (void)statefile_remove_foreign(sc);
}

/* ---- to disk ------------------------------------------------------------------------------ */

static void prepare_put(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    struct statecache *sc = j->sc;
    uint64_t bytes;
    j->head.generation = lived_now(&sc->lived); /* when it was young, for one of another model */
    j->rc = copy_tokens(j);
    if (!j->rc)
        j->rc = stretch_path(sc, j->s->node, j->head.path, &j->err);
    j->again = j->rc == E_BUSY; /* its path was put back behind us: after it, then */
    bytes = packed_bound(j->part); /* until it is known how much less it takes */
    if (!j->rc) {
        j->rc = tiers_make_room(sc, j->tenant, bytes, &j->err);
        j->again = j->rc == E_BUSY;
    }
}

static void run_put(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    unsigned char head[CODEC_HEAD];
    if (j->rc)
        return;
    uint64_t start = clock_now_ns(), computed = clock_cpu_ns();
    codec_name(&j->sc->format, j->head.tenant, j->head.path, j->tokens, j->n_tokens, j->head.id);
    j->head.created_s = clock_unix_s();
    j->head.packed = store_packs(&j->sc->store, j->part);
    codec_seal(&j->sc->format, &j->head, j->part, head);
    j->rc = store_put(&j->sc->store, STORE_STATES, j->head.id, head, j->part, j->durable, NULL,
                      &j->err);
    j->head.file_bytes = j->sc->store.put_bytes;
    j->ns = clock_now_ns() - start;
    j->cpu_ns = clock_cpu_ns() - computed;
}

static void done_put(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    struct statecache *sc = j->sc;
    struct snapshot *s = j->s;
    /* The disk was full, and one of this tenant's older states made room: once more. */
    bool room = j->rc == E_NOMEM && !j->retried && tiers_evict_disk(sc, j->tenant, false);
    if (j->again || room) {
        j->retried = j->retried || room;
        err_clear(&j->err);
        sc->health = sc->store.health;
        writer_push(&sc->writer, job);
        return;
    }
    s->writing = false;
    if (s->was_behind)
        behind_wrote(sc, j->head.file_bytes, j->cpu_ns);
    s->was_behind = false;
    if (!j->rc && s->dead) {
        push_remove(sc, j->head.id, j->head.file_bytes);
    } else if (!j->rc) {
        snapshot_on_disk(sc, s, j->head.id, j->head.file_bytes, j->durable);
        s->checked = true;
        sc->stats.spill_bytes += j->head.file_bytes;
        latency_add(&sc->stats.spill, j->ns);
    } else if (j->rc != E_CLOSED) {
        log_warn("a state of %llu tokens stays in memory: %s", (unsigned long long)s->pos,
                 j->err.text);
    }
    bool release = s->release && !j->rc && s->pins == 1;
    s->release = false;
    if (release && !s->dead)
        snapshot_drop_ram(sc, s);
    snapshot_unpin(sc, s);
    job_finished(j);
}

static bool is_damage(int rc) { return rc == E_FORMAT || rc == E_DENIED || rc == E_RANGE; }

/* Reads a whole file. What an earlier process wrote without an fsync a power cut may have torn
 * behind its head, which is all that was looked at since. */
static int check_file(struct state_job *j)
{
    struct store *st = &j->sc->store;
    static const enum codec_part parts[] = {PART_STATE, PART_PAGES, PART_LOGITS};
    unsigned char name[16];
    int fd = -1;
    memcpy(name, j->head.id, sizeof(name));
    int rc = store_get(st, STORE_STATES, name, &fd, &j->head, &j->err);
    for (size_t i = 0; i < ARRAY_LEN(parts) && !rc; i++) {
        size_t n = j->head.bytes[parts[i]];
        struct piece piece = {mem_array(1, n), n};
        struct part part = {&piece, 1};
        rc = piece.p || n == 0 ? store_part(st, fd, &j->head, parts[i], &part, &j->err)
                               : err_set(&j->err, E_NOMEM, "no memory for %zu bytes of a state", n);
        mem_free((void *)(uintptr_t)piece.p);
    }
    store_done(st, fd);
    if (is_damage(rc))
        store_quarantine(st, STORE_STATES, name, j->err.text);
    return rc;
}

static void run_sync(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    if (!j->rc && j->check)
        j->rc = check_file(j);
    if (!j->rc)
        j->rc = store_sync(&j->sc->store, STORE_STATES, j->head.id, &j->err);
}

static void prepare_sync(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    j->rc = j->s->on_disk ? 0 : err_set(&j->err, E_NOENT, "the state is not on disk");
    memcpy(j->head.id, j->s->name, sizeof(j->head.id));
    j->check = !j->s->checked;
}

static void done_sync(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    struct snapshot *s = j->s;
    if (!j->rc && s->on_disk) {
        s->durable = s->checked = true;
    } else if (is_damage(j->rc) && s->on_disk && !s->dead) { /* it was moved away */
        snapshot_off_disk(j->sc, s);
        if (!s->slab && s->slot < 0)
            snapshot_destroy(j->sc, s, true);
    }
    snapshot_unpin(j->sc, s);
    job_finished(j);
}

bool statefile_save(struct statecache *sc, struct snapshot *s, bool durable)
{
    if (!core_disk_on(sc) || s->dead)
        return false;
    if (s->on_disk && (s->durable || !durable))
        return true;
    if (s->writing && !durable)
        return true;
    struct state_job *j = new_job(sc, s);
    if (!j)
        return false;
    j->durable = durable;
    if (s->on_disk || s->writing) { /* written without fsync: only that is missing */
        j->job.prepare = prepare_sync;
        j->job.run = run_sync;
        j->job.done = done_sync;
    } else {
        struct err ignored = {0};
        s->pins++; /* making room for the copy must not take this one */
        int rc = snapshot_on_host(s) ? 0 : snapshot_to_host(sc, s, &ignored);
        s->pins--;
        if (rc || !describe(j) || !stretch_save(sc, s->tenant, s->node)) {
            free_job(j);
            return false;
        }
        s->writing = true;
        j->job.prepare = prepare_put;
        j->job.run = run_put;
        j->job.done = done_put;
    }
    s->pins++;
    writer_push(&sc->writer, &j->job);
    return true;
}

/* ---- from disk ---------------------------------------------------------------------------- */

static int check_tokens(const struct state_job *j, int fd, struct err *e)
{
    size_t bytes = (size_t)j->n_tokens * sizeof(int32_t);
    int32_t *seen = mem_array((size_t)j->n_tokens, sizeof(*seen));
    if (!seen)
        return err_set(e, E_NOMEM, "no memory for %zu bytes of tokens", bytes);
    struct piece piece = {seen, bytes};
    struct part part = {&piece, 1};
    int rc = store_part(&j->sc->store, fd, &j->head, PART_TOKENS, &part, e);
    if (!rc && bytes > 0 && memcmp(seen, j->tokens, bytes) != 0)
        rc = err_set(e, E_FORMAT, "the file has other tokens than the index");
    mem_free(seen);
    return rc;
}

static void prepare_load(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    j->rc = copy_tokens(j);
    if (!j->rc)
        stretch_name(j->sc, j->s->node, j->head.path);
}

static void run_load(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    if (j->rc)
        return;
    struct store *st = &j->sc->store;
    uint64_t start = clock_now_ns();
    unsigned char name[16];
    struct head want = j->head;
    int fd = -1;
    memcpy(name, want.id, sizeof(name));
    j->rc = store_get(st, STORE_STATES, name, &fd, &j->head, &j->err);
    if (!j->rc && (memcmp(j->head.tenant, want.tenant, sizeof(want.tenant)) != 0 ||
                   memcmp(j->head.path, want.path, sizeof(want.path)) != 0 ||
                   j->head.position != want.position))
        j->rc = err_set(&j->err, E_FORMAT, "the file is of another tenant, path or position");
    if (!j->rc)
        j->rc = check_tokens(j, fd, &j->err);
    static const enum codec_part parts[] = {PART_STATE, PART_PAGES, PART_LOGITS};
    for (size_t i = 0; i < ARRAY_LEN(parts) && !j->rc; i++)
        j->rc = store_part(st, fd, &j->head, parts[i], &j->part[parts[i]], &j->err);
    store_done(st, fd);
    if (is_damage(j->rc))
        store_quarantine(st, STORE_STATES, name, j->err.text);
    j->ns = clock_now_ns() - start;
}

static void done_load(struct job *job)
{
    struct state_job *j = (struct state_job *)job;
    struct statecache *sc = j->sc;
    struct snapshot *s = j->s;
    s->reading = false;
    if (!j->rc) {
        snapshot_arrived(sc, s);
        s->checked = true;
        sc->stats.reload_bytes += j->head.file_bytes;
        latency_add(&sc->stats.reload, j->ns);
    } else if (!s->dead) {
        log_warn("a state of %llu tokens cannot be read back: %s", (unsigned long long)s->pos,
                 j->err.text);
        snapshot_off_disk(sc, s); /* moved away, or unreadable: not worth asking again */
        snapshot_destroy(sc, s, true);
    }
    snapshot_unpin(sc, s);
    job_finished(j);
}

bool statefile_load(struct statecache *sc, struct snapshot *s)
{
    if (s->reading)
        return true;
    struct state_job *j = new_job(sc, s);
    if (!j)
        return false;
    s->pins++;
    if (snapshot_allocate(sc, s) || !describe(j)) {
        snapshot_drop_ram(sc, s);
        snapshot_unpin(sc, s);
        free_job(j);
        return false;
    }
    memcpy(j->head.id, s->name, sizeof(j->head.id));
    s->reading = true;
    j->job.prepare = prepare_load;
    j->job.run = run_load;
    j->job.done = done_load;
    writer_push_read(&sc->writer, &j->job);
    return true;
}

/* ---- at start ----------------------------------------------------------------------------- */

static int enter(struct statecache *sc, const unsigned char name[16], const struct head *h,
                 int32_t *tokens, struct err *e)
{
    unsigned char want[16];
    int64_t n = h->position % sc->format.stretch;
    codec_name(&sc->format, h->tenant, h->path, tokens, n, want);
    if (memcmp(want, name, sizeof(want)) != 0)
        return err_set(e, E_FORMAT, "its name is not that of its tokens");
    struct tenant *t = core_tenant(sc, h->tenant);
    struct node *path = t ? stretch_scanned(sc, t, h) : NULL;
    if (t && !path)
        return err_set(e, sc->unread ? E_IO : E_FORMAT, "the path before it is missing");
    int rc = path ? stretch_open_below(sc, path, tokens, n, e) : 0;
    if (rc)
        return rc;
    if (sc->n_scanned == sc->cap_scanned) {
        size_t cap = sc->cap_scanned ? sc->cap_scanned * 2 : 64;
        struct snapshot **more = mem_realloc(sc->scanned, cap * sizeof(*more));
        if (!more)
            return err_set(e, E_NOMEM, "no memory for %zu scanned states", cap);
        sc->scanned = more;
        sc->cap_scanned = cap;
    }
    struct node *node = path ? prefix_insert(&sc->prefix, path, tokens, n) : NULL;
    if (node && node->snap)
        return err_set(e, E_FORMAT, "there is another file for this state");
    struct snapshot *s = node ? snapshot_new(sc, t, node, (enum point)h->point) : NULL;
    if (!s)
        return err_set(e, E_NOMEM, "no memory for the index of states");
    s->has_logits = h->bytes[PART_LOGITS] > 0;
    snapshot_on_disk(sc, s, name, h->file_bytes, false);
    sc->scanned[sc->n_scanned++] = s;
    return 0;
}

static void foreign(struct statecache *sc, const unsigned char name[16], const struct head *h)
{
    struct tenant *t = core_tenant(sc, h->tenant);
    if (t && h->same_model)
        t->other_numerics++;
    else if (t)
        t->foreign++;
    if (h->same_model) {
        sc->n_other_numerics++;
        memcpy(sc->other_numerics, h->numerics, sizeof(sc->other_numerics));
    }
    sc->stuck += h->file_bytes;
    if (sc->n_foreign == sc->cap_foreign) {
        size_t cap = sc->cap_foreign ? sc->cap_foreign * 2 : 64;
        struct foreign *more = mem_realloc(sc->foreign, cap * sizeof(*more));
        if (!more) { /* a later start knows it */
            sc->foreign_states = true;
            return;
        }
        sc->foreign = more;
        sc->cap_foreign = cap;
    }
    struct foreign x = {.bytes = h->file_bytes, .stamp = h->generation};
    memcpy(x.name, name, sizeof(x.name));
    sc->foreign[sc->n_foreign++] = x;
}

static void scan_one(void *arg, const unsigned char name[16])
{
    struct statecache *sc = arg;
    struct err e = {0};
    struct head h;
    int fd = -1;
    int32_t *tokens = NULL;
    int rc = store_get(&sc->store, STORE_STATES, name, &fd, &h, &e);
    if (!rc) { /* the head is sealed and the file as long as it says: the size is real */
        tokens = mem_array(1, h.bytes[PART_TOKENS]);
        struct piece piece = {tokens, h.bytes[PART_TOKENS]};
        struct part part = {&piece, 1};
        rc = tokens ? store_part(&sc->store, fd, &h, PART_TOKENS, &part, &e)
                    : err_set(&e, E_NOMEM, "no memory for its tokens");
    }
    if (!rc)
        rc = enter(sc, name, &h, tokens, &e);
    mem_free(tokens);
    store_done(&sc->store, fd);
    if (rc == E_CONFLICT)
        foreign(sc, name, &h);
    else if (rc == E_FORMAT || rc == E_DENIED || rc == E_RANGE)
        store_quarantine(&sc->store, STORE_STATES, name, e.text);
    else if (rc)
        log_warn("a state file is left alone: %s", e.text);
    sc->unread |= rc == E_IO || rc == E_NOMEM || rc == E_UNSUPPORTED;
}

static int by_name(const void *a, const void *b)
{
    const struct snapshot *const *x = a, *const *y = b;
    return memcmp((*x)->name, (*y)->name, sizeof((*x)->name));
}

int statefile_scan(struct statecache *sc, struct err *e)
{
    int rc = store_list(&sc->store, STORE_STATES, scan_one, sc, e);
    if (sc->n_scanned)
        qsort(sc->scanned, sc->n_scanned, sizeof(*sc->scanned), by_name);
    if (sc->n_other_numerics)
        log_warn("%llu states of this model are not used: they were made by the arithmetic \"%s\", "
                 "and this server has \"%s\"", (unsigned long long)sc->n_other_numerics,
                 sc->other_numerics, sc->format.numerics);
    return rc;
}

struct snapshot *statefile_scanned(struct statecache *sc, const unsigned char name[16])
{
    size_t lo = 0, hi = sc->n_scanned;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = memcmp(sc->scanned[mid]->name, name, 16);
        if (order == 0)
            return sc->scanned[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static int newest_first(const void *a, const void *b)
{
    const struct foreign *x = a, *y = b;
    return (x->stamp < y->stamp) - (x->stamp > y->stamp);
}

/* Foreign states go with their age, but for those that a session's record names: that one may have
 * been used, or forked, long after its state was made. */
static void remove_aged(struct statecache *sc)
{
    size_t kept = sc->n_foreign_held;
    for (size_t i = kept; i < sc->n_foreign; i++) {
        struct foreign x = sc->foreign[i];
        struct err ignored = {0}; /* it is tried again at the next start */
        bool aged = lived_since(&sc->lived, x.stamp) > (uint64_t)sc->o.session_ttl_s;
        if (aged && !store_remove(&sc->store, STORE_STATES, x.name, false, &ignored))
            sc->stuck -= x.bytes;
        else
            sc->foreign[kept++] = x;
    }
    sc->n_foreign = kept;
}

/* The oldest of those that are not held is the last: it goes first when room is made. */
static void order_foreign(struct statecache *sc)
{
    size_t first = sc->n_foreign_held;
    if (sc->n_foreign > first)
        qsort(sc->foreign + first, sc->n_foreign - first, sizeof(*sc->foreign), newest_first);
}

void statefile_scan_end(struct statecache *sc)
{
    mem_free(sc->scanned);
    sc->scanned = NULL;
    sc->n_scanned = sc->cap_scanned = 0;
    struct err ignored = {0};
    if (!sc->unread)
        remove_aged(sc);
    order_foreign(sc);
    sc->foreign_states |= sc->n_foreign > 0;
    sc->health = sc->store.health;
    if (!sc->unread) /* what was not read may hold any of them; later, room is made as needed */
        (void)!tiers_make_room(sc, NULL, 0, &ignored); /* if not, nothing is added either */
}
