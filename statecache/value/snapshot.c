/* Snapshots and the KV pages they share.
 *
 * Invariant: the bytes of a snapshot never change. A running sequence goes on writing into the
 * last, partly filled page, so that page is copied to RAM when a snapshot is taken; full pages are
 * never written again and are shared by reference. */
#include "statecache/value/snapshot.h"

#include <string.h>

#include "base/mem.h"
#include "statecache/store/statefile.h"
#include "statecache/value/behind.h"
#include "statecache/value/copies.h"
#include "statecache/value/tiers.h"

/* ---- the lists of the tiers --------------------------------------------------------------- */

static struct snapshot *of_link(struct link *l, enum tier t)
{
    return (struct snapshot *)((char *)(l - t) - offsetof(struct snapshot, lru));
}

static void join_tier(struct statecache *sc, struct snapshot *s, enum tier t)
{
    struct link *l = &s->lru[t], *head = &sc->lru[t];
    if (!l->prev)
        sc->stats.entries[t]++;
    else {
        l->prev->next = l->next;
        l->next->prev = l->prev;
    }
    *l = (struct link){head->prev, head};
    l->prev->next = l;
    head->prev = l;
}

static void part_tier(struct statecache *sc, struct snapshot *s, enum tier t)
{
    struct link *l = &s->lru[t];
    if (!l->prev)
        return;
    sc->stats.entries[t]--;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    *l = (struct link){0};
}

struct snapshot *snapshot_oldest(const struct statecache *sc, enum tier t)
{
    struct link *l = sc->lru[t].next;
    return l == &sc->lru[t] ? NULL : of_link(l, t);
}

struct snapshot *snapshot_newer(const struct statecache *sc, const struct snapshot *s, enum tier t)
{
    struct link *l = s->lru[t].next;
    return l == &sc->lru[t] ? NULL : of_link(l, t);
}

struct snapshot *snapshot_newest(const struct statecache *sc, enum tier t)
{
    struct link *l = sc->lru[t].prev;
    return l == &sc->lru[t] ? NULL : of_link(l, t);
}

struct snapshot *snapshot_older(const struct statecache *sc, const struct snapshot *s, enum tier t)
{
    struct link *l = s->lru[t].prev;
    return l == &sc->lru[t] ? NULL : of_link(l, t);
}

void snapshot_touch(struct statecache *sc, struct snapshot *s)
{
    s->used_ns = clock_now_ns();
    for (int t = 0; t < TIERS; t++)
        if (s->lru[t].prev)
            join_tier(sc, s, (enum tier)t);
}

/* ---- blocks ------------------------------------------------------------------------------- */

int32_t snapshot_blocks(const struct statecache *sc, int64_t pos)
{
    return sc->format.page_bytes ? (int32_t)(pos / PAGE_TOKENS) : 0;
}

static void block_unref(struct statecache *sc, struct block *b)
{
    if (--b->refs > 0)
        return;
    if (b->page >= 0) {
        sc->block_of_page[b->page] = NULL;
        sc->dead_pages[sc->n_dead_pages++] = b->page;
    }
    if (b->host) {
        mem_aligned_free(b->host, sc->format.page_bytes);
        tiers_release(sc, b->tenant, sc->format.page_bytes);
    }
    mem_free(b);
}

static struct block *block_of(struct statecache *sc, struct tenant *t, int32_t page)
{
    struct block *b = sc->block_of_page[page];
    if (b) {
        b->refs++;
        return b;
    }
    b = mem_zalloc(sizeof(*b));
    if (!b)
        return NULL;
    *b = (struct block){.refs = 1, .page = page, .tenant = t};
    pages_ref(sc->o.pages, page);
    sc->block_of_page[page] = b;
    return b;
}

static float *new_page(struct statecache *sc, struct tenant *t)
{
    if (!tiers_reserve(sc, t, sc->format.page_bytes))
        return NULL;
    float *p = mem_aligned(sc->format.page_bytes);
    if (!p)
        tiers_release(sc, t, sc->format.page_bytes);
    return p;
}

/* ENGINE. */
static int block_to_host(struct statecache *sc, struct block *b, struct err *e)
{
    if (b->host)
        return 0;
    float *p = new_page(sc, b->tenant);
    if (!p)
        return E_NOMEM;
    int rc = sc->o.device->backend->page_read(sc->o.device, b->page, p, e);
    if (rc) {
        mem_aligned_free(p, sc->format.page_bytes);
        tiers_release(sc, b->tenant, sc->format.page_bytes);
        return rc;
    }
    b->host = p;
    return 0;
}

/* ---- one snapshot ------------------------------------------------------------------------- */

struct snapshot *snapshot_new(struct statecache *sc, struct tenant *t, struct node *node,
                              enum point kind)
{
    ASSERT(!node->snap);
    struct snapshot *s = mem_zalloc(sizeof(*s));
    if (!s)
        return NULL;
    s->node = node;
    s->tenant = t;
    s->pos = node->end;
    s->kind = kind;
    s->slot = -1;
    s->used_ns = clock_now_ns();
    node->snap = s;
    prefix_unghost(&sc->prefix, node);
    return s;
}

/* Everything in RAM but the slab: what a parked slot needs beside itself. */
static void strip(struct statecache *sc, struct snapshot *s)
{
    uint64_t vocab_bytes = (uint64_t)sc->format.vocab * sizeof(float);
    if (s->logits) {
        mem_free(s->logits);
        tiers_release(sc, s->tenant, vocab_bytes);
        s->logits = NULL;
    }
    if (s->tail) {
        mem_aligned_free(s->tail, sc->format.page_bytes);
        tiers_release(sc, s->tenant, sc->format.page_bytes);
        s->tail = NULL;
    }
    for (int32_t i = 0; i < s->n_blocks; i++)
        block_unref(sc, s->blocks[i]);
    mem_free(s->blocks);
    s->blocks = NULL;
    s->n_blocks = 0;
}

static void free_slab(struct statecache *sc, struct snapshot *s)
{
    if (!s->slab)
        return;
    uint64_t spare = ((uint64_t)sc->n_spare + 1) * sc->format.slot_bytes;
    if (sc->n_spare < SPARE_SLABS && spare <= sc->o.ram_bytes / 16) { /* large ones are mapped */
        int32_t warm = (int32_t)MIN(WARM_BYTES / sc->format.slot_bytes, SPARE_SLABS);
        sc->spare[sc->n_spare++] = s->slab;
        warm = MAX(warm, WARM_SLABS);
        if (sc->n_spare > warm)
            mem_idle(sc->spare[sc->n_spare - 1 - warm], sc->format.slot_bytes);
    } else {
        mem_aligned_free(s->slab, sc->format.slot_bytes);
    }
    tiers_release(sc, s->tenant, sc->format.slot_bytes);
    s->slab = NULL;
}

static int new_slab(struct statecache *sc, struct snapshot *s)
{
    if (!tiers_reserve(sc, s->tenant, sc->format.slot_bytes))
        return E_NOMEM;
    /* Any contents: every caller fills all of it. A new one takes memory page by page then, in the
     * thread that fills it, not here: the steps wait for this one. */
    s->slab = sc->n_spare ? sc->spare[--sc->n_spare] : mem_unfilled(sc->format.slot_bytes);
    if (s->slab)
        return 0;
    tiers_release(sc, s->tenant, sc->format.slot_bytes);
    return E_NOMEM;
}

/* The page that the sequence still writes: copied, with zeros beyond pos. */
static int copy_tail(struct statecache *sc, struct snapshot *s, int32_t page, struct err *e)
{
    int64_t rows = s->pos % PAGE_TOKENS;
    s->tail = new_page(sc, s->tenant);
    if (!s->tail)
        return E_NOMEM;
    int rc = sc->o.device->backend->page_read(sc->o.device, page, s->tail, e);
    const struct plan *p = sc->o.plan;
    for (int32_t i = 0; i < p->n_sections && !rc; i++) {
        const struct section *x = &p->sections[i];
        if (x->kind == SECTION_PAGED)
            memset(s->tail + x->offset + rows * x->elems, 0,
                   (size_t)((PAGE_TOKENS - rows) * x->elems) * sizeof(float));
    }
    return rc;
}

static int fill_pages(struct statecache *sc, struct snapshot *s, const int32_t *table,
                      struct err *e)
{
    int32_t n = snapshot_blocks(sc, s->pos);
    if (!sc->format.page_bytes)
        return 0;
    if (n > 0 && !(s->blocks = mem_array((size_t)n, sizeof(struct block *))))
        return E_NOMEM;
    for (int32_t i = 0; i < n; i++) {
        s->blocks[i] = block_of(sc, s->tenant, table[i]);
        if (!s->blocks[i])
            return E_NOMEM;
        s->n_blocks = i + 1;
    }
    return s->pos % PAGE_TOKENS ? copy_tail(sc, s, table[n], e) : 0;
}

int snapshot_fill(struct statecache *sc, struct snapshot *s, int32_t slot, const int32_t *table,
                  bool keep_slot, struct err *e)
{
    int rc = fill_pages(sc, s, table, e);
    if (!rc && !keep_slot)
        rc = new_slab(sc, s);
    if (!rc && !keep_slot)
        rc = copies_out(sc, s, slot, s->kind == POINT_GRID, e);
    if (rc) {
        free_slab(sc, s);
        strip(sc, s);
        return rc;
    }
    if (keep_slot) {
        s->slot = slot;
        core_charge(sc, s->tenant, TIER_DEVICE, (int64_t)sc->format.slot_bytes);
    }
    join_tier(sc, s, keep_slot ? TIER_DEVICE : TIER_RAM);
    return 0;
}

int snapshot_set_logits(struct statecache *sc, struct snapshot *s, const float *logits)
{
    size_t bytes = (size_t)sc->format.vocab * sizeof(float);
    if (s->on_disk || s->writing)
        return 0; /* its file has none: read back with them expected, it would pass for damaged */
    if (logits && !s->logits) {
        if (!tiers_reserve(sc, s->tenant, bytes))
            return E_NOMEM;
        s->logits = mem_array(1, bytes);
        if (!s->logits) {
            tiers_release(sc, s->tenant, bytes);
            return E_NOMEM;
        }
        memcpy(s->logits, logits, bytes);
        s->has_logits = true;
    }
    return 0;
}

int snapshot_fetch(struct statecache *sc, struct snapshot *s, struct err *e)
{
    if (s->slab)
        return 0;
    ASSERT(s->slot >= 0);
    int rc = new_slab(sc, s);
    if (!rc)
        rc = copies_out(sc, s, s->slot, false, e);
    if (rc)
        free_slab(sc, s);
    else
        join_tier(sc, s, TIER_RAM);
    return rc;
}

int snapshot_to_host(struct statecache *sc, struct snapshot *s, struct err *e)
{
    int rc = snapshot_fetch(sc, s, e);
    for (int32_t i = 0; i < s->n_blocks && !rc; i++)
        rc = block_to_host(sc, s->blocks[i], e);
    return rc ? rc : copies_await(sc, s, e);
}

/* Gives the sequence page i of its table. */
static int restore_block(struct statecache *sc, struct block *b, int32_t *page, struct err *e)
{
    if (b->page < 0) {
        int32_t p = pages_take(sc->o.pages);
        if (p < 0)
            return err_set(e, E_NOMEM, "no free KV page among %d", sc->o.pages->n_total);
        int rc = sc->o.device->backend->page_write(sc->o.device, p, b->host, e);
        if (rc) {
            pages_unref(sc->o.pages, p);
            return rc;
        }
        b->page = p;
        sc->block_of_page[p] = b;
    }
    pages_ref(sc->o.pages, b->page);
    *page = b->page;
    return 0;
}

int snapshot_restore(struct statecache *sc, struct snapshot *s, struct state_copy *ahead,
                     int32_t slot, int32_t *table, struct err *e)
{
    const struct backend *be = sc->o.device->backend;
    int32_t given = 0;
    int rc = 0;
    for (; given < s->n_blocks && !rc; given++)
        rc = restore_block(sc, s->blocks[given], &table[given], e);
    if (rc)
        given--;
    if (!rc && s->tail) {
        int32_t p = pages_take(sc->o.pages);
        rc = p < 0 ? err_set(e, E_NOMEM, "no free KV page among %d", sc->o.pages->n_total)
                   : be->page_write(sc->o.device, p, s->tail, e);
        if (p >= 0)
            table[given++] = p;
    }
    if (!rc && s->slot >= 0)
        rc = be->slot_copy(sc->o.device, slot, s->slot, e);
    else if (!rc && (ahead || s->copy))
        rc = be->state_put(sc->o.device, ahead ? ahead : s->copy, slot, e);
    else if (!rc)
        rc = be->slot_write(sc->o.device, slot, s->slab, e);
    if (rc)
        while (given > 0)
            pages_unref(sc->o.pages, table[--given]);
    return rc;
}

int snapshot_allocate(struct statecache *sc, struct snapshot *s)
{
    int32_t n = snapshot_blocks(sc, s->pos);
    uint64_t vocab_bytes = (uint64_t)sc->format.vocab * sizeof(float);
    int rc = new_slab(sc, s);
    if (!rc && n > 0 && !(s->blocks = mem_array((size_t)n, sizeof(struct block *))))
        rc = E_NOMEM;
    for (int32_t i = 0; i < n && !rc; i++) {
        struct block *b = mem_zalloc(sizeof(*b));
        if (!b) {
            rc = E_NOMEM;
            break;
        }
        *b = (struct block){.refs = 1, .page = -1, .tenant = s->tenant};
        s->blocks[s->n_blocks++] = b;
        b->host = new_page(sc, s->tenant);
        rc = b->host ? 0 : E_NOMEM;
    }
    if (!rc && sc->format.page_bytes && s->pos % PAGE_TOKENS)
        rc = (s->tail = new_page(sc, s->tenant)) ? 0 : E_NOMEM;
    if (!rc && s->has_logits) {
        rc = tiers_reserve(sc, s->tenant, vocab_bytes) ? 0 : E_NOMEM;
        if (!rc && !(s->logits = mem_array(1, vocab_bytes))) {
            tiers_release(sc, s->tenant, vocab_bytes);
            rc = E_NOMEM;
        }
    }
    if (rc) {
        free_slab(sc, s);
        strip(sc, s);
    }
    return rc;
}

void snapshot_arrived(struct statecache *sc, struct snapshot *s)
{
    join_tier(sc, s, TIER_RAM);
}

bool snapshot_ready(const struct snapshot *s)
{
    return (s->slot >= 0 || s->slab) && !s->reading; /* s->copy: the device has it, too */
}

bool snapshot_on_host(const struct snapshot *s)
{
    if (!s->slab || s->copy || s->reading)
        return false;
    for (int32_t i = 0; i < s->n_blocks; i++)
        if (!s->blocks[i]->host)
            return false;
    return true;
}

void snapshot_drop_slot(struct statecache *sc, struct snapshot *s)
{
    if (s->slot < 0)
        return;
    sc->dead_slots[sc->n_dead_slots++] = s->slot;
    s->slot = -1;
    core_charge(sc, s->tenant, TIER_DEVICE, -(int64_t)sc->format.slot_bytes);
    part_tier(sc, s, TIER_DEVICE);
    if (!s->slab)
        strip(sc, s);
}

void snapshot_drop_ram(struct statecache *sc, struct snapshot *s)
{
    part_tier(sc, s, TIER_RAM);
    free_slab(sc, s);
    if (s->slot < 0)
        strip(sc, s);
}

void snapshot_on_disk(struct statecache *sc, struct snapshot *s, const unsigned char name[16],
                      uint64_t bytes, bool durable)
{
    snapshot_off_disk(sc, s);
    behind_forget(sc, s);
    memcpy(s->name, name, sizeof(s->name));
    s->file_bytes = bytes;
    s->on_disk = true;
    s->durable = durable;
    core_charge(sc, s->tenant, TIER_DISK, (int64_t)bytes);
    join_tier(sc, s, TIER_DISK);
}

void snapshot_off_disk(struct statecache *sc, struct snapshot *s)
{
    if (!s->on_disk)
        return;
    s->on_disk = s->durable = s->checked = false;
    core_charge(sc, s->tenant, TIER_DISK, -(int64_t)s->file_bytes);
    part_tier(sc, s, TIER_DISK);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void free_if_unused(struct statecache *sc, struct snapshot *s)
{
    if (!s->dead || s->pins > 0)
        return;
    snapshot_drop_slot(sc, s);
    snapshot_drop_ram(sc, s);
    if (s->holds == 0)
        mem_free(s);
}

void snapshot_withdraw(struct statecache *sc, struct snapshot *s, int store)
{
    struct link *l = &s->share[store].offer;
    if (!l->prev)
        return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    *l = (struct link){0};
    sc->stats.shared[store].pending--;
}

void snapshot_destroy(struct statecache *sc, struct snapshot *s, bool evicted)
{
    if (s->dead)
        return;
    struct node *node = s->node;
    if (s->on_disk)
        statefile_remove(sc, s);
    behind_forget(sc, s);
    for (int i = 0; i < SHARED_STORES; i++)
        snapshot_withdraw(sc, s, i);
    s->dead = true;
    s->node = NULL;
    node->snap = NULL;
    if (s->wanted)
        sc->wanted--;
    s->wanted = false;
    free_if_unused(sc, s);
    if (evicted)
        prefix_evicted(&sc->prefix, node);
    else
        prefix_prune(&sc->prefix, node);
}

void snapshot_unpin(struct statecache *sc, struct snapshot *s)
{
    ASSERT(s->pins > 0);
    s->pins--;
    free_if_unused(sc, s);
}

void snapshot_unhold(struct statecache *sc, struct snapshot *s)
{
    ASSERT(s->holds > 0);
    s->holds--;
    free_if_unused(sc, s);
}
