/* The end of a session's turn over a real state cache: what the engine is told when the device
 * fails there. */
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "scheduler/cache_hooks.h"
#include "statecache/session.h"
#include "tests/unit/sched_rig.h"

static int slot_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    struct fake *f = (struct fake *)d;
    (void)e;
    f->slots[dst] = f->slots[src];
    return 0;
}
static int slot_read(struct device *d, int32_t slot, void *dst, struct err *e)
{
    (void)e;
    memcpy(dst, &((struct fake *)d)->slots[slot], FAKE_SLOT_FLOATS * sizeof(float));
    return 0;
}
static int slot_write(struct device *d, int32_t slot, const void *src, struct err *e)
{
    (void)e;
    memcpy(&((struct fake *)d)->slots[slot], src, FAKE_SLOT_FLOATS * sizeof(float));
    return 0;
}

static struct backend backend;
static struct session_info session;
static const struct tenant_tag none;

static void open_all(void)
{
    static const unsigned char print[32];
    static const struct receipt_origin origin = {.numerics = "fake/1", .vocab = RIG_VOCAB};
    struct sched_options with = RIG_DEFAULT;
    struct err e = {0};
    with.origin = &origin;
    rig_open(with);
    backend = fake_backend;
    backend.slot_copy = slot_copy;
    backend.slot_read = slot_read;
    backend.slot_write = slot_write;
    fake.base.backend = &backend;
    struct statecache_options o = {.fingerprint = print, .numerics = "fake/1",
                                   .ram_bytes = 16u << 20, .tenants = 1};
    cr_assert_eq(cached_open(&sched->cached, &sched->engine, &o, &e), 0, "%s", e.text);
    cr_assert_eq(session_create(sched_cache(sched), &none, 0, &session, &e), 0);
}

TestSuite(turn_end, .init = open_all, .fini = rig_close);

/* A turn of n tokens, up to where its last token is drawn: its end is still to come. */
static struct request *turn_with(int32_t n, bool receipt)
{
    struct err e = {0};
    bool repeated;
    struct request *r = rig_request(5, 20, n);
    cr_assert_eq(session_claim(sched_cache(sched), &none, &session.id, NULL, &repeated, NULL,
                               &session, &e), 0, "%s", e.text);
    r->in_session = true;
    r->wants_receipt = receipt;
    r->session = session.id;
    r->ticket = session.ticket;
    rig_submit(r);
    for (int i = 0; i < 100 && r->n_output < n; i++)
        sched_turn(sched);
    cr_assert_eq(r->n_output, n);
    cr_assert_eq(r->finish, FINISH_NONE);
    return r;
}

static struct request *turn(int32_t n) { return turn_with(n, false); }

static struct session_info get(void)
{
    struct session_info s;
    struct err e = {0};
    cr_assert_eq(session_get(sched_cache(sched), &none, &session.id, &s, &e), 0);
    return s;
}

Test(turn_end, keeps_the_state_of_all_tokens_and_then_tells)
{
    struct request *r = turn(6);
    sched_turn(sched);
    cr_assert_eq(r->finish, FINISH_LENGTH);
    cr_assert_eq(get().position, 26);
    cr_assert_not(sched_device_lost(sched));
    request_unref(r);
}

Test(turn_end, a_device_lost_there_is_lost_for_the_engine)
{
    struct request *r = turn(6);
    fake.logits_fail = E_DEVICE;
    sched_turn(sched);
    cr_assert(sched_device_lost(sched));
    cr_assert(r->finish == FINISH_ERROR && r->error.code == E_DEVICE);
    cr_assert_eq(get().position, 0, "the turn did not happen");
    cr_assert_not(get().busy);
    request_unref(r);
}

Test(turn_end, another_failure_there_ends_the_turn_alone)
{
    struct request *r = turn(6);
    fake.logits_fail = E_NOMEM;
    sched_turn(sched);
    cr_assert_not(sched_device_lost(sched));
    cr_assert(r->finish == FINISH_ERROR && r->error.code == E_NOMEM);
    fake.logits_fail = 0;
    request_unref(r);
    r = turn(3);
    sched_turn(sched);
    cr_assert_eq(r->finish, FINISH_LENGTH);
    cr_assert_eq(get().position, 23);
    request_unref(r);
}

static enum finish finish_of(struct request *r)
{
    pthread_mutex_lock(&r->lock);
    enum finish finish = r->finish;
    pthread_mutex_unlock(&r->lock);
    return finish;
}

/* While somebody holds the lock of the wakes, the one thread that digests stands where it tells the
 * reader of this request. */
static struct request *stand_still(void)
{
    struct request *other = rig_request(1, 4, 1);
    other->wants_receipt = true;
    rig_submit(other);
    for (bool made = false; !made;) {
        sched_turn(sched);
        pthread_mutex_lock(&other->lock);
        made = other->receipt.len > 0;
        pthread_mutex_unlock(&other->lock);
    }
    return other;
}

Test(turn_end, waits_for_its_receipt_and_keeps_it)
{
    pthread_mutex_lock(&sched->engine.wakes.lock);
    struct request *other = stand_still(), *r = turn_with(6, true);
    for (int i = 0; i < 20; i++)
        sched_turn(sched);
    cr_assert_eq(finish_of(r), FINISH_NONE);
    cr_assert_eq(get().position, 0, "the turn is kept without its receipt");
    pthread_mutex_unlock(&sched->engine.wakes.lock);
    while (finish_of(r) == FINISH_NONE || finish_of(other) == FINISH_NONE)
        sched_turn(sched);
    cr_assert_eq(r->finish, FINISH_LENGTH);
    cr_assert_eq(get().position, 26);
    cr_assert_gt(r->receipt.len, 0);
    cr_assert_not(r->receipt_due);
    request_unref(r);
    request_unref(other);
}

static atomic_bool held, stops;

static void *hold_until_it_stops(void *arg)
{
    pthread_mutex_t *lock = arg;
    struct timespec a_while = {0, 50 * 1000 * 1000};
    pthread_mutex_lock(lock);
    atomic_store(&held, true);
    while (!atomic_load(&stops))
        sched_yield();
    nanosleep(&a_while, NULL);
    pthread_mutex_unlock(lock);
    return NULL;
}

Test(turn_end, a_stop_waits_for_its_receipt)
{
    pthread_t holder;
    cr_assert_eq(pthread_create(&holder, NULL, hold_until_it_stops, &sched->engine.wakes.lock), 0);
    while (!atomic_load(&held))
        sched_yield();
    struct request *other = stand_still(), *r = turn_with(6, true);
    atomic_store(&stops, true);
    sched_close(sched);
    sched = NULL;
    pthread_join(holder, NULL);
    request_unref(other);
    cr_assert_eq(r->finish, FINISH_LENGTH, "%s", r->error.text);
    cr_assert_gt(r->receipt.len, 0);
    request_unref(r);
}
