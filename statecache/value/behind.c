/* The list of states to be written behind, and the budget of doing so. */
#include "statecache/value/behind.h"

#define BEHIND_MS 500    /* a state that is still there then is worth a file */
#define BEHIND_LATE_S 10 /* one that waited longer makes room for those that come after it */
/* What it may take, on average and at once: a hundredth of one processor, and of a disk 2 MiB a
 * second, which are 170 GB a day. (With four times that, two busy processors served 12 % less.) */
static const struct allowance_limits behind_limits = {
    .bytes_s = MIB(2), .bytes_max = MIB(16), .share = 100, .ns_max = 25 * NS_PER_MS,
};
#define BEHIND_GUESS_NS (NS_PER_MS / 10) /* of one whose time is not known yet */

void behind_forget(struct statecache *sc, struct snapshot *s)
{
    struct link *l = &s->behind;
    if (!l->prev)
        return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    *l = (struct link){0};
    sc->n_behind--;
}

void behind_add(struct statecache *sc, struct snapshot *s)
{
    if (!core_disk_on(sc) || s->behind.prev || s->on_disk || s->kind == POINT_GRID ||
        s->kind == POINT_SWAP)
        return; /* those between the points cost as much and save little */
    s->behind_ns = clock_now_ns();
    s->behind = (struct link){sc->behind.prev, &sc->behind};
    sc->behind.prev->next = &s->behind;
    sc->behind.prev = &s->behind;
    sc->n_behind++;
}

void behind_refill(struct statecache *sc, uint64_t now)
{
    allowance_refill(&sc->behind_left, &behind_limits, now);
}

void behind_wrote(struct statecache *sc, uint64_t bytes, uint64_t ns)
{
    allowance_spend(&sc->behind_left, bytes, ns);
}

struct snapshot *behind_take(struct statecache *sc, uint64_t now, bool room)
{
    struct link *l;
    while ((l = sc->behind.next) != &sc->behind) {
        struct snapshot *s =
            (struct snapshot *)((char *)l - offsetof(struct snapshot, behind));
        bool late = now > s->behind_ns + BEHIND_LATE_S * NS_PER_S;
        bool may = room && allowance_left(&sc->behind_left, &behind_limits);
        if (now < s->behind_ns + BEHIND_MS * NS_PER_MS || (!may && !late))
            return NULL;
        behind_forget(sc, s);
        if (!may || s->on_disk || s->writing)
            continue;
        behind_wrote(sc, 0, BEHIND_GUESS_NS); /* so that not all go at once */
        return s;
    }
    return NULL;
}
