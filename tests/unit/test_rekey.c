/* The install key is changed: two keys at once, and a folder sealed anew with the power going at
 * every call. Sessions go on to the bit, whichever half of the files has which seal. */
#include <criterion/criterion.h>
#include <sodium.h>

#include "statecache/store/change.h"
#include "statecache/store/rekey.h"
#include "tests/fault/fake_fs.h"
#include "tests/unit/fake_cache.h"

static struct fs fs;
static struct fake f;
static const struct tenant_tag none;
static int32_t tokens[2000];

static void put(const char *path, const void *p, size_t n)
{
    int fd = fs.io.create(fs.io.ctx, path);
    cr_assert(fd >= 0 && fsio_write_all(&fs.io, fd, p, n) == 0);
    cr_assert_eq(fs.io.fsync(fs.io.ctx, fd), 0);
    cr_assert_eq(fs.io.close(fs.io.ctx, fd), 0);
}

/* /k/old, and /k/new made of it; /k/other, that names otherwise; /k/short. */
static void begin(void)
{
    unsigned char b[2 * CODEC_KEY];
    fs_init(&fs, 1);
    fake_init(&f, false, 3, 0);
    f.o.dir = "/s";
    f.o.io = &fs.io;
    fake_tokens(tokens, 2000, 3);
    memset(b, 5, sizeof(b));
    put("/k/old", b, CODEC_KEY);
    memset(b, 6, CODEC_KEY);
    put("/k/new", b, sizeof(b));
    put("/k/other", b, CODEC_KEY);
    put("/k/short", b, 33);
}
static void end(void)
{
    fake_fini(&f);
    fs_fini(&fs);
}

TestSuite(rekey, .init = begin, .fini = end);

static void keys(const char *key, const char *old)
{
    f.o.key_file = key;
    f.o.key_file_old = old;
}

/* All that was written is on the medium. */
static void settle(void)
{
    for (int i = 0; i < fs.n_ops; i++)
        fs_apply(fs.safe, &fs.n_safe, &fs.ops[i]);
    fs.n_ops = 0;
    memcpy(fs.safe, fs.now, (size_t)fs.n_now * sizeof(*fs.now));
    fs.n_safe = fs.n_now;
    for (int i = 0; i < fs.n_files; i++) {
        struct fs_file *x = &fs.files[i];
        free(x->safe);
        x->safe = malloc(x->n_now + 1);
        memcpy(x->safe, x->now, x->n_now);
        x->n_safe = x->n_now;
    }
}

/* A session with files of every kind, and a turn that only the log has. */
static struct session_id live(void)
{
    struct session_info s;
    struct err e = {0};
    f.o.checkpoint_ms = -1;
    fake_open(&f);
    cr_assert_eq(session_create(f.sc, &none, 0, &s, &e), 0);
    cr_assert_eq(fake_turn(&f, &s.id, tokens, 150, 3), 150);
    statecache_close(f.sc);
    f.o.checkpoint_ms = 1000000;
    fake_open(&f);
    cr_assert_geq(fake_turn(&f, &s.id, tokens + 500, 20, 3), 20);
    fs.crashed = true;
    statecache_close(f.sc);
    f.sc = NULL;
    fs_restart(&fs);
    settle();
    return s.id;
}

static int64_t position_of(const struct session_id *id)
{
    struct session_info s;
    struct err e = {0};
    cr_assert_eq(session_get(f.sc, &none, id, &s, &e), 0, "%s", e.text);
    return s.position;
}

/* The session is where it was, nothing was thrown out, and (fake_turn) all logits are right. */
static void goes_on(const struct session_id *id, int64_t position)
{
    struct statecache_stats st;
    fake_open(&f);
    cr_assert_eq(position_of(id), position);
    statecache_stats(f.sc, &st);
    cr_assert_eq(st.files_quarantined, 0);
    cr_assert_geq(fake_turn(&f, id, tokens + 900, 10, 2), 10);
    statecache_close(f.sc);
    f.sc = NULL;
    settle();
}

static int sealed(const char *key, const char *old, struct rekey_counts *c)
{
    static struct rekey r;
    struct err e = {0};
    int rc = rekey_open(&r, "/s", key, old, &fs.io, &e);
    if (!rc)
        rc = rekey_files(&r, &e);
    if (!rc)
        rc = rekey_finish(&r, &e);
    *c = r.counts;
    rekey_close(&r);
    return rc;
}

Test(rekey, two_keys_then_one)
{
    struct rekey_counts c;
    keys("/k/old", NULL);
    struct session_id id = live();
    keys("/k/new", "/k/old");
    fake_open(&f);
    int64_t at = position_of(&id);
    statecache_close(f.sc);
    f.sc = NULL;
    settle();
    cr_assert_geq(at, 170);
    goes_on(&id, at);
    at += 12;
    goes_on(&id, at); /* what it wrote itself, too */
    at += 12;
    cr_assert_eq(sealed("/k/new", "/k/old", &c), 0);
    cr_assert(c.sealed > 0 && c.already > 0 && c.bad == 0 && c.left == 0);
    uint64_t all = c.sealed + c.already;
    cr_assert_eq(sealed("/k/new", "/k/old", &c), 0);
    cr_assert(c.sealed == 0 && c.already == all);
    keys("/k/new", NULL);
    goes_on(&id, at);
}

static void power_goes_everywhere(const char *key, const char *old)
{
    for (int64_t k = 1;; k++) {
        struct rekey_counts c;
        end();
        begin();
        fs.rng.seed = (uint64_t)k;
        keys(old, NULL);
        struct session_id id = live();
        fake_open(&f);
        int64_t at = position_of(&id);
        fs.crashed = true; /* the log is as it was */
        statecache_close(f.sc);
        f.sc = NULL;
        fs_restart(&fs);
        settle();
        fs.crash_at = fs.calls + k;
        int rc = sealed(key, old, &c);
        bool done = !fs.crashed;
        cr_assert(rc == 0 || !done, "call %lld", (long long)k);
        fs.crash_at = 0;
        if (!done) {
            fs_power_on(&fs);
            keys(key, old);
            if (k % 2) /* a start between the two, or none */
                goes_on(&id, at);
            at += k % 2 ? 12 : 0;
            cr_assert_eq(sealed(key, old, &c), 0);
        }
        cr_assert(c.bad == 0 && c.left == 0);
        keys(key, NULL);
        goes_on(&id, at);
        if (done)
            return;
    }
}

Test(rekey, the_power_goes) { power_goes_everywhere("/k/new", "/k/old"); }
Test(rekey, the_power_goes_with_a_key_of_its_own) { power_goes_everywhere(NULL, NULL); }

Test(rekey, what_no_key_saves_is_told_and_left)
{
    struct rekey_counts c;
    keys("/k/old", NULL);
    live();
    int state = -1;
    for (int i = 0; i < fs.n_now && state < 0; i++)
        if (strncmp(fs.now[i].path, "/s/states/", 10) == 0)
            state = fs.now[i].file;
    cr_assert_geq(state, 0);
    fs.files[state].now[CODEC_HEAD + 200] ^= 1; /* behind a good head */
    cr_assert_eq(sealed("/k/new", "/k/old", &c), 0);
    cr_assert(c.bad == 1 && c.left == 0 && c.sealed > 0);
    fs.unreadable = "/s/paths/";
    cr_assert_neq(sealed("/k/new", "/k/old", &c), 0);
    cr_assert_gt(c.left, 0);
    fs.unreadable = NULL;
}

Test(rekey, keys_that_make_no_sense)
{
    static const struct { const char *key, *old, *text; int code; } rows[] = {
        {"/k/short", NULL, "32 bytes expected, or 64 of one that was changed, 33 found", E_FORMAT},
        {"/k/new", "/k/short", "33 found", E_FORMAT},
        {"/k/none", NULL, "cannot open /k/none", E_NOENT},
        {"/k/old", "/k/old", "seal with the same 32 bytes", E_CONFLICT},
        {"/k/other", "/k/new", "seal with the same 32 bytes", E_CONFLICT},
        {"/k/other", "/k/old", "tail -c 32 OLD", E_CONFLICT},
        {NULL, "/k/old", "no state-key is given", E_CONFLICT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = {0};
        keys(rows[i].key, rows[i].old);
        cr_assert_eq(statecache_open(&f.sc, &f.o, &e), rows[i].code, "%zu: %s", i, e.text);
        cr_assert_not_null(strstr(e.text, rows[i].text), "%zu: %s", i, e.text);
    }
}

Test(rekey, a_changed_key_seals_anew_and_names_as_before)
{
    struct format a = {0}, b = {0};
    unsigned char x[16], y[16];
    struct err e = {0};
    cr_assert_eq(installkey_load(&a, &fs.io, "/k/old", NULL, &e), 0);
    cr_assert_eq(installkey_load(&b, &fs.io, "/k/new", "/k/old", &e), 0, "%s", e.text);
    codec_tenant(a.names, "alice", x);
    codec_tenant(b.names, "alice", y);
    cr_assert_eq(memcmp(x, y, sizeof(x)), 0);
    codec_name(&a, x, x, tokens, 5, x);
    codec_name(&b, y, y, tokens, 5, y);
    cr_assert_eq(memcmp(x, y, sizeof(x)), 0);
    change_model(&a, x);
    change_model(&b, y);
    cr_assert_eq(memcmp(x, y, sizeof(x)), 0);
    cr_assert_neq(memcmp(a.key, b.key, sizeof(a.key)), 0);
    cr_assert_eq(memcmp(a.key, b.old, sizeof(a.key)), 0);
}
