/* Putting, finding and fetching of states, in commands of the store. */
#include "statecache/shared/object.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "statecache/store/digest.h"

#define BATCH 64     /* questions for lists that are on their way at once */
#define TRIES 8      /* states asked for in one search */
#define WINDOW 4     /* chunks on their way at once */
#define KEY (9 + 2 * SHARED_ID + 1)

struct key { char text[KEY]; };

static struct key key_of(char kind, const unsigned char *name, size_t n)
{
    struct key k;
    snprintf(k.text, sizeof(k.text), "recurd:%c:", kind);
    sodium_bin2hex(k.text + 9, sizeof(k.text) - 9, name, n);
    return k;
}
static struct word word(const char *text) { return (struct word){text, strlen(text)}; }

static int do_get(struct objects *o, const struct key *k, struct err *e)
{
    struct word w[2] = {word("GET"), word(k->text)};
    return wire_send(o->wire, w, 2, o->deadline_ns, e);
}

static int do_remove(struct objects *o, const struct key *k, struct err *e)
{
    struct word w[2] = {word("DEL"), word(k->text)};
    struct reply r;
    return wire_ask(o->wire, w, 2, o->deadline_ns, &r, e);
}

static int do_set(struct objects *o, const struct key *k, const void *p, size_t n, struct err *e)
{
    char ttl[24];
    snprintf(ttl, sizeof(ttl), "%lld", (long long)o->ttl_s);
    struct word w[5] = {word("SET"), word(k->text), {p, n}, word("EX"), word(ttl)};
    struct reply r;
    o->bytes += n;
    return wire_ask(o->wire, w, o->ttl_s > 0 ? 5 : 3, o->deadline_ns, &r, e);
}

static int renew(struct objects *o, const struct key *k, struct err *e)
{
    char ttl[24];
    snprintf(ttl, sizeof(ttl), "%lld", (long long)o->ttl_s);
    struct word w[3] = {word("EXPIRE"), word(k->text), word(ttl)};
    struct reply r;
    return o->ttl_s > 0 ? wire_ask(o->wire, w, 3, o->deadline_ns, &r, e) : 0;
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

static int put_chunks(struct objects *o, const struct part part[PARTS], uint64_t bytes, int32_t n,
                      unsigned char *ids, struct err *e)
{
    unsigned char *plain = mem_array(1, MANIFEST_CHUNK);
    unsigned char *box = mem_array(1, MANIFEST_CHUNK + SHARED_TAG);
    struct cursor c = {.part = part};
    int rc = plain && box ? 0 : err_set(e, E_NOMEM, "no memory for a chunk");
    for (int32_t i = 0; i < n && !rc; i++) {
        size_t m = chunk_bytes(bytes, i);
        unsigned char *id = ids + (size_t)i * SHARED_ID;
        move(&c, plain, m, false);
        seal_chunk(o->keys, plain, m, id, box);
        struct key k = key_of('c', id, SHARED_ID);
        rc = do_set(o, &k, box, m + SHARED_TAG, e);
    }
    mem_free(plain);
    mem_free(box);
    return rc;
}

static int put_manifest(struct objects *o, const struct link_name *name, struct head *h,
                        const struct part part[PARTS], struct err *e)
{
    unsigned char head[CODEC_HEAD];
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
        rc = put_chunks(o, part, bytes, n, ids, e);
    if (!rc) {
        struct key k = key_of('s', name->b, sizeof(name->b));
        manifest_seal(o->keys, name, head, bytes, n, ids, box);
        rc = do_set(o, &k, box, MANIFEST_BOX(n), e);
    }
    mem_free(ids);
    mem_free(box);
    return rc;
}

static int mark(struct objects *o, const struct link_name *link, int64_t pos, struct err *e)
{
    struct link_name name;
    char bit[8];
    struct reply r;
    seal_index_name(o->keys, link, &name);
    struct key k = key_of('i', name.b, sizeof(name.b));
    snprintf(bit, sizeof(bit), "%d", (int)(pos % SHARED_BLOCK));
    struct word w[4] = {word("SETBIT"), word(k.text), word(bit), word("1")};
    int rc = wire_ask(o->wire, w, 4, o->deadline_ns, &r, e);
    return rc ? rc : renew(o, &k, e);
}

int objects_put(struct objects *o, const int32_t *tokens, struct head *h,
                const struct part part[PARTS], struct err *e)
{
    int64_t blocks = h->position / SHARED_BLOCK;
    struct link_name *chain = mem_array((size_t)blocks + 1, sizeof(*chain)), name;
    struct reply r;
    if (!chain)
        return err_set(e, E_NOMEM, "no memory for the names of %lld tokens",
                       (long long)h->position);
    seal_chain(o->keys, o->format, h->tenant, tokens, h->position, chain);
    seal_state_name(o->keys, chain, tokens, h->position, &name);
    struct key k = key_of('s', name.b, sizeof(name.b));
    struct word exists[2] = {word("EXISTS"), word(k.text)};
    int rc = wire_ask(o->wire, exists, 2, o->deadline_ns, &r, e);
    if (!rc && r.kind == REPLY_NUMBER && r.number == 1)
        rc = renew(o, &k, e); /* another replica was first: it is the same, to the bit */
    else if (!rc)
        rc = put_manifest(o, &name, h, part, e);
    if (!rc)
        rc = mark(o, &chain[blocks], h->position, e);
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
    struct reply r = {0};
    seal_state_name(o->keys, chain, tokens, pos, &name);
    struct key k = key_of('s', name.b, sizeof(name.b));
    int rc = do_get(o, &k, e);
    if (!rc)
        rc = wire_receive(o->wire, o->deadline_ns, &r, e);
    if (rc || r.kind == REPLY_NIL)
        return rc;
    int bad = r.kind == REPLY_TEXT ? manifest_open(o->keys, o->format, &name, r.p, r.n, m, odd)
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
        if (!(marks >> (SHARED_BLOCK - 1 - bit) & 1) || pos > s->n ||
            pos < s->above + SHARED_GAIN)
            continue;
        s->tries--;
        rc = ask_state(o, s->chain, s->tokens, pos, m, odd, e);
        if (!rc && m->n_chunks && !fits(m, s->tenant, s->tokens, pos, s->n))
            drop(m);
    }
    return rc;
}

/* The lists of blocks [lo, lo + n): bit 63 - i of marks[] is a state after i tokens of it. */
static int ask_lists(struct objects *o, const struct link_name *chain, int64_t lo, int n,
                     uint64_t marks[BATCH], struct err *e)
{
    int rc = 0;
    for (int i = 0; i < n && !rc; i++) {
        struct link_name name;
        seal_index_name(o->keys, &chain[lo + i], &name);
        struct key k = key_of('i', name.b, sizeof(name.b));
        rc = do_get(o, &k, e);
    }
    for (int i = 0; i < n && !rc; i++) {
        struct reply r;
        unsigned char bits[8] = {0};
        rc = wire_receive(o->wire, o->deadline_ns, &r, e);
        if (!rc && r.kind == REPLY_TEXT && r.n <= sizeof(bits))
            memcpy(bits, r.p, r.n);
        marks[i] = 0;
        for (int b = 0; b < 8; b++) /* as the store counts: bit 0 is the first byte's highest */
            marks[i] = marks[i] << 8 | bits[b];
    }
    return rc;
}

int objects_find(struct objects *o, const unsigned char tenant[16], const int32_t *tokens,
                 int64_t n, int64_t above, struct manifest *m, struct err *odd, struct err *e)
{
    memset(m, 0, sizeof(*m));
    int64_t first = (above + SHARED_GAIN) / SHARED_BLOCK, hi = n / SHARED_BLOCK + 1;
    struct link_name *chain = mem_array((size_t)hi, sizeof(*chain));
    if (!chain)
        return err_set(e, E_NOMEM, "no memory for the names of %lld tokens", (long long)n);
    seal_chain(o->keys, o->format, tenant, tokens, n, chain);
    struct search s = {tenant, tokens, n, above, chain, TRIES};
    int rc = 0;
    while (hi > first && !rc && !m->n_chunks && s.tries > 0) {
        uint64_t marks[BATCH];
        int64_t lo = MAX(first, hi - BATCH);
        rc = ask_lists(o, chain, lo, (int)(hi - lo), marks, e);
        for (int64_t b = hi - 1; b >= lo && !rc && !m->n_chunks && s.tries > 0; b--)
            rc = try_block(o, &s, b, marks[b - lo], m, odd, e);
        hi = lo;
    }
    mem_free(chain);
    return rc;
}

/* ---- fetching ----------------------------------------------------------------------------- */

static int take_chunk(struct objects *o, const struct manifest *m, int32_t i, struct cursor *c,
                      unsigned char *plain, struct err *e)
{
    struct reply r;
    size_t want = chunk_bytes(m->bytes, i);
    int rc = wire_receive(o->wire, o->deadline_ns, &r, e);
    if (rc)
        return rc;
    if (r.kind == REPLY_NIL)
        return err_set(e, E_NOENT, "chunk %d of %d of a state is gone", i, m->n_chunks);
    if (r.kind != REPLY_TEXT || r.n != want + SHARED_TAG)
        return err_set(e, E_FORMAT, "chunk %d of a state has %zu bytes, not %zu", i, r.n,
                       want + SHARED_TAG);
    if (!seal_open_chunk(o->keys, m->ids + (size_t)i * SHARED_ID, r.p, r.n, plain))
        return err_set(e, E_DENIED, "chunk %d of a state is not what its manifest names", i);
    o->bytes += r.n;
    move(c, plain, want, true);
    return 0;
}

static int take_chunks(struct objects *o, const struct manifest *m, const struct part part[PARTS],
                       struct err *e)
{
    unsigned char *plain = mem_array(1, MANIFEST_CHUNK);
    struct cursor c = {.part = part};
    int32_t asked = 0, i = 0;
    int rc = plain ? 0 : err_set(e, E_NOMEM, "no memory for a chunk");
    for (; i < m->n_chunks && !rc; i++) {
        for (; asked < m->n_chunks && asked < i + WINDOW && !rc; asked++) {
            struct key k = key_of('c', m->ids + (size_t)asked * SHARED_ID, SHARED_ID);
            rc = do_get(o, &k, e);
        }
        if (!rc)
            rc = take_chunk(o, m, i, &c, plain, e);
    }
    for (struct reply r; i < asked && wire_connected(o->wire); i++) /* what was still asked for */
        (void)!wire_receive(o->wire, o->deadline_ns, &r, NULL);
    mem_free(plain);
    return rc;
}

int objects_fetch(struct objects *o, const int32_t *tokens, const struct manifest *m,
                  const struct part part[PARTS], struct err *e)
{
    int rc = take_chunks(o, m, part, e);
    for (int i = 0; i < PARTS && !rc; i++)
        rc = codec_check(o->format, &m->head, (enum codec_part)i, &part[i], e);
    size_t bytes = (size_t)m->head.position * sizeof(*tokens);
    if (!rc && memcmp(part[PART_TOKENS].piece[0].p, tokens, bytes) != 0)
        rc = err_set(e, E_FORMAT, "a state of other tokens than its name says");
    if (!rc || !wire_connected(o->wire) || rc == E_NOMEM)
        return rc;
    o->refused += rc != E_NOENT;
    int64_t blocks = m->head.position / SHARED_BLOCK;
    struct link_name *chain = mem_array((size_t)blocks + 1, sizeof(*chain)), name;
    if (!chain)
        return rc;
    seal_chain(o->keys, o->format, m->head.tenant, tokens, m->head.position, chain);
    seal_state_name(o->keys, chain, tokens, m->head.position, &name);
    struct key k = key_of('s', name.b, sizeof(name.b));
    (void)!do_remove(o, &k, NULL); /* so that whoever has it puts it whole again */
    mem_free(chain);
    return rc;
}
