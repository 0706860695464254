/* Changes on their way into the log, and which of those in it are still needed. */
#include "statecache/store/journal.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "statecache/due.h"
#include "statecache/statecache_int.h"

#define RETRY_NS (10 * NS_PER_S) /* after a deletion that could not be logged */
#define CARRY_AT 2 /* from this part of the limit on, the oldest segment is emptied */

/* ---- batches ------------------------------------------------------------------------------ */

static void drop_batch(struct journal_batch *b)
{
    buf_clear(&b->frame);
    b->n = 0;
}

/* Room for one more record, and the frame's head before the first. */
static bool prepare_batch(struct journal_batch *b)
{
    static const char head[TURNLOG_HEAD];
    if (b->n == b->cap) {
        uint32_t cap = b->cap ? b->cap * 2 : 16;
        struct journal_entry *more = mem_realloc(b->entry, cap * sizeof(*more));
        if (!more)
            return false;
        b->entry = more;
        b->cap = cap;
    }
    return b->frame.len > 0 || buf_add(&b->frame, head, sizeof(head)) == 0;
}

static void push(struct journal *j)
{
    if (j->opening)
        return; /* journal_flush does it */
    if (!j->queued)
        writer_push(&j->writer, &j->job);
    j->queued = true;
}

static bool fits(const struct journal *j, uint64_t bytes)
{
    return bytes <= j->largest &&
           j->waiting.frame.len + bytes + TURNLOG_BLOCK <= MIN(TURNLOG_FRAME_MAX, j->log.limit / 2);
}

/* ---- what is still needed ----------------------------------------------------------------- */

static void use_more(struct journal *j, uint64_t segment)
{
    for (int i = 0; i < j->n_use; i++)
        if (j->use[i].number == segment) {
            j->use[i].live++;
            return;
        }
    ASSERT(j->n_use < TURNLOG_SEGMENTS); /* as many as there can be files */
    j->use[j->n_use++] = (struct segment_use){segment, 1};
}

static void use_less(struct journal *j, uint64_t segment)
{
    for (int i = 0; i < j->n_use; i++)
        if (j->use[i].number == segment) {
            ASSERT(j->use[i].live > 0);
            j->use[i].live--;
        }
}

/* The oldest segment with a live record; UINT64_MAX = there is none. */
static uint64_t oldest_used(const struct journal *j)
{
    uint64_t oldest = UINT64_MAX;
    for (int i = 0; i < j->n_use; i++)
        if (j->use[i].live > 0)
            oldest = MIN(oldest, j->use[i].number);
    return oldest;
}

static void forget_dropped(struct journal *j)
{
    int kept = 0;
    for (int i = 0; i < j->n_use; i++)
        if (j->use[i].number >= j->first)
            j->use[kept++] = j->use[i];
    j->n_use = kept;
}

/* Segments that a job could remove now. */
static bool droppable(const struct journal *j)
{
    return j->first < j->last && oldest_used(j) > j->first && !j->failed;
}

void journal_covered(struct statecache *sc, struct session *x)
{
    struct journal *j = &sc->journal;
    if (!x->logged_segment)
        return;
    use_less(j, x->logged_segment);
    x->logged_segment = 0;
    if (j->on && droppable(j))
        push(j);
}

/* ---- relics ------------------------------------------------------------------------------- */

struct relic *journal_relic(struct statecache *sc, const struct session_id *id)
{
    struct relic *r = sc->journal.relics;
    while (r && memcmp(r->id.b, id->b, sizeof(id->b)) != 0)
        r = r->next;
    return r;
}

static void free_relic(struct relic *r)
{
    mem_free(r->bytes);
    mem_free(r);
}

/* Deletions that nothing can undo any more are forgotten. */
static void settle_relics(struct journal *j)
{
    for (struct relic **at = &j->relics; *at;) {
        struct relic *r = *at;
        if (r->waiting || !r->segment || !r->removed) {
            at = &r->next;
            continue;
        }
        use_less(j, r->segment);
        *at = r->next;
        free_relic(r);
    }
}

bool journal_keep(struct statecache *sc, struct relic *r)
{
    struct journal *j = &sc->journal;
    struct journal_batch *b = &j->waiting;
    if (r->waiting || !fits(j, r->n) || !prepare_batch(b) || buf_add(&b->frame, r->bytes, r->n))
        return false;
    r->waiting = true;
    r->failed = false;
    b->entry[b->n++] = (struct journal_entry){.id = r->id, .relic = r};
    push(j);
    return true;
}

struct relic *journal_relic_new(struct statecache *sc, const struct change *c, const void *bytes,
                                size_t n)
{
    struct relic *r = mem_zalloc(sizeof(*r));
    unsigned char *copy = r ? mem_array(1, n) : NULL;
    if (!copy) {
        mem_free(r);
        return NULL;
    }
    memcpy(copy, bytes, n);
    *r = (struct relic){.next = sc->journal.relics, .kind = c->kind, .n = n, .bytes = copy};
    memcpy(r->id.b, c->id, sizeof(r->id.b));
    sc->journal.relics = r;
    return r;
}

bool journal_delete(struct statecache *sc, const struct session *x)
{
    struct journal *j = &sc->journal;
    struct change c = {.kind = CHANGE_DELETED, .generation = x->generation};
    struct buf b;
    if (!j->on)
        return false;
    memcpy(c.made, x->foreign_file ? x->file_made : j->made[0], sizeof(c.made));
    memcpy(c.tenant, x->tenant->tag.b, sizeof(c.tenant));
    memcpy(c.id, x->id.b, sizeof(c.id));
    buf_init(&b, SESSION_RECORD);
    struct relic *r =
        change_encode(&b, &c) ? NULL : journal_relic_new(sc, &c, b.p, b.len);
    buf_free(&b);
    if (r)
        r->failed = !journal_keep(sc, r);
    return r != NULL;
}

void journal_removed(struct statecache *sc, const unsigned char id[16], bool gone)
{
    struct session_id x;
    memcpy(x.b, id, sizeof(x.b));
    struct relic *r = journal_relic(sc, &x);
    if (!r || r->kind != CHANGE_DELETED)
        return;
    r->removed = gone;
    settle_relics(&sc->journal);
}

void journal_tick(struct statecache *sc)
{
    struct journal *j = &sc->journal;
    if (!j->on || !store_may_write(&j->health) || clock_now_ns() < j->retry_ns)
        return;
    for (struct relic *r = j->relics; r; r = r->next)
        if (r->failed)
            (void)journal_keep(sc, r); /* if not, the next tick tries */
}

/* ---- sessions ----------------------------------------------------------------------------- */

/* The session's difference to its record file, appended to out. */
static bool encode(struct statecache *sc, const struct session *x, struct buf *out)
{
    struct journal *j = &sc->journal;
    unsigned char fields[SESSION_RECORD];
    int64_t keep = MIN(x->keep.tokens, x->node->end), n = x->node->end - keep;
    int64_t first = MAX(MIN(x->keep.turns, x->n_turns), x->lo_turn), n_turns = x->n_turns - first;
    if (n > CHANGE_TOKENS || (n > 0 && prefix_cold(x->node, keep, x->node->end)))
        return false;
    int32_t *tokens = mem_array((size_t)n, sizeof(*tokens));
    int64_t *turns = mem_array((size_t)n_turns, sizeof(*turns));
    struct change c = {
        .kind = CHANGE_SESSION, .generation = x->generation, .base = x->file_generation,
        .keep_tokens = keep, .keep_turns = MIN(x->keep.turns, x->n_turns), .fields = fields,
        .tokens = tokens, .n_tokens = (uint32_t)n, .turns = turns, .n_turns = (uint32_t)n_turns,
        .answer = x->answer.p, .n_answer = (uint32_t)x->answer.len,
    };
    bool good = tokens && turns;
    if (good) {
        if (n > 0)
            prefix_tokens(x->node, keep, x->node->end, tokens);
        for (int64_t i = 0; i < n_turns; i++)
            turns[i] = x->turns[(first + i) % LIMIT_SESSION_TURNS];
        record_fields(x, NULL, fields);
        memcpy(c.made, x->foreign_file ? x->file_made : j->made[0], sizeof(c.made));
        memcpy(c.model, j->model, sizeof(c.model));
        memcpy(c.tenant, x->tenant->tag.b, sizeof(c.tenant));
        memcpy(c.id, x->id.b, sizeof(c.id));
        good = change_encode(out, &c) == 0;
    }
    mem_free(tokens);
    mem_free(turns);
    return good;
}

bool journal_add(struct statecache *sc, struct session *x)
{
    struct journal *j = &sc->journal;
    struct journal_batch *b = &j->waiting;
    if (!j->on || !store_may_write(&j->health) || !prepare_batch(b))
        return false;
    size_t before = b->frame.len;
    uint64_t most = (uint64_t)MAX(x->node->end - x->keep.tokens, 0) * 4 + x->answer.len +
                    SESSION_RECORD + TURNLOG_BLOCK;
    bool good = fits(j, most) && encode(sc, x, &b->frame);
    if (good && !fits(j, b->frame.len - before)) { /* its turns took more than is usual */
        b->frame.len = before;
        good = false;
    }
    if (!good)
        return false;
    b->entry[b->n++] = (struct journal_entry){.tenant = x->tenant->tag, .id = x->id,
                                              .generation = x->generation};
    x->waiting_generation = x->generation;
    push(j);
    return true;
}

void journal_changed(struct statecache *sc, struct session *x)
{
    struct keep now = {x->node->end, x->n_turns};
    if (!sc->disk || x->dead) { /* the log may forget a deletion, and would find this alone */
        x->failed_generation = x->generation;
        return;
    }
    x->keep = (struct keep){MIN(x->keep.tokens, now.tokens), MIN(x->keep.turns, now.turns)};
    x->keep_next =
        (struct keep){MIN(x->keep_next.tokens, now.tokens), MIN(x->keep_next.turns, now.turns)};
    bool logged = journal_add(sc, x);
    bool far = now.tokens - x->keep.tokens > sc->o.checkpoint_tokens;
    if (!logged && !core_disk_on(sc))
        session_fail(sc, x);
    due_want(sc, x, logged && !far ? DUE_SOON : DUE_NOW);
    if (!logged && sc->o.wake)
        sc->o.wake(sc->o.wake_arg); /* somebody waits, and only the engine can begin */
}

/* The log is getting full: what the oldest segment is needed for is written again, beside what is
 * written anyway, unless a record file is about to make it needless. */
static void carry(struct statecache *sc)
{
    struct journal *j = &sc->journal;
    uint64_t oldest = oldest_used(j);
    if (!j->waiting.n || j->bytes < j->log.limit / CARRY_AT || oldest >= j->last)
        return;
    for (int i = 0; i < SESSION_BUCKETS; i++)
        for (struct session *x = sc->sessions[i]; x; x = x->chain)
            if (x->logged_segment == oldest && x->logged_generation == x->generation &&
                !x->checkpointing && !x->due.prev)
                (void)journal_add(sc, x); /* if not, there is no room for more turns either */
    for (struct relic *r = j->relics; r; r = r->next)
        if (r->segment == oldest)
            (void)journal_keep(sc, r);
}

/* ---- the job ------------------------------------------------------------------------------ */

static void prepare(struct job *job)
{
    struct statecache *sc = ((struct journal *)((char *)job - offsetof(struct journal, job)))->sc;
    struct journal *j = &sc->journal;
    carry(sc);
    struct journal_batch empty = j->flying;
    j->flying = j->waiting;
    j->waiting = empty;
    j->below = j->hold ? 0 : oldest_used(j);
}

static void run(struct job *job)
{
    struct journal *j = (struct journal *)((char *)job - offsetof(struct journal, job));
    struct err why = {0};
    err_clear(&j->err);
    j->rc = 0;
    if (j->flying.n)
        j->rc = turnlog_append(&j->log, &j->flying.frame, j->flying.n, &j->segment, &j->err);
    j->drop_rc = j->rc ? 0 : turnlog_drop(&j->log, j->below, &why);
    if (j->drop_rc)
        log_warn("log of turns: %s", why.text);
}

/* The session of an entry that waits no longer; NULL: it is gone. */
static struct session *arrived(struct statecache *sc, const struct journal_entry *n)
{
    struct session *x = session_of(sc, &n->tenant, &n->id);
    if (x && x->waiting_generation == n->generation)
        x->waiting_generation = 0;
    return x;
}

static void logged(struct statecache *sc, const struct journal_entry *n)
{
    struct journal *j = &sc->journal;
    if (n->relic) {
        struct relic *r = n->relic;
        r->waiting = false;
        if (r->segment)
            use_less(j, r->segment);
        r->segment = j->segment;
        use_more(j, r->segment);
        return;
    }
    struct session *x = arrived(sc, n);
    if (!x)
        return;
    x->saved_generation = MAX(x->saved_generation, n->generation);
    if (n->generation <= x->file_generation || n->generation < x->logged_generation)
        return; /* a record file was faster */
    if (x->logged_segment)
        use_less(j, x->logged_segment);
    x->logged_generation = n->generation;
    x->logged_segment = j->segment;
    use_more(j, x->logged_segment);
}

static void not_logged(struct statecache *sc, const struct journal_entry *n)
{
    struct session *x = n->relic ? NULL : arrived(sc, n);
    if (n->relic) {
        n->relic->waiting = false;
        n->relic->failed = n->relic->kind == CHANGE_DELETED && !n->relic->segment;
        sc->journal.retry_ns = clock_now_ns() + RETRY_NS;
    } else if (x && x->saved_generation < n->generation) {
        due_want(sc, x, DUE_NOW); /* its record file decides */
    }
}

static void done(struct job *job)
{
    struct statecache *sc = ((struct journal *)((char *)job - offsetof(struct journal, job)))->sc;
    struct journal *j = &sc->journal;
    j->queued = false;
    j->failed = j->drop_rc != 0;
    j->last = j->segment;
    j->health = j->log.health;
    j->bytes = j->log.bytes;
    j->quarantined = j->log.quarantined;
    j->first = j->log.n_segments ? j->log.segment[0].number : j->log.next_segment;
    if (j->rc && !j->said)
        log_warn("%u changes of sessions are not logged, nor others for now: %s", j->flying.n,
                 j->err.text);
    j->said = j->flying.n ? j->rc != 0 : j->said;
    for (uint32_t i = 0; i < j->flying.n; i++)
        (j->rc ? not_logged : logged)(sc, &j->flying.entry[i]);
    drop_batch(&j->flying);
    forget_dropped(j);
    settle_relics(j);
    if (j->waiting.n || droppable(j))
        push(j);
    core_changed(sc);
}

void journal_start(struct statecache *sc)
{
    struct journal *j = &sc->journal;
    j->sc = sc;
    j->job = (struct job){.prepare = prepare, .run = run, .done = done};
    buf_init(&j->waiting.frame, 2 * TURNLOG_FRAME_MAX);
    buf_init(&j->flying.frame, 2 * TURNLOG_FRAME_MAX);
}

int journal_flush(struct statecache *sc, struct err *e)
{
    struct journal *j = &sc->journal;
    prepare(&j->job);
    run(&j->job);
    int rc = j->rc ? err_set(e, j->rc, "%s", j->err.text) : 0;
    done(&j->job);
    return rc;
}

void journal_close(struct statecache *sc)
{
    struct journal *j = &sc->journal;
    struct err ignored = {0}; /* what stays is read, found to be covered, and removed then */
    writer_close(&j->writer);
    if (j->on && oldest_used(j) == UINT64_MAX) {
        turnlog_seal(&j->log);
        (void)!turnlog_drop(&j->log, UINT64_MAX, &ignored);
    }
    turnlog_close(&j->log);
    while (j->relics) {
        struct relic *r = j->relics;
        j->relics = r->next;
        free_relic(r);
    }
    mem_free(j->found);
    buf_free(&j->frames);
    buf_free(&j->waiting.frame);
    buf_free(&j->flying.frame);
    mem_free(j->waiting.entry);
    mem_free(j->flying.entry);
    j->on = false;
}
