/* The list of what is due. */
#include "statecache/due.h"

#define AGAIN_S 10 /* after a record file that could not be written */

static struct session *of_link(struct link *l)
{
    return (struct session *)((char *)l - offsetof(struct session, due));
}

void due_forget(struct statecache *sc, struct session *x)
{
    struct link *l = &x->due;
    if (!l->prev)
        return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    *l = (struct link){0};
    sc->n_due--;
}

static uint64_t due_at(const struct statecache *sc, enum due_when when)
{
    uint64_t now = clock_now_ns();
    if (when == DUE_NOW || (when == DUE_SOON && sc->o.checkpoint_ms < 0))
        return 0;
    return when == DUE_LATER ? now + AGAIN_S * NS_PER_S
                             : now + (uint64_t)sc->o.checkpoint_ms * NS_PER_MS;
}

void due_want(struct statecache *sc, struct session *x, enum due_when when)
{
    uint64_t at = due_at(sc, when);
    if (x->dead || (x->due.prev && x->due_ns <= at))
        return;
    due_forget(sc, x);
    x->due_ns = at;
    struct link *after = sc->due.prev; /* mostly the last is the place */
    while (after != &sc->due && of_link(after)->due_ns > at)
        after = after->prev;
    x->due = (struct link){after, after->next};
    after->next->prev = &x->due;
    after->next = &x->due;
    sc->n_due++;
}

struct session *due_take(struct statecache *sc, uint64_t now)
{
    struct session *x = sc->due.next != &sc->due ? of_link(sc->due.next) : NULL;
    if (!x || x->due_ns > now)
        return NULL;
    due_forget(sc, x);
    return x;
}
