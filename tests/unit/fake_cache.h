/* A device and an engine small enough to check the state cache against: the "model" is a hash of
 * its tokens, so a state restored for the wrong tokens, or one row too many, shows in every bit of
 * the logits. Included by the cache's tests only. */
#ifndef TESTS_FAKE_CACHE_H
#define TESTS_FAKE_CACHE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "statecache/statecache_int.h"
#include "statecache/value/snapshot.h"

#ifndef FAKE_STATE
#define FAKE_VOCAB 50
#define FAKE_STATE 208  /* floats of a slot: more than one block of a disk; >= 4 * FAKE_VOCAB */
#endif
#define FAKE_HASHED 16  /* floats of a slot that see the token; the others follow them */
_Static_assert(FAKE_STATE % FAKE_HASHED == 0, "a slot is whole rows of FAKE_HASHED");
#define FAKE_ROW 2      /* floats of a page row */
#define FAKE_TABLE 256  /* pages of one sequence: 16,384 tokens */

struct fake_device {
    struct device d;
    float (*slots)[FAKE_STATE];
    float (*pages)[PAGE_TOKENS * FAKE_ROW];
    int64_t reads, writes, copies; /* calls that move a slot */
    int64_t page_reads;
    bool fail;                     /* every call answers E_DEVICE */
};

static inline int fake_slot_zero(struct device *d, int32_t slot, struct err *e)
{
    struct fake_device *f = (struct fake_device *)d;
    memset(f->slots[slot], 0, sizeof(f->slots[slot]));
    return f->fail ? err_set(e, E_DEVICE, "fake") : 0;
}
static inline int fake_slot_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    struct fake_device *f = (struct fake_device *)d;
    memcpy(f->slots[dst], f->slots[src], sizeof(f->slots[dst]));
    f->copies++;
    return f->fail ? err_set(e, E_DEVICE, "fake") : 0;
}
static inline int fake_slot_read(struct device *d, int32_t slot, void *dst, struct err *e)
{
    struct fake_device *f = (struct fake_device *)d;
    memcpy(dst, f->slots[slot], sizeof(f->slots[slot]));
    f->reads++;
    return f->fail ? err_set(e, E_DEVICE, "fake") : 0;
}
static inline int fake_slot_write(struct device *d, int32_t slot, const void *src, struct err *e)
{
    struct fake_device *f = (struct fake_device *)d;
    memcpy(f->slots[slot], src, sizeof(f->slots[slot]));
    f->writes++;
    return f->fail ? err_set(e, E_DEVICE, "fake") : 0;
}
static inline int fake_page_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    struct fake_device *f = (struct fake_device *)d;
    memcpy(f->pages[dst], f->pages[src], sizeof(f->pages[dst]));
    return f->fail ? err_set(e, E_DEVICE, "fake") : 0;
}
static inline int fake_page_read(struct device *d, int32_t page, void *dst, struct err *e)
{
    struct fake_device *f = (struct fake_device *)d;
    memcpy(dst, f->pages[page], sizeof(f->pages[page]));
    f->page_reads++;
    return f->fail ? err_set(e, E_DEVICE, "fake") : 0;
}
static inline int fake_page_write(struct device *d, int32_t page, const void *src, struct err *e)
{
    struct fake_device *f = (struct fake_device *)d;
    memcpy(f->pages[page], src, sizeof(f->pages[page]));
    return f->fail ? err_set(e, E_DEVICE, "fake") : 0;
}
static const struct backend fake_backend = {
    .name = "fake",
    .slot_zero = fake_slot_zero, .slot_copy = fake_slot_copy,
    .slot_read = fake_slot_read, .slot_write = fake_slot_write,
    .page_copy = fake_page_copy, .page_read = fake_page_read, .page_write = fake_page_write,
};

/* ---- the model ---------------------------------------------------------------------------- */

static inline void fake_advance(float *state, int32_t token, int64_t pos)
{
    uint64_t h = rng_at(7, (uint64_t)pos, (uint64_t)token);
    for (int i = 0; i < FAKE_HASHED; i++, h = h * 0x9e3779b97f4a7c15u + 1)
        state[i] = state[i] * 0.75f + (float)(h >> 52);
    float first[FAKE_HASHED]; /* a copy: the compiler sees that nothing overlaps */
    memcpy(first, state, sizeof(first));
    for (int i = FAKE_HASHED; i < FAKE_STATE; i += FAKE_HASHED)
        for (int k = 0; k < FAKE_HASHED; k++)
            state[i + k] = state[i + k] * 0.5f + first[k];
}
static inline void fake_row(float *row, int32_t token, int64_t pos)
{
    for (int i = 0; i < FAKE_ROW; i++)
        row[i] = (float)(rng_at(9, (uint64_t)pos, (uint64_t)token * 4 + (uint64_t)i) % 4096) + 1;
}
static inline void fake_logits(const float *state, float rows, float *logits)
{
    for (int v = 0; v < FAKE_VOCAB; v++)
        logits[v] = state[v * 4] * (float)(v + 1) + rows * 0.25f + state[v * 4 + 3];
}

/* ---- the engine --------------------------------------------------------------------------- */

struct fake {
    struct fake_device dev;
    struct plan plan;
    struct section sections[2];
    struct slots slots;
    struct pages pages;
    struct statecache_options o;
    struct statecache *sc;
    bool paged;
    unsigned char fingerprint[32];
};

static inline void fake_init(struct fake *f, bool paged, int32_t n_slots, int32_t n_pages)
{
    struct err e = {0};
    memset(f, 0, sizeof(*f));
    f->paged = paged;
    f->sections[0] = (struct section){"layers.0.S", SECTION_FIXED, FAKE_STATE, 0, DTYPE_F32};
    f->sections[1] = (struct section){"layers.1.kv", SECTION_PAGED, FAKE_ROW, 0, DTYPE_F32};
    f->plan = (struct plan){.sections = f->sections, .n_sections = paged ? 2 : 1,
                            .slot_floats = FAKE_STATE,
                            .page_token_floats = paged ? FAKE_ROW : 0, .vocab = FAKE_VOCAB};
    f->dev.d.backend = &fake_backend;
    f->dev.slots = calloc((size_t)n_slots, sizeof(*f->dev.slots));
    f->dev.pages = calloc((size_t)n_pages + 1, sizeof(*f->dev.pages));
    if (slots_init(&f->slots, n_slots, &e) || pages_init(&f->pages, n_pages, &e))
        abort();
    f->o = (struct statecache_options){
        .plan = &f->plan, .device = &f->dev.d, .slots = &f->slots,
        .pages = paged ? &f->pages : NULL, .fingerprint = f->fingerprint,
        .numerics = "fake/1",
        .ram_bytes = 64u << 20, .disk_bytes = 1u << 30, .tenants = 1, .no_writer_thread = true,
        .stretch = 32, .checkpoint_ms = -1, .compress_disk = COMPRESS_ALWAYS,
    };
}
static inline void fake_open(struct fake *f)
{
    struct err e = {0};
    if (statecache_open(&f->sc, &f->o, &e)) {
        fprintf(stderr, "open: %s\n", e.text);
        abort();
    }
}
static inline void fake_fini(struct fake *f)
{
    statecache_close(f->sc);
    slots_fini(&f->slots);
    pages_fini(&f->pages);
    free(f->dev.slots);
    free(f->dev.pages);
}

enum run_phase { RUN_WAIT, RUN_PREFILL, RUN_DECODE, RUN_COMMIT, RUN_DONE, RUN_FAILED };

/* One request. */
struct run {
    struct fake *f;
    struct tenant_tag tenant;
    struct session_id session;
    uint64_t ticket;
    bool in_session, fresh;
    int32_t *prompt;
    int32_t n_prompt;
    int32_t marks[8];
    int32_t n_marks;
    int32_t gen;         /* tokens to draw */
    uint64_t *ask;       /* as in struct statecache_query */
    uint64_t token_ns;   /* likewise */
    int64_t before;
    int32_t others;
    /* -- */
    enum run_phase phase;
    struct track *t;
    struct statecache_start start;
    int32_t *path;       /* tokens of the whole path */
    int64_t n_path, pos;
    int64_t computed;    /* prompt tokens that were computed */
    int32_t slot, table[FAKE_TABLE];
    int32_t drawn;
    uint64_t digest;     /* of all logits seen */
    float want[FAKE_STATE]; /* what `want_n` tokens of the path come to from nothing */
    float want_rows;
    int64_t want_n;
    enum commit commit;
    struct err err;
    int wrong;           /* logits that were not those of the path */
};

static inline void run_init(struct run *r, struct fake *f, const int32_t *prompt, int32_t n,
                            int32_t gen)
{
    memset(r, 0, sizeof(*r));
    r->f = f;
    r->prompt = malloc(((size_t)n + 1) * sizeof(int32_t));
    if (n)
        memcpy(r->prompt, prompt, (size_t)n * sizeof(int32_t));
    r->n_prompt = n;
    r->gen = gen;
    r->slot = -1;
}
static inline void run_drop(struct run *r)
{
    if (r->t)
        statecache_end(r->f->sc, r->t);
    r->t = NULL;
    if (r->slot >= 0) {
        int64_t pages = (r->pos + PAGE_TOKENS - 1) / PAGE_TOKENS;
        for (int64_t i = 0; r->f->paged && i < pages; i++)
            pages_unref(&r->f->pages, r->table[i]);
        slots_put(&r->f->slots, r->slot);
    }
    r->slot = -1;
}
static inline void run_free(struct run *r)
{
    run_drop(r);
    free(r->prompt);
    free(r->path);
    r->prompt = r->path = NULL;
}

/* The logits after the whole path, from nothing. */
static inline void run_reference(struct run *r, float *logits)
{
    float row[FAKE_ROW];
    for (int64_t p = r->want_n; p < r->n_path; p++) {
        fake_advance(r->want, r->path[p], p);
        if (r->f->paged)
            fake_row(row, r->path[p], p);
        for (int i = 0; r->f->paged && i < FAKE_ROW; i++)
            r->want_rows += row[i];
    }
    r->want_n = r->n_path;
    fake_logits(r->want, r->want_rows, logits);
}
static inline void run_logits(const struct run *r, float *logits)
{
    float rows = 0;
    for (int64_t p = 0; r->f->paged && p < r->pos; p++)
        for (int i = 0; i < FAKE_ROW; i++)
            rows += r->f->dev.pages[r->table[p / PAGE_TOKENS]][p % PAGE_TOKENS * FAKE_ROW + i];
    fake_logits(r->f->dev.slots[r->slot], rows, logits);
}
static inline bool run_compute(struct run *r)
{
    struct fake *f = r->f;
    if (f->paged && r->pos % PAGE_TOKENS == 0) {
        int32_t page = pages_take(&f->pages);
        if (page < 0 && statecache_reclaim_pages(f->sc, 1))
            page = pages_take(&f->pages);
        if (page < 0)
            return false;
        r->table[r->pos / PAGE_TOKENS] = page;
    }
    int32_t token = r->path[r->pos];
    fake_advance(f->dev.slots[r->slot], token, r->pos);
    if (f->paged)
        fake_row(&f->dev.pages[r->table[r->pos / PAGE_TOKENS]][r->pos % PAGE_TOKENS * FAKE_ROW],
                 token, r->pos);
    r->pos++;
    return true;
}
static inline void run_draw(struct run *r, const float *logits)
{
    float want[FAKE_VOCAB];
    run_reference(r, want);
    if (memcmp(want, logits, sizeof(want)) != 0)
        r->wrong++;
    uint32_t bits;
    memcpy(&bits, &logits[3], 4);
    r->digest = rng_at(r->digest, bits, 1);
    r->path = realloc(r->path, ((size_t)r->n_path + 1) * sizeof(int32_t));
    r->path[r->n_path++] = (int32_t)(bits >> 3) % FAKE_VOCAB;
    r->drawn++;
}
static inline bool run_capture(struct run *r, enum capture_kind kind, bool *kept)
{
    float logits[FAKE_VOCAB];
    run_logits(r, logits);
    bool give = kind == CAPTURE_END || r->pos == r->start.end;
    return statecache_capture(r->f->sc, r->t, kind, r->pos, r->slot, r->table,
                              give ? logits : NULL, kept, &r->err) == 0;
}
static inline bool run_take_slot(struct run *r)
{
    r->slot = slots_take(&r->f->slots);
    if (r->slot < 0 && statecache_reclaim_slot(r->f->sc))
        r->slot = slots_take(&r->f->slots);
    return r->slot >= 0;
}
static inline void run_finish(struct run *r)
{
    bool kept = false;
    /* As the engine: a turn does not end while ids in its way are being read. */
    while (r->in_session && statecache_clear(r->f->sc, r->t, r->pos, &r->err) == E_BUSY)
        statecache_tick(r->f->sc);
    err_clear(&r->err);
    if (!run_capture(r, CAPTURE_END, &kept)) {
        r->phase = RUN_FAILED;
        return;
    }
    int64_t pages = (r->pos + PAGE_TOKENS - 1) / PAGE_TOKENS;
    for (int64_t i = 0; r->f->paged && i < pages; i++)
        pages_unref(&r->f->pages, r->table[i]);
    if (!kept)
        slots_put(&r->f->slots, r->slot);
    r->slot = -1;
    r->phase = RUN_DONE;
    if (!r->in_session)
        return;
    char answer[32];
    snprintf(answer, sizeof(answer), "%llx", (unsigned long long)r->digest);
    r->phase = statecache_commit(r->f->sc, r->t, answer, strlen(answer), &r->err) ? RUN_FAILED
                                                                                  : RUN_COMMIT;
}
static inline bool run_begin(struct run *r)
{
    struct statecache_query q = {
        .tenant = r->tenant, .session = r->in_session ? &r->session : NULL,
        .ticket = r->ticket, .tokens = r->prompt,
        .n = r->n_prompt, .marks = r->marks, .n_marks = r->n_marks, .fresh = r->fresh,
        .whole = true, .ask = r->ask, .token_ns = r->token_ns,
        .before = r->before, .others = r->others};
    err_clear(&r->err);
    if (r->slot < 0 && !run_take_slot(r))
        return false;
    int rc = r->t ? 0 : statecache_begin(r->f->sc, &q, &r->t, &r->start, &r->err);
    if (rc) {
        slots_put(&r->f->slots, r->slot);
        r->slot = -1;
        if (rc != E_BUSY)
            r->phase = RUN_FAILED;
        return false;
    }
    r->n_path = r->start.end;
    free(r->path);
    r->path = malloc(((size_t)r->n_path + 1) * sizeof(int32_t));
    statecache_tokens(r->f->sc, r->t, 0, r->n_path, r->path);
    if (memcmp(r->path + r->start.base, r->prompt, (size_t)r->n_prompt * sizeof(int32_t)) != 0)
        r->wrong++;
    rc = statecache_restore(r->f->sc, r->t, r->slot, r->table, &r->err);
    if (rc) {
        r->phase = rc == E_BUSY ? RUN_WAIT : RUN_FAILED;
        return false;
    }
    r->want_n = 0;
    r->want_rows = 0;
    memset(r->want, 0, sizeof(r->want));
    r->pos = r->start.position;
    r->computed = r->start.end - r->start.position;
    r->phase = RUN_PREFILL;
    if (r->start.logits)
        run_draw(r, r->start.logits);
    return true;
}

/* At most `chunk` tokens. False: nothing could be done now. */
static inline bool run_step(struct run *r, int64_t chunk)
{
    struct statecache *sc = r->f->sc;
    float logits[FAKE_VOCAB];
    if (r->phase >= RUN_DONE)
        return false;
    if (r->phase == RUN_COMMIT) {
        r->commit = statecache_committed(sc, r->t);
        if (r->commit == COMMIT_PENDING)
            return false;
        statecache_end(sc, r->t);
        r->t = NULL;
        r->phase = RUN_DONE;
        return true;
    }
    if (r->phase == RUN_WAIT)
        return run_begin(r);
    if (r->pos == r->n_path && r->drawn < r->gen) {
        run_logits(r, logits); /* an exact hit with nothing drawn yet has its own */
        run_draw(r, logits);
    }
    int64_t cut = statecache_cut(sc, r->t, r->pos), n = MIN(chunk, MIN(cut, r->n_path) - r->pos);
    for (int64_t i = 0; i < n; i++)
        if (!run_compute(r)) {
            r->phase = RUN_FAILED;
            return false;
        }
    if (r->pos > r->start.end && n > 0 &&
        statecache_append(sc, r->t, r->path + r->pos - n, (int32_t)n, &r->err))
        r->phase = RUN_FAILED;
    if (r->pos == cut && !run_capture(r, CAPTURE_CUT, NULL))
        r->phase = RUN_FAILED;
    if (r->pos == r->n_path) {
        if (r->drawn < r->gen) {
            run_logits(r, logits);
            run_draw(r, logits);
        } else {
            run_finish(r);
            if (r->phase == RUN_DONE) {
                statecache_end(sc, r->t);
                r->t = NULL;
            }
        }
    }
    return true;
}

/* To the end, ticking in between. Returns the prompt tokens computed, or -1. */
static inline int64_t run_all(struct run *r, int64_t chunk)
{
    for (int idle = 0; r->phase < RUN_DONE && idle < 100;) {
        idle = run_step(r, chunk) ? 0 : idle + 1;
        statecache_tick(r->f->sc);
    }
    return r->phase == RUN_DONE && !r->wrong ? r->computed : -1;
}

/* One whole plain request. */
static inline int64_t fake_serve(struct fake *f, const int32_t *prompt, int32_t n, int32_t gen)
{
    struct run r;
    run_init(&r, f, prompt, n, gen);
    int64_t computed = run_all(&r, 100);
    run_free(&r);
    return computed;
}
/* A prompt whose request may ask the shared store. Returns the prompt tokens computed. */
static inline int64_t fake_asks(struct fake *f, const int32_t *t, int32_t n)
{
    struct run r;
    uint64_t ask = 0;
    run_init(&r, f, t, n, 3);
    r.ask = &ask;
    int64_t computed = run_all(&r, 100);
    run_free(&r);
    return computed;
}
static inline struct shared_stats fake_shared_stats(struct fake *f)
{
    struct statecache_stats s;
    statecache_stats(f->sc, &s);
    return s.shared[0];
}
/* One turn of a session: claims it. -1: it failed with *rc, or (0) saw what it should not see. */
static inline int64_t fake_try_turn(struct fake *f, const struct session_id *id,
                                    const int32_t *prompt, int32_t n, int32_t gen, int *rc)
{
    struct run r;
    struct session_info info;
    bool repeated;
    uint64_t ask = 0;
    run_init(&r, f, prompt, n, gen);
    r.in_session = true;
    r.ask = &ask;
    r.session = *id;
    int64_t computed = -1;
    if (!session_claim(f->sc, &r.tenant, id, NULL, &repeated, NULL, &info, &r.err)) {
        r.ticket = info.ticket;
        computed = run_all(&r, 100);
        session_release(f->sc, &r.tenant, id, r.ticket); /* if it never began */
    }
    *rc = r.wrong ? 0 : r.err.code;
    run_free(&r);
    return computed;
}
static inline int64_t fake_turn(struct fake *f, const struct session_id *id, const int32_t *prompt,
                                int32_t n, int32_t gen)
{
    int rc;
    return fake_try_turn(f, id, prompt, n, gen, &rc);
}
static inline void fake_tokens(int32_t *out, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (int32_t)(rng_at(seed, 0, (uint64_t)i) % FAKE_VOCAB);
}

#endif
