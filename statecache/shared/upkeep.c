/* Going through a store: states first, then the chunks that none of them names. */
#include "statecache/shared/upkeep.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "statecache/shared/claim.h"
#include "statecache/shared/record.h"
#include "statecache/store/compress.h"

#define ANSWER_NS (10 * NS_PER_S) /* to one command */
#define PREFIX "recurd:"
#define KEY (sizeof(PREFIX) + 2 + 2 * SHARED_ID)

struct name { unsigned char b[SHARED_ID]; };
struct key { char text[KEY]; };

static struct key key_of(char kind, const unsigned char *name, size_t n)
{
    struct key k;
    int at = snprintf(k.text, sizeof(k.text), PREFIX "%c:", kind);
    sodium_bin2hex(k.text + at, sizeof(k.text) - (size_t)at, name, n);
    return k;
}
static struct word word(const char *text) { return (struct word){text, strlen(text)}; }

static int command(struct upkeep *u, const char *verb, const char *more, const struct key *k,
                   struct reply *r, struct err *e)
{
    struct word w[3] = {word(verb), word(more ? more : k->text), word(k->text)};
    return wire_ask(u->wire, w, more ? 3 : 2, clock_now_ns() + ANSWER_NS, r, e);
}

/* A value of another type is nobody's: REPLY_ERROR then, and no error. */
static int get(struct upkeep *u, const struct key *k, struct reply *r, struct err *e)
{
    struct err why = {0};
    int rc = command(u, "GET", NULL, k, r, &why);
    if (rc == E_DENIED) {
        r->kind = REPLY_ERROR;
        return 0;
    }
    return rc ? err_set(e, rc, "%s", why.text) : 0;
}

static int discard(struct upkeep *u, const struct key *k, struct err *e)
{
    struct reply r = {0};
    int rc = command(u, "DEL", NULL, k, &r, e);
    u->counts.removed += !rc && r.kind == REPLY_NUMBER && r.number > 0;
    return rc;
}

/* ---- all keys of a kind ------------------------------------------------------------------- */

struct batch {
    struct name *names;
    size_t n, cap, bytes; /* bytes: of a name */
    uint64_t others;
    bool failed;
};

static void note(void *arg, const unsigned char *p, size_t n)
{
    struct batch *b = arg;
    size_t head = sizeof(PREFIX) - 1 + 2, got = 0;
    struct name x;
    if (n != head + 2 * b->bytes ||
        sodium_hex2bin(x.b, sizeof(x.b), (const char *)p + head, n - head, NULL, &got, NULL) ||
        got != b->bytes)
        return; /* no key that a replica makes */
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 1024;
        struct name *more = mem_realloc(b->names, cap * sizeof(*more));
        b->failed |= !more;
        if (!more)
            return;
        b->names = more;
        b->cap = cap;
    }
    b->names[b->n++] = x;
}

static int for_each(struct upkeep *u, char kind, size_t bytes,
                    int (*look)(struct upkeep *u, const unsigned char *name, struct err *e),
                    struct err *e)
{
    char cursor[WIRE_CURSOR] = "0", pattern[16];
    struct batch b = {.bytes = bytes};
    int rc;
    snprintf(pattern, sizeof(pattern), PREFIX "%c:*", kind);
    do {
        b.n = 0;
        rc = wire_scan(u->wire, pattern, cursor, note, &b, clock_now_ns() + ANSWER_NS, e);
        if (!rc && b.failed)
            rc = err_set(e, E_NOMEM, "no memory for %zu names", b.n);
        for (size_t i = 0; i < b.n && !rc; i++)
            rc = look(u, b.names[i].b, e);
    } while (!rc && strcmp(cursor, "0") != 0);
    mem_free(b.names);
    return rc;
}

static void note_other(void *arg, const unsigned char *p, size_t n)
{
    size_t at = sizeof(PREFIX) - 1;
    *(uint64_t *)arg += n < at + 2 || !memchr("scirlbe", p[at], 7) || p[at + 1] != ':';
}

static int count_others(struct upkeep *u, struct err *e)
{
    char cursor[WIRE_CURSOR] = "0";
    int rc;
    do
        rc = wire_scan(u->wire, PREFIX "*", cursor, note_other, &u->counts.unknown,
                       clock_now_ns() + ANSWER_NS, e);
    while (!rc && strcmp(cursor, "0") != 0);
    return rc;
}

/* ---- states ------------------------------------------------------------------------------- */

/* 0 and *mine: m is its manifest, or why says what is wrong with it. Not *mine: of another key, or
 * gone. */
static int open_state(struct upkeep *u, const struct key *k, const unsigned char *name, bool *mine,
                      struct manifest *m, int *key, struct err *why, struct err *e)
{
    struct reply r = {0};
    struct link_name link;
    *mine = false;
    memset(m, 0, sizeof(*m));
    memcpy(link.b, name, sizeof(link.b));
    int rc = get(u, k, &r, e);
    if (rc || r.kind == REPLY_NIL)
        return rc;
    bool possible = r.kind == REPLY_TEXT && r.n >= MANIFEST_BOX(1) &&
                    r.n <= MANIFEST_BOX(MANIFEST_CHUNKS_MAX);
    int code = E_DENIED;
    for (*key = 0; possible && *key < u->n_keys; ++*key) {
        struct format f = u->format;
        err_clear(why);
        code = manifest_inspect(&u->keys[*key], &f, &link, r.p, r.n, m, why);
        if (code != E_DENIED)
            break;
    }
    *mine = code != E_DENIED;
    u->counts.foreign += !*mine && u->pass == 0;
    return code == E_NOMEM ? err_set(e, code, "%s", why->text) : 0;
}

/* A box that must hold `want` bytes of a state, or a block that becomes them. */
static bool good_chunk(struct upkeep *u, const struct manifest *m, int key,
                       const unsigned char *id, const struct reply *r, size_t want)
{
    if (r->kind != REPLY_TEXT || r->n <= SHARED_TAG || r->n > want + SHARED_TAG ||
        !seal_open_chunk(&u->keys[key], id, r->p, r->n, u->plain))
        return false;
    size_t n = r->n - SHARED_TAG;
    return n == want || (m->packed && compress_expand(u->compressor, u->plain, n, u->expanded, want,
                                                      NULL) == 0);
}

static int check_chunks(struct upkeep *u, const struct manifest *m, int key, struct err *why,
                        struct err *e)
{
    for (int32_t i = 0; i < m->n_chunks; i++) {
        const unsigned char *id = m->ids + (size_t)i * SHARED_ID;
        struct key k = key_of('c', id, SHARED_ID);
        struct reply r;
        uint64_t at = (uint64_t)i * MANIFEST_CHUNK;
        size_t want = (size_t)MIN(m->bytes - at, (uint64_t)MANIFEST_CHUNK);
        int rc = get(u, &k, &r, e);
        if (rc)
            return rc;
        if (r.kind == REPLY_NIL)
            return err_set(why, E_NOENT, "chunk %d of %d is gone", i, m->n_chunks), 0;
        if (!good_chunk(u, m, key, id, &r, want))
            return err_set(why, E_FORMAT, "chunk %d of %d is not what was put", i, m->n_chunks), 0;
    }
    return 0;
}

static int look_state(struct upkeep *u, const unsigned char *name, struct err *e)
{
    struct key k = key_of('s', name, SHARED_NAME);
    struct manifest m;
    struct err why = {0};
    bool mine;
    int key;
    int rc = open_state(u, &k, name, &mine, &m, &key, &why, e);
    if (!rc && mine && !why.code)
        rc = check_chunks(u, &m, key, &why, e);
    if (!rc && mine && !why.code) {
        u->counts.states++;
        u->counts.bytes += m.bytes;
        u->passes += (uint64_t)m.n_chunks; /* so far the sum of all ids */
    } else if (!rc && mine && (why.code == E_UNSUPPORTED || why.code == E_CONFLICT)) {
        u->counts.newer++;
    } else if (!rc && mine) {
        u->counts.broken++;
        if (u->tell)
            u->tell(u->arg, k.text, why.text);
        if (u->prune)
            rc = discard(u, &k, e);
    }
    manifest_free(&m);
    return rc;
}

/* ---- chunks ------------------------------------------------------------------------------- */

static bool in_pass(const struct upkeep *u, const unsigned char *id)
{
    return ((unsigned)id[0] | (unsigned)id[1] << 8) % u->passes + 1 == u->pass;
}

/* Notes n ids of chunks that are in use. */
static int collect_ids(struct upkeep *u, const unsigned char *ids, int32_t n, struct err *e)
{
    for (int32_t i = 0; i < n; i++) {
        const unsigned char *id = ids + (size_t)i * SHARED_ID;
        if (!in_pass(u, id))
            continue;
        if (u->n_ids == u->cap_ids) {
            size_t cap = u->cap_ids ? 2 * u->cap_ids : 1024;
            unsigned char(*more)[16] = mem_realloc(u->ids, cap * sizeof(*more));
            if (!more)
                return err_set(e, E_NOMEM, "no memory for the names of %zu chunks", cap);
            u->ids = more;
            u->cap_ids = cap;
        }
        memcpy(u->ids[u->n_ids++], id, 16);
    }
    return 0;
}

static int collect(struct upkeep *u, const unsigned char *name, struct err *e)
{
    struct key k = key_of('s', name, SHARED_NAME);
    struct manifest m;
    struct err why = {0};
    bool mine;
    int key;
    int rc = open_state(u, &k, name, &mine, &m, &key, &why, e);
    u->blind |= !rc && mine && why.code; /* it came since */
    if (!rc)
        rc = collect_ids(u, m.ids, m.n_chunks, e);
    manifest_free(&m);
    return rc;
}

/* The record of a session: its stretches are chunks, too. Of another key: theirs open with none of
 * ours. */
static int collect_record(struct upkeep *u, const unsigned char *name, struct err *e)
{
    struct key k = key_of('r', name, SHARED_NAME);
    struct reply r = {0};
    struct link_name link;
    struct shared_record x = {0};
    struct err why = {0};
    memcpy(link.b, name, sizeof(link.b));
    int rc = get(u, &k, &r, e), code = E_DENIED;
    if (rc || r.kind != REPLY_TEXT || r.n <= CLAIM_OPEN)
        return rc;
    for (int i = 0; i < u->n_keys && code == E_DENIED; i++) {
        err_clear(&why);
        code = shared_record_stretches(&u->keys[i], &link, r.p + CLAIM_OPEN, r.n - CLAIM_OPEN, &x,
                                       &why);
    }
    if (code == E_NOMEM)
        return err_set(e, code, "%s", why.text);
    u->blind |= code == E_UNSUPPORTED;
    if (!code)
        rc = collect_ids(u, x.ids, x.n_ids, e);
    u->counts.sessions += !code && u->pass == 1;
    shared_record_free(&x);
    return rc;
}

static int by_id(const void *a, const void *b) { return memcmp(a, b, 16); }

/* Whether nobody has used it for so long that it belongs to no state that is being put. */
static int is_old(struct upkeep *u, const struct key *k, bool *old, struct err *e)
{
    struct reply r = {0};
    struct err why = {0};
    int rc = command(u, "OBJECT", "IDLETIME", k, &r, &why);
    *old = !rc && r.kind == REPLY_NUMBER && r.number >= u->grace_s;
    return rc && rc != E_DENIED ? err_set(e, rc, "%s", why.text) : 0; /* E_DENIED: nobody counts */
}

static int look_chunk(struct upkeep *u, const unsigned char *id, struct err *e)
{
    struct key k = key_of('c', id, SHARED_ID);
    struct reply r = {0};
    bool old = false, mine = false;
    if (!in_pass(u, id))
        return 0;
    if (u->n_ids && bsearch(id, u->ids, u->n_ids, 16, by_id)) {
        u->counts.chunks++;
        return 0;
    }
    int rc = is_old(u, &k, &old, e); /* before it is read, which is a use */
    if (!rc)
        rc = get(u, &k, &r, e);
    if (rc || r.kind == REPLY_NIL)
        return rc;
    for (int i = 0; i < u->n_keys && !mine && r.kind == REPLY_TEXT &&
                    r.n <= MANIFEST_CHUNK + SHARED_TAG; i++)
        mine = seal_open_chunk(&u->keys[i], id, r.p, r.n, u->plain);
    u->counts.foreign_chunks += !mine;
    u->counts.orphans += mine;
    u->counts.young += mine && !old;
    return u->prune && mine && old && !u->blind ? discard(u, &k, e) : 0;
}

/* ---- all of it ---------------------------------------------------------------------------- */

static int all_chunks(struct upkeep *u, struct err *e)
{
    int rc = 0;
    u->passes = u->passes / UPKEEP_IDS + 1;
    for (u->pass = 1; u->pass <= u->passes && !rc; u->pass++) {
        u->n_ids = 0;
        rc = for_each(u, 's', SHARED_NAME, collect, e);
        if (!rc)
            rc = for_each(u, 'r', SHARED_NAME, collect_record, e);
        if (!rc && u->n_ids)
            qsort(u->ids, u->n_ids, sizeof(*u->ids), by_id);
        if (!rc)
            rc = for_each(u, 'c', SHARED_ID, look_chunk, e);
    }
    return rc;
}

int upkeep_run(struct upkeep *u, struct err *e)
{
    u->n_keys = u->format.two ? 2 : 1;
    seal_keys(&u->keys[0], u->format.key);
    if (u->format.two)
        seal_keys(&u->keys[1], u->format.old);
    u->plain = mem_array(1, MANIFEST_CHUNK);
    u->expanded = mem_array(1, MANIFEST_CHUNK);
    u->passes = u->pass = 0;
    int rc = u->plain && u->expanded ? compressor_open(&u->compressor, e)
                                     : err_set(e, E_NOMEM, "no memory for a chunk");
    if (!rc)
        rc = count_others(u, e);
    if (!rc)
        rc = for_each(u, 's', SHARED_NAME, look_state, e);
    u->blind = u->counts.unknown > 0 || u->counts.newer > 0;
    if (!rc)
        rc = all_chunks(u, e);
    mem_free(u->plain);
    mem_free(u->expanded);
    compressor_close(u->compressor);
    mem_free(u->ids);
    sodium_memzero(u->keys, sizeof(u->keys));
    return rc;
}
