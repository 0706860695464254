/* See rig.h. */
#include "tests/check/rig.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const class_names[CLASS_COUNT] = {
#define X(name) #name,
    CLASSES(X)
#undef X
};

/* Sequence lengths of a batch, ended by 0; first positions are drawn, some of them 0. */
static const int layouts[][RIG_SEQS] = {
    {1},
    {7},
    {1, 5, 2},
    {64},
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {13, 1, 70, 1},
    {130},
    {2}, {4}, {8}, {32}, {128}, {512}, /* for --bench; the last also for EXPERTS */
    {1, 1, 9, 1, 2}, /* what has kernels for sequences of one row, and for the rest */
};
int rig_layouts(void) { return ARRAY_LEN(layouts); }

int rig_guard = RIG_GUARD_ODD;

/* Positions a sequence may start at: fresh, inside a page, at its edges, far away. */
static const int64_t starts[] = {1, 0, 3, 63, 64, 130};
#define RIG_PAGES_PER_SEQ 6 /* (130 + 130) / 64, rounded up, and one more */

static void *need(void *p)
{
    if (!p) {
        fprintf(stderr, "kernelcheck: out of memory\n");
        exit(2);
    }
    return p;
}

void rig_init(struct rig *r, int layout, enum input_class c, uint64_t seed, int vocab)
{
    *r = (struct rig){.klass = c, .rng = {.seed = seed}, .plan = {.logits = VIEW_NONE}};
    struct batch *b = &r->batch;
    for (int q = 0; layouts[layout][q]; q++) {
        r->cu[q + 1] = r->cu[q] + layouts[layout][q];
        r->pos[q] = starts[(seed + (uint64_t)(layout + q)) % ARRAY_LEN(starts)];
        r->slots[q] = 2 * q + 1; /* every other slot is a stranger's */
        b->n_seqs++;
    }
    b->n_tokens = r->cu[b->n_seqs];
    r->n_slots = 2 * b->n_seqs + 1;
    r->n_pages = (b->n_seqs + 1) * RIG_PAGES_PER_SEQ;
    size_t n = (size_t)b->n_tokens;
    r->tokens = need(mem_array(n, 4));
    r->row_seq = need(mem_array(n, 4));
    r->logit_rows = need(mem_array(n, 4));
    r->pages = need(mem_array((size_t)r->n_pages, 4));
    for (int q = 0; q < b->n_seqs; q++) {
        for (int t = r->cu[q]; t < r->cu[q + 1]; t++) {
            r->row_seq[t] = q;
            r->tokens[t] = (int32_t)rng_below(&r->rng, (uint64_t)vocab);
        }
        r->logit_rows[b->n_logits++] = r->cu[q + 1] - 1;
        for (int i = 0; i < RIG_PAGES_PER_SEQ; i++) /* backwards and with gaps: any order works */
            r->pages[q * RIG_PAGES_PER_SEQ + i] = r->n_pages - 1 - (q * RIG_PAGES_PER_SEQ + i);
    }
    b->tokens = r->tokens;
    b->cu_seqlens = r->cu;
    b->slots = r->slots;
    b->pos = r->pos;
    b->logit_rows = r->logit_rows;
    b->pages = r->pages;
    b->pages_per_seq = RIG_PAGES_PER_SEQ;
    r->plan.acts = r->acts;
    r->plan.weights = r->weights;
    r->plan.sections = r->sections;
    r->plan.ops = &r->op;
    r->plan.n_ops = 1;
    r->op.section = -1;
    r->op.out = VIEW_NONE;
    for (size_t i = 0; i < ARRAY_LEN(r->op.in); i++)
        r->op.in[i] = VIEW_NONE;
    for (size_t i = 0; i < ARRAY_LEN(r->op.w); i++)
        r->op.w[i] = -1;
}

void rig_free(struct rig *r)
{
    for (int i = 0; i < r->plan.n_weights; i++)
        mem_aligned_free(r->packed[i].data, r->packed[i].bytes);
    mem_free(r->tokens);
    mem_free(r->row_seq);
    mem_free(r->logit_rows);
    mem_free(r->pages);
    mem_free(r->arena);
    mem_free(r->slot_mem);
    mem_free(r->page_mem);
}

/* One float of the rig's input class. i: its index, for the patterned classes. */
static float draw(struct rig *r, enum role role, int64_t i, int64_t n)
{
    float u = (float)(rng_unit(&r->rng) * 2 - 1);
    uint64_t special = rng_below(&r->rng, 97);
    if (role == ROLE_FLAG)
        return special % 3 ? 1 : 0;
    if (role == ROLE_INDEX)
        return (float)rng_below(&r->rng, (uint64_t)r->index_limit);
    if (role == ROLE_DECAY) {
        switch (r->klass) {
        case CLASS_decay0: return 1e-6f * fabsf(u);
        case CLASS_decay1: return 1 - 1e-6f * fabsf(u);
        case CLASS_zeros: return 0;
        case CLASS_nan: return special ? 0.5f + 0.5f * u : NAN;
        default: return 0.5f + 0.499f * u;
        }
    }
    float scale = role == ROLE_UNIT ? 0.3f : 1;
    switch (r->klass) {
    case CLASS_zeros: return 0;
    case CLASS_alternating: return i % 2 ? -scale : scale;
    case CLASS_denormal: return u * 1e-39f;
    case CLASS_large: return u * (role == ROLE_UNIT ? 1 : 1e4f);
    case CLASS_onehot: return i == r->heat % n ? scale : 0;
    case CLASS_nan: return special ? u * scale : NAN;
    case CLASS_inf: return special ? u * scale : u > 0 ? INFINITY : -INFINITY;
    default: return u * scale;
    }
}

struct view rig_act(struct rig *r, int width, enum rows rows, enum role role)
{
    int32_t i = r->plan.n_acts++;
    ASSERT(i < RIG_ACTS);
    int32_t stride = (int32_t)round_up((size_t)width + 2 * rig_guard, PANEL);
    r->roles[i] = role;
    r->acts[i] = (struct act){.rows = rows, .width = stride, .stride = stride};
    r->widths[i] = width;
    return (struct view){i, rig_guard, width};
}

/* Where the numbers of a head are in a block of a file, -1: not there. */
static const struct { int d, m; } heads[DTYPES] = {
    [DTYPE_Q4_1] = {0, 2},  [DTYPE_Q5_1] = {0, 2},    [DTYPE_Q2_K] = {80, 82},
    [DTYPE_Q3_K] = {108},   [DTYPE_Q4_K] = {0, 2},    [DTYPE_Q5_K] = {0, 2},
    [DTYPE_Q6_K] = {208},   [DTYPE_FP8] = {128},
};

static void put_half(uint8_t *at, float f)
{
    uint16_t h = f16_of_f32(f);
    memcpy(at, &h, sizeof h);
}

/* A row of random blocks: all bits of values and sub-scales, scales of ordinary size. */
static void draw_blocks(struct rig *r, enum dtype t, int cols, uint8_t *row)
{
    const struct weight_format *f = &formats[t];
    for (size_t i = 0; i < format_bytes(t, cols); i++)
        row[i] = (uint8_t)rng_below(&r->rng, 256);
    for (int i = 0; i < cols && t == DTYPE_FP8; i++) /* no NaN */
        row[i / 128 * f->bytes + i % 128] &= 0xfe;
    for (int64_t b = 0; b < (cols + f->block - 1) / f->block; b++, row += f->bytes) {
        float d = (float)(rng_unit(&r->rng) - 0.5) * 0.02f;
        if (f->head == HEAD_E8M0)
            row[0] = (uint8_t)(118 + rng_below(&r->rng, 8));
        else if (f->head == HEAD_F32)
            memcpy(row + heads[t].d, &d, sizeof d);
        else
            put_half(row + heads[t].d, f->sub == SUB_NONE ? d : d / 16);
        if (f->head == HEAD_F16_MIN)
            put_half(row + heads[t].m, (float)rng_unit(&r->rng) * 0.02f);
    }
}

int rig_matrix(struct rig *r, int rows, int cols, enum dtype t)
{
    int i = r->plan.n_weights++;
    ASSERT(i < RIG_WEIGHTS);
    r->weights[i] = (struct weight){WEIGHT_MATRIX, t, rows, cols};
    struct host_weight *w = &r->packed[i];
    *w = (struct host_weight){WEIGHT_MATRIX, t, rows, cols, 0, NULL};
    ASSERT(pack_bytes(&r->weights[i], &w->bytes));
    w->data = need(mem_aligned(w->bytes));
    float *row = need(mem_array((size_t)cols + FORMAT_BLOCK_MAX, 4));
    for (int k = 0; k < rows; k++) {
        for (int c = 0; c < cols && format_plain(t); c++)
            row[c] = draw(r, ROLE_UNIT, c + k, cols);
        if (!format_plain(t))
            draw_blocks(r, t, cols, (uint8_t *)row);
        pack_rows(w, k, 1, row, format_plain(t) ? DTYPE_F32 : t);
    }
    mem_free(row);
    return i;
}

int rig_vector(struct rig *r, int n, enum role role)
{
    int i = r->plan.n_weights++;
    ASSERT(i < RIG_WEIGHTS);
    r->weights[i] = (struct weight){WEIGHT_VECTOR, DTYPE_F32, 1, n};
    struct host_weight *w = &r->packed[i];
    *w = (struct host_weight){WEIGHT_VECTOR, DTYPE_F32, 1, n, 0, NULL};
    ASSERT(pack_bytes(&r->weights[i], &w->bytes));
    w->data = need(mem_aligned(w->bytes));
    for (int c = 0; c < n; c++)
        ((float *)w->data)[c] = draw(r, role, c, n);
    return i;
}

void rig_section(struct rig *r, enum section_kind kind, int64_t elems)
{
    r->sections[0] = (struct section){"check", kind, elems, 16, DTYPE_F32}; /* 16: a neighbour */
    r->plan.n_sections = 1;
    r->op.section = 0;
    int64_t floats = (int64_t)round_up((size_t)elems + 32, 16);
    if (kind == SECTION_FIXED)
        r->plan.slot_floats = floats;
    else
        r->plan.page_token_floats = floats;
}

void rig_state(struct rig *r, int64_t elems, enum dtype t)
{
    rig_section(r, SECTION_FIXED, elems);
    r->sections[0].dtype = t; /* the guards behind it are larger then */
}

static uint16_t *halves_of(const struct rig *r, const float *slots, int q)
{
    return (uint16_t *)(slots + r->slots[q] * r->plan.slot_floats + r->sections[0].offset);
}

void rig_state_read(const struct rig *r, const float *slots, int q, float *out)
{
    const struct section *x = &r->sections[0];
    for (int64_t i = 0; i < x->elems; i++)
        out[i] = x->dtype == DTYPE_F16
                     ? f32_of_f16(halves_of(r, slots, q)[i])
                     : slots[r->slots[q] * r->plan.slot_floats + x->offset + i];
}

void rig_plain_nans(struct rig *r)
{
    for (int q = 0; q < r->batch.n_seqs && r->sections[0].dtype == DTYPE_F16; q++)
        for (int64_t i = 0; i < r->sections[0].elems; i++) {
            uint16_t *h = &halves_of(r, r->slot_mem, q)[i];
            *h = (*h & 0x7fff) > 0x7c00 ? 0x7e00 : *h;
        }
}

static void noise(struct rig *r, float *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(rng_unit(&r->rng) - 0.5);
}

static void fill_act(struct rig *r, int i)
{
    int width = r->widths[i];
    int rows = r->acts[i].rows == ROWS_LOGITS ? r->batch.n_logits : r->batch.n_tokens;
    struct view v = {i, rig_guard, width};
    for (int t = 0; t < rows; t++, r->heat++)
        for (int c = 0; c < width; c++)
            host_row(&r->step, v, t)[c] = draw(r, r->roles[i], c, width);
}

/* States and cached rows hold what a run of this class would have left there. */
static void fill_states(struct rig *r)
{
    const struct section *x = &r->sections[0];
    noise(r, r->slot_mem, r->slot_n);
    noise(r, r->page_mem, r->page_n);
    if (!r->plan.n_sections || x->kind != SECTION_FIXED)
        return;
    for (int q = 0; q < r->batch.n_seqs; q++) {
        float *p = r->slot_mem + r->slots[q] * r->plan.slot_floats + x->offset;
        for (int64_t i = 0; i < x->elems; i++) {
            float f = r->pos[q] ? draw(r, ROLE_UNIT, i, x->elems) : 0;
            if (x->dtype == DTYPE_F16)
                halves_of(r, r->slot_mem, q)[i] = f16_kept(f);
            else
                p[i] = f;
        }
    }
}

void rig_ready(struct rig *r)
{
    int64_t at = 64; /* a guard before the first activation */
    for (int i = 0; i < r->plan.n_acts; i++) {
        struct act *a = &r->acts[i];
        a->offset = at;
        at += (int64_t)a->stride * (a->rows == ROWS_LOGITS ? r->batch.n_logits : r->batch.n_tokens);
        at += 64;
    }
    r->arena_n = at + 64;
    r->slot_n = r->n_slots * r->plan.slot_floats;
    r->page_n = (int64_t)r->n_pages * PAGE_TOKENS * r->plan.page_token_floats;
    r->arena = need(mem_array((size_t)r->arena_n, 4));
    r->slot_mem = need(mem_array((size_t)r->slot_n + 1, 4));
    r->page_mem = need(mem_array((size_t)r->page_n + 1, 4));
    noise(r, r->arena, r->arena_n);
    fill_states(r);
    r->step = (struct host_step){&r->plan, &r->batch, r->packed, r->row_seq,
                                 r->arena, r->slot_mem, r->page_mem, NULL};
    for (int i = 0; i < r->plan.n_acts; i++)
        if (r->roles[i] != ROLE_OUT)
            fill_act(r, i);
}

static float *dup(const float *p, int64_t n)
{
    float *q = need(mem_array((size_t)n + 1, 4));
    memcpy(q, p, (size_t)n * 4);
    return q;
}
struct memory rig_save(const struct rig *r)
{
    return (struct memory){dup(r->arena, r->arena_n), dup(r->slot_mem, r->slot_n),
                           dup(r->page_mem, r->page_n)};
}
void rig_load(struct rig *r, const struct memory *m)
{
    memcpy(r->arena, m->arena, (size_t)r->arena_n * 4);
    memcpy(r->slot_mem, m->slots, (size_t)r->slot_n * 4);
    memcpy(r->page_mem, m->pages, (size_t)r->page_n * 4);
}
void memory_free(struct memory *m)
{
    mem_free(m->arena);
    mem_free(m->slots);
    mem_free(m->pages);
    *m = (struct memory){0};
}

static void run_threads(const struct rig *r, host_kernel *fn, int nth, bool backwards)
{
    unsigned saved = threads_flush_denormals();
    for (int i = 0; i < nth; i++)
        fn(&r->step, &r->op, backwards ? nth - 1 - i : i, nth);
    threads_restore_denormals(saved);
}

void rig_run(struct rig *r, host_kernel *fn, int q, int from, int to, int nth, bool backwards)
{
    if (q < 0) {
        run_threads(r, fn, nth, backwards);
        return;
    }
    /* Rows of the part become rows 0, 1, … by moving the activations under them. */
    struct batch whole = r->batch;
    int32_t row0 = r->cu[q] + from, cu[2] = {0, to - from}, zeros[512] = {0};
    int64_t pos = r->pos[q] + from;
    ASSERT(to - from <= (int)ARRAY_LEN(zeros));
    for (int i = 0; i < r->plan.n_acts; i++)
        r->acts[i].offset += (int64_t)row0 * r->acts[i].stride;
    r->batch.n_seqs = 1;
    r->batch.n_tokens = to - from;
    r->batch.tokens = r->tokens + row0;
    r->batch.cu_seqlens = cu;
    r->batch.slots = &r->slots[q];
    r->batch.pos = &pos;
    r->batch.pages = r->pages + q * RIG_PAGES_PER_SEQ;
    r->step.row_seq = zeros;
    run_threads(r, fn, nth, backwards);
    r->step.row_seq = r->row_seq;
    r->batch = whole;
    for (int i = 0; i < r->plan.n_acts; i++)
        r->acts[i].offset -= (int64_t)row0 * r->acts[i].stride;
}
