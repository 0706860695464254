/* What DELTA and DECAY share. A state head is S [K][V]; a column of it never meets another, so
 * the work is cut into blocks of up to BLOCK_V vectors of columns: sequences x heads x blocks is
 * the parallel axis, and how it is cut cannot change a bit. The rows of a block are walked once a
 * token with everything else in registers. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"
#include "kernels/cpu/impl/simd_half.h"

#define BLOCK_V (V16_REGS == 32 ? 4 : 1)
/* A block is worked on in place, or in a dense copy: when V is no multiple of 16, and for long
 * runs of tokens when rows are further apart than they are long, which would use only some sets
 * of the first-level cache, or when they are of float16, which the copy is not. 64 KiB of stack. */
#define COPY_FLOATS 16384
#define COPY_TOKENS 4
/* A dense block this large still leaves the first-level cache (32 KiB at least) room. */
#define DENSE_FLOATS 6144

struct block {
    void *s;          /* first row of the block, in place */
    int64_t stride;   /* numbers from row to row of s */
    int K, col, n;    /* rows; first column and columns in the head */
    int nv;           /* vectors: n rounded up */
    bool half;        /* s is of float16 */
    const void *then; /* first row of the block that this thread works on next: fetched meanwhile,
                         row by row; s where there is none */
};

/* The rows that a walk goes over: the numbers themselves; a copy in float32 of numbers in float16,
 * which are rounded as they are written; or these in place. */
enum rows_of { ROWS_FLOAT, ROWS_ROUNDED, ROWS_HALF, ROWS_KINDS };
static enum rows_of rows_of(const struct block *b, bool copied)
{
    return !b->half ? ROWS_FLOAT : copied ? ROWS_ROUNDED : ROWS_HALF;
}

INLINE v16 rows_load(const void *p, int64_t i, enum rows_of of)
{
    return of == ROWS_HALF ? v16_load_half((const uint16_t *)p + i)
                           : v16_load((const float *)p + i);
}
/* As in f16_kept: a NaN stays one. */
INLINE v16 within_half(v16 x)
{
    return v16_min(v16_set1(F16_LARGEST), v16_max(v16_set1(-F16_LARGEST), x));
}
/* What is kept of x. */
INLINE v16 rows_keep(v16 x, enum rows_of of)
{
    return of == ROWS_FLOAT ? x : v16_as_half(within_half(x));
}
/* The same, written. */
INLINE v16 rows_store(void *p, int64_t i, v16 x, enum rows_of of)
{
    if (of == ROWS_HALF)
        return v16_store_half((uint16_t *)p + i, within_half(x));
    x = rows_keep(x, of);
    v16_store((float *)p + i, x);
    return x;
}

/* Vectors of a block's width: fewer when rows are many, so that a dense copy stays in cache. */
static int block_width(int K, int V, int tokens)
{
    int nv = MIN(BLOCK_V, (V + LANES - 1) / LANES);
    int most = tokens >= COPY_TOKENS && V > LANES ? DENSE_FLOATS : COPY_FLOATS;
    while (nv > 1 && K * nv * LANES > most)
        nv /= 2;
    return nv;
}

/* Columns that one thread is dealt: of float16 no less than a line of the cache has. Where V is a
 * multiple of 32 and heads begin on lines, no two threads write into the same one; elsewhere those
 * of neighbours meet in the line at their border, which costs time and no bit. */
static int dealt_width(int K, int V, int tokens, bool half)
{
    int nv = block_width(K, V, tokens);
    return MAX(nv, half ? 2 : 1) * LANES;
}

static bool block_copied(const struct block *b, int tokens)
{
    return b->n % LANES || (tokens >= COPY_TOKENS && (b->stride > b->n || b->half));
}

/* The first n numbers of 16; no byte beyond them is touched. */
static v16 load_halves(const uint16_t *p, int n)
{
    uint16_t t[LANES] = {0};
    if (n >= LANES)
        return v16_load_half(p);
    memcpy(t, p, (size_t)n * sizeof *p);
    return v16_load_half(t);
}
static void store_halves(uint16_t *p, int n, v16 x)
{
    uint16_t t[LANES];
    if (n >= LANES) {
        v16_store_half(p, x);
        return;
    }
    v16_store_half(t, x);
    memcpy(p, t, (size_t)n * sizeof *p);
}

static void block_in(const struct block *b, float *copy)
{
    for (int k = 0; k < b->K; k++)
        for (int c = 0; c < b->n; c += LANES) {
            int64_t at = k * b->stride + c;
            v16 x = b->half ? load_halves((const uint16_t *)b->s + at, b->n - c)
                            : load_left((const float *)b->s + at, b->n - c);
            v16_store(copy + (k * b->nv) * LANES + c, x);
        }
}
static void block_out(const struct block *b, const float *copy)
{
    for (int k = 0; k < b->K; k++)
        for (int c = 0; c < b->n; c += LANES) {
            int64_t at = k * b->stride + c;
            v16 x = v16_load(copy + (k * b->nv) * LANES + c);
            if (b->half)
                store_halves((uint16_t *)b->s + at, b->n - c, x);
            else
                store_left((float *)b->s + at, b->n - c, x);
        }
}

/* Head `h` of `of` heads reads head … of `to`. */
static inline int map_head(int h, int of, int to) { return (int)((int64_t)h * to / of); }

/* A factor that is one number for all k, or one per k: p[k * step]. */
struct factor {
    const float *p;
    int step;
};
static const float factor_one = 1;

/* Vector i of n columns. */
INLINE v16 load_columns(const float *p, int i, int n)
{
    return load_left(p + i * LANES, n - i * LANES);
}
INLINE void store_columns(float *p, int i, int n, v16 x)
{
    store_left(p + i * LANES, n - i * LANES, x);
}

/* A row of the block that comes after this one, to the second-level cache: the first is full.
 * Narrow blocks share their rows with their neighbours. */
INLINE void fetch_row(const void *p, int64_t at, int nv, bool half)
{
    const char *row = (const char *)p + at * (half ? 2 : 4);
    for (int i = 0; V16_REGS == 32 && i < nv; i += half ? 2 : 1)
        __builtin_prefetch(row + i * (half ? 32 : 64), 1, 2);
}

/* Blocks in the order of the state: sequence, head, columns. */
struct place {
    int q, h, col, width;
};
static int tokens_of(const struct batch *b, int q)
{
    return b->cu_seqlens[q + 1] - b->cu_seqlens[q];
}
/* n blocks on; false: past the last. */
static bool place_on(const struct batch *b, struct place *p, int heads, int K, int V, bool half,
                     int n)
{
    for (; n > 0; n--) {
        p->col += p->width;
        if (p->col < V)
            continue;
        p->col = 0;
        if (++p->h < heads)
            continue;
        p->h = 0;
        if (++p->q == b->n_seqs)
            return false;
        p->width = dealt_width(K, V, tokens_of(b, p->q), half);
    }
    return true;
}

/* Number i of a slot's state. */
static void *state_at(const struct host_step *s, const struct op *op, int32_t slot, int64_t i,
                      bool half)
{
    return (char *)host_state(s, op->section, slot) + i * (half ? 2 : 4);
}

/* Hands out (sequence, state head, block) in turn to the threads: neighbours in time differ in
 * length least, so a static deal is even. K * nv must fit the copy. */
typedef void block_fn(const struct host_step *s, const struct op *op, int q, int h,
                      const struct block *b);
static void each_block(const struct host_step *s, const struct op *op, int heads, int K, int V,
                       int ith, int nth, block_fn *fn)
{
    const struct batch *b = s->batch;
    bool half = s->plan->sections[op->section].dtype == DTYPE_F16;
    struct place at = {0, 0, 0, dealt_width(K, V, tokens_of(b, 0), half)};
    for (bool more = place_on(b, &at, heads, K, V, half, ith); more;) {
        struct place next = at;
        more = place_on(b, &next, heads, K, V, half, nth);
        const int width = block_width(K, V, tokens_of(b, at.q)) * LANES;
        const int end = MIN(at.col + at.width, V);
        for (int col = at.col; col < end; col += width) {
            void *S = state_at(s, op, b->slots[at.q], (int64_t)at.h * K * V + col, half);
            struct block x = {S, V, K, col, MIN(width, end - col), 0, half, S};
            x.nv = (x.n + LANES - 1) / LANES;
            if (more && col + width >= end)
                x.then = state_at(s, op, b->slots[next.q], (int64_t)next.h * K * V + next.col,
                                  half);
            fn(s, op, at.q, at.h, &x);
        }
        at = next;
    }
}
