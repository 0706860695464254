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
#define RECORD_VALUE (CLAIM_OPEN + RECORD_BOX_MAX)

static uint64_t soon(void) { return clock_now_ns() + ANSWER_NS; }

static struct kv_key key_of(enum kv_kind kind, const unsigned char *name, size_t n)
{
    struct kv_key k = {.kind = kind, .n = (unsigned char)n};
    memcpy(k.name, name, n);
    return k;
}

/* v->p NULL: there is none, or it is of another type and nobody's. */
static int get(struct upkeep *u, const struct kv_key *k, size_t most, struct kv_value *v,
               struct err *e)
{
    *v = (struct kv_value){0};
    int rc = u->kv->ops->ask(u->kv, k, most, soon(), e);
    return rc ? rc : u->kv->ops->answer(u->kv, soon(), v, e);
}

static int discard(struct upkeep *u, const struct kv_key *k, struct err *e)
{
    int rc = u->kv->ops->remove(u->kv, k, soon(), e);
    u->counts.removed += !rc;
    return rc;
}

/* ---- all keys of a kind ------------------------------------------------------------------- */

struct batch {
    struct kv_key *names;
    size_t n, cap;
    bool failed;
};

static void note(void *arg, const struct kv_key *key)
{
    struct batch *b = arg;
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 1024;
        struct kv_key *more = mem_realloc(b->names, cap * sizeof(*more));
        b->failed |= !more;
        if (!more)
            return;
        b->names = more;
        b->cap = cap;
    }
    b->names[b->n++] = *key;
}

static int for_each(struct upkeep *u, enum kv_kind kind, size_t bytes,
                    int (*look)(struct upkeep *u, const unsigned char *name, struct err *e),
                    struct err *e)
{
    struct batch b = {0};
    struct kv_page page = {.each = note, .arg = &b};
    int rc;
    do {
        b.n = 0;
        rc = u->kv->ops->list(u->kv, kind, bytes, &page, soon(), e);
        if (!rc && b.failed)
            rc = err_set(e, E_NOMEM, "no memory for %zu names", b.n);
        for (size_t i = 0; i < b.n && !rc; i++)
            rc = look(u, b.names[i].name, e);
    } while (!rc && !page.last);
    mem_free(b.names);
    return rc;
}

static int count_others(struct upkeep *u, struct err *e)
{
    struct kv_page page = {0};
    int rc;
    do
        rc = u->kv->ops->others(u->kv, &page, &u->counts.unknown, soon(), e);
    while (!rc && !page.last);
    return rc;
}

/* ---- states ------------------------------------------------------------------------------- */

/* 0 and *mine: m is its manifest, or why says what is wrong with it. Not *mine: of another key, or
 * gone. */
static int open_state(struct upkeep *u, const struct kv_key *k, const unsigned char *name,
                      bool *mine, struct manifest *m, int *key, struct err *why, struct err *e)
{
    struct kv_value v = {0};
    struct link_name link;
    *mine = false;
    memset(m, 0, sizeof(*m));
    memcpy(link.b, name, sizeof(link.b));
    int rc = get(u, k, MANIFEST_BOX(MANIFEST_CHUNKS_MAX), &v, e);
    if (rc || !v.there)
        return rc;
    bool possible = v.p && v.n >= MANIFEST_BOX(1) && v.n <= MANIFEST_BOX(MANIFEST_CHUNKS_MAX);
    int code = E_DENIED;
    for (*key = 0; possible && *key < u->n_keys; ++*key) {
        struct format f = u->format;
        err_clear(why);
        code = manifest_inspect(&u->keys[*key], &f, &link, v.p, v.n, m, why);
        if (code != E_DENIED)
            break;
    }
    *mine = code != E_DENIED;
    u->counts.foreign += !*mine && u->pass == 0;
    return code == E_NOMEM ? err_set(e, code, "%s", why->text) : 0;
}

/* A box that must hold `want` bytes of a state, or a block that becomes them. */
static bool good_chunk(struct upkeep *u, const struct manifest *m, int key,
                       const unsigned char *id, const struct kv_value *v, size_t want)
{
    if (!v->p || v->n <= SHARED_TAG || v->n > want + SHARED_TAG ||
        !seal_open_chunk(&u->keys[key], id, v->p, v->n, u->plain))
        return false;
    size_t n = v->n - SHARED_TAG;
    return n == want || (m->packed && compress_expand(u->compressor, u->plain, n, u->expanded, want,
                                                      NULL) == 0);
}

/* 0, and why->code: something is wrong with it. */
static int check_chunk(struct upkeep *u, const struct manifest *m, int key, int32_t i,
                       struct err *why, struct err *e)
{
    struct kv_value v = {0};
    uint64_t at = (uint64_t)i * MANIFEST_CHUNK;
    size_t want = (size_t)MIN(m->bytes - at, (uint64_t)MANIFEST_CHUNK);
    int rc = u->kv->ops->answer(u->kv, soon(), &v, e);
    if (rc)
        return rc;
    if (!v.there)
        return err_set(why, E_NOENT, "chunk %d of %d is gone", i, m->n_chunks), 0;
    if (!good_chunk(u, m, key, m->ids + (size_t)i * SHARED_ID, &v, want))
        return err_set(why, E_FORMAT, "chunk %d of %d is not what was put", i, m->n_chunks), 0;
    return 0;
}

static int check_chunks(struct upkeep *u, const struct manifest *m, int key, struct err *why,
                        struct err *e)
{
    struct kv *kv = u->kv;
    int32_t asked = 0, i = 0;
    int rc = 0;
    for (; i < m->n_chunks && !rc && !why->code; i++) {
        for (; asked < m->n_chunks && asked < i + kv->window && !rc; asked++) {
            struct kv_key k = key_of(KV_CHUNK, m->ids + (size_t)asked * SHARED_ID, SHARED_ID);
            rc = kv->ops->ask(kv, &k, MANIFEST_CHUNK + SHARED_TAG, soon(), e);
        }
        if (!rc)
            rc = check_chunk(u, m, key, i, why, e);
    }
    for (struct kv_value v; i < asked && !rc; i++) /* they are still asked for */
        rc = kv->ops->answer(kv, soon(), &v, e);
    return rc;
}

static int look_state(struct upkeep *u, const unsigned char *name, struct err *e)
{
    struct kv_key k = key_of(KV_STATE, name, SHARED_NAME);
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
        char text[KV_KEY_TEXT];
        kv_key_text(&k, text);
        if (u->tell)
            u->tell(u->arg, text, why.text);
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
    struct kv_key k = key_of(KV_STATE, name, SHARED_NAME);
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
    struct kv_key k = key_of(KV_RECORD, name, SHARED_NAME);
    struct kv_value v = {0};
    struct link_name link;
    struct shared_record x = {0};
    struct err why = {0};
    memcpy(link.b, name, sizeof(link.b));
    int rc = get(u, &k, RECORD_VALUE, &v, e), code = E_DENIED;
    if (rc || !v.p || v.n <= CLAIM_OPEN)
        return rc;
    for (int i = 0; i < u->n_keys && code == E_DENIED; i++) {
        err_clear(&why);
        code = shared_record_stretches(&u->keys[i], &link, v.p + CLAIM_OPEN, v.n - CLAIM_OPEN, &x,
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

static int look_chunk(struct upkeep *u, const unsigned char *id, struct err *e)
{
    struct kv_key k = key_of(KV_CHUNK, id, SHARED_ID);
    struct kv_value v = {0};
    int64_t idle_s = -1;
    bool mine = false;
    if (!in_pass(u, id))
        return 0;
    if (u->n_ids && bsearch(id, u->ids, u->n_ids, 16, by_id)) {
        u->counts.chunks++;
        return 0;
    }
    int rc = u->kv->ops->idle(u->kv, &k, soon(), &idle_s, e); /* before it is read: that is a use */
    if (!rc)
        rc = get(u, &k, MANIFEST_CHUNK + SHARED_TAG, &v, e);
    if (rc || !v.there)
        return rc;
    /* So long that it belongs to no state that is being put. */
    int64_t pass_s = (int64_t)((clock_now_ns() - u->pass_ns) / NS_PER_S);
    bool old = idle_s >= 0 && idle_s >= u->grace_s + pass_s;
    for (int i = 0; i < u->n_keys && !mine && v.p && v.n <= MANIFEST_CHUNK + SHARED_TAG; i++)
        mine = seal_open_chunk(&u->keys[i], id, v.p, v.n, u->plain);
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
        u->pass_ns = clock_now_ns();
        rc = for_each(u, KV_STATE, SHARED_NAME, collect, e);
        if (!rc)
            rc = for_each(u, KV_RECORD, SHARED_NAME, collect_record, e);
        if (!rc && u->n_ids)
            qsort(u->ids, u->n_ids, sizeof(*u->ids), by_id);
        if (!rc)
            rc = for_each(u, KV_CHUNK, SHARED_ID, look_chunk, e);
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
        rc = for_each(u, KV_STATE, SHARED_NAME, look_state, e);
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
