/* Several tiles of inputs over the same panels of 16-bit weights: the tile that comes first turns
 * a chunk of them into floats for its own sums and leaves them in the first-level cache, where the
 * others find them. Where shifts and masks take the place of multiply-adds (two units do both on
 * Intel's cores) a tile of T inputs that makes its own floats cannot pass T / (T + 1) of their
 * rate.
 *
 * The tile that ends a chunk begins the next one with its sums still in registers; tiles between
 * the two store and load theirs. What memory brings for the next chunk is asked for evenly over
 * all tiles, in the order of its use: in bursts they wait for one another. A part of job.h. */
#ifndef RECURD_KEPT_H
#define RECURD_KEPT_H

#if V16_REGS == 32

/* Columns of a chunk: 16 KiB of floats beside inputs and weights to come; with many tiles, whose
 * sums come and go, 24 KiB. */
#define KEPT_FEW 64
#define KEPT_MANY 96
#define KEPT_MANY_TILES 4
#define KEPT_LINE 64 /* bytes of a panel that hold two columns */

/* Lines to be fetched, panel by panel of each line. */
struct kept_fetch {
    const char *at;
    int panel; /* of `at` */
    int64_t n;
};

/* What one tile does: `again` columns that are kept, then `now` columns of the panels, which it
 * keeps in their place. Both even, x from the first of them on. */
struct kept_tile {
    const char *w;
    size_t panel; /* bytes from panel to panel */
    float *kept;  /* [columns][TILE_P][PANEL] */
    int64_t again, now;
    bool resume;  /* the chains go on from what sums holds */
    size_t then_panel[2];
    struct kept_fetch fetch[2]; /* meanwhile */
    const float *x[TILE_T];
};

INLINE void kept_fetch(struct kept_fetch *f, size_t panel)
{
    __builtin_prefetch(f->at, 0, 2); /* the second-level cache: the first is full */
    f->at += panel;
    if (++f->panel == TILE_P) {
        f->panel = 0;
        f->at -= TILE_P * panel - KEPT_LINE;
    }
}

/* Two columns of the panels, from w, or, type F32, as they are kept. */
INLINE void kept_step(v16 acc[TILE_P][TILE_T], const char *w, size_t panel, float *kept,
                      const float *const x[TILE_T], int64_t k, int T, enum dtype type)
{
    UNROLL for (int c = 0; c < 2; c++, kept += TILE_P * PANEL) {
        v16 m[TILE_P];
        UNROLL for (int p = 0; p < TILE_P; p++) {
            const char *line = w + (size_t)p * panel;
            if (type == DTYPE_F32)
                m[p] = v16_load(kept + p * PANEL);
            else if (type == DTYPE_F16)
                m[p] = v16_load_half(line + c * (KEPT_LINE / 2));
            else
                m[p] = c ? v16_load_odd(line) : v16_pair_even(v16_load_pairs(line));
            if (type != DTYPE_F32)
                v16_store(kept + p * PANEL, m[p]);
        }
        UNROLL for (int j = 0; j < T; j++) {
            IN_ORDER;
            v16 b = v16_set1(x[j][k + c]);
            UNROLL for (int p = 0; p < TILE_P; p++)
                acc[p][j] = v16_add_product(acc[p][j], m[p], b);
        }
    }
}

/* A chunk; type: F32 where it is kept. Two lines are fetched a step, then one, then none. */
INLINE void kept_chunk(v16 acc[TILE_P][TILE_T], const struct kept_tile *t, int which,
                       const float *const x[TILE_T], int64_t k, int T, enum dtype type)
{
    const char *w = t->w;
    const size_t panel = t->panel, then = t->then_panel[which];
    float *kept = t->kept;
    struct kept_fetch f = t->fetch[which];
    const int64_t steps = (which ? t->now : t->again) / 2;
    const int64_t twos = MIN(MAX(f.n - steps, 0), steps), ones = MIN(f.n, steps);
    int64_t i = 0;
#define KEPT_STEP(fetched) \
    do { \
        UNROLL for (int l = 0; l < (fetched); l++) \
            kept_fetch(&f, then); \
        kept_step(acc, w, panel, kept, x, k, T, type); \
        w += KEPT_LINE; \
        kept += 2 * TILE_P * PANEL; \
        k += 2; \
    } while (0)
    for (; i < twos; i++)
        KEPT_STEP(2);
    for (; i < ones; i++)
        KEPT_STEP(1);
    for (; i < steps; i++)
        KEPT_STEP(0);
#undef KEPT_STEP
}

/* The sums of TILE_P panels and T inputs, to sums[T][TILE_P][16]. */
INLINE void kept_sums(const struct kept_tile *t, float *sums, int T, enum dtype type)
{
    const float *x[TILE_T];
    v16 acc[TILE_P][TILE_T];
    UNROLL for (int j = 0; j < T; j++) {
        x[j] = t->x[j];
        UNROLL for (int p = 0; p < TILE_P; p++)
            acc[p][j] = t->resume ? v16_load(sums + (j * TILE_P + p) * PANEL) : v16_zero();
    }
    kept_chunk(acc, t, 0, x, 0, T, DTYPE_F32);
    kept_chunk(acc, t, 1, x, t->again, T, type);
    UNROLL for (int p = 0; p < TILE_P; p++)
        UNROLL for (int j = 0; j < T; j++)
            v16_store(sums + (j * TILE_P + p) * PANEL, acc[p][j]);
}

/* Tiles of equal size, two at least, have half of the inputs of a whole one or more. */
_Static_assert(TILE_T == 6, "kept_table");
typedef void kept_fn(const struct kept_tile *t, float *sums);
#define KEPT(T, type) \
    static void kept_##T##_##type(const struct kept_tile *t, float *sums) \
    { \
        kept_sums(t, sums, T, DTYPE_##type); \
    }
#define KEPTS(type) KEPT(3, type) KEPT(4, type) KEPT(5, type) KEPT(6, type)
KEPTS(F16)
KEPTS(BF16)
#define KEPT_ROW(type) \
    {NULL, NULL, kept_3_##type, kept_4_##type, kept_5_##type, kept_6_##type}
static kept_fn *const kept_table[3][TILE_T] = {
    [DTYPE_F16] = KEPT_ROW(F16),
    [DTYPE_BF16] = KEPT_ROW(BF16),
};

/* A chunk of panels that is read next, as far as it is worth fetching. */
struct kept_source {
    const char *at;
    size_t panel;  /* bytes from panel to panel */
    int64_t lines; /* of all panels together */
};

/* Makes tile i of `of` in turn fetch its part of the chunk while it goes over its first (0: what is
 * kept) or second columns. */
static void kept_share(struct kept_tile *k, int which, const struct kept_source *s, int64_t i,
                       int64_t of)
{
    int64_t from = s->lines * i / of, to = s->lines * (i + 1) / of;
    int p = (int)(from % TILE_P);
    const char *at = s->at + from / TILE_P * KEPT_LINE + (size_t)p * s->panel;
    k->then_panel[which] = s->panel;
    k->fetch[which] = (struct kept_fetch){at, p, to - from};
}

/* What is read after columns [0, k) of the panels of t. */
static struct kept_source kept_after(const struct tile *t, int64_t k, int64_t chunk)
{
    if (k == t->cols)
        return (struct kept_source){t->then, t->then_panel, chunk / 2 * TILE_P};
    return (struct kept_source){t->w + k / 2 * KEPT_LINE, t->panel,
                                MIN(t->cols - k, chunk) / 2 * TILE_P};
}

/* Inputs of tile i of `of`, over columns from k0 on. */
static void kept_run(const struct job *job, const struct ends *ends, struct kept_tile *k,
                     int64_t i, int64_t of, int64_t k0, int64_t p, float *sums)
{
    int64_t from = job->n * i / of, to = job->n * (i + 1) / of;
    for (int64_t j = from; j < to; j++)
        k->x[j - from] = ends[j].x + k0;
    k->resume = k0 > 0;
    if (k0 + k->again + k->now == job->w->cols)
        fetch_ends(ends + from, to - from, p, TILE_P);
    kept_table[job->w->dtype][to - from - 1](k, sums + from * TILE_P * PANEL);
}

/* All inputs of the job, two tiles at least, over TILE_P panels from p: those of t, whose columns
 * are even. Over every chunk go first the tile that turns to it, then those that come neither first
 * nor last, and last the one that turns to the next: the first and the last tile in turn. */
static void group_kept(const struct job *job, const struct ends *ends, const struct tile *t,
                       int64_t p)
{
    _Alignas(64) float kept[KEPT_MANY * TILE_P * PANEL], sums[INPUTS * TILE_P * PANEL];
    const int64_t tiles = (job->n + TILE_T - 1) / TILE_T;
    const int64_t chunk = tiles < KEPT_MANY_TILES ? KEPT_FEW : KEPT_MANY;
    struct kept_tile k = {.panel = t->panel, .kept = kept};
    struct kept_source now = {t->w, t->panel, 0}, next; /* nobody has fetched the first chunk */
    int64_t turns = 0;
    for (int64_t k0 = 0; k0 < t->cols; k0 += k.now, turns = turns ? 0 : tiles - 1, now = next) {
        k.again = MIN(k0, chunk);
        k.now = MIN(t->cols - k0, chunk);
        k.w = now.at;
        next = kept_after(t, k0 + k.now, chunk);
        kept_share(&k, 0, &now, tiles - 1, tiles);
        kept_share(&k, 1, &next, 0, tiles);
        kept_run(job, ends, &k, turns, tiles, k0 - k.again, p, sums);
        struct kept_tile between = k;
        between.again = k.now;
        between.now = 0;
        for (int64_t i = 1; i < tiles - 1; i++) {
            kept_share(&between, 0, &next, i, tiles);
            kept_run(job, ends, &between, i, tiles, k0, p, sums);
        }
    }
    k.again = k.now; /* of the last chunk */
    k.now = 0;
    kept_share(&k, 0, &now, tiles - 1, tiles);
    kept_run(job, ends, &k, turns, tiles, t->cols - k.again, p, sums);
    for (int64_t j = 0; j < job->n; j++)
        finish(job, sums + j * TILE_P * PANEL, p, TILE_P, &ends[j]);
}

#endif
#endif
