/* Weights from files, or from nothing, to a device.
 *
 * The plan's weights are cut into pieces, a few MiB of rows each; threads take them in order, read,
 * check and convert, and hand the rows to the device. How it is cut depends on the plan alone, so
 * the digest (of the pieces' digests), a dummy's values and the first fault are the same for any
 * number of threads. A device with several ways for weights gets pieces from as many places of the
 * plan in turn. Invariant: of the pieces before one that failed all are finished in the end, so the
 * fault that is told is the first. */
#include <math.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/quota.h"
#include "kernels/host.h"
#include "models/build/build.h"
#include "models/model.h"

/* Weights travel to the device in pieces of this size as float32. */
#define PIECE_BYTES MIB(4)
/* From here on threads do not help: memory is busy, and each has 8 MiB of staging. */
#define THREADS_MAX 32
/* Of tensors that are needed whole, larger ones are read one at a time. */
#define WHOLE_BYTES MIB(32)
#define DIGEST 32

struct piece {
    int w;
    const struct binding_part *part;
    int64_t row, rows; /* of the part */
    uint64_t draw;     /* dummies: random numbers that earlier pieces take */
    bool whole;        /* needs its tensor whole */
    unsigned char digest[DIGEST]; /* of the bytes read */
};

/* One load. Written before the threads start; after that only what is marked. */
struct load {
    struct model *m;
    struct device *d;
    struct piece *pieces;
    size_t n;
    size_t staging;        /* bytes of each of a worker's two buffers */
    size_t next;           /* atomic: the next turn to take */
    size_t failed;         /* lock: the first piece that failed, or n */
    struct err err;        /* lock: its fault */
    pthread_mutex_t lock;  /* a leaf */
    pthread_mutex_t put;   /* around put_weight where the device wants one at a time */
    pthread_mutex_t whole; /* around large tensors that are needed whole */
};

struct worker {
    struct load *l;
    void *raw;   /* a piece as read */
    float *f32;  /* the same, converted */
    struct err e;
    pthread_t thread;
};

/* ---- values ---- */

static void transform_all(enum transform t, float *x, int64_t n)
{
    for (int64_t i = 0; t != TENSOR_AS_IS && i < n; i++)
        x[i] = tensor_transform(t, x[i]);
}

/* x: elements [first, first + n) of t. */
static int check_finite(const struct tensor *t, const float *x, int64_t first, int64_t n,
                        struct err *e)
{
    if (format_finite(DTYPE_F32, x, n))
        return 0;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return err_set(e, E_FORMAT, "tensor %s: element %lld is not a finite number", t->name,
                           (long long)(first + i));
    return 0;
}

/* What is left to do to t's elements: a GGUF file holds some as they are used. */
static int remaining(const struct tensor *t, enum transform wanted, enum transform *left,
                     struct err *e)
{
    *left = t->applied == wanted ? TENSOR_AS_IS : wanted;
    if (t->applied == TENSOR_AS_IS || t->applied == wanted)
        return 0;
    return err_set(e, E_UNSUPPORTED, "tensor %s is stored as the result of transform %d, but "
                   "transform %d of it is needed", t->name, (int)t->applied, (int)wanted);
}

static void digest(struct piece *p, const void *bytes, size_t n)
{
    crypto_generichash(p->digest, sizeof p->digest, bytes, n, NULL, 0);
}

/* ---- one piece ---- */

static int put(struct worker *k, const struct piece *p, int64_t row, int64_t rows,
               const void *src, enum dtype type)
{
    const struct backend *b = k->l->d->backend;
    if (!b->puts_at_once)
        pthread_mutex_lock(&k->l->put);
    int rc = b->put_weight(k->l->d, p->w, p->part->at_row + row, rows, src, type, &k->e);
    if (!b->puts_at_once)
        pthread_mutex_unlock(&k->l->put);
    return rc;
}

static int put_rows(struct worker *k, struct piece *p, const struct tensor *t, enum transform what)
{
    int64_t cols = k->l->m->plan.weights[p->w].cols, n = p->rows * cols;
    int64_t first = (p->part->tensor_row + p->row) * cols;
    size_t row_bytes = format_bytes(t->dtype, cols);
    if (checkpoint_read(k->l->m->files, t, first, n, k->raw, &k->e) < 0)
        return k->e.code;
    digest(p, k->raw, (size_t)p->rows * row_bytes);
    if (what == TENSOR_AS_IS && format_finite(t->dtype, k->raw, n))
        return put(k, p, p->row, p->rows, k->raw, t->dtype);
    for (int64_t r = 0; r < p->rows; r++)
        format_decode(t->dtype, (char *)k->raw + (size_t)r * row_bytes, cols, k->f32 + r * cols);
    if (check_finite(t, k->f32, first, n, &k->e) < 0)
        return k->e.code;
    transform_all(what, k->f32, n);
    bool as_is = what == TENSOR_AS_IS;
    return put(k, p, p->row, p->rows, as_is ? k->raw : k->f32, as_is ? t->dtype : DTYPE_F32);
}

/* 1 / mean|W|, for ternary weights; 1 otherwise. */
static float whole_scale(enum transform what, const float *f, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n && what == TENSOR_TERNARY; i++)
        sum += fabsf(f[i]);
    return what == TENSOR_TERNARY ? (float)(1 / fmax(sum / (double)n, 1e-5)) : 1;
}

/* Row r of the part from the values of the whole tensor. */
static void row_of_whole(const struct binding_part *x, const float *f, int64_t elems, int64_t r,
                         int64_t cols, float scale, enum transform what, float *row)
{
    int64_t at = x->tensor_row + r, stride = x->stride ? x->stride : elems / cols;
    if (x->derive) {
        x->derive(f, elems, at, cols, row);
        return;
    }
    if (x->apart > 1) {
        int64_t own = (cols - 1) / x->apart + 1; /* columns of the tensor */
        for (int64_t c = 0; c < cols; c++)
            row[c] = c % x->apart ? 0 : tensor_transform(what, f[at * own + c / x->apart]);
        return;
    }
    for (int64_t c = 0; c < cols; c++) {
        int64_t i = x->transposed ? (x->tensor_col + c) * stride + at : at * cols + c;
        row[c] = tensor_transform(what, scale * f[i]);
    }
}

/* Rows that need the whole tensor: stored [cols][total rows] and turned, rounded by its mean, or
 * derived from it. */
static int put_whole(struct worker *k, struct piece *p, const struct tensor *t,
                     enum transform what)
{
    const struct binding_part *x = p->part;
    int64_t cols = k->l->m->plan.weights[p->w].cols;
    int64_t step = MAX(1, (int64_t)(k->l->staging / sizeof(float)) / cols);
    /* Only rows of the tensor's own end in padding. */
    int64_t wide = t->dtype == DTYPE_FP8 ? t->shape[t->n_dims - 1] : t->elems;
    size_t n = (size_t)t->elems, row_bytes = format_bytes(t->dtype, wide);
    size_t bytes = (size_t)(t->elems / wide) * row_bytes;
    char *raw = mem_array(bytes, 1);
    float *f = mem_array(n, sizeof *f);
    if (!raw || !f)
        err_set(&k->e, E_NOMEM, "tensor %s: no memory for all %zu elements", t->name, n);
    else if (checkpoint_read(k->l->m->files, t, 0, t->elems, raw, &k->e) == 0) {
        digest(p, raw, bytes);
        for (int64_t r = 0; r < t->elems / wide; r++)
            format_decode(t->dtype, raw + (size_t)r * row_bytes, wide, f + r * wide);
        (void)!check_finite(t, f, 0, t->elems, &k->e); /* e tells */
        float scale = whole_scale(what, f, n);
        for (int64_t from = 0; from < x->rows && k->e.code == 0; from += step) {
            int64_t rows = MIN(step, x->rows - from);
            for (int64_t r = 0; r < rows; r++)
                row_of_whole(x, f, t->elems, from + r, cols, scale, what, k->f32 + r * cols);
            (void)!put(k, p, from, rows, k->f32, DTYPE_F32);
        }
    }
    mem_free(raw);
    mem_free(f);
    return k->e.code;
}

static int put_tensor(struct worker *k, struct piece *p)
{
    const struct tensor *t = checkpoint_find(k->l->m->files, p->part->name);
    enum transform what;
    if (remaining(t, p->part->derive ? TENSOR_AS_IS : p->part->transform, &what, &k->e) < 0)
        return k->e.code;
    if (!p->whole)
        return put_rows(k, p, t, what);
    bool large = (size_t)t->elems > WHOLE_BYTES / sizeof(float);
    if (large)
        pthread_mutex_lock(&k->l->whole);
    int rc = put_whole(k, p, t, what);
    if (large)
        pthread_mutex_unlock(&k->l->whole);
    return rc;
}

/* Random number i of a dummy model: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), whose state is a
 * counter. Anything would do that is quick and a function of i: a model may have billions. */
static inline uint64_t dummy_bits(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

enum { RUN = 1024 }; /* constant lengths, for vectors */

/* bf16_of_f32 of finite values: half as much to bring to the device. */
static void halve(const float f[RUN], uint16_t out[RUN])
{
    uint32_t u[RUN];
    memcpy(u, f, sizeof u);
    for (int j = 0; j < RUN; j++)
        out[j] = (uint16_t)((u[j] + 0x7fff + (u[j] >> 16 & 1)) >> 16);
}

/* Uniform with the wanted deviation, four values of 16 bits from each random number. */
static int put_random(struct worker *k, const struct piece *p)
{
    const struct binding *bind = &k->l->m->bindings[p->w];
    const struct weight *w = &k->l->m->plan.weights[p->w];
    bool half = w->dtype == DTYPE_BF16 && p->part->transform == TENSOR_AS_IS;
    int64_t n = p->rows * w->cols;
    float mean = bind->dummy_mean, scale = 1.7320508f * 0x1p-15f * bind->dummy_scale;
    uint64_t bits[RUN / 4];
    uint16_t u[RUN];
    float f[RUN];
    uint16_t h[RUN];
    for (int64_t i = 0; i < n; i += RUN) {
        for (int j = 0; j < RUN / 4; j++)
            bits[j] = dummy_bits(k->l->m->dummy_seed, p->draw + (uint64_t)(i / 4 + j));
        memcpy(u, bits, sizeof u);
        for (int j = 0; j < RUN; j++)
            f[j] = mean + (float)((int32_t)u[j] - 0x8000) * scale;
        if (half)
            halve(f, h);
        if (half)
            memcpy((uint16_t *)(void *)k->f32 + i, h, (size_t)MIN(n - i, RUN) * sizeof *h);
        else
            memcpy(k->f32 + i, f, (size_t)MIN(n - i, RUN) * sizeof *f);
    }
    transform_all(p->part->transform, k->f32, half ? 0 : n);
    return put(k, p, p->row, p->rows, k->f32, half ? DTYPE_BF16 : DTYPE_F32);
}

static int put_piece(struct worker *k, struct piece *p)
{
    if (progress_check(k->l->m->progress, &k->e) < 0)
        return k->e.code;
    if (p->part->values)
        return put(k, p, 0, p->part->rows, p->part->values, DTYPE_F32);
    return k->l->m->files ? put_tensor(k, p) : put_random(k, p);
}

/* ---- all pieces ---- */

static uint64_t piece_bytes(const struct load *l, const struct piece *p)
{
    const struct weight *w = &l->m->plan.weights[p->w];
    return (uint64_t)p->rows * format_bytes(w->role == WEIGHT_MATRIX ? w->dtype : DTYPE_F32,
                                            w->cols);
}

static size_t first_failure(struct load *l)
{
    pthread_mutex_lock(&l->lock);
    size_t i = l->failed;
    pthread_mutex_unlock(&l->lock);
    return i;
}

/* The piece of a turn: from each of as many n-ths of the list as the device has ways, in turn;
 * l->n: that n-th is shorter, and none is left. */
static size_t piece_of_turn(const struct load *l, size_t turn)
{
    size_t ways = (size_t)MAX(l->d->ways, 1), way = turn % ways;
    size_t i = way * l->n / ways + turn / ways;
    return i < (way + 1) * l->n / ways ? i : l->n;
}

static void *work(void *arg)
{
    struct worker *k = arg;
    struct load *l = k->l;
    for (;;) {
        size_t turn = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
        size_t i = piece_of_turn(l, turn);
        if (turn >= l->n + (size_t)MAX(l->d->ways, 1))
            return NULL;
        if (i >= l->n || i > first_failure(l))
            continue;
        if (put_piece(k, &l->pieces[i]) == 0) {
            progress_add(l->m->progress, piece_bytes(l, &l->pieces[i]));
            continue;
        }
        pthread_mutex_lock(&l->lock);
        if (i < l->failed) {
            l->failed = i;
            l->err = k->e;
        }
        pthread_mutex_unlock(&l->lock);
        err_clear(&k->e); /* an earlier piece may be left, with a fault of its own */
    }
}

/* Whether the rows of a part come from more of its tensor than themselves. */
static bool needs_whole(const struct model *m, const struct binding_part *x)
{
    if (!m->files || x->values)
        return false;
    const struct tensor *t = checkpoint_find(m->files, x->name);
    return x->transposed || x->derive || x->apart > 1 ||
           (x->transform == TENSOR_TERNARY && t && t->applied != TENSOR_TERNARY);
}

/* Adds the pieces of a part to `to` (NULL: only counts them); returns how many they are. */
static size_t cut(const struct model *m, int w, const struct binding_part *x, struct piece *to,
                  uint64_t *draw)
{
    const struct tensor *t = m->files && !x->values ? checkpoint_find(m->files, x->name) : NULL;
    int64_t cols = m->plan.weights[w].cols;
    /* A short row of FP8 takes more bytes than its float32 values. */
    int64_t row_bytes = MAX(4 * cols, t ? (int64_t)format_bytes(t->dtype, cols) : 0);
    int64_t step = MAX(1, (int64_t)PIECE_BYTES / row_bytes);
    bool whole = needs_whole(m, x);
    size_t n = 0;
    if (m->files && step > PANEL)
        step -= step % PANEL;
    if (whole || x->values)
        step = MAX(x->rows, 1);
    for (int64_t row = 0; row < x->rows; row += step, n++) {
        int64_t rows = MIN(step, x->rows - row);
        if (to)
            to[n] = (struct piece){.w = w, .part = x, .row = row, .rows = rows, .draw = *draw,
                                   .whole = whole};
        *draw += x->values ? 0 : ((uint64_t)(rows * cols) + 3) / 4;
    }
    return n;
}

static size_t cut_all(const struct model *m, struct piece *to, uint64_t *draws)
{
    size_t n = 0;
    *draws = 0;
    for (int w = 0; w < m->plan.n_weights; w++)
        for (const struct binding_part *x = m->bindings[w].parts; x; x = x->next)
            n += cut(m, w, x, to ? to + n : NULL, draws);
    return n;
}

static bool worker_init(struct worker *k, struct load *l)
{
    *k = (struct worker){.l = l, .f32 = mem_zalloc(l->staging)};
    k->raw = l->m->files ? mem_zalloc(l->staging) : NULL;
    return k->f32 && (k->raw || !l->m->files);
}

/* On n threads, of which this is one; fewer where the system gives no more. */
static int run_workers(struct load *l, int n, struct err *e)
{
    struct worker *k = mem_array((size_t)n, sizeof *k);
    int made = 0, started = 0;
    while (k && made < n && worker_init(&k[made], l))
        made++;
    if (made == 0)
        err_set(e, E_NOMEM, "no memory for %zu bytes of staging", 2 * l->staging);
    for (int i = 1; i < made && pthread_create(&k[i].thread, NULL, work, &k[i]) == 0; i++)
        started = i;
    if (made)
        work(&k[0]);
    for (int i = 1; i <= started; i++)
        pthread_join(k[i].thread, NULL);
    for (int i = 0; k && i < MIN(made + 1, n); i++) { /* the one that got half of it, too */
        mem_free(k[i].raw);
        mem_free(k[i].f32);
    }
    mem_free(k);
    return e->code;
}

static int threads_for(const struct load *l)
{
    int n = l->m->threads ? l->m->threads : quota_cpus(NULL, 0);
    return (int)MAX(1, MIN((size_t)MIN(n, THREADS_MAX), l->n));
}

/* The digest goes on in l->m->fingerprint. */
static int put_weights(struct load *l, struct err *e)
{
    uint64_t draws, bytes = 0;
    l->n = l->failed = cut_all(l->m, NULL, &draws);
    l->pieces = mem_array(l->n, sizeof *l->pieces);
    if (!l->pieces)
        return err_set(e, E_NOMEM, "no memory for a list of %zu pieces of weights", l->n);
    cut_all(l->m, l->pieces, &draws);
    for (size_t i = 0; i < l->n; i++)
        bytes += piece_bytes(l, &l->pieces[i]);
    progress_stage(l->m->progress, l->m->files ? "loading weights" : "making random weights",
                   bytes);
    if (run_workers(l, threads_for(l), e) < 0)
        return e->code;
    if (l->failed < l->n) {
        *e = l->err;
        return e->code;
    }
    crypto_hash_sha256_state h;
    crypto_hash_sha256_init(&h);
    crypto_hash_sha256_update(&h, l->m->fingerprint, sizeof l->m->fingerprint);
    for (size_t i = 0; i < l->n; i++)
        crypto_hash_sha256_update(&h, l->pieces[i].digest, DIGEST);
    crypto_hash_sha256_final(&h, l->m->fingerprint);
    progress_stage(l->m->progress, "preparing the device", 0);
    return l->d->backend->ready(l->d, e);
}

int model_load(struct model *m, struct device *d, const struct capacity *c, struct err *e)
{
    int64_t widest = 0;
    for (int32_t i = 0; i < m->plan.n_weights; i++)
        widest = MAX(widest, m->plan.weights[i].cols);
    struct load l = {.m = m, .d = d};
    l.staging = MAX(PIECE_BYTES, (size_t)widest * sizeof(float));
    pthread_mutex_init(&l.lock, NULL);
    pthread_mutex_init(&l.put, NULL);
    pthread_mutex_init(&l.whole, NULL);
    progress_stage(m->progress, "preparing the device", 0);
    if (plan_layout(&m->plan, c) < 0)
        err_set(e, E_NOMEM, "no memory to lay out %d activations", m->plan.n_acts);
    else if (plan_validate(&m->plan, d->backend->limits(d), c, e) == 0 &&
             d->backend->load(d, &m->plan, c, e) == 0)
        (void)!put_weights(&l, e); /* e tells */
    mem_free(l.pieces);
    pthread_mutex_destroy(&l.lock);
    pthread_mutex_destroy(&l.put);
    pthread_mutex_destroy(&l.whole);
    model_close_files(m);
    return e->code ? err_wrap(e, "model %s", m->name) : 0;
}
