/* Export and import: a session and its state as one blob in the format of the files. */
#include <string.h>

#include "base/mem.h"
#include "statecache/store/statefile.h"
#include "statecache/store/pathfile.h"
#include "statecache/value/tiers.h"

#define EXPORT_TOKENS (UINT64_C(1) << 22) /* 16 MiB of ids: four times a million tokens */

/* What a blob is made of, gathered under the lock; the bytes of a pinned snapshot stay. */
struct bundle {
    struct head head;
    int32_t *tokens;
    int64_t *turns;
    struct piece *pages;
    unsigned char fields[SESSION_RECORD];
    struct piece piece[6];
    struct part part[PARTS];
};

static void free_bundle(struct bundle *b)
{
    mem_free(b->tokens);
    mem_free(b->turns);
    mem_free(b->pages);
}

static void add(struct bundle *b, enum codec_part i, int k, const void *p, size_t n)
{
    b->piece[k] = (struct piece){p, n};
    b->part[i] = (struct part){&b->piece[k], n ? 1 : 0};
}

static int gather(struct statecache *sc, const struct session *x, struct bundle *b, struct err *e)
{
    const struct snapshot *s = x->tip;
    const struct format *f = &sc->format;
    size_t n_turns = 0, n_pages = 0;
    int64_t pos = s ? s->pos : 0;
    b->turns = mem_array((size_t)(x->n_turns - x->lo_turn), sizeof(*b->turns));
    b->tokens = mem_array((size_t)pos, sizeof(*b->tokens));
    b->pages = mem_array(s ? (size_t)s->n_blocks + 1 : 1, sizeof(*b->pages));
    if (!b->turns || !b->tokens || !b->pages)
        return err_set(e, E_NOMEM, "no memory to export %lld tokens", (long long)pos);
    record_encode(x, b->fields, b->turns, &n_turns);
    b->head = (struct head){.kind = CODEC_EXPORT, .position = pos, .generation = x->generation,
                            .created_s = clock_unix_s()};
    memcpy(b->head.tenant, x->tenant->tag.b, sizeof(b->head.tenant));
    memcpy(b->head.id, x->id.b, sizeof(b->head.id));
    add(b, PART_SESSION, 0, b->fields, SESSION_RECORD);
    add(b, PART_TURNS, 1, b->turns, n_turns * sizeof(*b->turns));
    if (!s)
        return 0;
    prefix_tokens(s->node, 0, pos, b->tokens);
    add(b, PART_TOKENS, 2, b->tokens, (size_t)pos * sizeof(*b->tokens));
    add(b, PART_STATE, 3, s->slab, f->slot_bytes);
    add(b, PART_LOGITS, 4, s->logits, s->logits ? (size_t)f->vocab * sizeof(float) : 0);
    for (int32_t i = 0; i < s->n_blocks; i++)
        b->pages[n_pages++] = (struct piece){s->blocks[i]->host, f->page_bytes};
    if (s->tail)
        b->pages[n_pages++] = (struct piece){s->tail, f->page_bytes};
    b->part[PART_PAGES] = (struct part){b->pages, n_pages};
    return 0;
}

/* Under the lock: has the state of x brought to RAM, by the writer or the engine. */
static void ask_for(struct statecache *sc, struct snapshot *s)
{
    if (!s->slab && s->slot < 0) {
        (void)statefile_load(sc, s); /* no room: whoever waits asks again */
    } else if (!s->wanted) {
        s->wanted = true;
        sc->wanted++;
        if (sc->o.wake)
            sc->o.wake(sc->o.wake_arg);
    }
    if (!sc->writer.started) { /* a test with one thread is the writer and the engine, too */
        writer_work(&sc->writer);
        tiers_tick(sc);
    }
}

/* Under the lock. The session with its state in RAM, or NULL and the reason. */
static struct session *await_host(struct statecache *sc, const struct tenant_tag *tenant,
                                  const struct session_id *id, struct err *e)
{
    struct timespec until = stretch_deadline();
    for (int late = 0;;) {
        struct session *x = session_of(sc, tenant, id);
        if (!x) {
            err_field(e, E_NOENT, "session", "there is no such session");
            return NULL;
        }
        struct snapshot *s = x->tip;
        bool host = s && !s->dead && snapshot_on_host(s);
        int rc = x->node->end == 0 ? 0 : host ? stretch_ask(sc, s->node, 0, s->pos, e) : E_BUSY;
        if (!rc)
            return x;
        if (late || rc != E_BUSY)
            return NULL;
        if (!s || s->dead) {
            err_set(e, rc, "the session's state is not in memory now; continue it, then export "
                           "it");
            return NULL;
        }
        if (!host)
            ask_for(sc, s);
        late = !stretch_wait(sc, &until, e);
    }
}

int session_export(struct statecache *sc, const struct tenant_tag *tenant,
                   const struct session_id *id, struct buf *out, struct err *e)
{
    struct bundle b = {0};
    float *zero = NULL;
    struct snapshot *s = NULL;
    unsigned char head[CODEC_HEAD];
    pthread_mutex_lock(&sc->lock);
    struct session *x = await_host(sc, tenant, id, e);
    int rc = x ? gather(sc, x, &b, e) : e ? e->code : E_BUSY;
    if (!rc && (s = x->tip))
        s->pins++;
    pthread_mutex_unlock(&sc->lock);
    if (!rc && !s) { /* an empty session has the state before token 0 */
        zero = mem_aligned(sc->format.slot_bytes);
        rc = zero ? 0 : err_set(e, E_NOMEM, "no memory to export a session");
        add(&b, PART_STATE, 3, zero, sc->format.slot_bytes);
    }
    if (!rc) {
        codec_seal(&sc->format, &b.head, b.part, head);
        bool failed = buf_add(out, head, sizeof(head)) != 0;
        for (int i = 0; i < PARTS && !failed; i++)
            for (size_t k = 0; k < b.part[i].n_pieces && !failed; k++)
                failed = buf_add(out, b.part[i].piece[k].p, b.part[i].piece[k].n) != 0;
        if (failed)
            rc = err_set(e, E_RANGE, "the session has %llu bytes, at most %zu fit in a reply",
                         (unsigned long long)b.head.file_bytes, out->max);
    }
    mem_aligned_free(zero, sc->format.slot_bytes);
    free_bundle(&b);
    if (s) {
        pthread_mutex_lock(&sc->lock);
        snapshot_unpin(sc, s);
        pthread_mutex_unlock(&sc->lock);
    }
    return rc;
}

uint64_t session_blob_max(struct statecache *sc)
{
    const struct format *f = &sc->format; /* read-only after opening */
    uint64_t pages = sc->o.pages ? (uint64_t)sc->o.pages->n_total * f->page_bytes : 0;
    return CODEC_HEAD + EXPORT_TOKENS * sizeof(int32_t) + f->slot_bytes + pages +
           (uint64_t)f->vocab * sizeof(float) + SESSION_RECORD +
           LIMIT_SESSION_TURNS * sizeof(int64_t);
}

/* ---- import ------------------------------------------------------------------------------- */

static const void *part_at(const void *blob, const struct head *h, enum codec_part i)
{
    return (const char *)blob + h->offset[i];
}

static int check_blob(struct statecache *sc, const struct tenant_tag *tenant, const void *blob,
                      size_t n, struct head *h, struct err *e)
{
    if (n < CODEC_HEAD)
        return err_set(e, E_FORMAT, "%zu bytes, a session has at least %d", n, CODEC_HEAD);
    int rc = codec_open(&sc->format, blob, n, h, e);
    if (rc)
        return rc;
    if (h->kind != CODEC_EXPORT)
        return err_set(e, E_FORMAT, "the blob is of kind %d, not an exported session", h->kind);
    if (memcmp(h->tenant, tenant->b, sizeof(tenant->b)) != 0)
        return err_set(e, E_DENIED, "the blob belongs to another key");
    for (int i = 0; i < PARTS && !rc; i++) {
        struct piece piece = {part_at(blob, h, (enum codec_part)i), h->bytes[i]};
        struct part part = {&piece, 1};
        rc = codec_check(&sc->format, h, (enum codec_part)i, &part, e);
    }
    return rc;
}

/* The snapshot of the blob's tokens, from the blob unless there is one. NULL = no room. */
static struct snapshot *bring_in(struct statecache *sc, struct tenant *t, struct node *node,
                                 const void *blob, const struct head *h)
{
    if (node->snap)
        return node->snap;
    struct snapshot *s = snapshot_new(sc, t, node, POINT_END);
    if (!s)
        return NULL;
    s->has_logits = h->bytes[PART_LOGITS] > 0;
    s->pins++;
    int rc = snapshot_allocate(sc, s);
    s->pins--;
    if (rc) {
        snapshot_destroy(sc, s, false);
        return NULL;
    }
    const char *pages = part_at(blob, h, PART_PAGES);
    memcpy(s->slab, part_at(blob, h, PART_STATE), sc->format.slot_bytes);
    for (int32_t i = 0; i < s->n_blocks; i++, pages += sc->format.page_bytes)
        memcpy(s->blocks[i]->host, pages, sc->format.page_bytes);
    if (s->tail)
        memcpy(s->tail, pages, sc->format.page_bytes);
    if (s->logits)
        memcpy(s->logits, part_at(blob, h, PART_LOGITS), h->bytes[PART_LOGITS]);
    snapshot_arrived(sc, s);
    return s;
}

/* Under the lock, with a session that is in no table yet. */
static int settle_in(struct statecache *sc, struct session *x, const void *blob,
                     const struct head *h, const int32_t *tokens, const int64_t *turns,
                     struct err *e)
{
    int64_t position = 0, state_position = 0;
    unsigned char fields[SESSION_RECORD];
    memcpy(fields, part_at(blob, h, PART_SESSION), sizeof(fields));
    int rc = record_decode(x, fields, turns, h->bytes[PART_TURNS] / sizeof(*turns), &position,
                           &state_position, e);
    if (rc)
        return rc;
    if (state_position != h->position)
        return err_set(e, E_FORMAT, "the record names %lld tokens, the blob has %lld",
                       (long long)state_position, (long long)h->position);
    x->created_s = x->used_s = clock_unix_s(); /* here it is new */
    x->stored = (struct stored){0};
    x->lived_s = lived_now(&sc->lived);
    x->ttl_s = MIN(x->ttl_s, (uint64_t)sc->o.session_ttl_s);
    if (position == 0)
        return 0;
    struct timespec until = stretch_deadline();
    do
        rc = stretch_ask_below(sc, x->tenant->root, tokens, h->position, e);
    while (rc == E_BUSY && stretch_wait(sc, &until, e));
    if (rc)
        return rc;
    struct node *node = prefix_insert(&sc->prefix, x->tenant->root, tokens, h->position);
    if (!node)
        return err_set(e, E_NOMEM, "no memory for %lld tokens", (long long)h->position);
    node->pins++;
    struct snapshot *s = bring_in(sc, x->tenant, node, blob, h);
    struct node *at = s ? prefix_at(&sc->prefix, node, position) : NULL;
    if (at)
        session_move(sc, x, at, s);
    else
        rc = err_set(e, E_BUSY, "no room for a state of %llu bytes",
                     (unsigned long long)h->bytes[PART_STATE]);
    node->pins--;
    prefix_prune(&sc->prefix, node);
    if (s && (s->on_disk || snapshot_on_host(s))) /* else only the engine could read it */
        (void)statefile_save(sc, s, true);           /* if not, the record job finds it missing */
    return rc;
}

int session_import(struct statecache *sc, const struct tenant_tag *tenant, const void *blob,
                   size_t n, struct session_info *out, struct err *e)
{
    struct head h;
    int32_t *tokens = NULL;
    int64_t *turns = NULL;
    int rc = check_blob(sc, tenant, blob, n, &h, e);
    if (rc)
        return rc;
    tokens = mem_array(1, h.bytes[PART_TOKENS]); /* aligned copies; the sizes are real */
    turns = mem_array(1, h.bytes[PART_TURNS]);
    if (!tokens || !turns) {
        rc = err_set(e, E_NOMEM, "no memory for %lld tokens", (long long)h.position);
        goto out;
    }
    memcpy(tokens, part_at(blob, &h, PART_TOKENS), h.bytes[PART_TOKENS]);
    memcpy(turns, part_at(blob, &h, PART_TURNS), h.bytes[PART_TURNS]);
    pthread_mutex_lock(&sc->lock);
    struct tenant *t = core_tenant(sc, tenant->b);
    struct session *x = t ? session_new(sc, t, t->root, e) : NULL;
    rc = x ? settle_in(sc, x, blob, &h, tokens, turns, e)
           : t ? e ? e->code : E_BUSY
               : err_set(e, E_NOMEM, "no memory for a session");
    if (!rc) {
        session_born(sc, x, out);
    } else if (x) {
        session_discard(sc, x);
    }
    pthread_mutex_unlock(&sc->lock);
out:
    mem_free(tokens);
    mem_free(turns);
    return rc;
}
