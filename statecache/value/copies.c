/* See copies.h. Invariant: a snapshot is in sc->copying exactly while s->copy is set, and has one
 * pin for that. */
#include "statecache/value/copies.h"

#include "base/log.h"

/* It is over. The pin goes last. */
static void settle(struct statecache *sc, struct snapshot **at)
{
    struct snapshot *s = *at;
    *at = s->next_copy;
    s->next_copy = NULL;
    sc->o.device->backend->state_end(sc->o.device, s->copy);
    s->copy = NULL;
    core_changed(sc);
}

int copies_await(struct statecache *sc, struct snapshot *s, struct err *e)
{
    if (!s->copy)
        return 0;
    int rc = sc->o.device->backend->state_poll(sc->o.device, s->copy, true, e);
    if (rc)
        return rc; /* the caller stands on it: not dropped here */
    struct snapshot **at = &sc->copying;
    while (*at != s)
        at = &(*at)->next_copy;
    settle(sc, at);
    snapshot_unpin(sc, s);
    return 0;
}

/* Each is put before those that began earlier. */
static struct snapshot *oldest(const struct statecache *sc)
{
    struct snapshot *s = sc->copying;
    while (s && s->next_copy)
        s = s->next_copy;
    return s;
}

static int no_room(enum err_code code, struct err *e)
{
    return err_set(e, code, "the device has no room for one more copy of a state");
}

int copies_out(struct statecache *sc, struct snapshot *s, int32_t slot, bool may_skip,
               struct err *e)
{
    struct device *d = sc->o.device;
    struct state_wake w = {sc->o.wake, sc->o.wake_arg};
    if (!d->backend->state_out)
        return d->backend->slot_read(d, slot, s->slab, e);
    for (;;) {
        int rc = d->backend->state_out(d, slot, s->slab, &w, &s->copy, e);
        if (rc)
            return rc;
        if (s->copy)
            break;
        if (!sc->copying)
            return d->backend->slot_read(d, slot, s->slab, e);
        if (may_skip)
            return no_room(E_NOMEM, e);
        if ((rc = copies_await(sc, oldest(sc), e)))
            return rc;
    }
    s->pins++;
    s->next_copy = sc->copying;
    sc->copying = s;
    return 0;
}

static void look(struct statecache *sc, bool wait)
{
    for (struct snapshot **at = &sc->copying; *at;) {
        struct snapshot *s = *at;
        struct err e = {0};
        int rc = sc->o.device->backend->state_poll(sc->o.device, s->copy, wait, &e);
        if (rc == E_BUSY) {
            at = &s->next_copy;
            continue;
        }
        settle(sc, at);
        if (rc) {
            log_warn("a state of %lld tokens is not kept: %s", (long long)s->pos, e.text);
            snapshot_drop_ram(sc, s); /* the slab was never filled */
            if (s->slot < 0 && !s->on_disk)
                snapshot_destroy(sc, s, false);
        }
        snapshot_unpin(sc, s);
    }
}

void copies_tick(struct statecache *sc)
{
    if (sc->copying)
        look(sc, false);
}

void copies_end(struct statecache *sc)
{
    if (sc->copying)
        look(sc, true);
}

int copies_ahead(struct statecache *sc, struct snapshot *s, struct state_copy **ahead,
                 struct err *e)
{
    struct device *d = sc->o.device;
    struct state_wake w = {sc->o.wake, sc->o.wake_arg};
    if (s->slot < 0 && !s->slab)
        return err_set(e, E_DEVICE, "the state did not come to memory");
    if (s->slot >= 0 || s->copy || !d->backend->state_in)
        return 0;
    int rc = *ahead ? 0 : d->backend->state_in(d, s->slab, &w, ahead, e);
    if (!rc && !*ahead && sc->copying) /* one of these will be over before long */
        return no_room(E_BUSY, e);
    return rc || !*ahead ? rc : d->backend->state_poll(d, *ahead, false, e);
}

void copies_ahead_end(struct statecache *sc, struct state_copy **ahead)
{
    if (*ahead)
        sc->o.device->backend->state_end(sc->o.device, *ahead);
    *ahead = NULL;
}
