/* What a start makes of the log of turns: each session's latest change on top of its record file;
 * then all that is still needed is written anew, so that what this run tells its clients is on the
 * medium, and what was read goes.
 *
 * A change is found by its session's id. Of the file with that id one of these came: a session
 * (the change is applied), nothing but a wait for better days (the change waits as well), or
 * nothing for good (the change is lost with it: it is never taken for more than it is). */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "statecache/due.h"
#include "statecache/store/fields.h"
#include "statecache/store/journal.h"
#include "statecache/store/pathfile.h"
#include "statecache/statecache_int.h"
#include "statecache/value/snapshot.h"

#define READ_MAX (UINT64_C(256) << 20) /* of records: four times the largest share */

enum fate { FATE_OPEN, FATE_SETTLED, FATE_WAITS };

struct change_found {
    struct change c; /* points into frames when all are read */
    size_t at, n;
    uint64_t order;
    enum fate fate;
};

/* ---- reading ------------------------------------------------------------------------------ */

static void each_frame(void *arg, const unsigned char *records, size_t n)
{
    struct journal *j = arg;
    j->failed = j->failed || buf_add(&j->frames, records, n);
}

static int by_session(const void *a, const void *b)
{
    const struct change_found *x = a, *y = b;
    int order = memcmp(x->c.id, y->c.id, sizeof(x->c.id));
    if (order)
        return order;
    if (x->c.kind != y->c.kind) /* nothing comes after a deletion */
        return (int)x->c.kind - (int)y->c.kind;
    if (x->c.generation != y->c.generation)
        return x->c.generation < y->c.generation ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static bool add_found(struct journal *j, const struct change_found *x)
{
    if (j->n_found == j->cap_found) {
        size_t cap = j->cap_found ? j->cap_found * 2 : 64;
        struct change_found *more = mem_realloc(j->found, cap * sizeof(*more));
        if (!more)
            return false;
        j->found = more;
        j->cap_found = cap;
    }
    j->found[j->n_found++] = *x;
    return true;
}

/* The records of all frames; then of each session only the latest. */
static int find_changes(struct journal *j, struct err *e)
{
    const unsigned char *p = (const unsigned char *)j->frames.p;
    struct change_found x = {0};
    for (size_t at = 0; at < j->frames.len; at += x.n) {
        if (change_decode(p + at, j->frames.len - at, &x.c, &x.n, e))
            return e->code; /* sealed by us and nonsense: nothing of it is touched */
        x.at = at;
        x.order++;
        if (!add_found(j, &x))
            return err_set(e, E_NOMEM, "no memory for %zu changes in the log of turns", j->n_found);
    }
    if (j->n_found)
        qsort(j->found, j->n_found, sizeof(*j->found), by_session);
    size_t kept = 0;
    for (size_t i = 0; i < j->n_found; i++)
        if (i + 1 == j->n_found || memcmp(j->found[i].c.id, j->found[i + 1].c.id, 16) != 0)
            j->found[kept++] = j->found[i];
    j->n_found = kept;
    return 0;
}

int journal_open(struct statecache *sc, struct err *e)
{
    struct journal *j = &sc->journal;
    const struct fsio *io = sc->o.io ? sc->o.io : &fsio_real;
    journal_start(sc);
    j->opening = true;
    struct format other = sc->format;
    if (sc->n_other_numerics)
        memcpy(other.numerics, sc->other_numerics, sizeof(other.numerics));
    change_model(&sc->format, j->model);
    change_model_made(&sc->format, j->made[0]);
    change_model_made(&other, j->made[1]);
    buf_init(&j->frames, READ_MAX);
    int rc = turnlog_open(&j->log, io, sc->o.dir, &sc->format, turnlog_share(sc->o.disk_bytes),
                          each_frame, j, e);
    if (!rc && j->failed)
        rc = err_set(e, E_NOMEM, "no memory for %zu bytes of the log of turns", j->frames.len);
    if (!rc)
        rc = find_changes(j, e);
    j->failed = false;
    return rc;
}

static struct change_found *find(struct statecache *sc, const unsigned char id[16])
{
    struct journal *j = &sc->journal;
    struct change_found key = {0};
    size_t lo = 0, hi = j->n_found;
    memcpy(key.c.id, id, 16);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = memcmp(j->found[mid].c.id, id, 16);
        if (order == 0)
            return &j->found[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* ---- what comes of a record file ---------------------------------------------------------- */

bool journal_deleted(struct statecache *sc, const unsigned char id[16])
{
    const struct change_found *x = find(sc, id);
    return x && x->c.kind == CHANGE_DELETED;
}

void journal_orphan(struct statecache *sc, const unsigned char id[16], bool waits)
{
    struct change_found *x = find(sc, id);
    if (x)
        x->fate = waits ? FATE_WAITS : FATE_SETTLED;
}

static bool ours(const struct statecache *sc, const struct change *c)
{
    const struct journal *j = &sc->journal;
    return memcmp(c->model, j->model, sizeof(c->model)) == 0 ||
           memcmp(c->made, j->made[0], sizeof(c->made)) == 0 ||
           memcmp(c->made, j->made[1], sizeof(c->made)) == 0;
}

/* The turns of x become those it keeps and those of the change. */
static int take_turns(struct session *x, const struct change *c, const struct fields *f,
                      struct err *e)
{
    int64_t keep = c->keep_turns, last = 0;
    if (keep > x->n_turns && keep > (int64_t)f->lo_turn)
        return err_set(e, E_FORMAT, "it keeps %lld turns of %lld", (long long)keep,
                       (long long)x->n_turns);
    if (keep <= (int64_t)f->lo_turn)
        x->n_turns = x->lo_turn = (int64_t)f->lo_turn; /* all it lists are its own */
    else
        x->n_turns = keep;
    for (int64_t i = x->lo_turn; i < x->n_turns; i++)
        last = x->turns[i % LIMIT_SESSION_TURNS];
    for (uint32_t i = 0; i < c->n_turns; i++) {
        int64_t at;
        memcpy(&at, (const char *)c->turns + (size_t)i * 8, 8);
        if (at < last)
            return err_set(e, E_FORMAT, "turn %u ends at %lld, the one before at %lld", i,
                           (long long)at, (long long)last);
        last = at;
        if (session_push_turn(x, at))
            return err_set(e, E_NOMEM, "no memory for %u turns", c->n_turns);
    }
    if (last > (int64_t)f->position || x->n_turns != (int64_t)f->turns)
        return err_set(e, E_FORMAT, "%lld turns to token %lld, the fields say %llu to %llu",
                       (long long)x->n_turns, (long long)last, (unsigned long long)f->turns,
                       (unsigned long long)f->position);
    return 0;
}

/* The node the change leads to: what it keeps of x's path, then its tokens. */
static int take_path(struct statecache *sc, struct session *x, const struct change *c,
                     struct node **out, struct err *e)
{
    int32_t *tokens = mem_array(c->n_tokens, sizeof(*tokens));
    if (!tokens)
        return err_set(e, E_NOMEM, "no memory for %u tokens", c->n_tokens);
    if (c->n_tokens)
        memcpy(tokens, c->tokens, (size_t)c->n_tokens * sizeof(*tokens));
    int rc = 0;
    for (uint32_t i = 0; i < c->n_tokens && !rc; i++)
        if (tokens[i] < 0 || tokens[i] >= sc->format.vocab)
            rc = err_set(e, E_FORMAT, "token %u is %d, the vocabulary ends at %d", i, tokens[i],
                         sc->format.vocab);
    if (!rc)
        rc = stretch_open_at(sc, x->node, c->keep_tokens, e);
    struct node *at = rc ? NULL : prefix_at(&sc->prefix, x->node, c->keep_tokens);
    if (at) {
        at->pins++; /* reading what is in the way may prune it */
        rc = stretch_open_below(sc, at, tokens, c->n_tokens, e);
        *out = rc ? NULL : prefix_insert(&sc->prefix, at, tokens, c->n_tokens);
        at->pins--;
        if (!*out || *out != at)
            prefix_prune(&sc->prefix, at);
    }
    mem_free(tokens);
    if (!rc && (!at || !*out))
        rc = err_set(e, E_NOMEM, "no memory for a session");
    return rc;
}

static int apply(struct statecache *sc, struct session *x, const struct change *c, struct err *e)
{
    struct fields f;
    struct node *node = NULL;
    fields_read(&f, c->fields);
    if (c->base > x->file_generation)
        return err_set(e, E_FORMAT, "the log of turns builds on generation %llu, the record is of "
                       "%llu", (unsigned long long)c->base,
                       (unsigned long long)x->file_generation);
    if (c->keep_tokens > x->node->end || f.turns > INT64_MAX / 2 || f.lo_turn > f.turns ||
        (uint64_t)c->keep_tokens + c->n_tokens != f.position)
        return err_set(e, E_FORMAT, "the log of turns keeps %lld of %lld tokens, adds %u, and says "
                       "%llu", (long long)c->keep_tokens, (long long)x->node->end, c->n_tokens,
                       (unsigned long long)f.position);
    int rc = take_path(sc, x, c, &node, e);
    if (!rc) {
        node->pins++;
        rc = take_turns(x, c, &f, e);
        buf_clear(&x->answer);
        if (!rc && c->n_answer && buf_add(&x->answer, c->answer, c->n_answer))
            rc = err_set(e, E_NOMEM, "no memory for an answer");
        struct snapshot *tip = node->snap ? node->snap : c->n_tokens ? NULL : x->tip;
        session_move(sc, x, node, node->end ? tip : NULL);
        node->pins--;
    }
    if (rc)
        return rc;
    x->created_s = f.created_s;
    x->used_s = f.used_s;
    x->lived_s = f.lived_s ? f.lived_s : lived_now(&sc->lived);
    lived_seen(&sc->lived, x->lived_s);
    x->ttl_s = f.ttl_s;
    x->stored.fence = f.shared_fence;
    x->stored.seen = f.shared_seen;
    memcpy(x->stored.nonce, f.shared_nonce, sizeof(f.shared_nonce));
    memcpy(x->turn_id, f.turn_id, SESSION_TURN_ID);
    x->generation = c->generation;
    x->keep = (struct keep){c->keep_tokens, c->keep_turns};
    return 0;
}

int journal_apply(struct statecache *sc, struct session *x, struct err *e)
{
    struct change_found *f = find(sc, x->id.b);
    if (!f || f->c.generation <= x->file_generation) {
        if (f)
            f->fate = FATE_SETTLED;
        return 0;
    }
    /* What an earlier version logged upon this file; another one may have left states, too. */
    bool by_maker = x->foreign_file && memcmp(f->c.made, x->file_made, sizeof(x->file_made)) == 0;
    if (!by_maker && !ours(sc, &f->c)) {
        err_set(e, E_CONFLICT, "its change in the log of turns is of another model or arithmetic");
        log_warn("a session waits for another server: %s", e->text);
        return E_CONFLICT;
    }
    int rc = apply(sc, x, &f->c, e);
    if (!rc)
        f->fate = FATE_SETTLED;
    return rc;
}

/* ---- what has no record file -------------------------------------------------------------- */

static void only_logged(struct statecache *sc, struct change_found *f)
{
    struct err e = {0};
    struct fields fields;
    f->fate = FATE_SETTLED;
    if (f->c.kind == CHANGE_DELETED)
        return; /* its file is gone, too */
    fields_read(&fields, f->c.fields);
    if (!ours(sc, &f->c)) {
        if (lived_since(&sc->lived, fields.lived_s) <= (uint64_t)sc->o.session_ttl_s)
            f->fate = FATE_WAITS;
        return;
    }
    struct tenant *t = core_tenant(sc, f->c.tenant);
    struct session *x = t ? session_new(sc, t, t->root, &e) : NULL;
    int rc = x ? 0 : E_NOMEM;
    if (!rc) {
        memcpy(x->id.b, f->c.id, sizeof(x->id.b));
        rc = apply(sc, x, &f->c, &e);
    }
    if (!rc) {
        session_enter(sc, x);
        return;
    }
    if (x)
        session_discard(sc, x);
    if (rc == E_FORMAT)
        log_error("a session is lost: its record file is not there, and %s", e.text);
    else
        log_warn("a session in the log of turns waits for the next start: %s", e.text);
    f->fate = rc == E_FORMAT ? FATE_SETTLED : FATE_WAITS;
}

/* ---- writing it anew ---------------------------------------------------------------------- */

static bool add_or_flush(struct statecache *sc, bool (*add)(struct statecache *sc, void *what),
                         void *what, struct err *e)
{
    if (add(sc, what))
        return true;
    return !journal_flush(sc, e) && add(sc, what);
}

static bool add_session(struct statecache *sc, void *x) { return journal_add(sc, x); }
static bool add_relic(struct statecache *sc, void *x) { return journal_keep(sc, x); }

static bool rewrite(struct statecache *sc, struct err *e)
{
    struct journal *j = &sc->journal;
    bool good = j->hold = true;
    for (size_t i = 0; i < j->n_found && good; i++)
        if (j->found[i].fate == FATE_WAITS) {
            const struct change_found *f = &j->found[i];
            struct relic *r = journal_relic_new(sc, &f->c, j->frames.p + f->at, f->n);
            good = r && add_or_flush(sc, add_relic, r, e);
        }
    for (int i = 0; i < SESSION_BUCKETS && good; i++)
        for (struct session *x = sc->sessions[i]; x && good; x = x->chain)
            if (x->generation > x->file_generation)
                good = add_or_flush(sc, add_session, x, e);
    j->hold = false;
    return good && !journal_flush(sc, e);
}

/* What could not be written anew stays where it was read, and nothing new is logged. */
static void without(struct statecache *sc, const struct err *why)
{
    log_error("log of turns: %s; nothing is logged until a restart, turns wait for their states",
              why->text[0] ? why->text : "no room to write it anew");
    sc->journal.on = false;
    for (int i = 0; i < SESSION_BUCKETS; i++)
        for (struct session *x = sc->sessions[i]; x; x = x->chain)
            if (x->generation > x->saved_generation)
                x->failed_generation = x->generation;
}

int journal_replay(struct statecache *sc, struct err *e)
{
    struct journal *j = &sc->journal;
    struct err why = {0};
    for (size_t i = 0; i < j->n_found; i++)
        if (j->found[i].fate == FATE_OPEN)
            only_logged(sc, &j->found[i]);
    uint64_t old = j->log.next_segment;
    j->segment = j->last = old;
    j->on = turnlog_share(sc->o.disk_bytes) > 0 || j->n_found > 0;
    j->largest = MIN(TURNLOG_FRAME_MAX, j->log.limit / 2);
    if (j->on && !rewrite(sc, &why))
        without(sc, &why);
    turnlog_steady(&j->log, turnlog_share(sc->o.disk_bytes));
    j->largest = MIN(TURNLOG_FRAME_MAX, j->log.limit) / 2;
    j->on = j->on && j->log.limit > 0;
    mem_free(j->found);
    buf_free(&j->frames);
    j->found = NULL;
    j->n_found = j->cap_found = 0;
    j->opening = false;
    for (int i = 0; i < SESSION_BUCKETS; i++)
        for (struct session *x = sc->sessions[i]; x; x = x->chain)
            if (x->generation > x->file_generation)
                due_want(sc, x, DUE_SOON);
    (void)e;
    return 0;
}
