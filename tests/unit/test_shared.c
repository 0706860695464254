/* The shared store: addresses, names, boxes and manifests; and two caches on one redis-server. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sodium.h>
#include <time.h>
#include <unistd.h>

#include "statecache/shared/recall.h"
#include "statecache/shared/record.h"
#include "tests/unit/redis_rig.h"

/* ---- addresses ---------------------------------------------------------------------------- */

Test(shared_address, what_is_understood)
{
    static const struct {
        const char *url, *host, *path, *user, *password;
        int port, db;
        bool tls;
    } rows[] = {
        {"redis://h", "h", "", "", "", 6379, 0, false},
        {"redis://h/", "h", "", "", "", 6379, 0, false},
        {"rediss://cache.example:7000/3", "cache.example", "", "", "", 7000, 3, true},
        {"redis://u:p%40%2F@10.0.0.1:1/65535", "10.0.0.1", "", "u", "p@/", 1, 65535, false},
        {"redis://:a/b@h/2", "h", "", "", "a/b", 6379, 2, false},
        {"redis://u:@h", "h", "", "u", "", 6379, 0, false},
        {"redis://[::1]:99", "::1", "", "", "", 99, 0, false},
        {"redis+unix:///run/a%20b?db=4", "", "/run/a b", "", "", 0, 4, false},
        {"redis+unix://u:p@/s", "", "/s", "u", "p", 0, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct shared_address a;
        struct err e = {0};
        cr_assert_eq(shared_address_parse(rows[i].url, &a, &e), 0, "%s: %s", rows[i].url, e.text);
        cr_assert_str_eq(a.host, rows[i].host);
        cr_assert_str_eq(a.path, rows[i].path);
        cr_assert_str_eq(a.user, rows[i].user);
        cr_assert_str_eq(a.password, rows[i].password);
        cr_assert(a.port == rows[i].port && a.db == rows[i].db && a.tls == rows[i].tls);
        cr_assert_null(strchr(a.shown, '@'), "%s", a.shown);
    }
}

Test(shared_address, what_is_refused)
{
    static const char *const rows[] = {
        "", "redis:", "redis://", "http://h", "redis://:1", "redis://h:", "redis://h:0",
        "redis://h:65536", "redis://h/x", "redis://h/70000", "redis://user@h", "redis://[::1",
        "redis://[::1]x", "redis://h h", "redis://u:%0@h", "redis://u:%00@h", "redis://u:%zz@h",
        "redis+unix://rel", "redis+unix://", "redis+unix:///s?x=1", "redis+unix:///s?db=",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct shared_address a;
        struct err e = {0};
        cr_assert_lt(shared_address_parse(rows[i], &a, &e), 0, "%s", rows[i]);
        cr_assert_neq(e.text[0], '\0');
    }
}

/* ---- names and boxes ---------------------------------------------------------------------- */

static void make_format(struct format *f, const struct fake *k)
{
    memset(f, 0, sizeof(*f));
    codec_layout(f, &k->plan, 32);
    codec_numerics("fake/1", f->numerics);
    memset(f->key, 7, sizeof(f->key));
}

static struct link_name state_name(const struct format *f, unsigned char tenant,
                                   const int32_t *tokens, int64_t n)
{
    struct seal_keys k;
    unsigned char tag[16] = {tenant};
    struct link_name chain[8], out;
    seal_keys(&k, f->key);
    seal_chain(&k, f, tag, tokens, n, chain);
    seal_state_name(&k, chain, tokens, n, &out);
    return out;
}

Test(shared_seal, a_name_is_of_all_it_stands_for)
{
    struct fake k;
    struct format f, g;
    int32_t t[200];
    fake_init(&k, false, 2, 0);
    make_format(&f, &k);
    fake_tokens(t, 200, 1);
    struct link_name n = state_name(&f, 1, t, 130), m;
    cr_assert_eq(memcmp(n.b, (m = state_name(&f, 1, t, 130)).b, sizeof(n.b)), 0);
    cr_assert_neq(memcmp(n.b, (m = state_name(&f, 2, t, 130)).b, sizeof(n.b)), 0);
    cr_assert_neq(memcmp(n.b, (m = state_name(&f, 1, t, 129)).b, sizeof(n.b)), 0);
    for (int i = 0; i < 3; i++) {
        g = f;
        (i == 0 ? g.key : i == 1 ? g.fingerprint : (unsigned char *)g.numerics)[3] ^= 1;
        cr_assert_neq(memcmp(n.b, (m = state_name(&g, 1, t, 130)).b, sizeof(n.b)), 0);
    }
    for (int i = 0; i < 130; i++) {
        t[i]++;
        cr_assert_neq(memcmp(n.b, (m = state_name(&f, 1, t, 130)).b, sizeof(n.b)), 0, "%d", i);
        t[i]--;
    }
    fake_fini(&k);
}

Test(shared_seal, a_chunk_opens_only_whole_and_under_its_id)
{
    struct seal_keys k, other;
    unsigned char key[CODEC_KEY] = {1}, plain[100] = {5}, box[100 + SHARED_TAG], id[SHARED_ID],
                  out[100];
    seal_keys(&k, key);
    key[0] = 2;
    seal_keys(&other, key);
    seal_chunk(&k, plain, sizeof(plain), id, box);
    cr_assert(seal_open_chunk(&k, id, box, sizeof(box), out));
    cr_assert_eq(memcmp(out, plain, sizeof(plain)), 0);
    cr_assert_not(seal_open_chunk(&other, id, box, sizeof(box), out));
    cr_assert_not(seal_open_chunk(&k, id, box, sizeof(box) - 1, out));
    cr_assert_not(seal_open_chunk(&k, id, box, SHARED_TAG - 1, out));
    for (size_t i = 0; i < sizeof(box); i++) {
        box[i] ^= 0x10;
        cr_assert_not(seal_open_chunk(&k, id, box, sizeof(box), out));
        box[i] ^= 0x10;
    }
    id[31] ^= 1;
    cr_assert_not(seal_open_chunk(&k, id, box, sizeof(box), out));
}

Test(shared_seal, a_manifest_opens_only_under_its_name)
{
    struct fake k;
    struct format f;
    struct seal_keys keys;
    struct link_name name = {{1}}, another = {{2}};
    int32_t t[40];
    float state[FAKE_STATE] = {1};
    unsigned char head[CODEC_HEAD], ids[SHARED_ID] = {9};
    fake_init(&k, false, 2, 0);
    make_format(&f, &k);
    seal_keys(&keys, f.key);
    fake_tokens(t, 40, 1);
    struct piece piece[2] = {{t, sizeof(t)}, {state, sizeof(state)}};
    struct part part[PARTS] = {[PART_TOKENS] = {&piece[0], 1}, [PART_STATE] = {&piece[1], 1}};
    struct head h = {.kind = CODEC_SHARED, .position = 40};
    codec_seal(&f, &h, part, head);
    unsigned char box[MANIFEST_BOX(1)];
    uint64_t bytes = sizeof(t) + sizeof(state);
    manifest_seal(&keys, &name, head, bytes, 1, false, ids, box);
    struct manifest m;
    struct err e = {0};
    cr_assert_eq(manifest_open(&keys, &f, &name, box, sizeof(box), &m, &e), 0, "%s", e.text);
    cr_assert(m.n_chunks == 1 && m.bytes == bytes && m.head.position == 40);
    manifest_free(&m);
    cr_assert_eq(manifest_open(&keys, &f, &another, box, sizeof(box), &m, NULL), E_DENIED);
    for (size_t n = 0; n < sizeof(box); n += 7)
        cr_assert_lt(manifest_open(&keys, &f, &name, box, n, &m, NULL), 0);
    f.numerics[0] ^= 1;
    cr_assert_eq(manifest_open(&keys, &f, &name, box, sizeof(box), &m, NULL), E_CONFLICT);
    f.numerics[0] ^= 1;
    manifest_seal(&keys, &name, head, bytes + 1, 1, false, ids, box);
    cr_assert_eq(manifest_open(&keys, &f, &name, box, sizeof(box), &m, NULL), E_FORMAT);
    h.kind = CODEC_EXPORT; /* sealed by us, and no shared state */
    piece[1].n = sizeof(state);
    codec_seal(&f, &h, part, head);
    manifest_seal(&keys, &name, head, bytes, 1, false, ids, box);
    cr_assert_lt(manifest_open(&keys, &f, &name, box, sizeof(box), &m, NULL), 0);
    fake_fini(&k);
}

/* ---- two caches on one store -------------------------------------------------------------- */

/* One compresses what it puts or not, the other reads both. */
static void two_caches(bool paged, bool packed)
{
    struct rig r = {0};
    struct fake a, b;
    int32_t t[1200];
    if (!rig_open(&r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return;
    }
    fake_tokens(t, 1200, 5);
    fake_init(&a, paged, 4, 512);
    a.o.compress_shared = packed ? COMPRESS_ALWAYS : COMPRESS_NEVER;
    cache_reach(&a, &r);
    cache_open(&b, &r, paged);
    cr_expect_eq(fake_asks(&a, t, 1000), 1000);
    cr_expect_gt(fake_shared_stats(&a).writes, 0);
    cr_expect_eq(fake_asks(&b, t, 1000), 0, "the whole prompt, with its logits");
    cr_expect_eq(fake_asks(&b, t, 1100), 100);
    cr_expect_eq(fake_shared_stats(&b).hits, 1);
    bool smaller = packed && compress_available();
    cr_expect_eq(fake_shared_stats(&a).packed.content_bytes > 0, smaller);
    struct shared_stats seen = fake_shared_stats(&a);
    cr_expect_leq(seen.packed.stored_bytes, seen.packed.content_bytes);
    cr_expect_eq(fake_shared_stats(&b).expanded.content_bytes > 0, smaller);
    t[500] = (t[500] + 1) % FAKE_VOCAB; /* parts where nobody put a state */
    cr_expect_eq(fake_asks(&b, t, 1000), 1000);
    cr_expect_eq(fake_shared_stats(&b).errors, 0);
    struct run fresh; /* and one that may not wait is not made to */
    fake_tokens(t, 1200, 6);
    cr_expect_eq(fake_asks(&a, t, 700), 700);
    run_init(&fresh, &b, t, 700, 1);
    cr_expect_eq(run_all(&fresh, 100), 700);
    run_free(&fresh);
    fake_fini(&a);
    fake_fini(&b);
    rig_close(&r);
}

Test(shared_store, what_one_computed_the_other_finds) { two_caches(false, false); }
Test(shared_store, with_pages_too) { two_caches(true, false); }
Test(shared_store, compressed_by_one_and_found_by_the_other) { two_caches(true, true); }

Test(shared_store, killed_in_between)
{
    struct rig r = {0};
    struct fake a;
    int32_t t[400];
    if (!rig_open(&r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return;
    }
    cache_open(&a, &r, false);
    kill(r.redis, SIGKILL);
    for (uint64_t seed = 1; seed < 5; seed++) {
        fake_tokens(t, 400, seed);
        cr_expect_eq(fake_asks(&a, t, 400), 400);
    }
    cr_expect_not(fake_shared_stats(&a).up);
    cr_expect_gt(fake_shared_stats(&a).dropped, 0);
    fake_fini(&a);
    rig_close(&r);
}

/* More states than putting may take bytes: they are left out late and counted; others go. */
Test(shared_store, takes_no_more_than_its_share)
{
    struct rig r = {0};
    struct fake a;
    int32_t t[400];
    if (!rig_open(&r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return;
    }
    fake_init(&a, false, 4, 512);
    a.o.shared_bytes_s = 1; /* the first owes for thousands of seconds */
    cache_reach(&a, &r);
    uint64_t now = clock_now_ns();
    for (int i = 0; i < 500 && !a.sc->shared->store[0].left.bytes; i++) {
        nap();
        statecache_tick(a.sc);
    }
    for (uint64_t seed = 1; seed < 5; seed++) {
        fake_tokens(t, 400, seed);
        cr_expect_eq(fake_asks(&a, t, 400), 400);
    }
    cr_expect_eq(fake_shared_stats(&a).writes, 1);
    cr_expect_eq(fake_shared_stats(&a).over_budget, 0, "they wait");
    clock_fake_set(now + 40 * NS_PER_S);
    statecache_tick(a.sc);
    clock_fake_set(0);
    cr_expect_gt(fake_shared_stats(&a).over_budget, 2);
    cr_expect_eq(fake_shared_stats(&a).over_budget, fake_shared_stats(&a).dropped);
    cr_expect_eq(fake_shared_stats(&a).writes, 1);
    fake_fini(&a);
    rig_close(&r);
}

/* A planned end, while a state waits until it has rested: however long that is already, it goes
 * into the cold store. (Here both stores are databases of one server.) */
Test(shared_store, what_waits_for_the_cold_one_goes_there_at_the_end)
{
    struct rig r = {0};
    struct fake a;
    struct statecache_stats s;
    int32_t t[400];
    char both[2 * sizeof(r.url) + 16];
    if (!rig_open(&r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return;
    }
    snprintf(both, sizeof(both), "%s,%s?db=1", r.url, r.url);
    fake_tokens(t, 400, 7);
    fake_init(&a, false, 4, 512);
    a.o.shared_cold_after_s = 3600;
    a.o.shared_url = both;
    cache_join(&a, &r);
    for (int i = 0; i < 500 && !a.sc->shared->store[1].out.up; i++) {
        statecache_tick(a.sc);
        nap();
    }
    cr_expect_eq(fake_asks(&a, t, 400), 400);
    statecache_tick(a.sc);
    statecache_stats(a.sc, &s);
    cr_expect_gt(s.shared[0].writes, 0);
    cr_expect_eq(s.shared[1].writes, 0, "it waits");
    clock_fake_set(clock_now_ns() + 60 * NS_PER_S);
    statecache_save(a.sc, 10);
    clock_fake_set(0);
    statecache_stats(a.sc, &s);
    cr_expect_gt(s.shared[1].writes, 0);
    cr_expect_eq(s.shared[1].dropped, 0);
    fake_fini(&a);
    rig_close(&r);
}

/* The session as b has it, once the store says so. */
static struct session_info looked_up(struct fake *f, const struct session_id *id, int *rc)
{
    struct session_info s = {0};
    static const struct tenant_tag none;
    *rc = session_look(f->sc, &none, id, &s, NULL);
    return s;
}

static void sessions_go_on(bool paged)
{
    struct rig r = {0};
    struct fake a, b;
    struct session_info s, fork;
    static const struct tenant_tag none;
    int32_t t[400];
    int rc;
    if (!rig_open(&r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return;
    }
    fake_tokens(t, 400, 5);
    cache_open(&a, &r, paged);
    cache_open(&b, &r, paged);
    statecache_tick(a.sc), statecache_tick(b.sc); /* the third connection */
    cr_assert_eq(session_create(a.sc, &none, 0, &s, NULL), 0);
    cr_expect(s.shared);
    cr_expect_eq(fake_turn(&a, &s.id, t, 200, 5), 200);
    cr_expect_eq(fake_turn(&b, &s.id, t, 100, 5), 100, "its state was found");
    cr_expect_eq(fake_turn(&a, &s.id, t, 50, 5), 50);
    for (int i = 0; i < 2; i++) {
        struct session_info at = looked_up(i ? &b : &a, &s.id, &rc);
        cr_expect(rc == 0 && at.position == 365 && at.turns == 3 && at.shared && !at.busy);
    }
    cr_expect_eq(session_rewind(b.sc, &none, &s.id, 300, -1, 0, &fork, NULL), 0);
    cr_expect(fork.position == 300 && fork.turns == 1 && fork.shared);
    cr_expect_eq(session_fork(a.sc, &none, &s.id, -1, &fork, NULL), 0);
    cr_expect(fork.position == 300 && fork.shared);
    cr_expect_geq(fake_turn(&b, &fork.id, t, 10, 3), 10);
    cr_expect_eq(session_delete(b.sc, &none, &s.id, NULL, NULL), 0);
    (void)looked_up(&a, &s.id, &rc);
    cr_expect_eq(rc, E_NOENT);
    cr_expect_eq(fake_try_turn(&a, &s.id, t, 10, 3, &rc), -1);
    cr_expect_eq(rc, E_NOENT);
    cr_expect_eq(fake_shared_stats(&a).errors + fake_shared_stats(&b).errors, 0);
    fake_fini(&a);
    fake_fini(&b);
    rig_close(&r);
}

Test(shared_sessions, go_on_elsewhere) { sessions_go_on(false); }
Test(shared_sessions, with_pages_too) { sessions_go_on(true); }

Test(shared_sessions, one_writer)
{
    struct rig r = {0};
    struct fake a, b;
    struct session_info s, x;
    static const struct tenant_tag none;
    struct err e = {0};
    bool repeated;
    if (!rig_open(&r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return;
    }
    cache_open(&a, &r, false);
    cache_open(&b, &r, false);
    statecache_tick(a.sc), statecache_tick(b.sc);
    cr_assert_eq(session_create(a.sc, &none, 0, &s, NULL), 0);
    cr_assert_eq(session_claim(a.sc, &none, &s.id, NULL, &repeated, NULL, &x, &e), 0);
    cr_expect_eq(session_claim(b.sc, &none, &s.id, NULL, &repeated, NULL, &x, &e), E_BUSY);
    struct session_info seen = looked_up(&b, &s.id, &(int){0});
    cr_expect(seen.busy);
    session_release(a.sc, &none, &s.id, x.ticket + 1); /* not its own: nothing happens */
    cr_assert_eq(session_get(a.sc, &none, &s.id, &x, NULL), 0);
    cr_expect(x.busy);
    session_release(a.sc, &none, &s.id, x.ticket);
    statecache_tick(a.sc);
    err_clear(&e);
    cr_expect_eq(session_claim(b.sc, &none, &s.id, &(struct session_condition){NULL, 0, 0},
                               &repeated, NULL, &x, &e), 0, "%s", e.text);
    fake_fini(&a);
    fake_fini(&b);
    rig_close(&r);
}

/* Whether f, which hears what is called for now, sees a reason to look at its session x. */
static bool hears(struct fake *f, struct session *x)
{
    struct shared *h = f->sc->shared;
    pthread_mutex_lock(&f->sc->lock);
    h->heard_ns = 0;
    recall_hear(f->sc, clock_now_ns());
    shared_work(f->sc);
    bool due = recall_is_due(f->sc, x);
    recall_done(f->sc, x);
    pthread_mutex_unlock(&f->sc->lock);
    return due;
}

/* Called for, looked at, and later called for again: the list of names is the same to the bit. */
Test(shared_sessions, each_call_is_heard)
{
    struct rig r = {0};
    struct fake a;
    struct session_info s;
    static const struct tenant_tag none;
    struct link_name name;
    struct err e = {0};
    if (!rig_open(&r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return;
    }
    cache_open(&a, &r, false);
    statecache_tick(a.sc);
    cr_assert_eq(session_create(a.sc, &none, 0, &s, NULL), 0);
    cr_assert(s.shared);
    struct session *x = session_of(a.sc, &none, &s.id);
    struct wire *w = kv_redis_wire(a.sc->shared->records.kv);
    const struct word forget[2] = {{"DEL", 3}, {"recurd:b:0", 10}};
    struct reply reply = {0};
    shared_record_name(&a.sc->format, none.b, s.id.b, &name);
    cr_expect_not(hears(&a, x));
    uint64_t start = clock_now_ns(), later = start + (2 * CLAIM_CALL_MS + 1000) * NS_PER_MS;
    for (uint64_t now = start; now <= later; now += later - start) {
        clock_fake_set(now);
        cr_assert_eq(claim_call(w, &name, true, now + 60 * NS_PER_S, &e), 0, "%s", e.text);
        cr_expect(hears(&a, x));
        cr_expect_not(hears(&a, x), "once");
        cr_assert_eq(wire_ask(w, forget, 2, now + 60 * NS_PER_S, &reply, &e), 0);
        cr_expect_not(hears(&a, x), "the list has ended");
    }
    clock_fake_set(0);
    fake_fini(&a);
    rig_close(&r);
}

Test(shared_seal, a_record_opens_only_whole_and_under_its_name)
{
    struct fake k;
    struct format f;
    struct seal_keys keys;
    struct link_name name, another;
    unsigned char tenant[16] = {1}, id[16] = {2}, ids[SHARED_ID] = {9};
    unsigned char fields[SESSION_RECORD] = {0};
    int32_t tail[3] = {4, 5, 6};
    struct err e = {0};
    struct buf box;
    fake_init(&k, false, 2, 0);
    make_format(&f, &k);
    seal_keys(&keys, f.key);
    shared_record_name(&f, tenant, id, &name);
    id[0] = 3;
    shared_record_name(&f, tenant, id, &another);
    cr_assert_neq(memcmp(name.b, another.b, sizeof(name.b)), 0);
    fields[24] = 35; /* the position */
    struct shared_record r = {.fence = 7, .n_ids = 1, .ids = ids,
                              .c = {.kind = CHANGE_SESSION, .generation = 2, .keep_tokens = 32,
                                    .fields = fields, .tokens = tail, .n_tokens = 3}}, out;
    buf_init(&box, RECORD_BOX_MAX);
    cr_assert_eq(shared_record_seal(&keys, &f, &name, &r, &box, &e), 0, "%s", e.text);
    unsigned char *p = (unsigned char *)box.p;
    cr_assert_eq(shared_record_open(&keys, &f, &name, p, box.len, &out, &e), 0, "%s", e.text);
    cr_expect(out.fence == 7 && out.n_ids == 1 && out.c.n_tokens == 3 && out.c.keep_tokens == 32);
    shared_record_free(&out);
    cr_expect_eq(shared_record_open(&keys, &f, &another, p, box.len, &out, NULL), E_DENIED);
    for (size_t n = 0; n < box.len; n += 5)
        cr_expect_lt(shared_record_open(&keys, &f, &name, p, n, &out, NULL), 0);
    for (size_t i = 0; i < box.len; i += 3) {
        p[i] ^= 0x10;
        cr_expect_eq(shared_record_open(&keys, &f, &name, p, box.len, &out, NULL), E_DENIED);
        p[i] ^= 0x10;
    }
    buf_free(&box);
    tail[1] = FAKE_VOCAB; /* sealed by us, and no session */
    cr_assert_eq(shared_record_seal(&keys, &f, &name, &r, &box, NULL), 0);
    cr_expect_eq(shared_record_open(&keys, &f, &name, (unsigned char *)box.p, box.len, &out, NULL),
                 E_FORMAT);
    buf_free(&box);
    fake_fini(&k);
}

Test(shared_store, needs_a_key)
{
    struct fake a;
    struct err e = {0};
    fake_init(&a, false, 4, 0);
    a.o.shared_url = "redis://127.0.0.1";
    cr_expect_eq(statecache_open(&a.sc, &a.o, &e), E_CONFLICT);
    a.sc = NULL;
    fake_fini(&a);
}

/* An answer that came too late is passed over; the one after it is the one that was asked for. */
Test(shared_wire, a_late_answer_costs_nobody_else_anything)
{
    struct rig r = {0};
    struct shared_address to;
    struct wire *w;
    struct err e = {0};
    struct reply reply = {0};
    uint64_t soon = clock_now_ns() + 60 * NS_PER_S;
    if (!rig_open(&r)) {
        cr_log_warn("skipped: no redis-server, or built without hiredis");
        return;
    }
    cr_assert_eq(shared_address_parse(r.url, &to, &e), 0);
    cr_assert_eq(wire_open(&w, &to, NULL, &e), 0);
    cr_assert_eq(wire_connect(w, 60000, 60000, &e), 0, "%s", e.text);
    const struct word set[2][3] = {{{"SET", 3}, {"a", 1}, {"one", 3}},
                                   {{"SET", 3}, {"b", 1}, {"two", 3}}};
    const struct word get[2][2] = {{{"GET", 3}, {"a", 1}}, {{"GET", 3}, {"b", 1}}};
    for (int i = 0; i < 2; i++)
        cr_assert_eq(wire_ask(w, set[i], 3, soon, &reply, &e), 0, "%s", e.text);
    kill(r.redis, SIGSTOP); /* nothing can be answered, however fast the machine is */
    for (int i = 0; i < 3; i++) { /* two questions on their way, whose answers are owed */
        cr_expect_eq(wire_send(w, get[0], 2, soon, &e), 0);
        cr_expect_eq(wire_ask(w, get[0], 2, clock_now_ns() + NS_PER_MS, &reply, &e), E_TIMEOUT);
        cr_expect(wire_connected(w));
        cr_expect_eq(wire_receive(w, soon, &reply, &e), E_TIMEOUT, "nobody waits for it any more");
    }
    kill(r.redis, SIGCONT);
    cr_expect_eq(wire_ask(w, get[1], 2, soon, &reply, &e), 0, "%s", e.text);
    cr_expect(reply.kind == REPLY_TEXT && reply.n == 3 && memcmp(reply.p, "two", 3) == 0);
    cr_expect_eq(wire_ask(w, get[0], 2, soon, &reply, &e), 0, "%s", e.text);
    cr_expect(reply.kind == REPLY_TEXT && reply.n == 3 && memcmp(reply.p, "one", 3) == 0);
    wire_close(w);
    rig_close(&r);
}
