/* The first half of ATTENTION: products of the keys of a block with the queries. The keys are
 * turned once, so that a lane is a key and a score one chain over the head's columns, and then meet
 * every row and head of the work item. */
#include "kernels/cpu/impl/keys.h"

#define VECS (BLOCK / LANES)
#define PAIRS 64   /* (row, head) of an item at most: 16 KiB of scores */
#define ROWS_MAX 16
#define COLUMNS 64 /* columns of the keys turned at a time: 16 KiB */

/* Rows [row, row + rows) of sequence q, the first at position pos; query heads [h0, h1). */
struct item {
    int32_t q, row;
    int rows, h0, h1;
    int64_t pos;
    float max[PAIRS], total[PAIRS];
    _Alignas(64) float scores[PAIRS][BLOCK];
    _Alignas(64) float turned[COLUMNS][BLOCK];
};

/* Columns [c0, c0 + n) of the keys of one head, a key to a lane; zero where there is no key. */
static void turn(struct item *a, const struct keys *x, int64_t head_col, int n)
{
    static const float none[COLUMNS];
    for (int i = 0; i < BLOCK; i += 4) {
        const float *k[4];
        for (int j = 0; j < 4; j++)
            k[j] = i + j >= x->lo && i + j < x->hi ? x->k[i + j] + head_col : none;
        int c = 0;
        for (; c + 4 <= n; c += 4)
            turn_4x4((const float *const[4]){k[0] + c, k[1] + c, k[2] + c, k[3] + c},
                     a->turned[c] + i, BLOCK);
        for (; c < n; c++)
            for (int j = 0; j < 4; j++)
                a->turned[c][i + j] = k[j][c];
    }
}

/* Carries the chains of T pairs on over n turned columns, the query's from c on: one pair alone
 * would wait for its own sums. */
#define TOGETHER (V16_REGS == 32 ? 4 : 1)
INLINE void add_scores(float (*scores)[BLOCK], float (*const turned)[BLOCK],
                       const float *const *query, int c, int n, int T)
{
    v16 y[TOGETHER][VECS];
    UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int j = 0; j < VECS; j++)
            y[t][j] = v16_load(scores[t] + j * LANES);
    for (int i = 0; i < n; i++) {
        v16 k[VECS];
        UNROLL for (int j = 0; j < VECS; j++)
            k[j] = v16_load(turned[i] + j * LANES);
        UNROLL for (int t = 0; t < T; t++) {
            v16 q = v16_set1(query[t][c + i]);
            UNROLL for (int j = 0; j < VECS; j++)
                y[t][j] = v16_fma(q, k[j], y[t][j]);
        }
    }
    UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int j = 0; j < VECS; j++)
            v16_store(scores[t] + j * LANES, y[t][j]);
}

/* scores = <query, key> of all pairs of the item. */
static void score_block(const struct host_step *s, const struct op *op, struct item *a,
                        const struct keys *x)
{
    int dk = op->p.attention.dk, heads = a->h1 - a->h0, pairs = a->rows * heads;
    int64_t hk = a->h0 / (op->p.attention.heads / op->p.attention.kv_heads);
    const float *query[PAIRS];
    for (int i = 0; i < pairs; i++)
        query[i] = host_row(s, op->in[0], a->row + i / heads) + (int64_t)(a->h0 + i % heads) * dk;
    memset(a->scores, 0, (size_t)pairs * sizeof a->scores[0]);
    for (int c = 0; c < dk; c += COLUMNS) {
        int n = MIN(dk - c, COLUMNS), i = 0;
        turn(a, x, hk * dk + c, n);
        for (; i + TOGETHER <= pairs; i += TOGETHER)
            add_scores(a->scores + i, a->turned, query + i, c, n, TOGETHER);
        for (; i < pairs; i++)
            add_scores(a->scores + i, a->turned, query + i, c, n, 1);
    }
}
