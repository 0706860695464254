/* What DELTA and DECAY share. A state head is S [K][V]; a column of it never meets another, so
 * the work is cut into blocks of up to BLOCK_V vectors of columns: sequences x heads x blocks is
 * the parallel axis, and how it is cut cannot change a bit. The rows of a block are walked once a
 * token with everything else in registers. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"

#define BLOCK_V (V16_REGS == 32 ? 4 : 1)
/* A block is worked on in place, or in a dense copy: when V is no multiple of 16, and for long
 * runs of tokens when rows are further apart than they are long, which would use only some sets
 * of the first-level cache. 64 KiB of stack. */
#define COPY_FLOATS 16384
#define COPY_TOKENS 4
/* A dense block this large still leaves the first-level cache (32 KiB at least) room. */
#define DENSE_FLOATS 6144

struct block {
    float *s;         /* first row of the block, in place */
    int64_t stride;   /* floats from row to row of s */
    int K, col, n;    /* rows; first column and columns in the head */
    int nv;           /* vectors: n rounded up */
    const float *then; /* first row of the block that this thread works on next: fetched meanwhile,
                          row by row; s where there is none */
};

/* Vectors of a block's width: fewer when rows are many, so that a dense copy stays in cache. */
static int block_width(int K, int V, int tokens)
{
    int nv = MIN(BLOCK_V, (V + LANES - 1) / LANES);
    int most = tokens >= COPY_TOKENS && V > LANES ? DENSE_FLOATS : COPY_FLOATS;
    while (nv > 1 && K * nv * LANES > most)
        nv /= 2;
    return nv;
}

static bool block_copied(const struct block *b, int tokens)
{
    return b->n % LANES || (tokens >= COPY_TOKENS && b->stride > b->n);
}

static void block_in(const struct block *b, float *copy)
{
    for (int k = 0; k < b->K; k++)
        for (int c = 0; c < b->n; c += LANES)
            v16_store(copy + (k * b->nv) * LANES + c,
                      v16_load_n(b->s + k * b->stride + c, MIN(b->n - c, LANES)));
}
static void block_out(const struct block *b, const float *copy)
{
    for (int k = 0; k < b->K; k++)
        for (int c = 0; c < b->n; c += LANES)
            v16_store_n(b->s + k * b->stride + c, MIN(b->n - c, LANES),
                        v16_load(copy + (k * b->nv) * LANES + c));
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
INLINE void fetch_row(const float *row, int nv)
{
    for (int i = 0; V16_REGS == 32 && i < nv; i++)
        __builtin_prefetch(row + i * LANES, 1, 2);
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
static bool place_on(const struct batch *b, struct place *p, int heads, int K, int V, int n)
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
        p->width = block_width(K, V, tokens_of(b, p->q)) * LANES;
    }
    return true;
}

/* Hands out (sequence, state head, block) in turn to the threads: neighbours in time differ in
 * length least, so a static deal is even. K * nv must fit the copy. */
typedef void block_fn(const struct host_step *s, const struct op *op, int q, int h,
                      const struct block *b);
static void each_block(const struct host_step *s, const struct op *op, int heads, int K, int V,
                       int ith, int nth, block_fn *fn)
{
    const struct batch *b = s->batch;
    struct place at = {0, 0, 0, block_width(K, V, tokens_of(b, 0)) * LANES};
    for (bool more = place_on(b, &at, heads, K, V, ith); more;) {
        struct place next = at;
        more = place_on(b, &next, heads, K, V, nth);
        float *S = host_state(s, op->section, b->slots[at.q]) + (int64_t)at.h * K * V + at.col;
        struct block x = {S, V, K, at.col, MIN(at.width, V - at.col), 0, S};
        x.nv = (x.n + LANES - 1) / LANES;
        if (more)
            x.then = host_state(s, op->section, b->slots[next.q]) + (int64_t)next.h * K * V +
                     next.col;
        fn(s, op, at.q, at.h, &x);
        at = next;
    }
}
