/* The hash of n-gram tables: odd multipliers from a counter, prime moduli. Thread: loading. */
#include "kernels/ngram.h"
#include "models/build/build_int.h"

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) of a state. */
static uint64_t mixed(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

#define INDEX_STEP 10007 /* between the seeds of two tables */

/* Odd, and so small that a token id times one stays below 2^63. */
static int64_t multiplier(const struct ngram_args *a, int i)
{
    uint64_t seed = (uint64_t)a->seed + INDEX_STEP * (uint64_t)a->index;
    uint64_t half = MAX((uint64_t)INT64_MAX / (uint64_t)MAX(a->vocab, 1) / 2, UINT64_C(1));
    uint64_t state = seed + UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1);
    return (int64_t)(2 * (mixed(state) % half) + 1);
}

static bool is_prime(int64_t n)
{
    for (int64_t d = 3; d * d <= n; d += 2)
        if (n % d == 0)
            return false;
    return n == 2 || (n > 2 && n % 2 == 1);
}

static int64_t prime_after(int64_t n)
{
    while (!is_prime(++n))
        ;
    return n;
}

/* Rows in all; -1 when they are too many. */
static int64_t fill_hash(struct ngram *g, struct ngram_args *a)
{
    int64_t rows = 0;
    a->prime = a->prime ? a->prime : a->base - 1;
    for (int s = 0; s < g->size; s++)
        g->multiplier[s] = multiplier(a, s);
    for (int j = 0; j < g->heads; j++) {
        a->prime = prime_after(a->prime);
        g->modulus[j] = (int32_t)a->prime;
        g->first[j] = (int32_t)rows;
        if ((rows += a->prime) > LIMIT_MATRIX_ROWS)
            return -1;
    }
    return rows;
}

/* The file's own copy of the numbers, if it has one. */
static void same_numbers(struct build *b, const char *name, const int64_t *want, int64_t n)
{
    const char *full = build_name(b, name, "");
    struct tensor *t = b->ck ? checkpoint_find(b->ck, full) : NULL;
    int64_t has[LIMIT_NGRAM_HEADS];
    if (!t || b_failed(b))
        return;
    t->used = true;
    if (!b_require(b, t->elems == n, "tensor %s has %lld elements, the config makes %lld", full,
                   (long long)t->elems, (long long)n) ||
        checkpoint_read_int(b->ck, t, 0, n, has, b->err) < 0)
        return;
    for (int64_t i = 0; i < n; i++)
        if (has[i] != want[i]) {
            b_fail(b, E_UNSUPPORTED, "tensor %s: element %lld is %lld, the config makes %lld", full,
                   (long long)i, (long long)has[i], (long long)want[i]);
            return;
        }
}

static void check_numbers(struct build *b, const struct ngram *g)
{
    int64_t moduli[LIMIT_NGRAM_HEADS], firsts[LIMIT_NGRAM_HEADS];
    for (int j = 0; j < g->heads; j++) {
        moduli[j] = g->modulus[j];
        firsts[j] = g->first[j];
    }
    same_numbers(b, "layer_multipliers", g->multiplier, g->size);
    same_numbers(b, "ngram_heads_vocab_sizes", moduli, g->heads);
    same_numbers(b, "ngram_heads_offsets", firsts, g->heads);
}

static int table(struct build *b, const struct ngram_args *a, int64_t rows)
{
    char name[64] = "ngram_embedding.weight";
    if (!b->ck || b_has(b, name, true)) {
        int w = w_matrix(b, name, rows, a->width);
        w_rows(b, w, name, rows, 0, rows, 0, false);
        return w;
    }
    int w = w_matrix(b, "ngram_embedding.shard_0.weight", rows, a->width);
    int64_t at = 0;
    for (int i = 0; i < a->shards && !b_failed(b); i++) {
        snprintf(name, sizeof name, "ngram_embedding.shard_%d.weight", i);
        int64_t n = b_rows(b, name, 0);
        w_rows(b, w, name, n, 0, n, at, false);
        at += n;
    }
    if (!b_failed(b))
        b_require(b, at == rows, "%d shards of n-grams hold %lld rows, the config makes %lld",
                  a->shards, (long long)at, (long long)rows);
    return w;
}

static bool sizes_fit(struct build *b, const struct ngram_args *a)
{
    return !b_failed(b) &&
           b_require(b, a->size >= 2 && a->size <= LIMIT_NGRAM, "ngram_size %d, 2 to %d", a->size,
                     LIMIT_NGRAM) &&
           b_require(b, a->heads >= 1 && a->heads <= LIMIT_NGRAM_HEADS / (a->size - 1),
                     "%d heads for each of %d kinds of n-grams, at most %d in all", a->heads,
                     a->size - 1, LIMIT_NGRAM_HEADS) &&
           b_require(b, a->eos >= 0 && a->eos < a->vocab,
                     "n-grams end at eos_token_id %d, which must be 0 to %d", a->eos,
                     a->vocab - 1) &&
           b_require(b, a->divisor >= 1, "n-gram tables of a multiple of %d rows", a->divisor);
}

val b_ngram(struct build *b, struct ngram_args *a)
{
    if (!sizes_fit(b, a))
        return VIEW_NONE;
    struct ngram *g = arena_alloc(&b->m->arena, sizeof *g);
    if (!g) {
        b_fail(b, E_NOMEM, "no memory for a hash of n-grams");
        return VIEW_NONE;
    }
    *g = (struct ngram){.size = a->size, .heads = (a->size - 1) * a->heads, .eos = a->eos};
    int64_t rows = fill_hash(g, a);
    if (!b_require(b, rows >= 0, "n-gram tables from %lld rows on for each of %d heads: %d rows at "
                   "most", (long long)a->base, g->heads, LIMIT_MATRIX_ROWS))
        return VIEW_NONE;
    check_numbers(b, g);
    val out = build_act(b, ROWS_TOKENS, g->heads * a->width);
    struct op *op = build_op(b, OP_NGRAM, out);
    op->w[NGRAM_table] = table(b, a, (rows + a->divisor - 1) / a->divisor * a->divisor);
    op->p.ngram = g;
    op->section = build_section(b, "tokens", SECTION_FIXED, (int64_t)g->heads * (g->size - 1));
    return out;
}
