/* Named sessions: a node of the tree with an id, an owner and a history of turns.
 *
 * Invariant: a session pins its node, so its tokens stay known whatever the budgets evict, and it
 * holds the snapshot whose file its record names, so the disk keeps it. */
#include "statecache/session.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "statecache/due.h"
#include "statecache/shared/together.h"
#include "statecache/store/statefile.h"
#include "statecache/store/pathfile.h"
#include "statecache/value/tiers.h"

#define FIRST_TURNS 16
#define DELETE_MS 10000 /* a disk that takes longer is as good as none */

const char *session_persist_name(enum session_persist p)
{
    return p == PERSIST_DURABLE ? "durable" : p == PERSIST_PENDING ? "pending" : "off";
}

void session_id_hex(const struct session_id *id, char out[33])
{
    sodium_bin2hex(out, 33, id->b, sizeof(id->b));
}

bool session_id_parse(const char *hex, struct session_id *out)
{
    for (int i = 0; i < 32; i++) /* stops at the terminator of a shorter text */
        if (!((hex[i] >= '0' && hex[i] <= '9') || (hex[i] >= 'a' && hex[i] <= 'f')))
            return false;
    size_t n = 0;
    return hex[32] == 0 &&
           sodium_hex2bin(out->b, sizeof(out->b), hex, 32, NULL, &n, NULL) == 0 &&
           n == sizeof(out->b);
}

/* ---- the table ---------------------------------------------------------------------------- */

static struct session **bucket(struct statecache *sc, const struct session_id *id)
{
    uint32_t h; /* ids are random: any part of one is a hash */
    memcpy(&h, id->b, sizeof(h));
    return &sc->sessions[h % SESSION_BUCKETS];
}

struct session *session_of(struct statecache *sc, const struct tenant_tag *tenant,
                           const struct session_id *id)
{
    struct session *x = *bucket(sc, id);
    while (x && sodium_memcmp(x->id.b, id->b, sizeof(id->b)) != 0)
        x = x->chain;
    return x && sodium_memcmp(x->tenant->tag.b, tenant->b, sizeof(tenant->b)) == 0 ? x : NULL;
}

static int unknown(struct err *e)
{
    return err_field(e, E_NOENT, "session", "there is no such session");
}

struct session *session_new(struct statecache *sc, struct tenant *t, struct node *node,
                            struct err *e)
{
    struct session *x = NULL;
    int64_t max = t->limits.sessions < INT64_MAX ? t->limits.sessions : sc->o.sessions_per_tenant;
    if (t->sessions >= max && !sc->opening) {
        err_field(e, E_BUSY, "sessions", "%lld sessions exist, at most %lld are allowed for one "
                  "key", (long long)t->sessions, (long long)max);
        return NULL;
    }
    x = mem_zalloc(sizeof(*x));
    if (!x) {
        err_set(e, E_NOMEM, "no memory for a session");
        return NULL;
    }
    rng_system(x->id.b, sizeof(x->id.b));
    buf_init(&x->answer, LIMIT_ANSWER_BYTES);
    x->tenant = t;
    x->node = node;
    node->pins++;
    x->generation = 1;
    x->created_s = x->used_s = clock_unix_s();
    x->lived_s = lived_now(&sc->lived);
    x->ttl_s = (uint64_t)sc->o.session_ttl_s;
    t->sessions++;
    sc->n_sessions++;
    return x;
}

void session_enter(struct statecache *sc, struct session *x)
{
    struct session **b = bucket(sc, &x->id);
    x->chain = *b;
    *b = x;
}

static void unchain(struct session **at, struct session *x)
{
    while (*at && *at != x)
        at = &(*at)->chain;
    if (*at)
        *at = x->chain;
}

/* Its turn still holds it, and finds it there. */
static void depart(struct statecache *sc, struct session *x)
{
    x->dead = true;
    x->chain = sc->departed;
    sc->departed = x;
}

void session_discard(struct statecache *sc, struct session *x)
{
    if (x->dead)
        unchain(&sc->departed, x);
    session_move(sc, x, NULL, NULL);
    due_forget(sc, x);
    journal_covered(sc, x);
    record_settled(sc, x);
    if (x->saved)
        snapshot_unhold(sc, x->saved);
    x->tenant->sessions--;
    sc->n_sessions--;
    buf_free(&x->answer);
    mem_free(x->turns);
    mem_free(x->stored.ids);
    mem_free(x);
}

void session_free_all(struct statecache *sc)
{
    for (int i = 0; i < SESSION_BUCKETS; i++) {
        while (sc->sessions[i]) {
            struct session *x = sc->sessions[i];
            sc->sessions[i] = x->chain;
            session_discard(sc, x);
        }
    }
    while (sc->departed)
        session_discard(sc, sc->departed);
}

void session_move(struct statecache *sc, struct session *x, struct node *node,
                  struct snapshot *tip)
{
    struct node *old = x->node;
    struct snapshot *old_tip = x->tip;
    if (tip)
        tip->holds++;
    if (node)
        node->pins++;
    x->tip = tip;
    x->node = node;
    if (old_tip)
        snapshot_unhold(sc, old_tip);
    if (old) {
        old->pins--;
        prefix_prune(&sc->prefix, old);
    }
}

enum session_persist session_persistence(const struct statecache *sc, const struct session *x)
{
    if (!sc->disk)
        return PERSIST_OFF;
    if (x->saved_generation >= x->generation)
        return PERSIST_DURABLE;
    return x->failed_generation >= x->generation ? PERSIST_OFF : PERSIST_PENDING;
}

void session_fail(struct statecache *sc, struct session *x)
{
    if (x->saved_generation >= x->generation || x->failed_generation >= x->generation ||
        x->waiting_generation >= x->generation)
        return;
    x->failed_generation = x->generation;
    core_changed(sc);
}

void session_describe(const struct statecache *sc, const struct session *x,
                      struct session_info *out)
{
    *out = (struct session_info){
        .id = x->id,
        .position = x->node->end,
        .turns = x->n_turns,
        .generation = x->generation,
        .created_s = x->created_s,
        .used_s = x->used_s,
        .expires_s = clock_unix_s() + x->ttl_s -
                     MIN(x->ttl_s, lived_since(&sc->lived, x->lived_s)),
        .busy = x->busy,
        .ticket = x->busy ? x->ticket : 0,
        .persist = session_persistence(sc, x),
        .shared = x->stored.seen && x->stored.generation == x->generation,
    };
}

/* ---- turns -------------------------------------------------------------------------------- */

int session_push_turn(struct session *x, int64_t position)
{
    int64_t need = MIN(x->n_turns + 1, (int64_t)LIMIT_SESSION_TURNS);
    if (need > x->cap_turns) {
        int64_t cap = x->cap_turns ? x->cap_turns : FIRST_TURNS;
        while (cap < need)
            cap *= 2;
        int64_t *more = mem_realloc(x->turns, (size_t)cap * sizeof(*more));
        if (!more)
            return E_NOMEM;
        x->turns = more;
        x->cap_turns = cap;
    }
    x->turns[x->n_turns++ % LIMIT_SESSION_TURNS] = position;
    x->lo_turn = MAX(x->lo_turn, x->n_turns - LIMIT_SESSION_TURNS);
    return 0;
}

static void cut_turns(struct session *x, int64_t position)
{
    while (x->n_turns > x->lo_turn &&
           x->turns[(x->n_turns - 1) % LIMIT_SESSION_TURNS] > position)
        x->n_turns--;
}

/* ---- the interface ------------------------------------------------------------------------ */

void session_born(struct statecache *sc, struct session *x, struct session_info *out)
{
    struct session_id id = x->id;
    struct tenant_tag tenant = x->tenant->tag;
    together_born(sc, x);
    session_enter(sc, x);
    journal_changed(sc, x);
    session_describe(sc, x, out);
    together_share(sc, x);
    if ((x = session_of(sc, &tenant, &id))) /* else it was deleted meanwhile */
        session_describe(sc, x, out);
}

int session_create(struct statecache *sc, const struct tenant_tag *tenant, int64_t ttl_s,
                   struct session_info *out, struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&sc->lock);
    struct tenant *t = core_tenant(sc, tenant->b);
    struct session *x = t ? session_new(sc, t, t->root, e) : NULL;
    if (!x) {
        rc = t ? e ? e->code : E_BUSY : err_set(e, E_NOMEM, "no memory for a session");
        goto out;
    }
    if (ttl_s > 0)
        x->ttl_s = MIN((uint64_t)ttl_s, x->ttl_s);
    session_born(sc, x, out);
out:
    pthread_mutex_unlock(&sc->lock);
    return rc;
}

int session_get(struct statecache *sc, const struct tenant_tag *tenant,
                const struct session_id *id, struct session_info *out, struct err *e)
{
    pthread_mutex_lock(&sc->lock);
    struct session *x = session_of(sc, tenant, id);
    if (x)
        session_describe(sc, x, out);
    pthread_mutex_unlock(&sc->lock);
    return x ? 0 : unknown(e);
}

int session_look(struct statecache *sc, const struct tenant_tag *tenant,
                 const struct session_id *id, struct session_info *out, struct err *e)
{
    bool elsewhere = false;
    pthread_mutex_lock(&sc->lock);
    struct session *x = session_of(sc, tenant, id);
    int rc = together_look(sc, tenant, id, &x, &elsewhere, e);
    if (!rc && !x)
        rc = unknown(e);
    if (!rc)
        session_describe(sc, x, out);
    if (!rc)
        out->busy = out->busy || elsewhere;
    pthread_mutex_unlock(&sc->lock);
    return rc;
}

/* Puts x into the ascending list of at most max; returns the new length. */
static int insert_sorted(const struct session **list, int n, int max, const struct session *x)
{
    int at = n;
    while (at > 0 && memcmp(list[at - 1]->id.b, x->id.b, sizeof(x->id.b)) > 0)
        at--;
    if (at == max)
        return n;
    int last = n < max ? n : max - 1;
    memmove(&list[at + 1], &list[at], (size_t)(last - at) * sizeof(*list));
    list[at] = x;
    return last + 1;
}

int session_list(struct statecache *sc, const struct tenant_tag *tenant,
                 const struct session_id *after, struct session_info *out, int max, bool *more)
{
    int n = 0, found = 0;
    *more = false;
    const struct session **list = max > 0 ? mem_array((size_t)max, sizeof(*list)) : NULL;
    if (!list)
        return 0;
    pthread_mutex_lock(&sc->lock);
    for (int i = 0; i < SESSION_BUCKETS; i++) {
        for (const struct session *x = sc->sessions[i]; x; x = x->chain) {
            if (memcmp(x->tenant->tag.b, tenant->b, sizeof(tenant->b)) != 0 ||
                (after && memcmp(x->id.b, after->b, sizeof(after->b)) <= 0))
                continue;
            found++;
            n = insert_sorted(list, n, max, x);
        }
    }
    for (int i = 0; i < n; i++)
        session_describe(sc, list[i], &out[i]);
    pthread_mutex_unlock(&sc->lock);
    mem_free(list);
    *more = found > n;
    return n;
}

/* The states that only this session's path leads to go with it: deleted means gone. */
static void forget_path(struct statecache *sc, struct session *x)
{
    struct snapshot *gone[128]; /* a path keeps about a hundred; what is left ages out */
    size_t n = 0;
    record_settled(sc, x); /* whichever record is there, it goes */
    x->node->pins--;
    int children = 0;
    for (struct node *at = x->node; at->parent && n < ARRAY_LEN(gone); at = at->parent) {
        if (at->n_children > children || at->pins > 0 || at->planner)
            break;
        children = 1;
        struct snapshot *s = at->snap;
        int own = (s && s == x->tip) + (s && s == x->saved);
        if (s && s->holds == own) /* no other session needs it */
            gone[n++] = s;
    }
    x->node->pins++;
    for (size_t i = 0; i < n; i++)
        snapshot_destroy(sc, gone[i], false);
}

/* False: a crash may bring it back. */
static bool delete(struct statecache *sc, struct session *x)
{
    bool logged = journal_delete(sc, x);
    unchain(bucket(sc, &x->id), x);
    record_remove(sc, x);
    if (x->carried) /* after the record in the queue */
        statefile_delete_foreign(sc, x->carried_state);
    x->carried = false;
    if (x->busy) {
        depart(sc, x);
        return logged;
    }
    forget_path(sc, x);
    session_discard(sc, x);
    return logged;
}

/* Waits until the log says so, or cannot. */
static bool deleted_for_good(struct statecache *sc, const struct session_id *id)
{
    struct timespec until = core_deadline(DELETE_MS);
    struct relic *r;
    while ((r = journal_relic(sc, id)) && !r->segment && !r->failed) {
        if (!sc->journal.writer.started) /* a test with one thread is the writer, too */
            writer_work(&sc->journal.writer);
        else if (pthread_cond_timedwait(&sc->changed, &sc->lock, &until))
            return false;
    }
    return !r || r->segment;
}

int session_delete(struct statecache *sc, const struct tenant_tag *tenant,
                   const struct session_id *id, bool *durable, struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&sc->lock);
    struct session *x = session_of(sc, tenant, id);
    if (together_on(sc))
        rc = together_remove(sc, tenant, id, x, e);
    else if (!x)
        rc = unknown(e);
    x = session_of(sc, tenant, id); /* what waited may have lost it */
    bool safe = !rc && (!x || (delete(sc, x) && deleted_for_good(sc, id)));
    pthread_mutex_unlock(&sc->lock);
    if (durable)
        *durable = safe;
    return rc;
}

/* Where a fork begins, with its ids in memory. E_BUSY: they are being read. */
static int fork_point(struct statecache *sc, const struct session *x, int64_t *position,
                      struct err *e)
{
    if (!x)
        return unknown(e);
    if (*position < 0)
        *position = x->node->end;
    if (*position > x->node->end)
        return err_field(e, E_RANGE, "position",
                         "position %lld is beyond the session's %lld tokens", (long long)*position,
                         (long long)x->node->end);
    return stretch_ask_at(sc, x->node, *position, e);
}

int session_fork(struct statecache *sc, const struct tenant_tag *tenant,
                 const struct session_id *id, int64_t position, struct session_info *out,
                 struct err *e)
{
    struct timespec until = stretch_deadline();
    struct session *x, *y = NULL;
    int rc;
    pthread_mutex_lock(&sc->lock);
    x = session_of(sc, tenant, id);
    rc = together_look(sc, tenant, id, &x, NULL, e);
    if (rc)
        goto out;
    do {
        x = session_of(sc, tenant, id);
        rc = fork_point(sc, x, &position, e);
    } while (rc == E_BUSY && stretch_wait(sc, &until, e));
    if (rc)
        goto out;
    struct node *node = prefix_at(&sc->prefix, x->node, position);
    if (!node) {
        rc = err_set(e, E_NOMEM, "no memory for a fork");
        goto out;
    }
    y = session_new(sc, x->tenant, node, e);
    if (!y) {
        rc = e ? e->code : E_BUSY;
        prefix_prune(&sc->prefix, node);
        goto out;
    }
    y->n_turns = y->lo_turn = x->lo_turn; /* the oldest turns are as unknown as in x */
    for (int64_t i = x->lo_turn; i < x->n_turns && !rc; i++)
        rc = session_push_turn(y, x->turns[i % LIMIT_SESSION_TURNS]);
    if (rc) {
        session_discard(sc, y);
        rc = err_set(e, E_NOMEM, "no memory for the turns of a fork");
        goto out;
    }
    cut_turns(y, position);
    y->ttl_s = x->ttl_s;
    session_move(sc, y, node, position > 0 ? x->tip : NULL);
    session_born(sc, y, out);
out:
    pthread_mutex_unlock(&sc->lock);
    return rc;
}

/* Where a rewind leads: checked against what the session has. */
static int target(const struct session *x, int64_t turn, int64_t *position, struct err *e)
{
    if (turn >= 0) {
        if (turn > x->n_turns || (turn > 0 && turn <= x->lo_turn))
            return err_field(e, E_RANGE, "turn", "turn %lld is not among turns %lld to %lld",
                             (long long)turn, (long long)x->lo_turn, (long long)x->n_turns);
        *position = turn ? x->turns[(turn - 1) % LIMIT_SESSION_TURNS] : 0;
    }
    if (*position < 0 || *position > x->node->end)
        return err_field(e, E_RANGE, "position", "position %lld is not within the session's %lld "
                         "tokens", (long long)*position, (long long)x->node->end);
    return 0;
}

/* 0: any. */
static int expect_generation(const struct session *x, uint64_t generation, struct err *e)
{
    if (!generation || generation == x->generation)
        return 0;
    return err_field(e, E_CONFLICT, "expected_generation",
                     "the session is at generation %llu, not %llu",
                     (unsigned long long)x->generation, (unsigned long long)generation);
}

/* The same with its ids in memory. E_BUSY and *wait: they are being read. */
static int rewind_point(struct statecache *sc, const struct session *x, bool held,
                        int64_t turn, uint64_t expected_generation, int64_t *position, bool *wait,
                        struct err *e)
{
    *wait = false;
    if (!x || x->dead) /* deleted while its ids were read */
        return unknown(e);
    if (x->busy && !held)
        return err_field(e, E_BUSY, "session", "the session is busy with a turn");
    int rc = expect_generation(x, expected_generation, e);
    if (!rc)
        rc = target(x, turn, position, e);
    if (!rc) {
        rc = stretch_ask_at(sc, x->node, *position, e);
        *wait = rc == E_BUSY;
    }
    return rc;
}

/* The store first: what x, which is held, will be at node. */
static int put_rewound(struct statecache *sc, struct session *x, struct node *node,
                       int64_t position, int64_t turn, struct err *e)
{
    struct timespec until = stretch_deadline();
    struct session d = *x;
    struct errand *a;
    int rc;
    buf_init(&d.answer, 0);
    memset(d.turn_id, 0, sizeof(d.turn_id));
    d.node = node;
    cut_turns(&d, position);
    if (turn >= 0)
        d.n_turns = turn;
    d.generation++;
    d.used_s = clock_unix_s();
    do
        rc = together_put(sc, x, &d, &a, e);
    while (rc == E_BUSY && stretch_wait(sc, &until, e));
    if (rc)
        return rc;
    errand_push(a);
    errand_wait(a);
    return together_settle(sc, x, a, e);
}

int session_rewind(struct statecache *sc, const struct tenant_tag *tenant,
                   const struct session_id *id, int64_t position, int64_t turn,
                   uint64_t expected_generation, struct session_info *out, struct err *e)
{
    struct timespec until = stretch_deadline();
    struct session *x;
    bool wait, held = false;
    int rc = 0;
    pthread_mutex_lock(&sc->lock);
    x = session_of(sc, tenant, id);
    if (together_on(sc)) {
        rc = together_hold(sc, tenant, id, &x, e);
        held = !rc;
    }
    if (rc)
        goto out;
    do {
        x = held ? x : session_of(sc, tenant, id);
        rc = rewind_point(sc, x, held, turn, expected_generation, &position, &wait, e);
    } while (wait && stretch_wait(sc, &until, e));
    if (rc)
        goto out;
    struct node *node = prefix_at(&sc->prefix, x->node, position);
    if (!node) {
        rc = err_set(e, E_NOMEM, "no memory for a rewind");
        goto out;
    }
    if (held && x->stored.claim) {
        node->pins++;
        rc = put_rewound(sc, x, node, position, turn, e);
        node->pins--;
        if (!rc && x->dead)
            rc = unknown(e);
        if (rc) {
            prefix_prune(&sc->prefix, node);
            goto out;
        }
    }
    /* The tip stays: its file holds the tokens up to here, and the states before it. */
    session_move(sc, x, node, position > 0 ? x->tip : NULL);
    cut_turns(x, position);
    if (turn >= 0)
        x->n_turns = turn; /* several turns may end at one position */
    x->turn_id[0] = 0;
    buf_clear(&x->answer);
    x->generation++;
    x->used_s = clock_unix_s();
    x->lived_s = lived_now(&sc->lived);
    journal_changed(sc, x);
    session_describe(sc, x, out);
    out->busy = out->busy && !held;
out:
    if (held)
        session_unclaim(sc, x);
    pthread_mutex_unlock(&sc->lock);
    return rc;
}

/* *repeated: it is the last turn again. */
static int may_begin(const struct session *x, bool held, const struct session_condition *when,
                     bool *repeated, struct err *e)
{
    if (!x)
        return unknown(e);
    if (x->busy && !held)
        return err_field(e, E_BUSY, "session", "the session is busy with a turn");
    *repeated = when->turn_id && strcmp(when->turn_id, x->turn_id) == 0;
    if (*repeated)
        return 0;
    if (when->position >= 0 && when->position != x->node->end)
        return err_field(e, E_CONFLICT, "expected_position",
                         "the session is at position %lld, not %lld", (long long)x->node->end,
                         (long long)when->position);
    return expect_generation(x, when->generation, e);
}

int session_claim(struct statecache *sc, const struct tenant_tag *tenant,
                  const struct session_id *id, const struct session_condition *when,
                  bool *repeated, struct buf *answer, struct session_info *out, struct err *e)
{
    static const struct session_condition none = {NULL, -1, 0};
    const char *turn_id = when ? when->turn_id : NULL;
    int rc = 0;
    when = when ? when : &none;
    *repeated = false;
    if (turn_id && (!turn_id[0] || strlen(turn_id) > SESSION_TURN_ID))
        return err_field(e, E_RANGE, "turn_id", "a turn id has 1 to %d bytes, this one %zu",
                         SESSION_TURN_ID, strlen(turn_id));
    pthread_mutex_lock(&sc->lock);
    struct session *x = session_of(sc, tenant, id);
    bool held = false;
    if (together_on(sc)) {
        rc = together_hold(sc, tenant, id, &x, e);
        held = !rc;
    }
    if (rc)
        x = NULL; /* it was told why */
    else
        rc = may_begin(x, held, when, repeated, e);
    if (!rc && *repeated) {
        if (answer && buf_add(answer, x->answer.p, x->answer.len))
            rc = err_set(e, E_NOMEM, "no memory for the answer given before");
    } else if (!rc) {
        x->busy = true;
        x->ticket = held ? x->ticket : ++sc->n_tickets;
        held = false; /* from here on the turn's */
        memset(x->claimed_turn, 0, sizeof(x->claimed_turn));
        if (turn_id)
            memcpy(x->claimed_turn, turn_id, strlen(turn_id));
    }
    if (x)
        session_describe(sc, x, out);
    if (x && held)
        session_unclaim(sc, x);
    pthread_mutex_unlock(&sc->lock);
    return rc;
}

void session_forget(struct statecache *sc, struct session *x) { (void)delete(sc, x); }

void session_unclaim(struct statecache *sc, struct session *x)
{
    together_release(sc, x);
    x->busy = x->running = false;
    if (x->dead) {
        forget_path(sc, x);
        session_discard(sc, x);
    }
}

void session_release(struct statecache *sc, const struct tenant_tag *tenant,
                     const struct session_id *id, uint64_t ticket)
{
    pthread_mutex_lock(&sc->lock);
    struct session *x = session_of(sc, tenant, id);
    if (!x || x->ticket != ticket) /* deleted meanwhile, or another of this id came */
        for (x = sc->departed; x && x->ticket != ticket;)
            x = x->chain;
    if (x && x->busy && !x->running && x->ticket == ticket)
        session_unclaim(sc, x);
    pthread_mutex_unlock(&sc->lock);
}

int session_tokens(struct statecache *sc, const struct tenant_tag *tenant,
                   const struct session_id *id, int64_t from, int32_t *out, int64_t *count,
                   struct err *e)
{
    struct timespec until = stretch_deadline();
    int64_t n = 0;
    int rc;
    pthread_mutex_lock(&sc->lock);
    do {
        struct session *x = session_of(sc, tenant, id);
        int64_t end = x ? x->node->end : 0;
        n = from < 0 || from >= end ? 0 : MIN(*count, end - from);
        rc = x ? stretch_ask(sc, x->node, from, from + n, e) : unknown(e);
        if (!rc && n > 0)
            prefix_tokens(x->node, from, from + n, out);
    } while (rc == E_BUSY && stretch_wait(sc, &until, e));
    *count = n;
    pthread_mutex_unlock(&sc->lock);
    return rc;
}

enum session_persist session_durable(struct statecache *sc, const struct tenant_tag *tenant,
                                     const struct session_id *id, int timeout_ms)
{
    struct timespec until = core_deadline(timeout_ms);
    enum session_persist p = PERSIST_OFF;
    pthread_mutex_lock(&sc->lock);
    for (int late = 0;;) {
        struct session *x = session_of(sc, tenant, id);
        p = x ? session_persistence(sc, x) : PERSIST_OFF;
        if (p != PERSIST_PENDING || late)
            break;
        late = pthread_cond_timedwait(&sc->changed, &sc->lock, &until);
    }
    pthread_mutex_unlock(&sc->lock);
    return p;
}

/* ---- the engine's side -------------------------------------------------------------------- */

int session_commit(struct statecache *sc, struct session *x, struct node *node,
                   const void *answer, size_t n, struct err *e)
{
    if (x->dead)
        return unknown(e);
    buf_clear(&x->answer);
    x->turn_id[0] = 0;
    /* An answer too long to keep is not kept: its repeat is then a new turn that expected_position
     * refuses, instead of half an answer. */
    bool keep = x->claimed_turn[0] && n <= LIMIT_ANSWER_BYTES &&
                (n == 0 || buf_add(&x->answer, answer, n) == 0);
    if (session_push_turn(x, node->end))
        return err_set(e, E_NOMEM, "no memory for turn %lld", (long long)x->n_turns + 1);
    if (keep)
        memcpy(x->turn_id, x->claimed_turn, sizeof(x->turn_id));
    session_move(sc, x, node, node->snap);
    x->generation++;
    x->used_s = clock_unix_s();
    x->lived_s = lived_now(&sc->lived);
    sc->stats.commits++;
    journal_changed(sc, x);
    return 0;
}

void session_expire(struct statecache *sc)
{
    for (int i = 0; i < SESSION_BUCKETS; i++) {
        for (struct session *x = sc->sessions[i], *next; x; x = next) {
            next = x->chain;
            if (!x->busy && lived_since(&sc->lived, x->lived_s) > x->ttl_s)
                (void)delete(sc, x); /* if it comes back, it expires again */
        }
    }
}
