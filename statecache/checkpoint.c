/* What is due for the disk, in the order of its time. */
#include "statecache/checkpoint.h"

#include "base/mem.h"
#include "statecache/store/journal.h"
#include "statecache/store/statefile.h"
#include "statecache/value/tiers.h"

#define AGAIN_S 10     /* after a record file that could not be written */
#define QUEUE 32       /* file jobs waiting before no more are made */

#define BEHIND_MS 500  /* a state that is still there then is worth a file */
#define BEHIND_LATE_S 10 /* one that waited longer makes room for those that come after it */
/* What writing behind may take, on average and at once: a fiftieth of one processor, and of a disk
 * 8 MiB a second, which are 690 GB a day. */
#define BEHIND_SHARE 50
#define BEHIND_NS (200 * NS_PER_MS)
#define BEHIND_BYTES_S MIB(8)
#define BEHIND_BYTES MIB(64)

/* ---- sessions ----------------------------------------------------------------------------- */

static struct session *of_link(struct link *l)
{
    return (struct session *)((char *)l - offsetof(struct session, due));
}

static void unlink_due(struct link *l)
{
    if (!l->prev)
        return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    *l = (struct link){0};
}

void checkpoint_forget(struct statecache *sc, struct session *x)
{
    (void)sc;
    unlink_due(&x->due);
}

static uint64_t due_at(const struct statecache *sc, enum checkpoint_when when)
{
    uint64_t now = clock_now_ns();
    if (when == CHECKPOINT_NOW || (when == CHECKPOINT_SOON && sc->o.checkpoint_ms < 0))
        return 0;
    return when == CHECKPOINT_LATER ? now + AGAIN_S * NS_PER_S
                                    : now + (uint64_t)sc->o.checkpoint_ms * NS_PER_MS;
}

void checkpoint_want(struct statecache *sc, struct session *x, enum checkpoint_when when)
{
    uint64_t at = due_at(sc, when);
    if (x->dead || (x->due.prev && x->due_ns <= at))
        return;
    unlink_due(&x->due);
    x->due_ns = at;
    struct link *after = sc->due.prev; /* the list is in order; mostly the last is the place */
    while (after != &sc->due && of_link(after)->due_ns > at)
        after = after->prev;
    x->due = (struct link){after, after->next};
    after->next->prev = &x->due;
    after->next = &x->due;
}

/* There is no telling when x will be on disk: those who wait hear that it is not. */
static void fail(struct statecache *sc, struct session *x)
{
    if (x->saved_generation >= x->generation || x->failed_generation >= x->generation)
        return;
    x->failed_generation = x->generation;
    core_changed(sc);
}

static void start(struct statecache *sc, struct session *x)
{
    struct snapshot *tip = x->tip;
    if (x->checkpointing || x->file_generation >= x->generation)
        return; /* checkpoint_done goes on */
    if (x->node->end > 0 && (!tip || tip->dead)) {
        fail(sc, x); /* unless it is logged: then its next turn has a state again */
        return;
    }
    if (tip) {
        tiers_settle(sc, x->node);
        /* If it does not get there, the record job finds it missing. The copy in RAM is only for
         * writing when the state is parked in a slot. */
        if (statefile_save(sc, tip, true) && tip->slot >= 0)
            tip->release = tip->writing;
    }
    x->checkpointing = record_save(sc, x);
    if (x->checkpointing)
        return;
    fail(sc, x);
    checkpoint_want(sc, x, CHECKPOINT_LATER);
}

static void start_due(struct statecache *sc, uint64_t now)
{
    struct link *l;
    while ((l = sc->due.next) != &sc->due && of_link(l)->due_ns <= now) {
        unlink_due(l);
        start(sc, of_link(l));
    }
}

void checkpoint_changed(struct statecache *sc, struct session *x)
{
    if (!sc->disk) {
        x->failed_generation = x->generation;
        return;
    }
    x->keep.tokens = MIN(x->keep.tokens, x->node->end);
    x->keep.turns = MIN(x->keep.turns, x->n_turns);
    x->keep_next.tokens = MIN(x->keep_next.tokens, x->node->end);
    x->keep_next.turns = MIN(x->keep_next.turns, x->n_turns);
    bool logged = journal_add(sc, x), far = x->node->end - x->keep.tokens > sc->o.checkpoint_tokens;
    if (!logged && !core_disk_on(sc))
        fail(sc, x);
    checkpoint_want(sc, x, logged && !far ? CHECKPOINT_SOON : CHECKPOINT_NOW);
    if (!logged && sc->o.wake)
        sc->o.wake(sc->o.wake_arg); /* somebody waits, and only the engine can begin */
}

void checkpoint_done(struct statecache *sc, struct session *x, bool good)
{
    x->checkpointing = false;
    if (x->file_generation >= x->logged_generation)
        journal_covered(sc, x);
    if (x->file_generation >= x->generation)
        return;
    bool pending = session_persistence(sc, x) == PERSIST_PENDING;
    checkpoint_want(sc, x, pending ? CHECKPOINT_NOW : good ? CHECKPOINT_SOON : CHECKPOINT_LATER);
}

void checkpoint_all(struct statecache *sc)
{
    int n = 0; /* those that fail are put back */
    for (const struct link *l = sc->due.next; l != &sc->due; l = l->next)
        n++;
    for (; n > 0; n--) {
        struct session *x = of_link(sc->due.next);
        unlink_due(&x->due);
        start(sc, x);
    }
}

/* ---- plain prompts ------------------------------------------------------------------------ */

static struct snapshot *of_behind(struct link *l)
{
    return (struct snapshot *)((char *)l - offsetof(struct snapshot, behind));
}

void checkpoint_behind_forget(struct statecache *sc, struct snapshot *s)
{
    (void)sc;
    unlink_due(&s->behind);
}

void checkpoint_behind(struct statecache *sc, struct snapshot *s)
{
    if (!core_disk_on(sc) || s->behind.prev || s->on_disk || s->kind == POINT_GRID ||
        s->kind == POINT_SWAP)
        return; /* those between the points cost as much and save little */
    s->behind_ns = clock_now_ns();
    s->behind = (struct link){sc->behind.prev, &sc->behind};
    sc->behind.prev->next = &s->behind;
    sc->behind.prev = &s->behind;
}

static int64_t refill(int64_t left, uint64_t gain, int64_t most)
{
    return gain > (uint64_t)most ? most : MIN(left + (int64_t)gain, most);
}

void checkpoint_behind_wrote(struct statecache *sc, uint64_t bytes, uint64_t ns)
{
    sc->behind_bytes -= (int64_t)bytes;
    sc->behind_cost_ns -= (int64_t)ns;
}

static void write_behind(struct statecache *sc, uint64_t now)
{
    uint64_t gone = now - sc->behind_seen_ns;
    sc->behind_seen_ns = now;
    sc->behind_bytes =
        refill(sc->behind_bytes, gone / 1000 * BEHIND_BYTES_S / (NS_PER_S / 1000), BEHIND_BYTES);
    sc->behind_cost_ns = refill(sc->behind_cost_ns, gone / BEHIND_SHARE, BEHIND_NS);
    struct link *l;
    while ((l = sc->behind.next) != &sc->behind) {
        struct snapshot *s = of_behind(l);
        if (now < s->behind_ns + BEHIND_MS * NS_PER_MS)
            return;
        bool late = now > s->behind_ns + BEHIND_LATE_S * NS_PER_S;
        bool may = sc->behind_bytes > 0 && sc->behind_cost_ns > 0 && sc->writer.queued < QUEUE;
        if (!may && !late)
            return;
        unlink_due(l);
        if (!may || s->on_disk || s->writing)
            continue;
        if (!statefile_save(sc, s, false))
            continue;
        s->was_behind = s->writing;
        s->release = s->writing && s->slot >= 0; /* its copy in RAM was only for this */
        sc->behind_cost_ns -= (int64_t)NS_PER_MS / 10; /* until it is known, so that not all go */
    }
}

bool checkpoint_tick(struct statecache *sc)
{
    if (!sc->disk)
        return false;
    uint64_t now = clock_now_ns();
    start_due(sc, now);
    write_behind(sc, now);
    journal_tick(sc);
    return sc->writer.queued > 0 || sc->journal.writer.queued > 0;
}
