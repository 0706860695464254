/* States that travel beside the steps: a device that is slow to move them, as an accelerator is.
 * What it has not delivered yet is garbage, and it counts who waits. */
#include <criterion/criterion.h>

#include "tests/unit/fake_cache.h"

#define ROOM 16

struct state_copy {
    bool taken, in, over;
    float staging[FAKE_STATE];
    float *out;
    const float *from;
};

static struct fake f;
static struct state_copy copies[ROOM];
static struct backend slow;
static int patience;        /* polls until a copy is over by itself; waiting ends it at once */
static int room, polls, waits, begun;
static bool broken;         /* what is on its way never arrives */
static int32_t a[6000];

static void finish(struct state_copy *c)
{
    if (!c->over && c->in)
        memcpy(c->staging, c->from, sizeof(c->staging));
    else if (!c->over && !broken)
        memcpy(c->out, c->staging, sizeof(c->staging));
    c->over = true;
}

static struct state_copy *take(void)
{
    for (int i = 0; i < room; i++)
        if (!copies[i].taken) {
            copies[i] = (struct state_copy){.taken = true};
            begun++;
            polls = 0;
            return &copies[i];
        }
    return NULL;
}

static int state_out(struct device *d, int32_t slot, void *dst, const struct state_wake *w,
                     struct state_copy **out, struct err *e)
{
    (void)w;
    (void)e;
    if ((*out = take())) {
        memcpy((*out)->staging, ((struct fake_device *)d)->slots[slot], sizeof(copies->staging));
        (*out)->out = dst;
        memset(dst, 0xa5, sizeof(copies->staging));
    }
    return 0;
}

static int state_in(struct device *d, const void *src, const struct state_wake *w,
                    struct state_copy **out, struct err *e)
{
    (void)d;
    (void)w;
    (void)e;
    if ((*out = take())) {
        (*out)->in = true;
        (*out)->from = src;
    }
    return 0;
}

static int state_poll(struct device *d, struct state_copy *c, bool wait, struct err *e)
{
    (void)d;
    waits += wait && !c->over;
    if (!wait && !c->over && polls++ < patience)
        return err_set(e, E_BUSY, "on its way");
    finish(c);
    return broken ? err_set(e, E_DEVICE, "lost") : 0;
}

static int state_put(struct device *d, struct state_copy *c, int32_t slot, struct err *e)
{
    (void)e;
    cr_assert(c->taken && (c->over || !c->in));
    memcpy(((struct fake_device *)d)->slots[slot], c->staging, sizeof(c->staging));
    return 0;
}

static void state_end(struct device *d, struct state_copy *c)
{
    (void)d;
    cr_assert(c->taken);
    finish(c);
    c->taken = false;
}

static void open_slow(void)
{
    slow = fake_backend;
    slow.state_out = state_out;
    slow.state_in = state_in;
    slow.state_poll = state_poll;
    slow.state_put = state_put;
    slow.state_end = state_end;
    patience = 3;
    room = ROOM;
    polls = waits = begun = 0;
    broken = false;
    memset(copies, 0, sizeof(copies));
    fake_init(&f, false, 4, 0);
    f.dev.d.backend = &slow;
    fake_open(&f);
    fake_tokens(a, 6000, 1);
}

static void close_slow(void)
{
    fake_fini(&f);
    for (int i = 0; i < ROOM; i++)
        cr_assert(!copies[i].taken, "copy %d was not given back", i);
}

TestSuite(copies, .init = open_slow, .fini = close_slow);

Test(copies, steps_go_on_while_states_travel)
{
    cr_assert_eq(fake_serve(&f, a, 500, 3), 500);
    cr_assert_gt(begun, 2);
    cr_assert_eq(waits, 0);
}

Test(copies, a_hit_comes_from_a_capture_on_its_way)
{
    patience = 1000;
    cr_assert_eq(fake_serve(&f, a, 500, 1), 500);
    cr_assert_not_null(f.sc->copying);
    int before = begun;
    cr_assert_eq(fake_serve(&f, a, 500, 1), 0, "the very prompt was just computed");
    int32_t p[600];
    memcpy(p, a, sizeof(p));
    cr_assert_eq(fake_serve(&f, p, 600, 2), 100);
    cr_assert_not_null(f.sc->copying);
    for (int i = 0; i < ROOM; i++)
        cr_assert(!copies[i].taken || !copies[i].in, "what the device has is not brought to it");
    cr_assert_eq(waits, 0);
    cr_assert_gt(begun, before);
}

Test(copies, a_restored_state_has_its_bits_when_slots_change_meanwhile)
{
    cr_assert_eq(fake_serve(&f, a, 500, 1), 500);
    struct run r, other;
    run_init(&r, &f, a, 700, 4); /* another prompt that goes on from there */
    run_init(&other, &f, a + 3000, 300, 2);
    for (int i = 0; (r.phase < RUN_DONE || other.phase < RUN_DONE) && i < 2000; i++) {
        run_step(&r, 50);
        run_step(&other, 50);
        statecache_tick(f.sc);
    }
    cr_assert(r.phase == RUN_DONE && other.phase == RUN_DONE && !r.wrong && !other.wrong);
    cr_assert_eq(r.computed, 200);
    cr_assert_eq(waits, 0);
    run_free(&r);
    run_free(&other);
}

Test(copies, a_swapped_state_comes_back_while_it_is_on_its_way)
{
    struct run r;
    bool kept = false;
    patience = 5;
    run_init(&r, &f, a, 400, 6);
    while (r.pos < 230)
        cr_assert(run_step(&r, 10) || r.phase == RUN_WAIT);
    cr_assert_eq(statecache_capture(f.sc, r.t, CAPTURE_SWAP, r.pos, r.slot, r.table, NULL, &kept,
                                    &r.err), 0);
    cr_assert(kept);
    memset(f.dev.slots[r.slot], 0x5a, sizeof(f.dev.slots[r.slot])); /* another's now */
    cr_assert_not_null(f.sc->copying);
    cr_assert_eq(statecache_restore(f.sc, r.t, r.slot, r.table, &r.err), 0);
    cr_assert_geq(run_all(&r, 50), 0);
    run_free(&r);
}

Test(copies, a_sequence_that_leaves_while_its_state_comes_gives_the_copy_back)
{
    cr_assert_eq(fake_serve(&f, a, 500, 1), 500);
    for (int i = 0; i < 200 && f.sc->copying; i++)
        statecache_tick(f.sc);
    patience = 1000;
    struct run r;
    run_init(&r, &f, a, 700, 4);
    for (int i = 0; i < 5; i++)
        run_step(&r, 50);
    cr_assert_eq(r.phase, RUN_WAIT);
    cr_assert_not_null(r.t);
    run_free(&r);
}

Test(copies, without_room_grid_points_are_skipped_and_ends_are_kept)
{
    patience = 100000;
    room = 3;
    cr_assert_eq(fake_serve(&f, a, 1500, 1), 1500);
    struct statecache_stats s;
    statecache_stats(f.sc, &s);
    cr_assert_gt(s.captures_skipped, 0);
    cr_assert_eq(begun, room + waits);
    cr_assert_gt(waits, 0, "the end of the prompt waits for the copy that began first");
    cr_assert_eq(f.dev.reads, 0, "and none is read while others travel");
    int32_t kept = 0;
    for (int i = 0; i < room; i++)
        kept += copies[i].taken;
    cr_assert_eq(kept, room);
    patience = 0;
    cr_assert_eq(fake_serve(&f, a, 1600, 2), 100, "the end was kept");
}

Test(copies, a_restore_without_room_waits_for_captures_and_reads_nothing_at_once)
{
    cr_assert_eq(fake_serve(&f, a, 500, 1), 500);
    for (int i = 0; i < 200 && f.sc->copying; i++)
        statecache_tick(f.sc);
    patience = 1000;
    room = 2; /* of which the next prompt takes both */
    cr_assert_eq(fake_serve(&f, a + 2000, 1500, 1), 1500);
    struct run r;
    int64_t writes = f.dev.writes;
    run_init(&r, &f, a, 700, 4);
    for (int i = 0; i < 20; i++)
        run_step(&r, 50);
    cr_assert_eq(r.phase, RUN_WAIT);
    patience = 0;
    cr_assert_geq(run_all(&r, 50), 0);
    cr_assert_eq(r.computed, 200);
    cr_assert_eq(f.dev.writes, writes, "it came beside the steps");
    cr_assert(!r.wrong);
    run_free(&r);
}

Test(copies, what_a_lost_device_did_not_deliver_is_never_a_hit)
{
    cr_assert_eq(fake_serve(&f, a, 500, 1), 500);
    for (int i = 0; i < 200 && f.sc->copying; i++)
        statecache_tick(f.sc);
    struct statecache_stats before, after;
    statecache_stats(f.sc, &before);
    patience = 100;
    cr_assert_eq(fake_serve(&f, a + 2000, 300, 1), 300);
    cr_assert_not_null(f.sc->copying);
    broken = true;
    for (int i = 0; i < 400 && f.sc->copying; i++)
        statecache_tick(f.sc);
    cr_assert_null(f.sc->copying);
    broken = false;
    cr_assert_gt(fake_serve(&f, a + 2000, 300, 1), 0);
    statecache_stats(f.sc, &after);
    cr_assert_eq(before.bytes[TIER_DEVICE], after.bytes[TIER_DEVICE]);
}

Test(copies, closing_waits_for_what_is_on_its_way)
{
    patience = 100000;
    cr_assert_eq(fake_serve(&f, a, 300, 1), 300);
    cr_assert_not_null(f.sc->copying); /* close_slow does the rest */
}
