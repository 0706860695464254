/* Sessions: ownership, idempotence, forks and rewinds, and what is on disk afterwards. Directories
 * are real ones under /tmp; "restart" closes the cache and opens it again. */
#include <criterion/criterion.h>
#include <time.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/fake_cache.h"

static struct fake f;
static int32_t a[6000], b[6000];
static char dir[64];
static const struct tenant_tag none;

static void remove_tree(const char *path)
{
    char cmd[128];
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", path);
    if (system(cmd))
        abort();
}
static void open_all(bool paged)
{
    memcpy(dir, "/tmp/recurd-test-XXXXXX", sizeof "/tmp/recurd-test-XXXXXX");
    cr_assert(mkdtemp(dir));
    fake_init(&f, paged, 4, 400);
    f.o.dir = dir;
    fake_open(&f);
    fake_tokens(a, 6000, 1);
    fake_tokens(b, 6000, 2);
}
static void open_plain(void) { open_all(false); }
static void open_paged(void) { open_all(true); }
static void close_all(void)
{
    fake_fini(&f);
    remove_tree(dir);
}
static void restart(void)
{
    statecache_close(f.sc);
    fake_open(&f);
}
static struct session_info create(void)
{
    struct session_info s;
    struct err e = {0};
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0, "%s", e.text);
    return s;
}
static struct session_info get(const struct session_id *id)
{
    struct session_info s;
    struct err e = {0};
    cr_assert_eq(session_get(f.sc, &none, id, &s, &e), 0, "%s", e.text);
    return s;
}
static int64_t rewound(const struct session_id *id, int64_t position)
{
    struct session_info s;
    struct err e = {0};
    cr_assert_eq(session_rewind(f.sc, &none, id, position, -1, 0, &s, &e), 0, "%s", e.text);
    return s.position;
}

TestSuite(session, .init = open_plain, .fini = close_all);
TestSuite(session_hybrid, .init = open_paged, .fini = close_all);

Test(session, continues_after_a_restart_with_the_new_tokens_only)
{
    struct session_info s = create();
    cr_assert_eq(fake_turn(&f, &s.id, a, 1007, 8), 1007);
    cr_assert_eq(get(&s.id).persist, PERSIST_DURABLE);
    restart();
    cr_assert_eq(get(&s.id).position, 1015);
    cr_assert_eq(get(&s.id).turns, 1);
    cr_assert_eq(get(&s.id).persist, PERSIST_DURABLE);
    cr_assert_eq(fake_turn(&f, &s.id, b, 50, 8), 50);
    restart();
    cr_assert_eq(fake_turn(&f, &s.id, b, 1, 8), 1);
}

Test(session, rewinding_after_a_restart_computes_little_again)
{
    struct session_info s = create();
    cr_assert_eq(fake_turn(&f, &s.id, a, 1007, 8), 1007);
    restart();
    cr_assert_eq(rewound(&s.id, 1005), 1005);
    int64_t computed = fake_turn(&f, &s.id, b, 20, 4);
    cr_assert(computed >= 20 && computed <= 80, "%lld", (long long)computed);
    cr_assert_eq(get(&s.id).persist, PERSIST_DURABLE);
}

Test(session, a_rewind_survives_a_restart)
{
    struct session_info s = create();
    fake_turn(&f, &s.id, a, 300, 8);
    fake_turn(&f, &s.id, b, 30, 8);
    struct err e = {0};
    cr_assert_eq(session_rewind(f.sc, &none, &s.id, -1, 1, 0, &s, &e), 0);
    cr_assert_eq(s.position, 308);
    statecache_tick(f.sc);
    cr_assert_eq(get(&s.id).persist, PERSIST_DURABLE);
    restart();
    cr_assert_eq(get(&s.id).position, 308);
    cr_assert_eq(fake_turn(&f, &s.id, b + 100, 25, 3), 25);
}

Test(session, a_fork_copies_nothing_and_goes_its_own_way)
{
    struct session_info s = create(), t;
    struct statecache_stats before, after;
    struct err e = {0};
    fake_turn(&f, &s.id, a, 500, 8);
    statecache_stats(f.sc, &before);
    int64_t moved = f.dev.reads + f.dev.writes + f.dev.copies;
    cr_assert_eq(session_fork(f.sc, &none, &s.id, -1, &t, &e), 0);
    statecache_stats(f.sc, &after);
    cr_assert_eq(f.dev.reads + f.dev.writes + f.dev.copies, moved);
    cr_assert_eq(after.bytes[TIER_RAM], before.bytes[TIER_RAM]);
    cr_assert_eq(fake_turn(&f, &s.id, b, 40, 8), 40);
    cr_assert_eq(fake_turn(&f, &t.id, b + 77, 40, 8), 40);
    cr_assert_eq(session_fork(f.sc, &none, &s.id, 450, &t, &e), 0);
    cr_assert_eq(t.position, 450);
    statecache_tick(f.sc);
    restart();
    cr_assert_eq(get(&t.id).position, 450);
    int64_t computed = fake_turn(&f, &t.id, b + 99, 10, 8);
    cr_assert(computed >= 10 && computed <= 74, "%lld", (long long)computed);
    cr_assert_eq(fake_turn(&f, &s.id, b, 5, 2), 5);
}

Test(session, a_repeated_turn_gets_the_first_answer)
{
    struct session_info s = create(), info;
    struct err e = {0};
    struct buf answer;
    struct run r;
    bool repeated;
    buf_init(&answer, 4096);
    for (int i = 0; i < 2; i++) { /* the same turn, then again after a restart */
        run_init(&r, &f, a, 100, 4);
        r.in_session = true;
        r.session = s.id;
        cr_assert_eq(session_claim(f.sc, &none, &s.id, &(struct session_condition){"turn-1", 0, 0},
                                   &repeated, &answer, &info, &e), 0, "%s", e.text);
        cr_assert_eq(repeated, i == 1);
        r.ticket = info.ticket;
        if (!repeated)
            cr_assert_eq(run_all(&r, 100), 100);
        run_free(&r);
        if (i == 0)
            restart();
    }
    cr_assert_gt(answer.len, 0);
    cr_assert_eq(get(&s.id).position, 104);
    cr_assert_eq(get(&s.id).turns, 1);
    cr_assert_eq(session_claim(f.sc, &none, &s.id, &(struct session_condition){"turn-2", 100, 0},
                               &repeated, &answer, &info, &e), E_CONFLICT);
    cr_assert_not(get(&s.id).busy);
    buf_free(&answer);
}

Test(session, one_turn_at_a_time)
{
    struct session_info s = create(), info;
    struct err e = {0};
    bool repeated;
    cr_assert_eq(session_claim(f.sc, &none, &s.id, NULL, &repeated, NULL, &info, &e), 0);
    cr_assert_eq(session_claim(f.sc, &none, &s.id, NULL, &repeated, NULL, &info, &e), E_BUSY);
    err_clear(&e);
    cr_assert_eq(session_rewind(f.sc, &none, &s.id, 0, -1, 0, &info, &e), E_BUSY);
    session_release(f.sc, &none, &s.id, info.ticket + 1);
    cr_assert(get(&s.id).busy); /* a stale ticket releases nothing */
    session_release(f.sc, &none, &s.id, get(&s.id).ticket);
    cr_assert_eq(fake_turn(&f, &s.id, a, 20, 2), 20);
}

Test(session, a_cancelled_turn_leaves_it_as_it_was)
{
    struct session_info s = create();
    struct run r;
    bool repeated;
    fake_turn(&f, &s.id, a, 100, 4);
    run_init(&r, &f, b, 300, 4);
    r.in_session = true;
    r.session = s.id;
    cr_assert_eq(session_claim(f.sc, &none, &s.id, NULL, &repeated, NULL, &s, &r.err), 0);
    r.ticket = s.ticket;
    for (int i = 0; i < 5; i++) {
        run_step(&r, 40);
        statecache_tick(f.sc);
    }
    run_free(&r);
    cr_assert_eq(get(&s.id).position, 104);
    cr_assert_not(get(&s.id).busy);
    cr_assert_leq(fake_turn(&f, &s.id, b, 300, 4), 300);
}

Test(session, another_key_sees_nothing)
{
    struct session_info s = create(), info;
    struct tenant_tag other;
    struct err unknown = {0}, foreign = {0};
    struct session_id random = {{1, 2, 3}};
    bool more;
    statecache_tenant(f.sc, "other", &other);
    fake_turn(&f, &s.id, a, 300, 4);
    cr_assert_eq(session_get(f.sc, &other, &s.id, &info, &foreign), E_NOENT);
    cr_assert_eq(session_get(f.sc, &other, &random, &info, &unknown), E_NOENT);
    cr_assert_str_eq(unknown.text, foreign.text);
    cr_assert_eq(session_delete(f.sc, &other, &s.id, NULL, &foreign), E_NOENT);
    cr_assert_eq(session_list(f.sc, &other, NULL, &info, 1, &more), 0);
    struct run r;
    run_init(&r, &f, a, 300, 4);
    r.tenant = other;
    cr_assert_eq(run_all(&r, 100), 300); /* equal prompts of two keys share nothing */
    run_free(&r);
}

Test(session, lists_page_by_page_in_order)
{
    struct session_info s[25], page[10];
    struct session_id after;
    bool more = true;
    int seen = 0;
    for (int i = 0; i < 25; i++)
        s[i] = create();
    for (const struct session_id *from = NULL; more; from = &after) {
        int n = session_list(f.sc, &none, from, page, 10, &more);
        for (int i = 1; i < n; i++)
            cr_assert_lt(memcmp(page[i - 1].id.b, page[i].id.b, 16), 0);
        seen += n;
        after = page[n - 1].id;
    }
    cr_assert_eq(seen, 25);
    (void)s;
}

Test(session, deleted_is_gone_from_disk_too)
{
    struct session_info s = create();
    struct err e = {0};
    fake_turn(&f, &s.id, a, 900, 4);
    cr_assert_eq(session_delete(f.sc, &none, &s.id, NULL, &e), 0);
    statecache_tick(f.sc);
    struct statecache_stats st;
    statecache_stats(f.sc, &st);
    cr_assert_eq(st.entries[TIER_DISK], 0);
    cr_assert_eq(st.entries[TIER_RAM], 0);
    restart();
    cr_assert_eq(session_get(f.sc, &none, &s.id, &s, &e), E_NOENT);
}

/* It is nobody's any more, but the turn that waits to run: it ends with that, or with the cache. */
Test(session, deleted_before_its_turn_began)
{
    struct statecache_stats st;
    struct err e = {0};
    for (int left = 0; left < 2; left++) {
        struct session_info s = create();
        bool repeated;
        cr_assert_eq(session_claim(f.sc, &none, &s.id, NULL, &repeated, NULL, &s, &e), 0);
        cr_assert_eq(session_delete(f.sc, &none, &s.id, NULL, &e), 0);
        statecache_stats(f.sc, &st);
        cr_expect_eq(st.sessions, 1);
        session_release(f.sc, &none, &s.id, s.ticket + 1); /* another's */
        statecache_stats(f.sc, &st);
        cr_expect_eq(st.sessions, 1);
        if (left)
            break; /* the leak check says whether the cache frees it */
        session_release(f.sc, &none, &s.id, s.ticket);
        statecache_stats(f.sc, &st);
        cr_expect_eq(st.sessions, 0, "what is gone counts towards the limit");
    }
}

/* Whoever held it while it was deleted, and changes it after that: the log hears nothing. */
Test(session, what_is_changed_after_its_deletion_is_not_logged)
{
    struct session_info s = create();
    struct err e = {0};
    bool repeated;
    fake_turn(&f, &s.id, a, 900, 4);
    cr_assert_eq(session_claim(f.sc, &none, &s.id, NULL, &repeated, NULL, &s, &e), 0);
    struct session *x = session_of(f.sc, &none, &s.id);
    cr_assert_eq(session_delete(f.sc, &none, &s.id, NULL, &e), 0);
    pthread_mutex_lock(&f.sc->lock);
    uint32_t waiting = f.sc->journal.waiting.n;
    x->generation++;
    journal_changed(f.sc, x);
    uint32_t now = f.sc->journal.waiting.n;
    pthread_mutex_unlock(&f.sc->lock);
    cr_assert_eq(now, waiting);
    session_release(f.sc, &none, &s.id, s.ticket);
    restart();
    cr_assert_eq(session_get(f.sc, &none, &s.id, &s, &e), E_NOENT);
}

Test(session, the_limit_per_key_holds)
{
    struct err e = {0};
    struct session_info s;
    restart();
    statecache_close(f.sc);
    f.o.sessions_per_tenant = 3;
    fake_open(&f);
    for (int i = 0; i < 3; i++)
        create();
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), E_BUSY);
    struct tenant_tag other = {{9}};
    cr_assert_eq(session_create(f.sc, &other, 0, &s, &e), 0);
}

/* What time(2) says, to whoever asks in this program. */
static int64_t wall_shift;
time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += wall_shift;
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}

static void pass(int64_t seconds)
{
    static uint64_t now;
    now = (now ? now : clock_now_ns()) + (uint64_t)seconds * NS_PER_S;
    clock_fake_set(now);
    for (int i = 0; i < 2; i++)
        statecache_tick(f.sc);
}

static bool there(const struct session_id *id)
{
    struct session_info s;
    struct err e = {0};
    return session_get(f.sc, &none, id, &s, &e) == 0;
}

#define DAY (24 * 3600)

Test(session, unused_ones_expire)
{
    struct session_info s = create(), t;
    struct err e = {0};
    cr_assert_eq(session_create(f.sc, &none, 3600, &t, &e), 0);
    pass(3500);
    cr_assert(there(&t.id));
    pass(200);
    cr_assert_not(there(&t.id));
    cr_assert(there(&s.id));
    clock_fake_set(0);
}

Test(session, no_jump_of_the_wall_clock_ends_one)
{
    struct session_info s = create(), t;
    struct err e = {0};
    cr_assert_eq(session_create(f.sc, &none, 3600, &t, &e), 0);
    static const int64_t jumps[] = {40 * DAY, -20 * 365 * DAY, 0, 4000 * DAY, -40 * DAY, 0};
    fake_turn(&f, &s.id, a, 100, 4);
    for (size_t i = 0; i < ARRAY_LEN(jumps); i++) {
        wall_shift = jumps[i]; /* while it runs */
        pass(60);
        cr_assert(there(&s.id) && there(&t.id), "jump %zu", i);
        fake_turn(&f, &s.id, b, 3, 1); /* used under that clock */
        wall_shift = jumps[ARRAY_LEN(jumps) - 1 - i]; /* and between two runs */
        restart();
        pass(60);
        cr_assert(there(&s.id) && there(&t.id), "restart %zu", i);
    }
    pass(3600); /* but time that passes does, over the restarts */
    cr_assert(there(&s.id));
    cr_assert_not(there(&t.id));
    clock_fake_set(0);
    wall_shift = 0;
}

Test(session, its_age_survives_restarts_and_a_damaged_count_makes_it_young)
{
    struct session_info s = create(), t;
    struct err e = {0};
    cr_assert_eq(session_create(f.sc, &none, 3600, &t, &e), 0);
    pass(3000);
    restart();
    pass(300);
    cr_assert(there(&t.id) && there(&s.id)); /* 3,300 of 3,600 s */
    char path[300];
    snprintf(path, sizeof(path), "%.200s/lived", dir);
    statecache_close(f.sc);
    FILE *file = fopen(path, "w");
    fputs("nonsense nonsens", file);
    fclose(file);
    fake_open(&f);
    pass(3500); /* too young is harmless */
    cr_assert(there(&t.id) && there(&s.id));
    restart();
    pass(101);
    cr_assert_not(there(&t.id));
    clock_fake_set(0);
}

Test(session, a_parked_session_costs_little_more_than_its_state)
{
    struct statecache_stats st;
    struct session_info s = create();
    fake_turn(&f, &s.id, a, 2000, 8);
    for (int i = 0; i < 5; i++)
        fake_turn(&f, &s.id, b + i * 50, 50, 8);
    statecache_tick(f.sc);
    statecache_stats(f.sc, &st);
    cr_assert_eq(st.entries[TIER_RAM], 1);
    cr_assert_leq(st.bytes[TIER_RAM], f.sc->format.slot_bytes + FAKE_VOCAB * 4 + 7);
    cr_assert_gt(st.entries[TIER_DISK], 8);
}

Test(session, what_ram_cannot_hold_comes_back_from_disk)
{
    statecache_close(f.sc);
    f.o.ram_bytes = 12 * (FAKE_STATE * 4 + FAKE_VOCAB * 4 + 8);
    fake_open(&f);
    struct session_info s[30];
    for (int i = 0; i < 30; i++) {
        s[i] = create();
        cr_assert_eq(fake_turn(&f, &s[i].id, a + i, 200, 4), 200);
    }
    for (int i = 0; i < 30; i++)
        cr_assert_eq(fake_turn(&f, &s[i].id, b + i, 20, 4), 20, "session %d", i);
    struct statecache_stats st;
    statecache_stats(f.sc, &st);
    cr_assert_gt(st.reload.count, 10);
}

Test(session, export_and_import_carry_everything)
{
    struct session_info s = create(), t;
    struct err e = {0};
    struct buf blob;
    buf_init(&blob, 1 << 20);
    fake_turn(&f, &s.id, a, 700, 8);
    fake_turn(&f, &s.id, b, 70, 8);
    cr_assert_eq(session_export(f.sc, &none, &s.id, &blob, &e), 0, "%s", e.text);
    cr_assert_eq(session_delete(f.sc, &none, &s.id, NULL, &e), 0);
    statecache_tick(f.sc);
    cr_assert_eq(session_import(f.sc, &none, blob.p, blob.len, &t, &e), 0, "%s", e.text);
    cr_assert_neq(memcmp(t.id.b, s.id.b, 16), 0);
    cr_assert_eq(t.position, 786);
    cr_assert_eq(t.turns, 2);
    cr_assert_eq(fake_turn(&f, &t.id, b, 20, 4), 20);
    cr_assert_eq(get(&t.id).persist, PERSIST_DURABLE);
    restart();
    cr_assert_eq(fake_turn(&f, &t.id, b, 20, 4), 20);
    struct tenant_tag other = {{1}};
    cr_assert_eq(session_import(f.sc, &other, blob.p, blob.len, &t, &e), E_DENIED);
    buf_free(&blob);
}

Test(session, an_exported_blob_with_any_byte_changed_is_refused)
{
    struct session_info s = create(), t;
    struct buf blob;
    struct err e = {0};
    buf_init(&blob, 1 << 20);
    fake_turn(&f, &s.id, a, 60, 2);
    cr_assert_eq(session_export(f.sc, &none, &s.id, &blob, &e), 0);
    for (size_t i = 0; i < blob.len; i++) {
        blob.p[i] ^= (char)(1 << i % 8);
        cr_assert_neq(session_import(f.sc, &none, blob.p, blob.len, &t, &e), 0, "byte %zu", i);
        blob.p[i] ^= (char)(1 << i % 8);
    }
    for (size_t n = 0; n < blob.len; n += 97)
        cr_assert_neq(session_import(f.sc, &none, blob.p, n, &t, &e), 0, "%zu bytes", n);
    err_clear(&e);
    cr_assert_eq(session_import(f.sc, &none, blob.p, blob.len, &t, &e), 0, "%s", e.text);
    buf_free(&blob);
}

Test(session, an_empty_session_can_be_moved_too)
{
    struct session_info s = create(), t;
    struct err e = {0};
    struct buf blob;
    buf_init(&blob, 1 << 20);
    cr_assert_eq(session_export(f.sc, &none, &s.id, &blob, &e), 0, "%s", e.text);
    cr_assert_eq(session_import(f.sc, &none, blob.p, blob.len, &t, &e), 0, "%s", e.text);
    cr_assert_eq(t.position, 0);
    cr_assert_eq(fake_turn(&f, &t.id, a, 30, 4), 30);
    buf_free(&blob);
}

/* The files in a folder of the state directory. */
static int list(const char *folder, char names[][300], int max)
{
    char path[200];
    int n = 0;
    snprintf(path, sizeof(path), "%s/%s", dir, folder);
    DIR *d = opendir(path);
    for (struct dirent *x; d && (x = readdir(d));)
        if (x->d_name[0] != '.' && n < max)
            snprintf(names[n++], 300, "%.120s/%.120s", path, x->d_name);
    if (d)
        closedir(d);
    return n;
}

/* The files of the state directory as they were. */
static struct kept { char path[300]; unsigned char bytes[4096]; ssize_t n; } kept[16];
static int n_kept;

static const char *const folders[] = {"states", "sessions", "paths", "quarantine"};

static void keep_files(void)
{
    static char names[64][300];
    n_kept = 0;
    for (int k = 0; k < 3; k++) {
        int n = list(folders[k], names, 64);
        for (int i = 0; i < n; i++) {
            cr_assert_lt(n_kept, 16);
            struct kept *x = &kept[n_kept++];
            int fd = open(names[i], O_RDONLY);
            memcpy(x->path, names[i], sizeof(x->path));
            x->n = read(fd, x->bytes, sizeof(x->bytes));
            cr_assert(x->n > 0 && x->n < (ssize_t)sizeof(x->bytes));
            close(fd);
        }
    }
}

static void write_file(const struct kept *x)
{
    int fd = open(x->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_eq(write(fd, x->bytes, (size_t)x->n), x->n);
    close(fd);
}

static void put_files_back(void)
{
    static char names[64][300];
    for (int k = 0; k < 4; k++) {
        int n = list(folders[k], names, 64);
        for (int i = 0; i < n; i++)
            unlink(names[i]);
    }
    for (int i = 0; i < n_kept; i++)
        write_file(&kept[i]);
}

/* With a file of this session damaged at byte i: it is lost, or computed again from its tokens, but
 * never goes on from something that was changed. */
static void check_refused(const struct session_id *id, const char *path, long long i)
{
    struct run r;
    struct session_info info;
    struct statecache_stats stats;
    bool repeated;
    fake_open(&f);
    run_init(&r, &f, b, 10, 2);
    r.in_session = true;
    r.session = *id;
    int rc = session_claim(f.sc, &none, id, NULL, &repeated, NULL, &info, &r.err);
    r.ticket = info.ticket;
    for (int tries = 0; !rc && r.phase == RUN_WAIT && tries < 9; tries++) {
        run_step(&r, 1);
        statecache_tick(f.sc);
    }
    cr_assert(rc == E_NOENT || (r.phase == RUN_PREFILL && r.start.position == 0 && !r.wrong),
              "%s byte %lld: rc %d, phase %d, %lld found", path, i, rc, r.phase,
              (long long)r.start.position);
    run_free(&r);
    statecache_stats(f.sc, &stats);
    cr_assert(stats.files_quarantined >= 1 || i == 8 || i == 9, "%s byte %lld", path, i);
    statecache_close(f.sc);
    f.sc = NULL;
}

Test(session, every_byte_of_its_files_matters)
{
    struct session_info s = create();
    fake_turn(&f, &s.id, a, 40, 0);
    statecache_close(f.sc);
    f.sc = NULL;
    keep_files();
    cr_assert_eq(n_kept, 3); /* a state, a session, and the stretch of 32 tokens before the state */
    for (int k = 0; k < n_kept; k++) {
        for (ssize_t i = 0; i < kept[k].n; i++) {
            unsigned char bit = (unsigned char)(1 << i % 8);
            put_files_back();
            kept[k].bytes[i] ^= bit;
            write_file(&kept[k]);
            kept[k].bytes[i] ^= bit;
            check_refused(&s.id, kept[k].path, (long long)i);
        }
    }
    put_files_back();
    fake_open(&f);
    cr_assert_eq(fake_turn(&f, &s.id, b, 10, 2), 10);
}

Test(session_hybrid, survives_restart_and_moves)
{
    struct session_info s = create(), t;
    struct err e = {0};
    struct buf blob;
    buf_init(&blob, 1 << 22);
    cr_assert_eq(fake_turn(&f, &s.id, a, 1007, 8), 1007);
    restart();
    cr_assert_eq(fake_turn(&f, &s.id, b, 50, 8), 50);
    cr_assert_eq(session_export(f.sc, &none, &s.id, &blob, &e), 0, "%s", e.text);
    restart();
    cr_assert_eq(session_import(f.sc, &none, blob.p, blob.len, &t, &e), 0, "%s", e.text);
    cr_assert_eq(fake_turn(&f, &t.id, b, 7, 8), 7);
    cr_assert_eq(rewound(&s.id, 900), 900);
    int64_t computed = fake_turn(&f, &s.id, b + 1, 10, 4);
    cr_assert(computed >= 10 && computed <= 74, "%lld", (long long)computed);
    buf_free(&blob);
}
