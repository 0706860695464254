/* What is due, on its way to the writer. */
#include "statecache/checkpoint.h"

#include "statecache/due.h"
#include "statecache/store/journal.h"
#include "statecache/store/statefile.h"
#include "statecache/value/behind.h"
#include "statecache/value/tiers.h"

#define QUEUE 32 /* file jobs waiting before no more are made of plain prompts */

static void start(struct statecache *sc, struct session *x)
{
    struct snapshot *tip = x->tip;
    if (x->checkpointing || x->file_generation >= x->generation)
        return; /* what comes of that one decides */
    if (x->node->end > 0 && (!tip || tip->dead)) {
        session_fail(sc, x); /* unless it is logged: then its next turn has a state again */
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
    session_fail(sc, x);
    due_want(sc, x, DUE_LATER);
}

void checkpoint_all(struct statecache *sc)
{
    int n = 0; /* those that fail are put back */
    for (const struct link *l = sc->due.next; l != &sc->due; l = l->next)
        n++;
    for (; n > 0; n--)
        start(sc, due_take(sc, UINT64_MAX));
}

static void write_behind(struct statecache *sc, uint64_t now)
{
    struct snapshot *s;
    behind_refill(sc, now);
    while ((s = behind_take(sc, now, sc->writer.queued < QUEUE))) {
        if (!statefile_save(sc, s, false))
            continue;
        s->was_behind = s->writing;
        s->release = s->writing && s->slot >= 0; /* its copy in RAM was only for this */
    }
}

bool checkpoint_tick(struct statecache *sc)
{
    struct session *x;
    if (!sc->disk)
        return false;
    uint64_t now = clock_now_ns();
    while ((x = due_take(sc, now)))
        start(sc, x);
    write_behind(sc, now);
    journal_tick(sc);
    return sc->writer.queued > 0 || sc->journal.writer.queued > 0;
}
