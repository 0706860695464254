/* From one store to another: records of sessions first, then states. */
#include "statecache/shared/copy.h"

#include <sodium.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "statecache/shared/claim.h"

#define ANSWER_NS (10 * NS_PER_S)  /* to one question … */
#define PER_CHUNK_NS (NS_PER_S / 2) /* … and more for every chunk of a state */
#define RECORD_VALUE (CLAIM_OPEN + RECORD_BOX_MAX)
#define RECORD_TTL_S (INT64_C(30) * 24 * 3600)
#define TRIES 4                    /* a replica may be as quick */

static uint64_t soon(void) { return clock_now_ns() + ANSWER_NS; }

/* A value of `from` or `to`, into out. *there false: it is not, or is no such value (of another
 * kind, or longer than `most`). */
static int get(struct kv *s, const struct kv_key *k, size_t most, struct buf *out, bool *there,
               struct err *e)
{
    struct kv_value v = {0};
    buf_clear(out);
    int rc = s->ops->ask(s, k, most, soon(), e);
    if (!rc)
        rc = s->ops->answer(s, soon(), &v, e);
    *there = !rc && v.there && v.p && v.n <= most;
    if (*there && buf_add(out, v.p, v.n))
        rc = err_set(e, E_NOMEM, "no memory for a value of %zu bytes", v.n);
    return rc;
}

static int broken(struct copy *c, const struct kv_key *k, const struct err *why)
{
    char text[KV_KEY_TEXT];
    kv_key_text(k, text);
    c->counts.broken++;
    if (c->tell)
        c->tell(c->arg, text, why->text);
    return 0;
}

/* What an opening says of whose a thing is. 0: it was counted. */
static int unopened(struct copy *c, const struct kv_key *k, int code, const struct err *why,
                    struct err *e)
{
    if (code == E_NOMEM)
        return err_set(e, code, "%s", why->text);
    if (code != E_DENIED && code != E_UNSUPPORTED && code != E_CONFLICT)
        return broken(c, k, why);
    c->counts.foreign += code == E_DENIED;
    c->counts.newer += code != E_DENIED;
    return 0;
}

/* ---- states ------------------------------------------------------------------------------- */

/* Memory for every part of a state, one piece each. */
struct whole {
    struct piece piece[PARTS];
    struct part part[PARTS];
};

static bool allocate(struct whole *w, const struct head *h)
{
    bool ok = true;
    memset(w, 0, sizeof(*w));
    for (int i = 0; i < PARTS && ok; i++) {
        size_t n = (size_t)h->bytes[i];
        void *p = n ? mem_array(1, n) : NULL;
        ok = p || !n;
        w->piece[i] = (struct piece){p, n};
        w->part[i] = (struct part){&w->piece[i], n ? 1 : 0};
    }
    return ok;
}

static void release(struct whole *w)
{
    for (int i = 0; i < PARTS; i++)
        mem_free((void *)(uintptr_t)w->piece[i].p);
}

static int put_state(struct copy *c, const struct format *f, struct manifest *m,
                     struct whole *w, uint64_t until, struct err *e)
{
    struct objects o = {.kv = c->to, .keys = &c->keys[0], .format = f,
                        .compressor = c->compressor, .compress = c->compress,
                        .ttl_s = c->ttl_s, .mark_first = true, .deadline_ns = until};
    int rc = objects_put(&o, w->piece[PART_TOKENS].p, &m->head, w->part, e);
    c->counts.states += !rc && o.bytes > 0;
    c->counts.already += !rc && o.bytes == 0;
    c->counts.bytes += rc ? 0 : o.bytes;
    return rc;
}

/* A path needs all of its tokens. */
static bool complete(const struct manifest *m)
{
    return m->head.position > 0 &&
           m->head.bytes[PART_TOKENS] == (uint64_t)m->head.position * sizeof(int32_t);
}

static int move_state(struct copy *c, const struct kv_key *k, struct format *f, int key,
                      struct manifest *m, struct err *e)
{
    uint64_t until = soon() + (uint64_t)m->n_chunks * PER_CHUNK_NS;
    struct objects o = {.kv = c->from, .keys = &c->keys[key], .format = f,
                        .compressor = c->compressor, .deadline_ns = until};
    struct err why = {0};
    struct whole w;
    f->vocab = INT32_MAX; /* its model is not here to say */
    if (!complete(m))
        return err_set(&why, E_FORMAT, "a state of %lld tokens has %llu bytes of them",
                       (long long)m->head.position,
                       (unsigned long long)m->head.bytes[PART_TOKENS]), broken(c, k, &why);
    int rc = allocate(&w, &m->head) ? objects_read(&o, m, w.part, &why)
                                    : err_set(e, E_NOMEM, "no memory for a state of %llu bytes",
                                              (unsigned long long)m->bytes);
    if (!rc)
        rc = put_state(c, f, m, &w, until, e);
    else if (rc == E_NOENT || rc == E_FORMAT || rc == E_DENIED)
        rc = c->from->ops->connected(c->from) ? broken(c, k, &why)
                                              : err_set(e, E_IO, "%s", why.text);
    else if (rc != E_NOMEM || !e->code)
        err_set(e, rc, "%s", why.text);
    release(&w);
    return rc;
}

static int copy_state(struct copy *c, const struct kv_key *k, struct err *e)
{
    struct manifest m = {0};
    struct format f = c->format;
    struct link_name name;
    struct err why = {0};
    struct buf box;
    bool there = false;
    int code = E_DENIED, key = 0;
    memcpy(name.b, k->name, sizeof(name.b));
    int rc = c->to->ops->keep(c->to, k, c->ttl_s, soon(), &there, e);
    c->counts.already += !rc && there; /* under today's key it is the same */
    if (rc || there)
        return rc;
    buf_init(&box, MANIFEST_BOX(MANIFEST_CHUNKS_MAX));
    rc = get(c->from, k, MANIFEST_BOX(MANIFEST_CHUNKS_MAX), &box, &there, e);
    for (; !rc && there && key < c->n_keys; key++) {
        f = c->format;
        err_clear(&why);
        code = manifest_inspect(&c->keys[key], &f, &name, (unsigned char *)box.p, box.len, &m,
                                &why);
        if (code != E_DENIED)
            break;
    }
    buf_free(&box);
    if (rc || !there)
        return rc;
    rc = code ? unopened(c, k, code, &why, e) : move_state(c, k, &f, key, &m, e);
    manifest_free(&m);
    return rc;
}

/* ---- sessions ----------------------------------------------------------------------------- */

/* The stretch goes over as it is: it opens with the key that its record is sealed with. */
static int copy_stretch(struct copy *c, const unsigned char id[SHARED_ID], int key, bool *good,
                        struct err *e)
{
    struct kv_key k = {.kind = KV_CHUNK, .n = SHARED_ID};
    struct buf box;
    bool there = false;
    memcpy(k.name, id, SHARED_ID);
    *good = true;
    int rc = c->to->ops->keep(c->to, &k, c->ttl_s, soon(), &there, e);
    /* A bucket knows when it was put, not that it was used: what it prunes goes by that. */
    if (rc || (there && !c->to->lasting))
        return rc;
    buf_init(&box, MANIFEST_CHUNK + SHARED_TAG);
    rc = get(c->from, &k, MANIFEST_CHUNK + SHARED_TAG, &box, good, e);
    unsigned char *plain = mem_array(1, MANIFEST_CHUNK);
    if (!rc && !plain)
        rc = err_set(e, E_NOMEM, "no memory for a stretch");
    *good = !rc && *good &&
            seal_open_chunk(&c->keys[key], id, (unsigned char *)box.p, box.len, plain);
    if (*good)
        rc = c->to->ops->put(c->to, &k, box.p, box.len, c->ttl_s, soon(), e);
    mem_free(plain);
    buf_free(&box);
    return rc;
}

/* Where replicas compare and set, so does this; elsewhere records only rest. */
static int put_record(struct copy *c, const struct kv_key *k, const struct claim_value *v,
                      bool *newer, struct err *e)
{
    struct wire *w = kv_redis_wire(c->to);
    struct claim free = v->at;
    struct claim_value now = {0};
    struct link_name name;
    struct buf there;
    bool is = false, done = false;
    int64_t ttl_s = c->ttl_s ? c->ttl_s : RECORD_TTL_S;
    memcpy(name.b, k->name, sizeof(name.b));
    memset(free.holder, 0, sizeof(free.holder)); /* whoever has it there has it not here */
    struct claim_name key = claim_record_key(&name);
    buf_init(&there, RECORD_VALUE);
    int rc = get(c->to, k, RECORD_VALUE, &there, &is, e);
    claim_read(there.p, is ? there.len : 0, &now);
    for (int i = 0; i < TRIES && !rc && !done; i++) {
        *newer = now.record && now.at.fence >= v->at.fence;
        if (*newer)
            break;
        if (w) {
            unsigned char head[CLAIM_HEAD];
            size_t n = MIN(now.n, sizeof(head));
            memcpy(head, now.p ? now.p : (const unsigned char *)"", n);
            rc = claim_swap(w, &key, head, n, &free, v->p + CLAIM_OPEN, v->n - CLAIM_OPEN, ttl_s,
                            soon(), &done, &now, e);
            continue;
        }
        unsigned char head[CLAIM_HEAD];
        claim_head(&free, head);
        buf_clear(&there);
        rc = buf_add(&there, head, CLAIM_OPEN) ||
                     buf_add(&there, v->p + CLAIM_OPEN, v->n - CLAIM_OPEN)
                 ? err_set(e, E_NOMEM, "no memory for a record of %zu bytes", v->n)
                 : c->to->ops->put(c->to, k, there.p, there.len, ttl_s, soon(), e);
        done = !rc;
    }
    buf_free(&there);
    return rc || done || *newer ? rc : err_set(e, E_BUSY, "replicas change a session's record "
                                               "all the time");
}

static int move_record(struct copy *c, const struct kv_key *k, const struct claim_value *v,
                       const struct shared_record *r, int key, struct err *e)
{
    struct err why = {0};
    bool good = true, newer = false;
    int rc = 0;
    for (int32_t i = 0; i < r->n_ids && !rc && good; i++) {
        rc = copy_stretch(c, r->ids + (size_t)i * SHARED_ID, key, &good, e);
        if (!rc && !good)
            err_set(&why, E_FORMAT, "stretch %d of %d of its path is gone, or not what it names",
                    i, r->n_ids);
    }
    if (!rc && !good)
        return broken(c, k, &why);
    if (!rc)
        rc = c->to->ops->flush(c->to, soon(), e);
    if (!rc)
        rc = put_record(c, k, v, &newer, e);
    if (!rc)
        rc = c->to->ops->flush(c->to, soon(), e);
    c->counts.already += !rc && newer;
    c->counts.sessions += !rc && !newer;
    return rc;
}

static int copy_record(struct copy *c, const struct kv_key *k, struct err *e)
{
    struct shared_record r = {0};
    struct claim_value v = {0};
    struct link_name name;
    struct err why = {0};
    struct buf value;
    bool there = false;
    int code = E_DENIED, key = 0;
    memcpy(name.b, k->name, sizeof(name.b));
    buf_init(&value, RECORD_VALUE);
    int rc = get(c->from, k, RECORD_VALUE, &value, &there, e);
    claim_read(value.p, there ? value.len : 0, &v);
    for (; !rc && v.record && key < c->n_keys; key++) {
        err_clear(&why);
        code = shared_record_stretches(&c->keys[key], &name, v.p + CLAIM_OPEN, v.n - CLAIM_OPEN,
                                       &r, &why);
        if (code != E_DENIED)
            break;
    }
    if (!rc && there)
        rc = code ? unopened(c, k, code, &why, e) : move_record(c, k, &v, &r, key, e);
    shared_record_free(&r);
    buf_free(&value);
    return rc;
}

/* ---- all of it ---------------------------------------------------------------------------- */

struct batch {
    struct kv_key *keys;
    size_t n, cap;
    bool failed;
};

static void note(void *arg, const struct kv_key *key)
{
    struct batch *b = arg;
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 1024;
        struct kv_key *more = mem_realloc(b->keys, cap * sizeof(*more));
        b->failed |= !more;
        if (!more)
            return;
        b->keys = more;
        b->cap = cap;
    }
    b->keys[b->n++] = *key;
}

static int for_each(struct copy *c, enum kv_kind kind,
                    int (*one)(struct copy *c, const struct kv_key *k, struct err *e),
                    struct err *e)
{
    struct batch b = {0};
    struct kv_page page = {.each = note, .arg = &b};
    int rc = 0;
    while (!rc && !page.last) {
        b.n = 0;
        rc = c->from->ops->list(c->from, kind, SHARED_NAME, &page, soon(), e);
        if (!rc && b.failed)
            rc = err_set(e, E_NOMEM, "no memory for %zu names", b.n);
        for (size_t i = 0; i < b.n && !rc; i++)
            rc = one(c, &b.keys[i], e);
    }
    mem_free(b.keys);
    return rc;
}

int copy_run(struct copy *c, struct err *e)
{
    c->n_keys = c->format.two ? 2 : 1;
    seal_keys(&c->keys[0], c->format.key);
    if (c->format.two)
        seal_keys(&c->keys[1], c->format.old);
    int rc = compressor_open(&c->compressor, e);
    if (!rc)
        rc = for_each(c, KV_RECORD, copy_record, e);
    if (!rc)
        rc = for_each(c, KV_STATE, copy_state, e);
    compressor_close(c->compressor);
    sodium_memzero(c->keys, sizeof(c->keys));
    return rc;
}
