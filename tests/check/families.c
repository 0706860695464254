/* See families.h. Inputs keep to ranges in which sums of floats and of doubles stay close: angles
 * below a turn, decays below 1, matrices that can be solved. */
#include "tests/check/families.h"

#define LEVELS 10 /* of fenwick: positions below 512, and no rig has longer sequences */

static struct view in_of(struct rig *r, int width, enum role role)
{
    return rig_act(r, width, ROWS_TOKENS, role);
}

/* q, k and v of one head size, and what comes out. */
static void heads_of(struct rig *r, int heads, int K, int V)
{
    r->op.in[0] = in_of(r, heads * K, ROLE_UNIT);
    r->op.in[1] = in_of(r, heads * K, ROLE_UNIT);
    r->op.in[2] = in_of(r, heads * V, ROLE_ANY);
    r->op.out = in_of(r, heads * V, ROLE_OUT);
}

/* Token ids are below 37 (ops.c): one in some 37 parts the n-grams before it. */
void build_ngram(struct rig *r, const int *p)
{
    struct ngram *g = &r->ngram;
    int64_t rows = 0;
    g->size = p[1];
    g->heads = p[2] * (p[1] - 1);
    g->eos = 5;
    for (int s = 0; s < g->size; s++)
        g->multiplier[s] = (int64_t)(rng_below(&r->rng, UINT64_C(1) << 57)) * 2 + 1;
    for (int j = 0; j < g->heads; j++) {
        g->modulus[j] = 23 + 2 * j;
        g->first[j] = (int32_t)rows;
        rows += g->modulus[j];
    }
    r->op.p.ngram = g;
    r->op.w[0] = rig_matrix(r, (int)rows + 3, p[3], (enum dtype)p[4]);
    r->op.out = in_of(r, g->heads * p[3], ROLE_OUT);
    rig_section(r, SECTION_FIXED, (int64_t)g->heads * (g->size - 1));
}

void build_fenwick(struct rig *r, const int *p)
{
    int heads = p[1], K = p[2], V = p[3];
    heads_of(r, heads, K, V);
    r->op.in[0].width = r->op.in[1].width = K; /* shared by the heads */
    r->op.p.fenwick.heads = heads;
    r->op.p.fenwick.K = K;
    r->op.p.fenwick.V = V;
    r->op.p.fenwick.levels = LEVELS;
    r->op.in[3] = in_of(r, heads, ROLE_DECAY);
    r->op.in[4] = in_of(r, heads * LEVELS, ROLE_UNIT);
    rig_section(r, SECTION_FIXED, (int64_t)(LEVELS - 1) * heads * K * V);
}

void build_mesa(struct rig *r, const int *p)
{
    int heads = p[1], K = p[2], V = p[3];
    heads_of(r, heads, K, V);
    r->op.p.mesa.heads = heads;
    r->op.p.mesa.K = K;
    r->op.p.mesa.V = V;
    r->op.p.mesa.bound = (float)K; /* more than a row of the random state sums up to */
    r->op.in[3] = in_of(r, heads, ROLE_DECAY);
    r->op.in[4] = in_of(r, heads, ROLE_DECAY);
    r->op.w[0] = rig_vector(r, heads * K, ROLE_DECAY);
    rig_section(r, SECTION_FIXED, (int64_t)heads * K * (K + V));
}

void build_trapezoid(struct rig *r, const int *p)
{
    int heads = p[1], K = p[2], V = p[3];
    heads_of(r, heads, K, V);
    r->op.p.trapezoid.heads = heads;
    r->op.p.trapezoid.K = K;
    r->op.p.trapezoid.V = V;
    for (int i = 3; i < 6; i++)
        r->op.in[i] = in_of(r, heads, ROLE_DECAY);
    rig_section(r, SECTION_FIXED, (int64_t)heads * (K * V + K + V));
}

void build_rotate(struct rig *r, const int *p)
{
    r->op.p.rotate.heads = p[1];
    r->op.p.rotate.head = p[2];
    r->op.p.rotate.angles = p[3];
    r->op.p.rotate.parts = p[4];
    r->op.in[0] = r->op.out = in_of(r, p[4] * p[1] * p[2], ROLE_ANY);
    r->op.in[1] = in_of(r, p[1] * p[3], ROLE_DECAY);
    rig_section(r, SECTION_FIXED, (int64_t)p[1] * p[3]);
}

/* What attention's relatives share: q, k and v, and `outs` results of all heads. */
static void relative(struct rig *r, const int *p, int outs)
{
    int heads = p[1], kv = p[2], dk = p[3], dv = p[4];
    r->op.p.attention.heads = heads;
    r->op.p.attention.kv_heads = r->op.p.attention.v_heads = kv;
    r->op.p.attention.dk = dk;
    r->op.p.attention.dv = dv;
    r->op.p.attention.scale = 0.25f;
    r->op.in[0] = in_of(r, heads * dk, ROLE_ANY);
    r->op.in[1] = in_of(r, kv * dk, ROLE_ANY);
    r->op.in[2] = in_of(r, kv * dv, ROLE_ANY);
    r->op.out = in_of(r, outs * heads * dv, ROLE_OUT);
}

/* The section of cached rows: pages, or a ring of `ring` rows. */
static void keep_rows(struct rig *r, int ring)
{
    int64_t row = 0;
    for (int i = 1; i < 6; i++)
        row += r->op.in[i].width;
    rig_section(r, ring ? SECTION_FIXED : SECTION_PAGED, ring ? row * ring : row);
}

void build_path(struct rig *r, const int *p)
{
    relative(r, p, 1);
    r->op.in[3] = in_of(r, p[2] * p[3], ROLE_UNIT);
    r->op.in[4] = in_of(r, p[2], ROLE_DECAY);
    if (p[5])
        r->op.in[5] = in_of(r, p[1], ROLE_DECAY);
    keep_rows(r, 0);
}

void build_wall(struct rig *r, const int *p)
{
    relative(r, p, 1);
    r->op.in[3] = in_of(r, p[1] * p[3], ROLE_DECAY);
    if (p[5])
        r->op.in[4] = in_of(r, p[1], ROLE_DECAY);
    keep_rows(r, 0);
}

void build_parallax(struct rig *r, const int *p)
{
    relative(r, p, 1);
    r->op.in[0] = in_of(r, 2 * p[1] * p[3], ROLE_UNIT); /* q, then r */
    r->op.in[1] = in_of(r, p[2] * p[3], ROLE_UNIT);     /* <r, k> is taken from itself */
    r->op.p.attention.window = p[5];
    keep_rows(r, p[5]);
}

void build_deltaformer(struct rig *r, const int *p)
{
    int heads = p[1], dk = p[3], dv = p[4];
    relative(r, p, 2);
    r->op.in[0] = in_of(r, heads * (dk + dv + 1), ROLE_UNIT); /* q, v, beta */
    r->roles[r->op.in[1].act] = ROLE_UNIT; /* errors of u add up */
    r->op.in[2] = (struct view){r->op.out.act, r->op.out.col + heads * dv, heads * dv};
    keep_rows(r, 0);
}

void build_nsa(struct rig *r, const int *p)
{
    relative(r, p, 3);
    r->op.p.attention.window = p[5];
    r->op.p.attention.block = p[6];
    r->op.p.attention.count = p[7];
    keep_rows(r, 0);
}

void build_moba(struct rig *r, const int *p)
{
    relative(r, p, 1);
    r->op.p.attention.block = p[5];
    r->op.p.attention.count = p[6];
    keep_rows(r, 0);
}

void build_indexer(struct rig *r, const int *p)
{
    int heads = p[1], dk = p[2];
    r->op.p.attention.heads = heads;
    r->op.p.attention.kv_heads = r->op.p.attention.v_heads = r->op.p.attention.dv = 1;
    r->op.p.attention.dk = dk;
    r->op.p.attention.block = p[3];
    r->op.p.attention.count = p[4];
    r->op.p.attention.scale = 0.25f;
    r->op.in[0] = in_of(r, heads * dk, ROLE_ANY);
    r->op.in[1] = in_of(r, dk, ROLE_ANY);
    if (p[5])
        r->op.in[6] = in_of(r, heads, ROLE_UNIT);
    r->op.out = in_of(r, p[4], ROLE_OUT);
    keep_rows(r, 0);
}

void build_indexed(struct rig *r, const int *p)
{
    relative(r, p, 1);
    r->op.p.attention.block = p[5];
    r->op.p.attention.count = p[6];
    if (p[7]) /* keys are values */
        r->op.in[2] = VIEW_NONE;
    r->index_limit = 160 / p[5]; /* some are not complete yet at the first positions */
    r->op.in[6] = in_of(r, p[6], ROLE_INDEX);
    keep_rows(r, 0);
}

void build_pool(struct rig *r, const int *p)
{
    r->op.p.pool.block = p[2];
    r->op.in[0] = in_of(r, p[1], ROLE_ANY);
    if (p[3])
        r->op.in[1] = in_of(r, p[1], ROLE_ANY);
    if (p[3] == 2)
        r->op.w[0] = rig_vector(r, p[1] * p[2], ROLE_UNIT);
    r->op.out = in_of(r, p[1], ROLE_OUT);
    rig_section(r, SECTION_FIXED, (int64_t)p[1] * (p[3] ? 3 : 1));
}

void build_sinkhorn(struct rig *r, const int *p)
{
    r->op.p.sinkhorn.n = p[2];
    r->op.p.sinkhorn.iters = p[3];
    r->op.p.sinkhorn.eps = 1e-6f;
    r->op.in[0] = in_of(r, p[1] * p[2] * p[2], ROLE_ANY);
    r->op.out = in_of(r, p[1] * p[2] * p[2], ROLE_OUT);
}

const struct shape ngram_shapes[6] = {
    {{0, 2, 1, 1, 0}}, {{2, 3, 8, 17, 2}}, {{5, 4, 2, 33, 1}}, {{4, 3, 1, 512, DTYPE_Q8_0}},
    {{3, 8, 2, 5, 0}}, {{1, 3, 2, 96, DTYPE_FP8}},
};
const struct shape state_shapes[4] = {
    {{0, 1, 2, 1}}, {{2, 2, 7, 5}}, {{5, 3, 16, 33}}, {{3, 2, 40, 100}},
};
const struct shape rotate_shapes[3] = {{{0, 1, 2, 1, 1}}, {{2, 3, 8, 3, 2}}, {{5, 4, 32, 16, 1}}};
const struct shape kept_shapes[5] = {
    {{0, 1, 1, 1, 1, 0}}, {{2, 2, 1, 5, 7, 3}}, {{1, 2, 2, 16, 16, 0}}, {{5, 4, 2, 16, 24, 20}},
    {{3, 18, 2, 48, 70, 0}},
};
const struct shape nsa_shapes[4] = {
    {{0, 1, 1, 1, 1, 1, 1, 1}}, {{2, 4, 2, 5, 7, 6, 4, 2}}, {{5, 4, 1, 16, 24, 0, 16, 3}},
    {{3, 20, 1, 40, 64, 70, 2, 9}},
};
const struct shape moba_shapes[4] = {
    {{0, 1, 1, 1, 1, 1, 1}}, {{2, 2, 1, 5, 7, 4, 2}}, {{5, 4, 2, 16, 24, 16, 3}},
    {{3, 12, 2, 40, 64, 4, 5}},
};
const struct shape indexer_shapes[5] = {
    {{0, 1, 1, 1, 1, 0}}, {{2, 2, 5, 4, 2, 1}}, {{5, 4, 16, 16, 3, 1}}, {{3, 32, 40, 2, 9, 1}},
    {{6, 20, 128, 4, 30, 0}},
};
const struct shape indexed_shapes[6] = {
    {{0, 1, 1, 1, 1, 1, 1, 0}}, {{2, 4, 2, 5, 7, 4, 2, 0}}, {{5, 4, 1, 24, 16, 16, 3, 1}},
    {{3, 20, 1, 40, 64, 2, 9, 0}}, {{6, 3, 3, 130, 70, 4, 30, 0}}, {{4, 8, 1, 48, 48, 7, 4, 1}},
};
const struct shape pool_shapes[5] = {
    {{0, 1, 1, 0}}, {{2, 7, 4, 1}}, {{5, 33, 16, 2}}, {{3, 128, 4, 0}}, {{6, 20, 3, 2}},
};
const struct shape sinkhorn_shapes[4] = {
    {{0, 1, 1, 1}}, {{2, 1, 4, 20}}, {{5, 3, 3, 2}}, {{1, 2, 7, 5}},
};
