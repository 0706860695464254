/* The disk tier when calls fail: serving goes on, the reply says that persistence is off, a counter
 * counts it, and nothing half-written is ever believed. */
#include <criterion/criterion.h>

#include <sodium.h>

#include "base/bytes.h"
#include "statecache/store/statefile.h"
#include "tests/fault/fake_fs.h"
#include "tests/unit/fake_cache.h"

static struct fs fs;
static struct fake f;
static const struct tenant_tag none;
static int32_t tokens[2000];

static void open_all(void)
{
    fs_init(&fs, 1);
    fake_init(&f, false, 3, 0);
    f.o.dir = "/s";
    f.o.io = &fs.io;
    fake_tokens(tokens, 2000, 3);
}
static void close_all(void)
{
    fake_fini(&f);
    fs_fini(&fs);
}

TestSuite(store, .init = open_all, .fini = close_all);

static struct session_info get(const struct session_id *id)
{
    struct session_info s;
    struct err e = {0};
    cr_assert_eq(session_get(f.sc, &none, id, &s, &e), 0);
    return s;
}

/* A short life; returns the calls it makes. *ended: how persistent the last turn was. */
static int64_t scenario(struct session_id *id, enum session_persist *ended)
{
    struct session_info s;
    struct err e = {0};
    int64_t before = fs.calls;
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    *id = s.id;
    statecache_tick(f.sc);
    cr_assert_eq(fake_turn(&f, id, tokens, 150, 3), 150);
    cr_assert_eq(fake_turn(&f, id, tokens + 500, 20, 3), 20);
    cr_assert_eq(session_rewind(f.sc, &none, id, 100, -1, 0, &s, &e), 0);
    statecache_tick(f.sc);
    /* A full disk may have taken the states in between: then from the first token. */
    int64_t computed = fake_turn(&f, id, tokens + 900, 20, 3);
    cr_assert(computed >= 20 && computed <= (fs.failures ? 120 : 84), "%lld", (long long)computed);
    *ended = get(id).persist;
    return fs.calls - before;
}

static void fail_everywhere(int error, int count)
{
    struct session_id id;
    enum session_persist ended;
    fake_open(&f);
    int64_t calls = scenario(&id, &ended);
    cr_assert_eq(ended, PERSIST_DURABLE);
    close_all();
    for (int64_t k = 1; k <= calls; k++) {
        open_all();
        fake_open(&f);
        fs.fail_at = fs.calls + k;
        fs.fail_count = count;
        fs.error = error;
        scenario(&id, &ended);
        struct statecache_stats s;
        statecache_stats(f.sc, &s);
        cr_assert_neq(ended, PERSIST_PENDING, "call %lld", (long long)k);
        cr_assert(ended == PERSIST_DURABLE || s.write_errors > 0, "call %lld", (long long)k);
        struct session_info told = get(&id);
        statecache_close(f.sc);
        fs.fail_at = 0;
        fake_open(&f); /* a restart: what was called durable is there, whole */
        struct session_info found;
        struct err e = {0};
        int rc = session_get(f.sc, &none, &id, &found, &e);
        if (ended == PERSIST_DURABLE) {
            cr_assert_eq(rc, 0, "call %lld", (long long)k);
            cr_assert_eq(found.generation, told.generation);
            /* Its tokens are there; its state may have to be computed again. */
            cr_assert_geq(fake_turn(&f, &id, tokens, 10, 2), 10, "call %lld", (long long)k);
        } else if (!rc) {
            cr_assert_geq(fake_turn(&f, &id, tokens, 10, 2), 10);
        }
        close_all();
    }
    open_all();
    fake_open(&f);
}

static uint64_t bytes_in_states(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < fs.n_now; i++)
        sum += strncmp(fs.now[i].path, "/s/states/", 10) ? 0 : fs.files[fs.now[i].file].n_now;
    return sum;
}

/* What one way of writing wrote the other goes on with, and each is counted as long as it is. */
Test(store, compressed_states_and_others_lie_side_by_side)
{
    struct session_id id;
    enum session_persist ended;
    struct statecache_stats st;
    uint64_t expanded = 0;
    f.o.disk_bytes = 1 << 20;
    for (int i = 0; i < 4; i++) {
        f.o.compress_disk = i % 2 ? COMPRESS_NEVER : COMPRESS_ALWAYS;
        fake_open(&f);
        if (i == 0)
            scenario(&id, &ended);
        else
            cr_assert_eq(fake_turn(&f, &id, tokens + 100 * i, 30, 2), 30);
        statecache_stats(f.sc, &st);
        cr_assert_eq(st.packed.content_bytes > 0, i % 2 == 0);
        cr_assert_leq(st.packed.stored_bytes, st.packed.content_bytes + 8 * 200);
        expanded += st.expanded.content_bytes;
        cr_assert_eq(st.files_quarantined, 0);
        cr_assert_leq(bytes_in_states(), st.bytes[TIER_DISK]);
        statecache_close(f.sc);
    }
    f.sc = NULL;
    cr_assert_gt(expanded, 0);
    cr_assert_leq(fs.most, f.o.disk_bytes + 64);
}

Test(store, one_failing_call_is_tried_again_with_a_new_file) { fail_everywhere(EIO, 1); }
Test(store, a_dying_disk_costs_persistence_and_nothing_else) { fail_everywhere(EIO, 1000000); }
Test(store, a_full_disk_costs_persistence_and_nothing_else) { fail_everywhere(ENOSPC, 1000000); }
Test(store, a_disk_full_for_a_moment) { fail_everywhere(ENOSPC, 1); }

Test(store, space_that_comes_back_is_used)
{
    struct session_id id;
    enum session_persist ended;
    fake_open(&f);
    fs.fail_at = fs.calls + 1;
    fs.fail_count = 1000000;
    fs.error = ENOSPC;
    scenario(&id, &ended);
    cr_assert_eq(ended, PERSIST_OFF);
    fs.fail_at = 0;
    cr_assert_eq(fake_turn(&f, &id, tokens, 10, 2), 10);
    cr_assert_eq(get(&id).persist, PERSIST_DURABLE);
}

Test(store, a_sick_store_says_so)
{
    struct session_id id;
    enum session_persist ended;
    struct statecache_stats s;
    fake_open(&f);
    fs.fail_at = fs.calls + 30;
    fs.fail_count = 1000000;
    fs.error = EIO;
    scenario(&id, &ended);
    statecache_stats(f.sc, &s);
    cr_assert_eq(ended, PERSIST_OFF);
    cr_assert_not(s.disk_on);
    cr_assert_gt(s.write_errors, 0);
}

Test(store, a_shortage_is_no_dead_disk)
{
    static const int shortages[] = {EMFILE, ENFILE, ENOMEM, EINTR, ENOSPC};
    for (size_t i = 0; i < ARRAY_LEN(shortages); i++) {
        struct session_id id;
        enum session_persist ended;
        struct statecache_stats s;
        fake_open(&f);
        fs.fail_at = fs.calls + 30;
        fs.fail_count = 1000000;
        fs.error = shortages[i];
        scenario(&id, &ended);
        statecache_stats(f.sc, &s);
        cr_assert(ended == PERSIST_OFF && s.disk_on, "error %d", shortages[i]);
        fs.fail_at = 0;
        cr_assert_eq(fake_turn(&f, &id, tokens, 10, 2), 10);
        cr_assert_eq(get(&id).persist, PERSIST_DURABLE, "error %d", shortages[i]);
        close_all();
        open_all();
    }
}

Test(store, a_sick_store_is_tried_again_and_heals)
{
    struct session_id id;
    enum session_persist ended;
    struct statecache_stats s;
    uint64_t now = 1000 * NS_PER_S;
    clock_fake_set(now);
    fake_open(&f);
    fs.fail_at = fs.calls + 30;
    fs.fail_count = 1000000;
    fs.error = EIO;
    scenario(&id, &ended);
    clock_fake_set(now += STORE_RETRY_NS - NS_PER_S);
    fs.fail_at = 0; /* the disk is back */
    fake_turn(&f, &id, tokens, 10, 2);
    cr_assert_eq(get(&id).persist, PERSIST_OFF); /* not every turn pays for the attempt */
    clock_fake_set(now += 2 * NS_PER_S);
    fake_turn(&f, &id, tokens, 10, 2);
    cr_assert_eq(get(&id).persist, PERSIST_DURABLE);
    statecache_stats(f.sc, &s);
    cr_assert(s.disk_on);
    clock_fake_set(0);
}

Test(store, states_of_another_model_wait_and_are_not_offered)
{
    struct session_id id;
    enum session_persist ended;
    struct session_info s;
    struct err e = {0};
    struct statecache_stats st;
    fake_open(&f);
    scenario(&id, &ended);
    statecache_close(f.sc);
    f.fingerprint[0] ^= 1;
    fake_open(&f);
    cr_assert_eq(session_get(f.sc, &none, &id, &s, &e), E_NOENT);
    cr_assert_eq(fake_serve(&f, tokens, 150, 2), 150);
    statecache_stats(f.sc, &st);
    cr_assert_eq(st.misses[MISS_FINGERPRINT], 1);
    cr_assert_eq(st.files_quarantined, 0);
    statecache_close(f.sc);
    f.fingerprint[0] ^= 1;
    fake_open(&f);
    cr_assert_eq(fake_turn(&f, &id, tokens, 10, 2), 10);
}

static void reopen_as(const char *numerics)
{
    statecache_close(f.sc);
    f.o.numerics = numerics;
    fake_open(&f);
}

Test(store, states_of_other_arithmetic_wait_and_are_not_offered)
{
    struct session_id id;
    enum session_persist ended;
    struct statecache_stats st;
    fake_open(&f);
    scenario(&id, &ended);
    reopen_as("fake/2");
    cr_assert_eq(fake_serve(&f, tokens + 1, 150, 2), 150);
    cr_assert_eq(fake_serve(&f, tokens, 90, 2), 90); /* the first tokens of the session */
    statecache_stats(f.sc, &st);
    cr_assert_eq(st.misses[MISS_NUMERICS], 2);
    cr_assert_eq(st.misses[MISS_FINGERPRINT], 0);
    cr_assert_eq(st.files_quarantined, 0);
    reopen_as("fake/1"); /* what the other one wrote of the same tokens has other names */
    cr_assert_eq(fake_turn(&f, &id, tokens, 10, 2), 10);
}

Test(store, sessions_of_other_arithmetic_go_on_and_are_computed_once_more)
{
    struct session_id id;
    enum session_persist ended;
    fake_open(&f);
    scenario(&id, &ended);
    struct session_info was = get(&id);
    cr_assert_gt(was.position, 3 * f.o.stretch); /* files of its path, and ids beyond them */
    for (int i = 0; i < 3; i++) { /* as long as it is not used it stays what it was */
        reopen_as(i % 2 ? "fake/3" : "fake/2");
        struct session_info found = get(&id);
        cr_assert_eq(found.position, was.position);
        cr_assert_eq(found.turns, was.turns);
        cr_assert_eq(found.generation, was.generation);
    }
    cr_assert_eq(f.sc->n_foreign_held, 1); /* whatever else needs room */
    cr_assert_eq(fake_turn(&f, &id, tokens, 10, 2), was.position + 10); /* with the right logits */
    cr_assert_eq(get(&id).persist, PERSIST_DURABLE);
    cr_assert_eq(f.sc->n_foreign_held, 0);
    reopen_as("fake/2");
    cr_assert_eq(fake_turn(&f, &id, tokens + 40, 10, 2), 10);
    reopen_as("fake/1"); /* goes on from where it knows the path */
    cr_assert_eq(get(&id).position, was.position + 24);
    cr_assert_eq(fake_turn(&f, &id, tokens + 80, 10, 2), 34);
    struct session_info copy, back;
    struct err e = {0};
    reopen_as("fake/3");
    cr_assert_eq(session_fork(f.sc, &none, &id, was.position, &copy, &e), 0, "%s", e.text);
    cr_assert_eq(session_rewind(f.sc, &none, &copy.id, 40, -1, 0, &back, &e), 0, "%s", e.text);
    cr_assert_eq(fake_turn(&f, &copy.id, tokens + 900, 10, 2), 50);
    struct statecache_stats st;
    statecache_stats(f.sc, &st);
    cr_assert_eq(st.files_quarantined, 0);
}

/* Whatever is missing or damaged of what the other wrote: the session has its tokens or is left
 * alone, and the one who wrote it decides about it as ever. */
Test(store, a_session_of_other_arithmetic_whose_path_is_broken_is_left_alone)
{
    static const char *const folders[] = {"/s/states/", "/s/paths/"};
    int left = 0, kept = 0;
    for (size_t which = 0; which < ARRAY_LEN(folders); which++)
        for (int nth = 0;; nth++) {
            struct session_id id;
            struct session_info s;
            struct err e = {0};
            enum session_persist ended;
            int at = 0, i = 0;
            close_all();
            open_all();
            fake_open(&f);
            scenario(&id, &ended);
            struct session_info was = get(&id);
            statecache_close(f.sc);
            f.o.numerics = "fake/2";
            for (; i < fs.n_now; i++)
                if (strncmp(fs.now[i].path, folders[which], strlen(folders[which])) == 0 &&
                    at++ == nth)
                    break;
            if (i < fs.n_now)
                fs.files[fs.now[i].file].now[CODEC_HEAD] ^= 1; /* the first part */
            fake_open(&f);
            int rc = session_get(f.sc, &none, &id, &s, &e);
            if (i == fs.n_now) {
                cr_assert_eq(rc, 0);
                break;
            }
            left += rc == E_NOENT;
            kept += !rc;
            cr_assert(rc == E_NOENT || (!rc && s.position == was.position));
            if (!rc)
                cr_assert_eq(fake_turn(&f, &id, tokens, 10, 2), was.position + 10);
        }
    cr_assert(left > 0 && kept > 0, "%d left, %d kept", left, kept);
}

/* The paths cannot be read at one start, and room is made: the state that the record names is
 * kept. */
Test(store, a_session_of_other_arithmetic_that_was_not_read_once_keeps_its_state)
{
    struct session_id id;
    struct session_info s;
    struct err e = {0};
    enum session_persist ended;
    fake_open(&f);
    scenario(&id, &ended);
    struct session_info was = get(&id);
    fs.unreadable = "/s/paths/";
    reopen_as("fake/2");
    fs.unreadable = NULL;
    cr_assert_eq(session_get(f.sc, &none, &id, &s, &e), E_NOENT);
    while (statefile_remove_foreign(f.sc))
        ;
    reopen_as("fake/2");
    cr_assert_eq(get(&id).position, was.position);
}

/* A fork is used long after the state was made that its record names. */
Test(store, a_young_session_of_other_arithmetic_keeps_its_old_state)
{
    const uint64_t day = UINT64_C(24) * 3600 * NS_PER_S;
    struct session_info s, y;
    struct err e = {0};
    clock_fake_set(1000 * NS_PER_S);
    f.o.session_ttl_s = 30 * 86400;
    fake_open(&f);
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    fake_turn(&f, &s.id, tokens, 150, 3);
    clock_fake_set(1000 * NS_PER_S + 20 * day);
    cr_assert_eq(session_fork(f.sc, &none, &s.id, -1, &y, &e), 0);
    statecache_tick(f.sc);
    clock_fake_set(1000 * NS_PER_S + 31 * day);
    for (int i = 0; i < 5; i++)
        statecache_tick(f.sc);
    reopen_as("fake/2");
    cr_assert_eq(get(&y.id).position, 153);
    cr_assert_eq(fake_turn(&f, &y.id, tokens, 10, 2), 163);
    reopen_as("fake/1"); /* the turn's state took the place of the old one */
    cr_assert_eq(get(&y.id).position, 165);
    clock_fake_set(0);
}

Test(store, a_deleted_session_of_other_arithmetic_takes_its_state_along)
{
    struct session_info s, y;
    struct err e = {0};
    fake_open(&f);
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    fake_turn(&f, &s.id, tokens, 150, 3);
    cr_assert_eq(session_fork(f.sc, &none, &s.id, -1, &y, &e), 0);
    statecache_tick(f.sc); /* its record */
    reopen_as("fake/2");
    size_t before = f.sc->n_foreign;
    cr_assert_eq(f.sc->n_foreign_held, 1);
    cr_assert_eq(session_delete(f.sc, &none, &s.id, NULL, &e), 0);
    cr_assert_eq(f.sc->n_foreign_held, 1); /* by the fork */
    cr_assert_eq(session_delete(f.sc, &none, &y.id, NULL, &e), 0);
    cr_assert_eq(f.sc->n_foreign_held, 0);
    cr_assert_eq(f.sc->n_foreign, before - 1);
    reopen_as("fake/2");
    cr_assert_eq(f.sc->n_foreign, before - 1);
}

Test(store, ids_of_carried_sessions_wait_on_disk)
{
    struct session_info s;
    struct err e = {0};
    fake_open(&f);
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    fake_turn(&f, &s.id, tokens, 1500, 3);
    reopen_as("fake/2");
    for (int i = 0; i < 5; i++)
        statecache_tick(f.sc);
    cr_assert_leq(f.sc->prefix.n_tokens, 2 * (uint64_t)f.o.stretch);
    for (int i = 0; i < 3; i++) { /* nor does the next start keep them */
        reopen_as(i % 2 ? "fake/2" : "fake/1");
        statecache_tick(f.sc);
        cr_assert_leq(f.sc->prefix.n_tokens, 2 * (uint64_t)f.o.stretch);
    }
    cr_assert_eq(get(&s.id).position, 1503);
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 10, 2), 10);
}

/* A disk full of what another arithmetic left: those who are here get half of it. */
Test(store, states_of_other_arithmetic_leave_room)
{
    f.o.stretch = 4096;
    f.o.disk_bytes = 300000;
    f.o.ram_bytes = 40000;
    fake_open(&f);
    for (int i = 0; i < 60; i++) {
        fake_serve(&f, tokens + 10 * i, 150, 2);
        statecache_save(f.sc, 5);
    }
    reopen_as("fake/2");
    size_t found = f.sc->n_foreign;
    for (int i = 0; i < 25; i++) {
        fake_serve(&f, tokens + 60 * i + 1, 150, 2);
        statecache_save(f.sc, 5);
    }
    cr_assert_lt(f.sc->n_foreign, found);
    cr_assert_gt(f.sc->n_foreign, 0);
    cr_assert_geq(f.sc->stats.bytes[TIER_DISK], f.o.disk_bytes / 3);
}

/* A file as version 3 wrote it: the same but for the digests of its parts. */
static void rewrite_as_version_3(const struct format *format, struct fs_file *x)
{
    x->now[8] = 3;
    for (int i = 0; i < PARTS; i++) {
        unsigned char *row = x->now + CODEC_TABLE + 64 * i;
        uint64_t at = bytes_get(row + 16, 8), n = bytes_get(row + 24, 8);
        crypto_generichash(row + 32, CODEC_DIGEST, x->now + at, n, NULL, 0);
    }
    codec_sign(format, x->now);
}

Test(store, files_of_version_3_are_read_and_their_damage_is_found)
{
    for (int damaged = 0; damaged < 2; damaged++) {
        struct session_id id;
        enum session_persist ended;
        struct session_info s;
        struct err e = {0};
        struct statecache_stats st;
        f.o.compress_disk = COMPRESS_NEVER; /* it knew no other */
        fake_open(&f);
        scenario(&id, &ended);
        struct format format = f.sc->format;
        statecache_close(f.sc);
        f.o.compress_disk = COMPRESS_ALWAYS;
        int changed = 0;
        for (int i = 0; i < fs.n_now; i++) {
            struct fs_file *x = &fs.files[fs.now[i].file];
            if (x->n_now < CODEC_HEAD || strstr(fs.now[i].path, "/log/"))
                continue;
            rewrite_as_version_3(&format, x);
            if (damaged && strstr(fs.now[i].path, "/sessions/"))
                x->now[x->n_now - 1] ^= 1;
            changed++;
        }
        cr_assert_gt(changed, 1);
        fake_open(&f);
        int rc = session_get(f.sc, &none, &id, &s, &e);
        cr_assert_eq(rc, damaged ? E_NOENT : 0, "%s", e.text);
        statecache_stats(f.sc, &st);
        cr_assert_eq(st.files_quarantined > 0, damaged);
        cr_assert_gt(st.entries[TIER_DISK], 0);
        if (!damaged)
            cr_assert_eq(fake_turn(&f, &id, tokens, 10, 2), 10);
        close_all();
        open_all();
    }
}

/* A head as version 2 wrote it: known by its seal, never loaded, removed when it is old. */
Test(store, files_of_an_older_version_are_left_alone_until_they_are_old)
{
    struct session_id id;
    enum session_persist ended;
    struct statecache_stats st;
    fake_open(&f);
    scenario(&id, &ended);
    struct format format = f.sc->format;
    clock_fake_set(clock_now_ns() + (uint64_t)100 * 24 * 3600 * NS_PER_S); /* 100 days of running */
    statecache_close(f.sc);
    int changed = 0, left = 0;
    for (int i = 0; i < fs.n_now; i++) {
        struct fs_file *x = &fs.files[fs.now[i].file];
        bool state = strncmp(fs.now[i].path, "/s/states/", 10) == 0;
        if (x->n_now < CODEC_HEAD)
            continue; /* the key, the lock */
        x->now[8] = 2;
        if (state && changed++ > 0)
            memset(x->now + 120, 0, 8); /* not known when; the first was written in its youth */
        codec_sign(&format, x->now);
    }
    cr_assert_gt(changed, 1);
    fake_open(&f);
    statecache_stats(f.sc, &st);
    cr_assert_eq(st.files_quarantined, 0);
    cr_assert_eq(st.entries[TIER_DISK], 0);
    for (int i = 0; i < fs.n_now; i++)
        left += strncmp(fs.now[i].path, "/s/states/", 10) == 0;
    cr_assert_eq(left, changed - 1);
    clock_fake_set(0);
}

Test(store, files_sealed_with_another_key_are_quarantined)
{
    struct session_id id;
    enum session_persist ended;
    struct statecache_stats st;
    fake_open(&f);
    scenario(&id, &ended);
    statecache_close(f.sc);
    int i = fs_find(fs.now, fs.n_now, "/s/key");
    cr_assert_geq(i, 0);
    fs.files[fs.now[i].file].now[5] ^= 1;
    fake_open(&f);
    statecache_stats(f.sc, &st);
    cr_assert_gt(st.files_quarantined, 1);
    cr_assert_eq(st.sessions, 0);
    cr_assert_eq(st.entries[TIER_DISK], 0);
}

/* Begins the session's next turn as the engine does, that wants no more tokens than it computes. */
static int begin_turn(const struct session_id *id, struct statecache_start *start, struct err *e)
{
    struct session_info info;
    struct track *t = NULL;
    bool repeated;
    cr_assert_eq(session_claim(f.sc, &none, id, NULL, &repeated, NULL, &info, e), 0);
    struct statecache_query q = {.session = id, .ticket = info.ticket, .tokens = tokens, .n = 5};
    int rc = E_BUSY;
    for (int tries = 0; rc == E_BUSY && tries < 9; tries++) {
        err_clear(e);
        rc = statecache_begin(f.sc, &q, &t, start, e);
        statecache_tick(f.sc);
    }
    if (rc)
        session_release(f.sc, &none, id, info.ticket);
    statecache_end(f.sc, t);
    return rc;
}

Test(store, a_path_that_cannot_be_read_is_gone_and_the_session_goes_on)
{
    struct session_info s, back;
    struct statecache_start start;
    struct err e = {0};
    fake_open(&f);
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 1000, 3), 1000);
    statecache_close(f.sc);
    fake_open(&f); /* now all of the path is on disk only */
    fs.unreadable = "/paths/";
    /* Between two states: the tokens would be needed to cut the path there. */
    cr_assert_eq(session_rewind(f.sc, &none, &s.id, 77, -1, 0, &back, &e), E_IO);
    cr_assert_not_null(strstr(e.text, "64 to 96"), "%s", e.text);
    cr_assert_eq(begin_turn(&s.id, &start, &e), 0, "%s", e.text);
    cr_assert_eq(start.position, 1003);
    cr_assert_eq(fake_serve(&f, tokens, 500, 3), 500); /* the same text anew */
    cr_assert_eq(fake_serve(&f, tokens, 500, 3), 0);
    cr_assert_eq(session_delete(f.sc, &none, &s.id, NULL, &e), 0);
    cr_assert_eq(fake_serve(&f, tokens, 600, 3), 600 - 500);
    for (struct tenant *t = f.sc->tenants; t; t = t->next)
        cr_assert(prefix_check(&f.sc->prefix, t->root));
}

Test(store, a_disk_that_cannot_be_read_for_a_while_loses_nothing)
{
    struct session_info s;
    struct err e = {0};
    fake_open(&f);
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 1000, 3), 1000);
    statecache_close(f.sc);
    fs.unreadable = "/paths/";
    fake_open(&f);
    cr_assert_eq(session_get(f.sc, &none, &s.id, &s, &e), E_NOENT);
    statecache_close(f.sc);
    fs.unreadable = NULL;
    fake_open(&f);
    cr_assert_eq(get(&s.id).position, 1003);
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 10, 3), 10);
}

Test(store, files_of_paths_go_with_the_last_state_beyond_them)
{
    struct session_info s, fork;
    struct err e = {0};
    fake_open(&f);
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 500, 3), 500);
    cr_assert_eq(session_fork(f.sc, &none, &s.id, 500, &fork, &e), 0);
    cr_assert_eq(fake_turn(&f, &fork.id, tokens, 100, 3), 100);
    int paths = 0, left = 0;
    for (int i = 0; i < fs.n_now; i++)
        paths += strstr(fs.now[i].path, "/paths/") != NULL;
    cr_assert_eq(paths, 603 / 32); /* what the two share is there once */
    cr_assert_eq(session_delete(f.sc, &none, &s.id, NULL, &e), 0);
    cr_assert_eq(session_delete(f.sc, &none, &fork.id, NULL, &e), 0);
    statecache_tick(f.sc);
    for (int i = 0; i < fs.n_now; i++)
        left += strstr(fs.now[i].path, "/paths/") || strstr(fs.now[i].path, "/states/");
    struct statecache_stats st;
    statecache_stats(f.sc, &st);
    cr_assert(left == 0 && st.bytes[TIER_DISK] == 0, "%d files, %llu bytes", left,
              (unsigned long long)st.bytes[TIER_DISK]);
}

Test(store, a_planned_end_keeps_what_only_memory_has)
{
    f.o.park_slots = 1; /* the prompt's own state is in RAM, the one after the last token parked */
    fake_open(&f);
    cr_assert_eq(fake_serve(&f, tokens, 500, 3), 500);
    statecache_close(f.sc);
    fake_open(&f);
    cr_assert_eq(fake_serve(&f, tokens, 500, 3), 500); /* as after a crash */
    statecache_save(f.sc, 10);
    statecache_close(f.sc);
    fake_open(&f);
    cr_assert_eq(fake_serve(&f, tokens, 500, 3), 0);
}
