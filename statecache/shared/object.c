/* Putting, finding and fetching of states, as named values of a store. */
#include "statecache/shared/object.h"

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "statecache/store/digest.h"

#define BATCH 64     /* questions for lists that are on their way at once */
#define TRIES 8      /* states asked for in one search */
#define GROUP BATCH  /* blocks whose lists have one list more, in stores that keep groups */
#define CHUNK_BOX (MANIFEST_CHUNK + SHARED_TAG)
_Static_assert(SHARED_BLOCK == KV_MARKS && GROUP == KV_MARKS, "a list is of a block, or a group");
_Static_assert(MANIFEST_CHUNK == COMPRESS_CONTENT, "a chunk is one block");
_Static_assert(SHARED_ID <= KV_NAME && SHARED_NAME <= KV_NAME, "names of the store");

static struct kv_key key_of(enum kv_kind kind, const unsigned char *name, size_t n)
{
    struct kv_key k = {.kind = kind, .n = (unsigned char)n};
    memcpy(k.name, name, n);
    return k;
}

static int do_remove(struct objects *o, const struct kv_key *k, struct err *e)
{
    return o->kv->ops->remove(o->kv, k, o->deadline_ns, e);
}

static int do_set(struct objects *o, const struct kv_key *k, const void *p, size_t n,
                  struct err *e)
{
    o->bytes += n;
    return o->kv->ops->put(o->kv, k, p, n, o->ttl_s, o->deadline_ns, e);
}

/* ---- the bytes of a state as one row, cut into chunks -------------------------------------- */

struct cursor {
    const struct part *part;
    int i;
    size_t k, at;
};

/* The next n bytes of the parts go to buf, or come from it. */
static void move(struct cursor *c, unsigned char *buf, size_t n, bool fill)
{
    while (n > 0) {
        while (c->i < PARTS && c->k == c->part[c->i].n_pieces) {
            c->i++;
            c->k = 0;
        }
        ASSERT(c->i < PARTS);
        const struct piece *p = &c->part[c->i].piece[c->k];
        size_t m = MIN(n, p->n - c->at);
        /* The pieces describe our own writable memory; the type is shared with writing. */
        char *at = (char *)(uintptr_t)p->p + c->at;
        if (m && fill)
            memcpy(at, buf, m);
        else if (m)
            memcpy(buf, at, m);
        buf += m;
        n -= m;
        c->at += m;
        if (c->at == p->n) {
            c->k++;
            c->at = 0;
        }
    }
}

static size_t chunk_bytes(uint64_t bytes, int32_t i)
{
    uint64_t left = bytes - (uint64_t)i * MANIFEST_CHUNK;
    return (size_t)MIN(left, (uint64_t)MANIFEST_CHUNK);
}

/* ---- putting ------------------------------------------------------------------------------ */

/* plain [n] as it is stored: where it lies, or compressed in `less`. Its length tells which: what
 * does not get smaller is stored as it is. */
static const unsigned char *smaller(struct objects *o, const unsigned char *plain, size_t *n,
                                    unsigned char *less)
{
    bool try = o->compress == COMPRESS_ALWAYS ||
               (o->compress == COMPRESS_PAYING && compress_pays(plain, *n));
    if (!try || !compress_available())
        return plain;
    uint64_t start = clock_now_ns();
    size_t m = compress_block(o->compressor, plain, *n, o->compress == COMPRESS_ALWAYS, less);
    o->count.content_bytes += *n;
    o->count.stored_bytes += MIN(m, *n);
    o->count.ns += clock_now_ns() - start;
    if (m >= *n)
        return plain;
    *n = m;
    return less;
}

/* *packed: whether any is compressed. */
static int put_chunks(struct objects *o, const struct part part[PARTS], uint64_t bytes, int32_t n,
                      unsigned char *ids, bool *packed, struct err *e)
{
    unsigned char *plain = mem_array(1, MANIFEST_CHUNK);
    unsigned char *less = mem_array(1, COMPRESS_BOUND(MANIFEST_CHUNK));
    unsigned char *box = mem_array(1, CHUNK_BOX);
    struct cursor c = {.part = part};
    int rc = plain && less && box ? 0 : err_set(e, E_NOMEM, "no memory for a chunk");
    for (int32_t i = 0; i < n && !rc; i++) {
        size_t m = chunk_bytes(bytes, i);
        unsigned char *id = ids + (size_t)i * SHARED_ID;
        move(&c, plain, m, false);
        const unsigned char *stored = smaller(o, plain, &m, less);
        *packed |= stored == less;
        seal_chunk(o->keys, stored, m, id, box);
        struct kv_key k = key_of(KV_CHUNK, id, SHARED_ID);
        rc = do_set(o, &k, box, m + SHARED_TAG, e);
    }
    if (!rc)
        rc = o->kv->ops->flush(o->kv, o->deadline_ns, e);
    mem_free(plain);
    mem_free(less);
    mem_free(box);
    return rc;
}

static int put_manifest(struct objects *o, const struct link_name *name, struct head *h,
                        const struct part part[PARTS], struct err *e)
{
    unsigned char head[CODEC_HEAD];
    bool packed = false;
    codec_seal(o->format, h, part, head);
    uint64_t bytes = h->file_bytes - CODEC_HEAD;
    int32_t n = manifest_chunks(bytes);
    if (n < 1 || n > MANIFEST_CHUNKS_MAX)
        return err_set(e, E_RANGE, "a state of %llu bytes, at most %llu are shared",
                       (unsigned long long)bytes,
                       (unsigned long long)MANIFEST_CHUNKS_MAX * MANIFEST_CHUNK);
    unsigned char *ids = mem_array((size_t)n, SHARED_ID);
    unsigned char *box = mem_array(1, MANIFEST_BOX(n));
    int rc = ids && box ? 0 : err_set(e, E_NOMEM, "no memory for a manifest of %d chunks", n);
    if (!rc)
        rc = put_chunks(o, part, bytes, n, ids, &packed, e);
    if (!rc) {
        struct kv_key k = key_of(KV_STATE, name->b, sizeof(name->b));
        manifest_seal(o->keys, name, head, bytes, n, packed, ids, box);
        rc = do_set(o, &k, box, MANIFEST_BOX(n), e);
    }
    if (!rc)
        rc = o->kv->ops->flush(o->kv, o->deadline_ns, e);
    mem_free(ids);
    mem_free(box);
    return rc;
}

/* The list of a block that begins at that link, or of the blocks of a group. */
static struct kv_key list_of(const struct objects *o, enum kv_kind kind,
                             const struct link_name *link)
{
    struct link_name name;
    if (kind == KV_GROUP)
        seal_group_name(o->keys, link, &name);
    else
        seal_index_name(o->keys, link, &name);
    return key_of(kind, name.b, sizeof(name.b));
}

static int mark(struct objects *o, const struct link_name *chain, int64_t pos, struct err *e)
{
    int64_t block = pos / SHARED_BLOCK, group = block / GROUP;
    struct kv_key list = list_of(o, KV_MARK, &chain[block]);
    int rc = o->kv->ops->mark(o->kv, &list, (int)(pos % SHARED_BLOCK), o->ttl_s, o->deadline_ns,
                              e);
    if (rc || !o->kv->grouped)
        return rc;
    list = list_of(o, KV_GROUP, &chain[group * GROUP]);
    return o->kv->ops->mark(o->kv, &list, (int)(block % GROUP), o->ttl_s, o->deadline_ns, e);
}

int objects_put(struct objects *o, const int32_t *tokens, struct head *h,
                const struct part part[PARTS], struct err *e)
{
    int64_t blocks = h->position / SHARED_BLOCK;
    struct link_name *chain = mem_array((size_t)blocks + 1, sizeof(*chain)), name;
    bool there = false;
    if (!chain)
        return err_set(e, E_NOMEM, "no memory for the names of %lld tokens",
                       (long long)h->position);
    seal_chain(o->keys, o->format, h->tenant, tokens, h->position, chain);
    seal_state_name(o->keys, chain, tokens, h->position, &name);
    struct kv_key k = key_of(KV_STATE, name.b, sizeof(name.b));
    int rc = o->kv->ops->keep(o->kv, &k, o->ttl_s, o->deadline_ns, &there, e);
    if (!rc && o->mark_first)
        rc = mark(o, chain, h->position, e);
    if (!rc && !there) /* else another replica was first: it is the same, to the bit */
        rc = put_manifest(o, &name, h, part, e);
    if (!rc && !o->mark_first)
        rc = mark(o, chain, h->position, e);
    mem_free(chain);
    return rc;
}

/* ---- finding ------------------------------------------------------------------------------ */

static void drop(struct manifest *m)
{
    manifest_free(m);
    memset(m, 0, sizeof(*m));
}

/* Is m a state of these very tokens, and can this prompt go on from it? */
static bool fits(const struct manifest *m, const unsigned char tenant[16], const int32_t *tokens,
                 int64_t pos, int64_t n)
{
    struct digest d;
    unsigned char seen[CODEC_DIGEST];
    digest_init(&d, m->head.version);
    digest_update(&d, tokens, (size_t)pos * sizeof(*tokens));
    digest_final(&d, seen);
    return m->head.position == pos && memcmp(m->head.tenant, tenant, 16) == 0 &&
           memcmp(seen, m->head.digest[PART_TOKENS], sizeof(seen)) == 0 &&
           (pos < n || m->head.bytes[PART_LOGITS] > 0);
}

/* Asks for the state at pos. 0 and m->n_chunks == 0: it is not there. */
static int ask_state(struct objects *o, const struct link_name *chain, const int32_t *tokens,
                     int64_t pos, struct manifest *m, struct err *odd, struct err *e)
{
    struct link_name name;
    struct kv_value v = {0};
    seal_state_name(o->keys, chain, tokens, pos, &name);
    struct kv_key k = key_of(KV_STATE, name.b, sizeof(name.b));
    int rc = o->kv->ops->ask(o->kv, &k, MANIFEST_BOX(MANIFEST_CHUNKS_MAX), o->deadline_ns, e);
    if (!rc)
        rc = o->kv->ops->answer(o->kv, o->deadline_ns, &v, e);
    if (rc || !v.there)
        return rc;
    int bad = v.p ? manifest_open(o->keys, o->format, &name, v.p, v.n, m, odd)
                  : err_set(odd, E_FORMAT, "a manifest is no text");
    if (!bad)
        return 0;
    o->refused++;
    memset(m, 0, sizeof(*m));
    return do_remove(o, &k, e); /* so that the next put replaces it */
}

struct search {
    const unsigned char *tenant;
    const int32_t *tokens;
    int64_t n, above;
    const struct link_name *chain;
    int tries;
};

/* The states marked in one block, the deepest first. */
static int try_block(struct objects *o, struct search *s, int64_t block, uint64_t marks,
                     struct manifest *m, struct err *odd, struct err *e)
{
    int rc = 0;
    for (int bit = SHARED_BLOCK - 1; bit >= 0 && !rc && !m->n_chunks && s->tries > 0; bit--) {
        int64_t pos = block * SHARED_BLOCK + bit;
        if (!(marks >> bit & 1) || pos > s->n || pos < s->above + SHARED_GAIN)
            continue;
        s->tries--;
        rc = ask_state(o, s->chain, s->tokens, pos, m, odd, e);
        if (!rc && m->n_chunks && !fits(m, s->tenant, s->tokens, pos, s->n))
            drop(m);
    }
    return rc;
}

/* The lists of blocks [lo, lo + n): bit i of marks[] is a state after i tokens of it. Only those
 * are asked for whose bit in `wanted` is set. */
static int ask_lists(struct objects *o, const struct link_name *chain, int64_t lo, int n,
                     uint64_t wanted, uint64_t marks[BATCH], struct err *e)
{
    struct kv_key lists[BATCH];
    uint64_t found[BATCH];
    int asked = 0, k = 0;
    for (int i = 0; i < n; i++)
        if (wanted >> i & 1)
            lists[asked++] = list_of(o, KV_MARK, &chain[lo + i]);
    int rc = asked ? o->kv->ops->marks(o->kv, lists, asked, found, o->deadline_ns, e) : 0;
    for (int i = 0; i < n && !rc; i++)
        marks[i] = wanted >> i & 1 ? found[k++] : 0;
    return rc;
}

/* The lists of groups [lo, n): bit i of groups[] is a block that any path through there has a
 * state in. */
static int ask_groups(struct objects *o, const struct link_name *chain, int64_t lo, int64_t n,
                      uint64_t *groups, struct err *e)
{
    int rc = 0;
    for (int k; lo < n && !rc; lo += k) {
        struct kv_key lists[BATCH];
        k = (int)MIN(n - lo, BATCH);
        for (int i = 0; i < k; i++)
            lists[i] = list_of(o, KV_GROUP, &chain[(lo + i) * GROUP]);
        rc = o->kv->ops->marks(o->kv, lists, k, groups + lo, o->deadline_ns, e);
    }
    return rc;
}

/* Block after block from the end. groups NULL: every list is asked for. */
static int search(struct objects *o, struct search *s, int64_t first, int64_t hi,
                  const uint64_t *groups, struct manifest *m, struct err *odd, struct err *e)
{
    int rc = 0;
    while (hi > first && !rc && !m->n_chunks && s->tries > 0) {
        uint64_t marks[BATCH], wanted = UINT64_MAX;
        int64_t lo = MAX(first, groups ? (hi - 1) / GROUP * GROUP : hi - BATCH);
        if (groups)
            wanted = groups[lo / GROUP] >> lo % GROUP;
        rc = ask_lists(o, s->chain, lo, (int)(hi - lo), wanted, marks, e);
        for (int64_t b = hi - 1; b >= lo && !rc && !m->n_chunks && s->tries > 0; b--)
            rc = try_block(o, s, b, marks[b - lo], m, odd, e);
        hi = lo;
    }
    return rc;
}

int objects_find(struct objects *o, const unsigned char tenant[16], const int32_t *tokens,
                 int64_t n, int64_t above, struct manifest *m, struct err *odd, struct err *e)
{
    memset(m, 0, sizeof(*m));
    int64_t first = (above + SHARED_GAIN) / SHARED_BLOCK, hi = n / SHARED_BLOCK + 1;
    int64_t n_groups = (hi + GROUP - 1) / GROUP;
    struct link_name *chain = mem_array((size_t)hi, sizeof(*chain));
    uint64_t *groups = o->kv->grouped ? mem_array((size_t)n_groups, sizeof(*groups)) : NULL;
    int rc = 0;
    if (!chain || (o->kv->grouped && !groups))
        rc = err_set(e, E_NOMEM, "no memory for the names of %lld tokens", (long long)n);
    if (!rc)
        seal_chain(o->keys, o->format, tenant, tokens, n, chain);
    struct search s = {tenant, tokens, n, above, chain, TRIES};
    if (!rc && groups)
        rc = ask_groups(o, chain, first / GROUP, n_groups, groups, e);
    if (!rc)
        rc = search(o, &s, first, hi, groups, m, odd, e);
    mem_free(groups);
    mem_free(chain);
    return rc;
}

/* ---- fetching ----------------------------------------------------------------------------- */

/* What is in a chunk, opened: the `want` bytes themselves, or fewer that are a block of them. */
static int expand(struct objects *o, const unsigned char *stored, size_t n, unsigned char *plain,
                  size_t want, struct err *e)
{
    uint64_t start = clock_now_ns();
    int rc = compress_expand(o->compressor, stored, n, plain, want, e);
    o->count.content_bytes += want;
    o->count.stored_bytes += n;
    o->count.ns += clock_now_ns() - start;
    return rc;
}

/* buf: the chunk's bytes [MANIFEST_CHUNK], and what they are made of [MANIFEST_CHUNK]. */
static int take_chunk(struct objects *o, const struct manifest *m, int32_t i, struct cursor *c,
                      unsigned char *const buf[2], struct err *e)
{
    struct kv_value v = {0};
    size_t want = chunk_bytes(m->bytes, i);
    int rc = o->kv->ops->answer(o->kv, o->deadline_ns, &v, e);
    if (rc)
        return rc;
    if (!v.there)
        return err_set(e, E_NOENT, "chunk %d of %d of a state is gone", i, m->n_chunks);
    if (!v.p || v.n > want + SHARED_TAG || v.n <= SHARED_TAG ||
        (v.n < want + SHARED_TAG && !m->packed))
        return err_set(e, E_FORMAT, "chunk %d of a state has %zu bytes, not %zu", i, v.n,
                       want + SHARED_TAG);
    size_t n = v.n - SHARED_TAG;
    unsigned char *stored = buf[n < want];
    if (!seal_open_chunk(o->keys, m->ids + (size_t)i * SHARED_ID, v.p, v.n, stored))
        return err_set(e, E_DENIED, "chunk %d of a state is not what its manifest names", i);
    o->bytes += v.n;
    if (n < want)
        rc = expand(o, stored, n, buf[0], want, e);
    if (!rc)
        move(c, buf[0], want, true);
    return rc;
}

static int take_chunks(struct objects *o, const struct manifest *m, const struct part part[PARTS],
                       struct err *e)
{
    unsigned char *buf[2] = {mem_array(1, MANIFEST_CHUNK), mem_array(1, MANIFEST_CHUNK)};
    struct cursor c = {.part = part};
    int32_t asked = 0, i = 0, window = o->kv->window;
    int rc = buf[0] && buf[1] ? 0 : err_set(e, E_NOMEM, "no memory for a chunk");
    for (; i < m->n_chunks && !rc; i++) {
        for (; asked < m->n_chunks && asked < i + window && !rc; asked++) {
            struct kv_key k = key_of(KV_CHUNK, m->ids + (size_t)asked * SHARED_ID, SHARED_ID);
            rc = o->kv->ops->ask(o->kv, &k, CHUNK_BOX, o->deadline_ns, e);
        }
        if (!rc)
            rc = take_chunk(o, m, i, &c, buf, e);
    }
    for (struct kv_value v; i < asked && o->kv->ops->connected(o->kv); i++) /* still asked for */
        (void)!o->kv->ops->answer(o->kv, o->deadline_ns, &v, NULL);
    mem_free(buf[0]);
    mem_free(buf[1]);
    return rc;
}

int objects_read(struct objects *o, const struct manifest *m, const struct part part[PARTS],
                 struct err *e)
{
    int rc = take_chunks(o, m, part, e);
    for (int i = 0; i < PARTS && !rc; i++)
        rc = codec_check(o->format, &m->head, (enum codec_part)i, &part[i], e);
    return rc;
}

int objects_fetch(struct objects *o, const int32_t *tokens, const struct manifest *m,
                  const struct part part[PARTS], struct err *e)
{
    int rc = objects_read(o, m, part, e);
    size_t bytes = (size_t)m->head.position * sizeof(*tokens);
    if (!rc && memcmp(part[PART_TOKENS].piece[0].p, tokens, bytes) != 0)
        rc = err_set(e, E_FORMAT, "a state of other tokens than its name says");
    if (!rc || !o->kv->ops->connected(o->kv) || rc == E_NOMEM || rc == E_TIMEOUT || rc == E_IO)
        return rc; /* of the state nothing is known */
    o->refused += rc != E_NOENT;
    int64_t blocks = m->head.position / SHARED_BLOCK;
    struct link_name *chain = mem_array((size_t)blocks + 1, sizeof(*chain)), name;
    if (!chain)
        return rc;
    seal_chain(o->keys, o->format, m->head.tenant, tokens, m->head.position, chain);
    seal_state_name(o->keys, chain, tokens, m->head.position, &name);
    struct kv_key k = key_of(KV_STATE, name.b, sizeof(name.b));
    (void)!do_remove(o, &k, NULL); /* so that whoever has it puts it whole again */
    mem_free(chain);
    return rc;
}
