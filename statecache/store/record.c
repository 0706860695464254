/* Session records on disk: a small file that names a state file, so that a fork or a rewind writes
 * some hundred bytes.
 *
 * Order is what makes them safe: the state is durable before the record that names it is written,
 * and what the durable record names is held until a newer record is durable; so is what a record
 * names whose writing failed so late that it may be on the medium nevertheless. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "statecache/due.h"
#include "statecache/store/carry.h"
#include "statecache/store/fields.h"
#include "statecache/store/statefile.h"
#include "statecache/store/pathfile.h"
#include "statecache/value/tiers.h"

void record_fields(const struct session *x, const struct snapshot *state, unsigned char *out)
{
    struct fields f = {
        .position = (uint64_t)x->node->end, .turns = (uint64_t)x->n_turns,
        .lo_turn = (uint64_t)x->lo_turn, .created_s = x->created_s, .used_s = x->used_s,
        .ttl_s = x->ttl_s, .lived_s = x->lived_s,
        .shared_fence = x->stored.fence, .shared_seen = x->stored.seen,
    };
    memcpy(f.shared_nonce, x->stored.nonce, sizeof(f.shared_nonce));
    if (state) {
        memcpy(f.state, state->name, sizeof(f.state));
        f.state_position = (uint64_t)state->pos;
    }
    memcpy(f.turn_id, x->turn_id, strlen(x->turn_id));
    fields_write(&f, out);
}

void record_encode(const struct session *x, unsigned char *out, int64_t *turns, size_t *n_turns)
{
    record_fields(x, x->tip, out);
    *n_turns = (size_t)(x->n_turns - x->lo_turn);
    for (size_t i = 0; i < *n_turns; i++)
        turns[i] = x->turns[(x->lo_turn + (int64_t)i) % LIMIT_SESSION_TURNS];
}

int record_decode(struct session *x, const unsigned char *in, const int64_t *turns, size_t n_turns,
                  int64_t *position, int64_t *state_position, struct err *e)
{
    struct fields f;
    fields_read(&f, in);
    uint64_t all = f.turns, lo = f.lo_turn, pos = f.position, state = f.state_position;
    if (all > INT64_MAX / 2 || lo > all || all - lo != n_turns || n_turns > LIMIT_SESSION_TURNS)
        return err_set(e, E_FORMAT, "%zu turns are stored, the record counts %llu to %llu", n_turns,
                       (unsigned long long)lo, (unsigned long long)all);
    if (state > (uint64_t)CODEC_POSITION_MAX || pos > state)
        return err_set(e, E_FORMAT, "position %llu of a state of %llu tokens",
                       (unsigned long long)pos, (unsigned long long)state);
    int64_t before = 0;
    x->n_turns = x->lo_turn = (int64_t)lo;
    for (size_t i = 0; i < n_turns; i++) {
        if (turns[i] < before || turns[i] > (int64_t)pos)
            return err_set(e, E_FORMAT, "turn %zu ends at %lld of %llu tokens", i,
                           (long long)turns[i], (unsigned long long)pos);
        before = turns[i];
        if (session_push_turn(x, turns[i]))
            return err_set(e, E_NOMEM, "no memory for %zu turns", n_turns);
    }
    x->created_s = f.created_s;
    x->used_s = f.used_s;
    x->lived_s = f.lived_s;
    x->ttl_s = f.ttl_s;
    x->stored.fence = f.shared_fence;
    x->stored.seen = f.shared_seen;
    memcpy(x->stored.nonce, f.shared_nonce, sizeof(f.shared_nonce));
    memcpy(x->turn_id, f.turn_id, SESSION_TURN_ID);
    *position = (int64_t)pos;
    *state_position = (int64_t)state;
    return 0;
}

/* ---- saving ------------------------------------------------------------------------------- */

struct record_job {
    struct job job;
    struct record_job *older; /* of a session's doubtful ones */
    struct statecache *sc;
    struct session_id id;
    struct snapshot *tip; /* held */
    uint64_t generation;
    struct head head;
    unsigned char fields[SESSION_RECORD];
    int64_t *turns;
    void *answer;
    struct piece piece[3];
    struct part part[PARTS];
    uint64_t bytes;
    bool again, renamed;
    int rc;
    struct err err;
};

static void free_job(struct record_job *j)
{
    mem_free(j->turns);
    mem_free(j->answer);
    mem_free(j);
}

/* By id alone: the job is the server's own. */
static struct session *alive(struct statecache *sc, const struct record_job *j)
{
    struct tenant_tag tag;
    memcpy(tag.b, j->head.tenant, sizeof(tag.b));
    return session_of(sc, &tag, &j->id);
}

static void prepare_save(struct job *job)
{
    struct record_job *j = (struct record_job *)job;
    /* Deleted meanwhile: the removal may be before us in the queue, and nothing may undo it. */
    j->rc = alive(j->sc, j) ? 0 : err_set(&j->err, E_CLOSED, "it was deleted");
    j->again = !j->rc && j->tip && j->tip->writing; /* it was put back behind us: after it, then */
    if (!j->rc && !j->again) {
        j->bytes = CODEC_HEAD; /* beside the old one, until it takes its name */
        for (size_t i = 0; i < ARRAY_LEN(j->piece); i++)
            j->bytes += j->piece[i].n;
        j->rc = tiers_make_room(j->sc, alive(j->sc, j)->tenant, j->bytes, &j->err);
        j->again = j->rc == E_BUSY;
        alive(j->sc, j)->new_bytes = j->rc ? 0 : j->bytes;
    }
    if (j->rc || !j->tip || j->again)
        return;
    if (!j->tip->on_disk || !j->tip->durable)
        j->rc = err_set(&j->err, E_IO, "the state it names is not on disk");
    memcpy(j->fields + FIELD_STATE, j->tip->name, 16);
}

static void run_save(struct job *job)
{
    struct record_job *j = (struct record_job *)job;
    unsigned char head[CODEC_HEAD];
    if (j->rc || j->again)
        return;
    codec_seal(&j->sc->format, &j->head, j->part, head);
    j->rc = store_put(&j->sc->store, STORE_SESSIONS, j->id.b, head, j->part, true,
                      &j->renamed, &j->err);
}

void record_settled(struct statecache *sc, struct session *x)
{
    while (x->doubtful) {
        struct record_job *j = x->doubtful;
        x->doubtful = j->older;
        snapshot_unhold(sc, j->tip);
        free_job(j);
    }
}

/* A record file of x is durable (good), or could not be written. */
static void go_on(struct statecache *sc, struct session *x, bool good)
{
    x->checkpointing = false;
    if (x->file_generation >= x->logged_generation)
        journal_covered(sc, x);
    if (x->file_generation >= x->generation)
        return;
    bool pending = session_persistence(sc, x) == PERSIST_PENDING;
    due_want(sc, x, pending ? DUE_NOW : good ? DUE_SOON : DUE_LATER);
}

/* No record names the other arithmetic's state any more: it may go when there is no room. */
static void let_carried_go(struct statecache *sc, struct session *x)
{
    if (x->carried)
        statefile_hold_foreign(sc, x->carried_state, false);
    x->carried = x->foreign_file = false;
}

static void done_save(struct job *job)
{
    struct record_job *j = (struct record_job *)job;
    struct statecache *sc = j->sc;
    if (j->again) {
        err_clear(&j->err);
        writer_push(&sc->writer, job);
        return;
    }
    struct session *x = alive(sc, j);
    sc->health = sc->store.health;
    if (x)
        x->new_bytes = 0;
    if (j->rc && x) {
        log_warn("the record of a session is not written: %s", j->err.text);
        if (x->waiting_generation < j->generation)
            x->failed_generation = MAX(x->failed_generation, j->generation);
    } else if (x) {
        struct snapshot *before = x->saved;
        x->saved_generation = MAX(x->saved_generation, j->generation);
        x->file_generation = j->generation;
        core_charge(sc, x->tenant, TIER_DISK, (int64_t)j->bytes - (int64_t)x->file_bytes);
        x->file_bytes = j->bytes;
        x->keep = x->keep_next;
        x->saved = j->tip;
        j->tip = before; /* its hold is given up below */
        record_settled(sc, x);
        let_carried_go(sc, x);
    }
    if (x)
        go_on(sc, x, !j->rc);
    core_changed(sc);
    if (j->rc && j->renamed && j->tip && x) {
        mem_free(j->turns); /* only the state is kept for it */
        mem_free(j->answer);
        j->turns = NULL;
        j->answer = NULL;
        j->older = x->doubtful;
        x->doubtful = j;
        return;
    }
    if (j->tip)
        snapshot_unhold(sc, j->tip);
    free_job(j);
}

bool record_save(struct statecache *sc, struct session *x)
{
    bool lost = x->node->end > 0 && !x->tip;
    struct record_job *j = core_disk_on(sc) && !lost ? mem_zalloc(sizeof(*j)) : NULL;
    if (j) {
        j->turns = mem_array((size_t)(x->n_turns - x->lo_turn), sizeof(*j->turns));
        j->answer = mem_zalloc(x->answer.len);
    }
    if (!j || !j->turns || !j->answer) {
        if (j)
            free_job(j);
        return false;
    }
    size_t n;
    j->sc = sc;
    j->id = x->id;
    j->generation = x->generation;
    x->keep_next = (struct keep){x->node->end, x->n_turns};
    record_encode(x, j->fields, j->turns, &n);
    if (x->answer.len)
        memcpy(j->answer, x->answer.p, x->answer.len);
    j->head = (struct head){.kind = CODEC_SESSION, .position = x->node->end,
                            .generation = x->generation, .created_s = x->created_s};
    memcpy(j->head.tenant, x->tenant->tag.b, sizeof(j->head.tenant));
    memcpy(j->head.id, x->id.b, sizeof(j->head.id));
    j->piece[0] = (struct piece){j->fields, SESSION_RECORD};
    j->piece[1] = (struct piece){j->turns, n * sizeof(*j->turns)};
    j->piece[2] = (struct piece){j->answer, x->answer.len};
    j->part[PART_SESSION] = (struct part){&j->piece[0], 1};
    j->part[PART_TURNS] = (struct part){&j->piece[1], 1};
    j->part[PART_ANSWER] = (struct part){&j->piece[2], 1};
    j->tip = x->tip;
    if (j->tip)
        j->tip->holds++;
    j->job.prepare = prepare_save;
    j->job.run = run_save;
    j->job.done = done_save;
    writer_push(&sc->writer, &j->job);
    return true;
}

/* ---- removing ----------------------------------------------------------------------------- */

static void run_remove(struct job *job)
{
    struct record_job *j = (struct record_job *)job;
    j->rc = store_remove(&j->sc->store, STORE_SESSIONS, j->id.b, true, &j->err);
}

static void done_remove(struct job *job)
{
    struct record_job *j = (struct record_job *)job;
    if (j->rc)
        log_warn("a deleted session may come back: %s", j->err.text);
    core_left(j->sc, j->bytes, !j->rc);
    journal_removed(j->sc, j->id.b, !j->rc);
    core_changed(j->sc);
    j->sc->health = j->sc->store.health;
    free_job(j);
}

void record_remove(struct statecache *sc, struct session *x)
{
    struct record_job *j = sc->disk ? mem_zalloc(sizeof(*j)) : NULL;
    core_charge(sc, x->tenant, TIER_DISK, -(int64_t)x->file_bytes);
    core_leaves(sc, x->file_bytes + x->new_bytes);
    if (!j) {
        core_left(sc, x->file_bytes + x->new_bytes, false);
        return;
    }
    j->sc = sc;
    j->bytes = x->file_bytes + x->new_bytes; /* whichever it is, or both */
    j->id = x->id;
    j->job.run = run_remove;
    j->job.done = done_remove;
    writer_push(&sc->writer, &j->job);
}

/* ---- at start ----------------------------------------------------------------------------- */

/* Reads the parts of an open record into a job's buffers. */
static int read_parts(struct store *store, int fd, struct record_job *j, struct err *e)
{
    const struct head *h = &j->head; /* sizes are bounded and sealed */
    j->turns = mem_array(1, h->bytes[PART_TURNS]);
    j->answer = mem_array(1, h->bytes[PART_ANSWER]);
    if (!j->turns || !j->answer)
        return err_set(e, E_NOMEM, "no memory for a session record");
    j->piece[0] = (struct piece){j->fields, SESSION_RECORD};
    j->piece[1] = (struct piece){j->turns, h->bytes[PART_TURNS]};
    j->piece[2] = (struct piece){j->answer, h->bytes[PART_ANSWER]};
    static const enum codec_part parts[] = {PART_SESSION, PART_TURNS, PART_ANSWER};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts) && !rc; i++) {
        struct part p = {&j->piece[i], 1};
        rc = store_part(store, fd, h, parts[i], &p, e);
    }
    return rc;
}

/* Where the session that the job's record names is, and its state. */
static int find_state(struct statecache *sc, const struct record_job *j, struct tenant *t,
                      int64_t position, int64_t state_position, struct snapshot **state,
                      struct node **node, struct err *e)
{
    struct snapshot *s = state_position ? statefile_scanned(sc, j->fields + FIELD_STATE) : NULL;
    int rc = 0;
    *state = s;
    *node = t->root;
    if (!state_position)
        return 0;
    if (!s || s->pos != state_position || s->tenant != t)
        return sc->unread
                   ? err_set(e, E_IO, "the state it names is missing, but not all could be read")
                   : err_set(e, E_FORMAT,
                             "the state it names is missing or damaged: the session is lost");
    rc = stretch_open_at(sc, s->node, position, e);
    if (!rc && !(*node = prefix_at(&sc->prefix, s->node, position)))
        rc = err_set(e, E_NOMEM, "no memory for a session");
    return rc;
}

/* other: whose files the record and its state are; NULL: ours. */
static int enter(struct statecache *sc, struct record_job *j, struct carry *other, struct err *e)
{
    int64_t position = 0, state_position = 0;
    struct tenant *t = core_tenant(sc, j->head.tenant);
    struct session *x = t ? session_new(sc, t, t->root, e) : NULL;
    if (!x)
        return t ? E_NOMEM : err_set(e, E_NOMEM, "no memory for a session");
    int rc = record_decode(x, j->fields, j->turns, j->head.bytes[PART_TURNS] / sizeof(*j->turns),
                           &position, &state_position, e);
    struct snapshot *s = NULL;
    struct node *node = t->root;
    if (!rc && !other)
        rc = find_state(sc, j, t, position, state_position, &s, &node, e);
    else if (!rc && state_position)
        rc = carry_path(sc, other, t, j->fields + FIELD_STATE, state_position, position, &node, e);
    if (!rc)
        rc = buf_add(&x->answer, j->answer, j->head.bytes[PART_ANSWER]);
    if (rc) {
        session_discard(sc, x);
        return rc;
    }
    memcpy(x->id.b, j->id.b, sizeof(x->id.b));
    x->generation = x->file_generation = j->head.generation;
    x->file_bytes = j->head.file_bytes;
    x->keep = (struct keep){position, x->n_turns};
    lived_seen(&sc->lived, x->lived_s);
    if (x->lived_s == 0) /* from before there were stamps: its age begins here */
        x->lived_s = lived_now(&sc->lived);
    session_move(sc, x, node, s);
    if (s) {
        s->holds++;
        x->saved = s;
        s->durable = true; /* the record was written after it was */
    }
    if (other) {
        x->foreign_file = true;
        change_model_made(&other->format, x->file_made);
    }
    rc = journal_apply(sc, x, e);
    if (rc) {
        session_discard(sc, x);
        return rc;
    }
    if (other && state_position) { /* held already */
        x->carried = true;
        memcpy(x->carried_state, j->fields + FIELD_STATE, sizeof(x->carried_state));
    }
    core_charge(sc, t, TIER_DISK, (int64_t)x->file_bytes);
    x->saved_generation = x->file_generation; /* of what was logged, when it is so anew */
    session_enter(sc, x);
    return 0;
}

/* Damaged, or not what it says: to quarantine. */
static bool is_bad(int rc) { return rc == E_FORMAT || rc == E_DENIED || rc == E_RANGE; }

/* Of a record that another arithmetic made. Its state is held also when no session comes of it
 * now: the next start tries again. */
static int enter_carried(struct statecache *sc, struct record_job *j, struct carry *other,
                         struct err *e)
{
    statefile_hold_foreign(sc, j->fields + FIELD_STATE, true);
    int rc = enter(sc, j, other, e);
    if (is_bad(rc))
        statefile_hold_foreign(sc, j->fields + FIELD_STATE, false);
    sc->n_carried += !rc;
    return rc;
}

static void scan_one(void *arg, const unsigned char name[16])
{
    struct statecache *sc = arg;
    struct carry carry, *other = NULL;
    struct err e = {0};
    int fd = -1;
    if (journal_deleted(sc, name)) {
        journal_orphan(sc, name, store_remove(&sc->store, STORE_SESSIONS, name, true, &e) != 0);
        return;
    }
    struct record_job *j = mem_zalloc(sizeof(*j));
    int rc = j ? store_get(&sc->store, STORE_SESSIONS, name, &fd, &j->head, &e) : E_NOMEM;
    if (rc == E_CONFLICT && j->head.same_model) {
        err_clear(&e);
        carry_begin(other = &carry, sc, &j->head);
        rc = store_get(&other->store, STORE_SESSIONS, name, &fd, &j->head, &e);
    }
    if (!rc)
        rc = read_parts(other ? &other->store : &sc->store, fd, j, &e);
    if (!rc) {
        memcpy(j->id.b, name, sizeof(j->id.b));
        rc = other ? enter_carried(sc, j, other, &e) : enter(sc, j, NULL, &e);
    }
    sc->unread |= rc == E_IO || rc == E_NOMEM || rc == E_UNSUPPORTED;
    store_done(&sc->store, fd);
    if (rc)
        journal_orphan(sc, name, !is_bad(rc));
    if (is_bad(rc))
        store_quarantine(&sc->store, STORE_SESSIONS, name, e.text);
    else if (rc && rc != E_CONFLICT) /* another model's sessions wait for it, without a word */
        log_warn("a session record is left alone: %s", e.text);
    if (j)
        free_job(j);
}

int record_scan(struct statecache *sc, struct err *e)
{
    int rc = store_list(&sc->store, STORE_SESSIONS, scan_one, sc, e);
    if (sc->n_carried)
        log_info("%llu sessions go on without a state, which another arithmetic made: their next "
                 "turns compute their tokens once more", (unsigned long long)sc->n_carried);
    return rc;
}
