/* The log of turns: what one fsync carries, what is found after which damage, what of it is needed
 * how long. Crashes at every call are crashsim's. */
#include <criterion/criterion.h>

#include "base/log.h"
#include "statecache/due.h"
#include "tests/fault/fake_fs.h"
#include "tests/unit/fake_cache.h"

static struct fs fs;
static struct fake f;
static int32_t tokens[2000];
static const struct tenant_tag none;

static void open_all(void)
{
    log_set_level(-1);
    fs_init(&fs, 1);
    fs.whole_writes = true;
    fake_init(&f, false, 4, 8);
    f.o.dir = "/s";
    f.o.io = &fs.io;
    f.o.disk_bytes = 4 << 20;
    f.o.checkpoint_ms = INT64_C(3600000); /* only what is logged */
    f.o.checkpoint_tokens = INT64_C(1) << 30;
    fake_open(&f);
    fake_tokens(tokens, 2000, 3);
}
static void close_all(void)
{
    fake_fini(&f);
    fs_fini(&fs);
}
/* The process goes: what it wrote is there. */
static void die(void)
{
    fs.crashed = true;
    statecache_close(f.sc);
    fs.crashed = false;
}
/* The power goes: nothing that was not synced is there, and no file is torn. */
static void crash(void)
{
    die();
    for (int i = 0; i < fs.n_files; i++) {
        struct fs_file *x = &fs.files[i];
        fs_grow(x, x->n_safe);
        if (x->n_safe)
            memcpy(x->now, x->safe, x->n_safe);
    }
    memcpy(fs.now, fs.safe, sizeof fs.now);
    fs.n_now = fs.n_safe;
    fs.n_ops = 0;
}
static void restart(void)
{
    crash();
    fake_open(&f);
}
static struct session_info create(void)
{
    struct session_info s;
    struct err e = {0};
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    return s;
}
static struct session_info get(const struct session_id *id)
{
    struct session_info s = {0};
    struct err e = {0};
    cr_assert_eq(session_get(f.sc, &none, id, &s, &e), 0, "%s", e.text);
    return s;
}
static int in_folder(const char *folder)
{
    int n = 0;
    for (int i = 0; i < fs.n_now; i++)
        n += strstr(fs.now[i].path, folder) != NULL;
    return n;
}
static struct fs_file *segment(void)
{
    for (int i = 0; i < fs.n_now; i++)
        if (strstr(fs.now[i].path, "/log/"))
            return &fs.files[fs.now[i].file];
    return NULL;
}

TestSuite(turnlog, .init = open_all, .fini = close_all);

Test(turnlog, all_that_waits_shares_one_fsync)
{
    struct session_info s[16];
    for (int i = 0; i < 16; i++)
        s[i] = create();
    statecache_tick(f.sc);
    cr_assert_eq(f.sc->journal.health.fsync.count, 1);
    cr_assert_eq(f.sc->health.fsync.count, 0); /* no file was made */
    for (int i = 0; i < 16; i++)
        cr_assert_eq(get(&s[i].id).persist, PERSIST_DURABLE);
}

Test(turnlog, turns_are_replayed_to_the_bit)
{
    struct session_info s = create();
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 150, 5), 150);
    cr_assert_eq(fake_turn(&f, &s.id, tokens + 200, 20, 5), 20);
    cr_assert_eq(get(&s.id).persist, PERSIST_DURABLE);
    restart();
    cr_assert_eq(get(&s.id).position, 180);
    cr_assert_eq(get(&s.id).turns, 2);
    cr_assert_eq(get(&s.id).persist, PERSIST_DURABLE);
    /* No state was written: all of it is computed again, with the logits of a run from nothing. */
    cr_assert_eq(fake_turn(&f, &s.id, tokens + 300, 20, 5), 200);
    restart();
    cr_assert_eq(get(&s.id).position, 205);
}

Test(turnlog, a_checkpoint_bounds_the_replay_and_empties_the_log)
{
    f.sc->o.checkpoint_tokens = 100;
    struct session_info s = create();
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 150, 5), 150);
    cr_assert_eq(fake_turn(&f, &s.id, tokens + 200, 20, 5), 20);
    restart();
    cr_assert_eq(fake_turn(&f, &s.id, tokens + 300, 20, 5), 45); /* 25 of them were only logged */
    statecache_save(f.sc, 1);
    statecache_tick(f.sc);
    statecache_close(f.sc);
    cr_assert_eq(in_folder("/log/"), 0);
    fake_open(&f);
    cr_assert_eq(fake_turn(&f, &s.id, tokens + 400, 20, 5), 20);
}

Test(turnlog, states_follow_in_their_time)
{
    f.sc->o.checkpoint_ms = CHECKPOINT_MS;
    clock_fake_set(1000 * NS_PER_S);
    struct session_info s = create();
    fake_turn(&f, &s.id, tokens, 50, 5);
    cr_assert_eq(in_folder("/sessions/"), 0);
    clock_fake_set(1000 * NS_PER_S + CHECKPOINT_MS * NS_PER_MS);
    statecache_tick(f.sc);
    cr_assert_eq(in_folder("/sessions/"), 1);
    restart();
    cr_assert_eq(fake_turn(&f, &s.id, tokens + 100, 20, 5), 20);
    clock_fake_set(0);
}

Test(turnlog, states_of_plain_prompts_follow_at_a_rate)
{
    clock_fake_set(1000 * NS_PER_S);
    cr_assert_eq(fake_serve(&f, tokens, 300, 5), 300);
    statecache_tick(f.sc);
    cr_assert_eq(in_folder("/states/"), 0);
    clock_fake_set(1001 * NS_PER_S);
    statecache_tick(f.sc);
    cr_assert_eq(in_folder("/states/"), 2); /* of the prompt's end, and the answer's */
    f.sc->behind_left.bytes = -1; /* as after 64 MiB */
    cr_assert_eq(fake_serve(&f, tokens + 500, 300, 5), 300);
    f.sc->behind_left.bytes = -(int64_t)MIB(64);
    clock_fake_set(1002 * NS_PER_S);
    statecache_tick(f.sc);
    cr_assert_eq(in_folder("/states/"), 2);
    clock_fake_set(1020 * NS_PER_S); /* too late for these: newer ones are worth more */
    statecache_tick(f.sc);
    cr_assert(!f.sc->behind.next || f.sc->behind.next == &f.sc->behind);
    restart();
    cr_assert_eq(fake_serve(&f, tokens + 500, 300, 5), 300);
    clock_fake_set(0);
}

Test(turnlog, a_deleted_session_stays_deleted)
{
    struct session_info s = create(), t = create();
    struct err e = {0};
    bool durable = false;
    fake_turn(&f, &s.id, tokens, 50, 5);
    fake_turn(&f, &t.id, tokens, 50, 5);
    statecache_save(f.sc, 1); /* one has a record file, too */
    fake_turn(&f, &t.id, tokens, 50, 5);
    statecache_tick(f.sc);
    fs.unreadable = NULL;
    cr_assert_eq(session_delete(f.sc, &none, &s.id, &durable, &e), 0);
    cr_assert(durable);
    cr_assert_eq(session_delete(f.sc, &none, &t.id, &durable, &e), 0);
    cr_assert(durable); /* and no file was removed yet */
    cr_assert_eq(in_folder("/sessions/"), 2);
    restart();
    cr_assert_eq(session_get(f.sc, &none, &s.id, &s, &e), E_NOENT);
    cr_assert_eq(session_get(f.sc, &none, &t.id, &t, &e), E_NOENT);
    cr_assert_eq(in_folder("/sessions/"), 0);
}

Test(turnlog, a_torn_end_is_forgotten_and_damage_before_it_is_told)
{
    struct session_info a = create(), b, c;
    statecache_tick(f.sc);
    b = create();
    statecache_tick(f.sc);
    c = create();
    statecache_tick(f.sc);
    crash();
    struct err e = {0};
    struct fs_file *x = segment();
    x->now[2 * 512 + 200] ^= 1; /* the third frame: as torn */
    fake_open(&f);
    get(&a.id);
    get(&b.id);
    cr_assert_eq(session_get(f.sc, &none, &c.id, &c, &e), E_NOENT);
    cr_assert_eq(in_folder("/quarantine/"), 0);
    statecache_tick(f.sc); /* all that is needed is in one frame of a new segment now */
    struct session_info d = create();
    statecache_tick(f.sc);
    struct session_info g = create();
    statecache_tick(f.sc);
    crash();
    x = segment();
    bool found = false;
    for (size_t at = 512; at < x->n_now && !found; at += 512)
        if ((found = memcmp(x->now + at, "RECURDLG", 8) == 0))
            x->now[at + 150] ^= 1; /* the one that had d's */
    cr_assert(found);
    fake_open(&f);
    get(&a.id);
    get(&b.id);
    get(&g.id); /* what follows the damage is as good as before it */
    cr_assert_eq(session_get(f.sc, &none, &d.id, &d, &e), E_NOENT);
    cr_assert_eq(in_folder("/quarantine/"), 1);
}

Test(turnlog, an_answer_is_repeated_from_the_log)
{
    struct session_info s = create(), info;
    struct err e = {0};
    struct buf answer;
    struct run r;
    bool repeated;
    buf_init(&answer, 4096);
    run_init(&r, &f, tokens, 100, 4);
    r.in_session = true;
    r.session = s.id;
    const struct session_condition first = {"t1", 0, 0};
    cr_assert_eq(session_claim(f.sc, &none, &s.id, &first, &repeated, &answer, &info, &e), 0);
    r.ticket = info.ticket;
    cr_assert_eq(run_all(&r, 100), 100);
    run_free(&r);
    restart();
    cr_assert_eq(session_claim(f.sc, &none, &s.id, &first, &repeated, &answer, &info, &e), 0);
    cr_assert(repeated && answer.len > 0);
    buf_free(&answer);
}

Test(turnlog, another_models_turns_wait_for_it)
{
    struct session_info s = create();
    struct err e = {0};
    fake_turn(&f, &s.id, tokens, 50, 5);
    for (int i = 0; i < 3; i++) {
        crash();
        f.fingerprint[0] = 77;
        fake_open(&f);
        cr_assert_eq(session_get(f.sc, &none, &s.id, &s, &e), E_NOENT);
        err_clear(&e);
    }
    crash();
    f.fingerprint[0] = 0;
    fake_open(&f);
    cr_assert_eq(get(&s.id).position, 55);
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 10, 2), 65);
}

Test(turnlog, turns_of_other_arithmetic_are_replayed_and_computed)
{
    struct session_info s = create(), t = create();
    fake_turn(&f, &s.id, tokens, 50, 5);
    fake_turn(&f, &t.id, tokens, 90, 5);
    cr_assert_eq(fake_turn(&f, &t.id, tokens + 200, 20, 5), 20);
    for (int i = 0; i < 3; i++) {
        crash();
        f.o.numerics = i % 2 ? "fake/1" : "fake/2";
        fake_open(&f);
        cr_assert_eq(get(&t.id).position, 120);
        cr_assert_eq(get(&t.id).turns, 2);
        cr_assert_eq(get(&s.id).position, 55 + 12 * i);
        cr_assert_eq(fake_turn(&f, &s.id, tokens, 10, 2), 65 + 12 * i);
    }
}

/* Another session's state gets to the disk, so its arithmetic is known at the next start. */
static void leave_a_state(void)
{
    struct session_info s = create();
    f.sc->o.checkpoint_ms = -1;
    fake_turn(&f, &s.id, tokens + 1200, 300, 5);
    cr_assert_geq(in_folder("/states/"), 1);
    cr_assert_eq(in_folder("/sessions/"), 1);
}

/* Logs of before had the arithmetic in the name of the model. */
Test(turnlog, turns_that_an_earlier_version_logged_are_replayed)
{
    enum { OURS, NAMED_BY_NOTHING, NAMED_BY_A_STATE, CASES };
    for (int i = OURS; i < CASES; i++) {
        close_all();
        open_all();
        struct session_info s = create(), found;
        struct err e = {0};
        fake_turn(&f, &s.id, tokens, 50, 5);
        memset(f.sc->journal.model, 0, sizeof(f.sc->journal.model)); /* as they wrote it */
        cr_assert_eq(fake_turn(&f, &s.id, tokens + 700, 10, 5), 10);
        if (i == NAMED_BY_A_STATE)
            leave_a_state();
        die();
        f.o.numerics = i == OURS ? "fake/1" : "fake/2";
        fake_open(&f);
        if (i == NAMED_BY_NOTHING) { /* it waits */
            cr_assert_eq(session_get(f.sc, &none, &s.id, &found, &e), E_NOENT);
            crash();
            f.o.numerics = "fake/1";
            fake_open(&f);
        }
        cr_assert_eq(get(&s.id).position, 70);
        cr_assert_eq(fake_turn(&f, &s.id, tokens, 10, 2), 80);
    }
}

/* The same when two others have left states: the record file says whose log it is. */
Test(turnlog, turns_logged_upon_a_file_are_those_of_its_maker)
{
    static const char *const third[] = {"fake/0", "fake/3"};
    for (size_t i = 0; i < ARRAY_LEN(third); i++) {
        close_all();
        open_all();
        f.sc->o.checkpoint_ms = f.o.checkpoint_ms = -1;
        struct session_info s = create();
        fake_turn(&f, &s.id, tokens, 150, 3);
        statecache_close(f.sc);
        f.o.numerics = third[i];
        fake_open(&f);
        struct session_info z = create();
        fake_turn(&f, &z.id, tokens + 1200, 150, 3);
        statecache_close(f.sc);
        f.o.numerics = "fake/1";
        f.o.checkpoint_ms = INT64_C(3600000);
        fake_open(&f);
        memset(f.sc->journal.model, 0, sizeof(f.sc->journal.model));
        fake_turn(&f, &s.id, tokens + 300, 20, 3);
        int64_t position = get(&s.id).position;
        die();
        f.o.numerics = "fake/2";
        fake_open(&f);
        cr_assert_eq(get(&s.id).position, position);
        cr_assert_eq(get(&z.id).position, 153);
    }
}

/* The change of x as it would be logged now: its model at 8, with which arithmetic? */
static void check_logged(const struct session_id *id, const char *made_by)
{
    struct session *x = session_of(f.sc, &none, id);
    struct journal_batch *b = &f.sc->journal.waiting;
    struct format made = f.sc->format;
    unsigned char model[CHANGE_MODEL];
    cr_assert_not_null(x);
    size_t at = b->frame.len ? b->frame.len : TURNLOG_HEAD;
    cr_assert(journal_add(f.sc, x));
    codec_numerics(made_by, made.numerics);
    change_model_made(&made, model);
    cr_assert_arr_eq(b->frame.p + at + 8, model, CHANGE_MODEL, "not made by %s", made_by);
    change_model(&made, model);
    cr_assert_arr_eq(b->frame.p + at + 104 + 184, model, CHANGE_MODEL);
}

/* The version before goes by the arithmetic of the record file: a change upon its own files must
 * look like its own. */
Test(turnlog, an_earlier_version_can_go_on_with_what_is_logged)
{
    struct session_info s = create(), t = create();
    f.sc->o.checkpoint_ms = -1;
    fake_turn(&f, &s.id, tokens, 50, 5); /* has a record file */
    statecache_save(f.sc, 5);
    f.sc->o.checkpoint_ms = INT64_C(3600000);
    check_logged(&s.id, "fake/1");
    crash();
    f.o.numerics = "fake/2";
    fake_open(&f);
    cr_assert_eq(in_folder("/sessions/"), 1);
    check_logged(&s.id, "fake/1");
    check_logged(&t.id, "fake/2");
    f.sc->o.checkpoint_ms = -1;
    fake_turn(&f, &s.id, tokens, 10, 5);
    statecache_save(f.sc, 5);
    check_logged(&s.id, "fake/2");
}

Test(turnlog, a_log_that_cannot_be_read_is_no_empty_log)
{
    struct session_info s = create();
    struct err e = {0};
    statecache_tick(f.sc);
    crash();
    fs.unreadable = "/log/";
    cr_assert_eq(statecache_open(&f.sc, &f.o, &e), E_IO);
    f.sc = NULL;
    fs.unreadable = NULL;
    fake_open(&f);
    get(&s.id);
}
