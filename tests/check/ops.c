/* Shapes: 1, one less and one more than a tile, primes, and real models' sizes. */
#include "tests/check/ops.h"

#include "tests/check/families.h"

#include <stdlib.h>
#include <string.h>

#define VOCAB 37

static struct view out_of(struct rig *r, int width)
{
    return rig_act(r, width, ROWS_TOKENS, ROLE_OUT);
}
static struct view in_of(struct rig *r, int width, enum role role)
{
    return rig_act(r, width, ROWS_TOKENS, role);
}

static void build_embed(struct rig *r, const int *p)
{
    r->op.w[0] = rig_matrix(r, VOCAB, p[1], (enum dtype)p[2]);
    r->op.out = out_of(r, p[1]);
    r->op.p.embed.scale = 1.25f;
}

static void build_gather(struct rig *r, const int *p)
{
    r->op.rows = ROWS_LOGITS;
    r->op.in[0] = in_of(r, p[1], ROLE_ANY);
    r->op.out = rig_act(r, p[1], ROWS_LOGITS, ROLE_OUT);
}

static void build_linear(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[2], ROLE_ANY);
    r->op.w[0] = rig_matrix(r, p[1], p[2], (enum dtype)p[3]);
    if (p[4])
        r->op.w[1] = rig_vector(r, p[1], ROLE_ANY);
    r->op.p.linear.act = (enum activation)p[5];
    r->op.out = p[6] == 2 ? in_of(r, p[1], ROLE_ANY) : out_of(r, p[1]);
    if (p[6])
        r->op.in[1] = p[6] == 2 ? r->op.out : in_of(r, p[1], ROLE_ANY);
}

static void build_norm(struct rig *r, const int *p)
{
    int width = p[2] * p[3];
    r->op.p.norm.kind = (enum norm_kind)p[1];
    r->op.p.norm.group = p[3];
    r->op.p.norm.eps = 1e-5f;
    r->op.p.norm.scale = p[4] ? 1 : 0.5f;
    r->op.in[0] = in_of(r, width, p[1] == NORM_SUM ? ROLE_DECAY : ROLE_ANY);
    if (p[4])
        r->op.w[0] = rig_vector(r, p[4] == 1 ? p[3] : width, ROLE_ANY);
    if (p[5])
        r->op.w[1] = rig_vector(r, p[5] == 1 ? p[3] : width, ROLE_ANY);
    if (p[6]) {
        r->op.in[1] = in_of(r, width, ROLE_ANY);
        r->op.p.norm.gate_first = p[6] == 2;
        r->op.p.norm.gate_act = (enum activation)p[7];
    }
    r->op.out = p[8] ? r->op.in[0] : out_of(r, width);
}

static void build_groupsum(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[1] * p[2], ROLE_ANY);
    r->op.out = out_of(r, p[1]);
    r->op.p.groupsum.group = p[2];
    r->op.p.groupsum.scale = 0.7f;
}
static void build_softmax(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[1] * p[2], ROLE_ANY);
    r->op.out = out_of(r, p[1] * p[2]);
    r->op.p.softmax.group = p[2];
    r->op.p.softmax.scale = 1.5f;
}

static void build_rope(struct rig *r, const int *p)
{
    r->op.in[0] = r->op.out = in_of(r, p[1] * p[2], ROLE_ANY);
    r->op.p.rope.head = p[2];
    r->op.p.rope.rot = p[3];
    r->op.p.rope.interleaved = p[4];
    r->op.p.rope.back = p[5];
    r->op.p.rope.scale = 1.1f;
    r->op.w[0] = rig_vector(r, p[3] / 2, ROLE_DECAY);
}

static void build_conv(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[1], ROLE_ANY);
    r->op.out = p[6] ? r->op.in[0] : out_of(r, p[1]);
    if (p[5])
        r->op.in[1] = in_of(r, 1, ROLE_FLAG);
    r->op.p.conv.size = p[2];
    r->op.p.conv.act = (enum activation)p[3];
    r->op.w[0] = rig_vector(r, p[1] * p[2], ROLE_UNIT);
    if (p[4])
        r->op.w[1] = rig_vector(r, p[1], ROLE_ANY);
    if (p[2] > 1)
        rig_section(r, SECTION_FIXED, (int64_t)(p[2] - 1) * p[1]);
}

static void build_rnn(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[1], ROLE_DECAY);
    r->op.in[1] = in_of(r, p[1], ROLE_ANY);
    r->op.out = out_of(r, p[1]);
    rig_section(r, SECTION_FIXED, p[1]);
}
static void build_square(struct rig *r, const int *p)
{
    r->op.p.square.heads = p[1];
    r->op.p.square.kv_heads = p[2];
    r->op.p.square.d = p[3];
    r->op.p.square.V = p[4];
    r->op.p.square.eps = 1e-3f;
    r->op.in[0] = in_of(r, p[1] * p[3], ROLE_UNIT);
    r->op.in[1] = in_of(r, p[2] * p[3], ROLE_UNIT);
    r->op.in[2] = in_of(r, p[2] * p[4], ROLE_ANY);
    r->op.out = out_of(r, p[1] * p[4]);
    rig_section(r, SECTION_FIXED, (int64_t)p[2] * p[3] * (p[3] + 1) * (p[4] + 1));
}
static void build_logsum(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[1], ROLE_ANY);
    r->op.out = out_of(r, 2 * p[1]);
    rig_section(r, SECTION_FIXED, p[1]);
}

static void build_wkv(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[1], ROLE_UNIT);
    r->op.in[1] = in_of(r, p[1], ROLE_ANY);
    r->op.w[0] = rig_vector(r, p[1], ROLE_DECAY);
    for (int i = 0; i < p[1]; i++) /* exponents fall with age */
        ((float *)r->packed[r->op.w[0]].data)[i] *= -2;
    r->op.w[1] = rig_vector(r, p[1], ROLE_UNIT);
    r->op.out = out_of(r, p[1]);
    rig_section(r, SECTION_FIXED, 3 * (int64_t)p[1]);
}

static void build_scan(struct rig *r, const int *p)
{
    int width = p[1], N = p[2];
    r->op.p.scan.N = N;
    r->op.in[0] = in_of(r, width, ROLE_ANY);
    r->op.in[1] = in_of(r, width, ROLE_DECAY);
    r->op.in[2] = in_of(r, N, ROLE_UNIT);
    r->op.in[3] = in_of(r, N, ROLE_UNIT);
    r->op.w[0] = rig_vector(r, width * N, ROLE_DECAY);
    for (int i = 0; i < width * N; i++) /* decays: exp of something negative */
        ((float *)r->packed[r->op.w[0]].data)[i] *= -4;
    if (p[3])
        r->op.w[1] = rig_vector(r, width, ROLE_ANY);
    r->op.out = out_of(r, width);
    rig_section(r, SECTION_FIXED, (int64_t)width * N);
}

static void build_topk(struct rig *r, const int *p)
{
    r->op.p.topk.n = p[2];
    r->op.p.topk.k = p[3];
    r->op.p.topk.n_groups = p[4];
    r->op.p.topk.topk_groups = p[5];
    r->op.p.topk.norm = p[6];
    r->op.p.topk.dense = p[7];
    r->op.p.topk.none = p[8];
    r->op.p.topk.eps = 1e-20f;
    r->op.p.topk.scale = 2.5f;
    r->op.in[0] = in_of(r, p[1] * p[2], ROLE_DECAY);
    r->op.w[0] = rig_vector(r, p[1] * p[2], ROLE_UNIT);
    r->op.out = out_of(r, p[1] * (p[7] ? p[2] : 2 * p[3]));
}

static void build_experts(struct rig *r, const int *p)
{
    int k = p[4];
    r->op.p.experts.k = k;
    r->op.p.experts.rows = p[2];
    r->op.p.experts.per_slot = p[5];
    r->op.w[0] = rig_matrix(r, p[1] * p[2], p[3], (enum dtype)p[6]);
    r->op.in[0] = in_of(r, p[3] * (p[5] ? k : 1), ROLE_ANY);
    r->op.in[1] = in_of(r, 2 * k, ROLE_INDEX);
    r->index_limit = p[1];
    r->op.out = out_of(r, k * p[2]);
}

static void build_blocks(struct rig *r, const int *p)
{
    r->op.p.blocks.blocks = p[1];
    r->op.p.blocks.shared = p[4];
    r->op.w[0] = rig_matrix(r, p[2] * (p[4] ? 1 : p[1]), p[3], (enum dtype)p[6]);
    if (p[5])
        r->op.w[1] = rig_vector(r, p[2] * (p[4] ? 1 : p[1]), ROLE_ANY);
    r->op.in[0] = in_of(r, p[1] * p[3], ROLE_ANY);
    r->op.out = out_of(r, p[1] * p[2]);
}

static void build_columns(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[1], ROLE_ANY);
    r->index_limit = p[1];
    r->op.w[0] = rig_vector(r, p[2], ROLE_INDEX);
    r->op.out = out_of(r, p[2]);
}
static void build_first(struct rig *r, const int *p)
{
    (void)p;
    r->op.out = out_of(r, 1);
}

static void build_shift(struct rig *r, const int *p)
{
    r->op.in[0] = in_of(r, p[1], ROLE_ANY);
    r->op.out = p[2] ? r->op.in[0] : out_of(r, p[1]);
    rig_section(r, SECTION_FIXED, p[1]);
}

/* layout q_heads k_heads v_heads d_heads state_heads K V mode bonus state (of enum dtype) */
static void build_decay(struct rig *r, const int *p)
{
    int K = p[6], V = p[7], mode = p[8];
    r->op.p.decay.q_heads = p[1];
    r->op.p.decay.k_heads = p[2];
    r->op.p.decay.v_heads = p[3];
    r->op.p.decay.d_heads = p[4];
    r->op.p.decay.state_heads = p[5];
    r->op.p.decay.K = K;
    r->op.p.decay.V = V;
    r->op.p.decay.decay = (enum decay_mode)mode;
    r->op.p.decay.scale = 0.9f;
    r->op.in[0] = in_of(r, p[1] * K, ROLE_UNIT);
    r->op.in[1] = in_of(r, p[2] * K, ROLE_UNIT);
    r->op.in[2] = in_of(r, p[3] * V, ROLE_ANY);
    int d = mode == DECAY_SCALAR ? 1 : mode == DECAY_KEY ? K : mode == DECAY_VALUE ? V : 0;
    if (d)
        r->op.in[3] = in_of(r, p[4] * d, ROLE_DECAY);
    if (p[9])
        r->op.w[0] = rig_vector(r, p[5] * K, ROLE_UNIT);
    if (mode == DECAY_CONST)
        r->op.w[1] = rig_vector(r, p[5], ROLE_DECAY);
    r->op.out = out_of(r, MAX(p[1], p[5]) * V);
    rig_state(r, (int64_t)p[5] * K * V, (enum dtype)p[10]);
}

/* layout k_heads d_heads state_heads K V steps mode dplr decay_first extras state
 * extras: 1 = a given (delta form), 2 = beta absent; state: of enum dtype */
static void build_delta(struct rig *r, const int *p)
{
    int K = p[4], V = p[5], steps = p[6], mode = p[7];
    r->op.p.delta.k_heads = p[1];
    r->op.p.delta.d_heads = p[2];
    r->op.p.delta.state_heads = p[3];
    r->op.p.delta.K = K;
    r->op.p.delta.V = V;
    r->op.p.delta.steps = steps;
    r->op.p.delta.decay = (enum decay_mode)mode;
    r->op.p.delta.dplr = p[8];
    r->op.p.delta.decay_first = p[9];
    r->op.p.delta.scale = 0.8f;
    r->op.in[0] = in_of(r, p[1] * K, ROLE_UNIT);
    r->op.in[1] = in_of(r, steps * p[1] * K, ROLE_UNIT);
    r->op.in[2] = in_of(r, steps * p[3] * V, ROLE_ANY);
    if (mode == DECAY_SCALAR || mode == DECAY_KEY)
        r->op.in[3] = in_of(r, p[2] * (mode == DECAY_KEY ? K : 1), ROLE_DECAY);
    if (p[8] || p[10] & 1)
        r->op.in[4] = in_of(r, steps * p[1] * K, ROLE_UNIT);
    if (p[8])
        r->op.in[5] = in_of(r, p[1] * K, ROLE_UNIT);
    else if (!(p[10] & 2))
        r->op.in[5] = in_of(r, steps * p[3], ROLE_DECAY);
    r->op.out = out_of(r, p[3] * V);
    rig_state(r, (int64_t)p[3] * K * V, (enum dtype)p[11]);
}

static void build_attention(struct rig *r, const int *p)
{
    r->op.p.attention.heads = p[1];
    r->op.p.attention.kv_heads = r->op.p.attention.v_heads = p[2];
    r->op.p.attention.dk = p[3];
    r->op.p.attention.dv = p[4];
    r->op.p.attention.window = p[5];
    r->op.p.attention.scale = 0.25f;
    r->op.in[0] = in_of(r, p[1] * p[3], ROLE_ANY);
    r->op.in[1] = in_of(r, p[2] * p[3], ROLE_ANY);
    r->op.in[2] = in_of(r, p[2] * p[4], ROLE_ANY);
    r->op.out = out_of(r, p[1] * p[4]);
    int64_t row = (int64_t)p[2] * (p[3] + p[4]);
    rig_section(r, p[5] ? SECTION_FIXED : SECTION_PAGED, p[5] ? row * p[5] : row);
}
/* Forget sums in[3], values that are the keys' first columns, fewer value heads. */
static void build_attention_extras(struct rig *r, const int *p)
{
    build_attention(r, p);
    int64_t row = r->op.in[1].width;
    if (p[7])
        r->op.in[2] = VIEW_NONE; /* dv <= dk, v_heads = kv_heads */
    else
        row += r->op.in[2].width;
    if (p[6]) {
        r->op.in[3] = in_of(r, p[1], ROLE_ANY);
        row += p[1];
    }
    rig_section(r, p[5] ? SECTION_FIXED : SECTION_PAGED, p[5] ? row * p[5] : row);
}

static void build_keep(struct rig *r, const int *p)
{
    build_attention_extras(r, p);
    r->op.in[0] = VIEW_NONE;
    r->op.out = VIEW_NONE;
}

static const struct shape embed_shapes[] = {
    {{0, 1, 0}}, {{1, 15, 1}}, {{2, 17, 2}}, {{1, 64, 2}}, {{4, 1023, 2}}, {{3, 96, 0}},
#define EMBED_OF(ID) {{2, 512, DTYPE_##ID}},
    EMBED_OF(Q8_0) EMBED_OF(Q4_0) EMBED_OF(Q4_1) EMBED_OF(Q5_0) EMBED_OF(Q5_1) EMBED_OF(Q2_K)
    EMBED_OF(Q3_K) EMBED_OF(Q4_K) EMBED_OF(Q5_K) EMBED_OF(Q6_K) EMBED_OF(IQ4_NL) EMBED_OF(IQ4_XS)
    EMBED_OF(MXFP4) EMBED_OF(FP8)
#undef EMBED_OF
};
static const struct shape gather_shapes[] = {{{0, 1}}, {{2, 17}}, {{5, 768}}};
static const struct shape linear_shapes[] = {
    /* layout rows cols dtype bias act residual */
    {{0, 1, 1, 2, 0, 0, 0}},    {{0, 16, 1, 2, 1, 0, 0}},    {{0, 15, 2, 2, 0, 0, 1}},
    {{0, 17, 3, 2, 1, 1, 2}},   {{0, 64, 127, 2, 0, 0, 0}},  {{0, 1023, 129, 2, 1, 0, 0}},
    {{0, 512, 768, 2, 0, 2, 0}}, {{0, 113, 64, 1, 0, 0, 1}}, {{0, 112, 65, 0, 1, 3, 0}},
    {{1, 65, 33, 2, 1, 4, 2}},  {{1, 200, 97, 1, 0, 5, 0}},  {{1, 48, 130, 0, 0, 6, 0}},
    {{2, 80, 31, 2, 1, 7, 1}},  {{3, 96, 256, 2, 0, 0, 0}},  {{3, 33, 101, 1, 1, 0, 2}},
    {{4, 257, 191, 2, 0, 1, 0}}, {{4, 64, 64, 0, 0, 0, 0}},  {{5, 30, 77, 2, 1, 0, 1}},
    {{6, 128, 131, 2, 0, 0, 0}}, {{6, 16, 260, 0, 0, 0, 0}},
#define BLOCKS_OF(ID) \
    {{0, 150, 512, DTYPE_##ID, 1, 1, 1}}, {{0, 16, 256, DTYPE_##ID, 0, 0, 0}}, \
    {{2, 70, 768, DTYPE_##ID, 0, 2, 0}}, {{5, 33, 256, DTYPE_##ID, 1, 0, 2}},
    BLOCKS_OF(Q8_0) BLOCKS_OF(Q4_0) BLOCKS_OF(Q4_1) BLOCKS_OF(Q5_0) BLOCKS_OF(Q5_1) BLOCKS_OF(Q2_K)
    BLOCKS_OF(Q3_K) BLOCKS_OF(Q4_K) BLOCKS_OF(Q5_K) BLOCKS_OF(Q6_K) BLOCKS_OF(IQ4_NL)
    BLOCKS_OF(IQ4_XS) BLOCKS_OF(MXFP4) BLOCKS_OF(FP8)
#undef BLOCKS_OF
    {{0, 40, 32, DTYPE_Q8_0, 0, 0, 0}}, {{1, 20, 96, DTYPE_Q4_0, 0, 0, 0}},
    {{0, 40, 160, DTYPE_FP8, 0, 0, 0}}, {{0, 17, 5, DTYPE_FP8, 0, 0, 0}},
    {{1, 48, 301, DTYPE_FP8, 0, 0, 0}},
    /* more inputs, panels and columns than are taken at once */
    {{6, 20, 768, DTYPE_Q4_K, 0, 0, 0}}, {{6, 540, 32, DTYPE_Q8_0, 0, 0, 0}},
    {{0, 16, 66048, DTYPE_Q8_0, 0, 0, 0}}, {{6, 20, 1536, DTYPE_Q4_K, 0, 0, 0}},
    /* several tiles over 16-bit weights: less than a chunk of columns, whole ones, ends of them */
    {{1, 64, 10, 2, 0, 0, 0}}, {{1, 70, 130, 2, 1, 0, 1}}, {{2, 135, 64, 1, 0, 1, 0}},
    {{4, 80, 200, 2, 0, 0, 2}}, {{4, 64, 302, 1, 1, 0, 0}}, {{3, 150, 194, 1, 0, 0, 1}},
    {{6, 128, 96, 2, 0, 0, 0}}, {{5, 64, 290, 2, 0, 0, 0}},
    /* 16 inputs and more by the matrix unit */
    {{4, 40, 768, DTYPE_Q5_K, 0, 0, 0}}, {{4, 40, 96, DTYPE_Q4_0, 1, 0, 0}},
    /* more columns, then panels, than go with 85 inputs in 16 bits; chunks of 1 and 2 panels */
    {{5, 5, 1792, DTYPE_Q6_K, 0, 0, 0}}, {{5, 592, 32, DTYPE_Q8_0, 0, 0, 0}},
    {{4, 48, 600, 0, 0, 0, 0}},
};
static const struct shape norm_shapes[] = {
    /* layout kind groups group w bias gate act in_place */
    {{0, 0, 1, 1, 1, 0, 0, 0, 0}},   {{0, 0, 1, 768, 1, 0, 0, 0, 1}},
    {{1, 0, 5, 15, 2, 0, 0, 0, 0}},  {{2, 1, 1, 1023, 1, 1, 0, 0, 0}},
    {{1, 1, 12, 64, 2, 2, 1, 1, 0}}, {{4, 2, 6, 64, 0, 0, 0, 0, 0}},
    {{1, 2, 3, 17, 0, 0, 0, 0, 1}},  {{1, 3, 4, 33, 0, 0, 0, 0, 0}},
    {{1, 4, 4, 50, 0, 0, 0, 0, 0}},  {{2, 0, 6, 128, 1, 0, 1, 1, 0}},
    {{2, 0, 2, 95, 1, 0, 2, 1, 1}},  {{1, 1, 2, 130, 1, 1, 2, 2, 0}},
    {{5, 0, 1, 512, 1, 0, 0, 0, 0}},
};
static const struct shape group_shapes[] = {
    {{0, 1, 1}}, {{1, 7, 15}}, {{1, 12, 64}}, {{2, 3, 129}}, {{4, 1, 1000}}, {{1, 40, 3}},
};
static const struct shape rope_shapes[] = {
    {{0, 1, 2, 2, 0}}, {{1, 3, 64, 64, 0}}, {{2, 4, 48, 32, 1}}, {{6, 2, 64, 16, 0}},
    {{5, 5, 30, 14, 1}}, {{5, 2, 32, 16, 0, 3}},
};
static const struct shape conv_shapes[] = {
    /* layout width size act bias mask in_place */
    {{0, 1, 2, 0, 0, 0, 0}},   {{0, 512, 4, 1, 0, 0, 0}}, {{1, 17, 4, 0, 1, 0, 0}},
    {{2, 257, 4, 1, 1, 0, 1}}, {{3, 64, 3, 1, 0, 1, 0}},  {{4, 96, 4, 1, 0, 1, 0}},
    {{5, 40, 7, 2, 1, 0, 0}},  {{6, 33, 2, 0, 0, 1, 1}},  {{1, 20, 1, 0, 1, 0, 0}},
    {{2, 19, 9, 0, 0, 0, 0}},
};
static const struct shape shift_shapes[] = {
    {{0, 1, 0}}, {{1, 17, 0}}, {{2, 64, 1}}, {{5, 257, 0}},
};
static const struct shape decay_shapes[] = {
    {{0, 1, 1, 1, 1, 1, 1, 1, 2, 0}},     {{1, 2, 2, 2, 2, 2, 5, 7, 3, 0}},
    {{2, 3, 1, 3, 3, 3, 16, 15, 2, 0}},   {{4, 4, 4, 4, 4, 4, 64, 64, 3, 1}},
    {{5, 4, 2, 2, 1, 2, 33, 17, 4, 0}},   {{3, 2, 2, 2, 2, 2, 64, 128, 1, 0}},
    {{3, 8, 1, 4, 4, 4, 128, 64, 2, 0}},  {{2, 2, 2, 2, 2, 2, 20, 81, 0, 1}},
    {{6, 2, 2, 2, 2, 2, 31, 100, 4, 1}},   {{5, 2, 2, 8, 8, 8, 16, 24, 2, 0}},
    {{4, 1, 1, 4, 4, 4, 20, 33, 2, 1}},
    /* states in float16 */
    {{0, 1, 1, 1, 1, 1, 1, 1, 2, 0, DTYPE_F16}},     {{1, 2, 2, 2, 2, 2, 5, 7, 3, 0, DTYPE_F16}},
    {{2, 3, 1, 3, 3, 3, 16, 15, 2, 0, DTYPE_F16}},   {{4, 4, 4, 4, 4, 4, 64, 64, 3, 1, DTYPE_F16}},
    {{5, 4, 2, 2, 1, 2, 33, 17, 4, 0, DTYPE_F16}},   {{3, 1, 1, 1, 1, 1, 64, 128, 1, 0, DTYPE_F16}},
    {{3, 2, 1, 1, 1, 1, 128, 64, 2, 0, DTYPE_F16}},  {{2, 2, 2, 2, 2, 2, 20, 81, 0, 1, DTYPE_F16}},
    {{6, 2, 2, 2, 2, 2, 31, 100, 4, 1, DTYPE_F16}},  {{5, 2, 2, 8, 8, 8, 16, 24, 2, 0, DTYPE_F16}},
    {{4, 1, 1, 4, 4, 4, 20, 48, 2, 1, DTYPE_F16}},   {{2, 2, 1, 1, 1, 1, 64, 32, 4, 0, DTYPE_F16}},
    {{8, 1, 1, 3, 3, 3, 128, 64, 2, 0, DTYPE_F16}},
    {{2, 1, 1, 1, 1, 1, 1040, 17, 3, 0}}, /* more rows than vectors have room for */
};
static const struct shape delta_shapes[] = {
    {{0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0}},    {{1, 2, 2, 2, 5, 7, 1, 2, 0, 0, 0}},
    {{2, 1, 2, 4, 16, 15, 1, 3, 0, 1, 0}},  {{4, 4, 4, 4, 64, 64, 1, 3, 1, 0, 0}},
    {{5, 2, 1, 2, 33, 17, 1, 3, 1, 1, 0}},  {{3, 2, 2, 2, 64, 64, 1, 3, 1, 0, 0}},
    {{3, 2, 4, 4, 128, 128, 1, 2, 0, 1, 0}}, {{5, 2, 2, 2, 20, 81, 2, 2, 0, 1, 0}},
    {{1, 2, 2, 2, 31, 100, 3, 3, 0, 0, 1}}, {{6, 1, 1, 2, 48, 65, 1, 2, 0, 0, 3}},
    {{3, 1, 1, 1, 32, 32, 2, 0, 0, 0, 2}},
    /* states in float16 */
    {{0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, DTYPE_F16}},
    {{1, 2, 2, 2, 5, 7, 1, 2, 0, 0, 0, DTYPE_F16}},
    {{2, 1, 2, 4, 16, 15, 1, 3, 0, 1, 0, DTYPE_F16}},
    {{4, 4, 4, 4, 64, 64, 1, 3, 1, 0, 0, DTYPE_F16}},
    {{5, 2, 1, 2, 33, 17, 1, 3, 1, 1, 0, DTYPE_F16}},
    {{3, 1, 1, 1, 64, 64, 1, 3, 1, 0, 0, DTYPE_F16}},
    {{3, 1, 1, 1, 128, 128, 1, 2, 0, 1, 0, DTYPE_F16}},
    {{5, 2, 2, 2, 20, 81, 2, 2, 0, 1, 0, DTYPE_F16}},
    {{1, 2, 2, 2, 31, 100, 3, 3, 0, 0, 1, DTYPE_F16}},
    {{6, 1, 1, 2, 48, 65, 1, 2, 0, 0, 3, DTYPE_F16}},
    {{3, 1, 1, 1, 32, 48, 2, 0, 0, 0, 2, DTYPE_F16}},
    {{8, 1, 1, 2, 64, 64, 1, 3, 1, 0, 0, DTYPE_F16}},
    {{2, 1, 1, 1, 1040, 17, 1, 3, 0, 0, 0}}, /* more rows than vectors have room for */
};
static const struct shape attention_shapes[] = {
    /* layout heads kv_heads dk dv window forget key_is_value */
    {{0, 1, 1, 1, 1, 0, 0, 0}},    {{1, 2, 1, 15, 17, 0, 1, 0}},  {{2, 4, 2, 64, 64, 0, 0, 0}},
    {{4, 3, 3, 33, 64, 0, 0, 0}},  {{5, 4, 1, 48, 31, 0, 0, 1}},  {{6, 2, 2, 64, 64, 0, 1, 0}},
    {{2, 2, 1, 16, 16, 5, 0, 0}},  {{5, 4, 2, 32, 48, 64, 0, 0}}, {{6, 2, 1, 17, 13, 100, 1, 1}},
    {{0, 2, 2, 64, 128, 7, 0, 0}}, {{2, 20, 4, 16, 16, 0, 0, 0}},
    {{5, 4, 2, 130, 70, 0, 0, 0}}, {{2, 20, 1, 72, 24, 0, 1, 0}}, {{3, 3, 1, 192, 128, 50, 0, 1}},
};
static const struct shape rnn_shapes[] = {{{0, 1}}, {{1, 17}}, {{2, 64}}, {{5, 257}}, {{6, 20}}};
static const struct shape square_shapes[] = {
    /* layout heads kv_heads d V */
    {{0, 1, 1, 1, 1}}, {{1, 4, 2, 5, 7}}, {{2, 4, 4, 16, 64}}, {{5, 6, 2, 8, 33}},
};
static const struct shape scan_shapes[] = {
    {{0, 1, 1, 0}}, {{1, 17, 16, 1}}, {{2, 96, 8, 1}}, {{5, 40, 33, 0}}, {{3, 64, 16, 1}},
};
static const struct shape topk_shapes[] = {
    /* layout groups n k n_groups topk_groups norm dense none */
    {{0, 1, 1, 1, 1, 1, 0, 0}}, {{1, 2, 16, 4, 1, 1, 1, 0}}, {{2, 1, 60, 6, 4, 2, 1, 0}},
    {{4, 3, 17, 5, 1, 1, 0, 1}}, {{3, 2, 5, 2, 1, 1, 1, 0, 2}}, {{1, 1, 17, 4, 1, 1, 0, 1, 16}},
};
static const struct shape experts_shapes[] = {
    /* layout experts rows cols k per_slot dtype */
    {{0, 1, 5, 3, 1, 0, 2}},   {{1, 4, 16, 33, 2, 0, 2}}, {{4, 8, 80, 64, 3, 1, 2}},
    {{3, 16, 32, 47, 4, 0, 1}}, {{5, 5, 48, 31, 2, 1, 0}},
    {{4, 8, 80, 64, 3, 1, DTYPE_Q8_0}}, {{3, 6, 32, 256, 2, 0, DTYPE_Q4_K}},
    {{1, 4, 48, 256, 2, 0, DTYPE_Q6_K}}, {{2, 4, 16, 96, 2, 0, DTYPE_MXFP4}},
    {{3, 2, 32, 256, 1, 0, DTYPE_Q6_K}}, /* some 32 inputs each: by the matrix unit */
    {{12, 3, 16, 32, 10, 0, 2}}, /* more choices, and inputs of one, than at once */
};
static const struct shape blocks_shapes[] = {
    /* layout blocks rows cols shared bias dtype */
    {{0, 1, 5, 3, 1, 1, 2}},   {{1, 4, 16, 33, 0, 1, 2}},  {{4, 8, 80, 64, 0, 0, 2}},
    {{3, 3, 32, 47, 0, 1, 1}}, {{5, 5, 13, 31, 1, 1, 0}},  {{2, 6, 48, 48, 1, 0, 2}},
    {{3, 4, 32, 64, 0, 0, DTYPE_Q8_0}}, {{1, 2, 48, 256, 1, 1, DTYPE_Q5_K}},
    {{6, 2, 32, 64, 0, 1, DTYPE_Q8_0}}, /* more inputs than at once */
};
static const struct shape columns_shapes[] = {{{0, 1, 1}}, {{1, 17, 40}}, {{2, 64, 64}}};
static const struct shape first_shapes[] = {{{0}}, {{2}}, {{5}}};

/* check_NAME for every row of ops.def; one that is missing does not compile. */
#define CHECK(name, params, shapes, build) \
    static const struct op_check check_##name = {params, shapes, ARRAY_LEN(shapes), build};
CHECK(embed, "layout width dtype", embed_shapes, build_embed)
CHECK(ngram, "layout size heads width dtype", ngram_shapes, build_ngram)
CHECK(gather, "layout width", gather_shapes, build_gather)
CHECK(linear, "layout rows cols dtype bias act residual", linear_shapes, build_linear)
CHECK(norm, "layout kind groups group weight bias gate act in_place", norm_shapes, build_norm)
CHECK(ew, "layout program width", ew_shapes, build_ew)
CHECK(groupsum, "layout groups group", group_shapes, build_groupsum)
CHECK(softmax, "layout groups group", group_shapes, build_softmax)
CHECK(rope, "layout heads head rot interleaved back", rope_shapes, build_rope)
CHECK(conv, "layout width size act bias mask in_place", conv_shapes, build_conv)
CHECK(shift, "layout width in_place", shift_shapes, build_shift)
CHECK(decay, "layout q_heads k_heads v_heads d_heads state_heads K V mode bonus state",
      decay_shapes, build_decay)
CHECK(delta, "layout k_heads d_heads state_heads K V steps mode dplr decay_first extras state",
      delta_shapes, build_delta)
CHECK(attention, "layout heads kv_heads dk dv window forget key_is_value",
      attention_shapes, build_attention_extras)
CHECK(attention_keep, "layout heads kv_heads dk dv window forget key_is_value",
      attention_shapes, build_keep)
CHECK(rnn, "layout width", rnn_shapes, build_rnn)
CHECK(logsum, "layout width", rnn_shapes, build_logsum)
CHECK(wkv, "layout width", rnn_shapes, build_wkv)
CHECK(scan, "layout width N D", scan_shapes, build_scan)
CHECK(topk, "layout groups n k n_groups topk_groups norm dense none", topk_shapes, build_topk)
CHECK(experts, "layout experts rows cols k per_slot dtype", experts_shapes, build_experts)
CHECK(blocks, "layout blocks rows cols shared bias dtype", blocks_shapes, build_blocks)
CHECK(columns, "layout in out", columns_shapes, build_columns)
CHECK(first, "layout", first_shapes, build_first)
CHECK(square, "layout heads kv_heads d V", square_shapes, build_square)
CHECK(fenwick, "layout heads K V", state_shapes, build_fenwick)
CHECK(mesa, "layout heads K V", state_shapes, build_mesa)
CHECK(trapezoid, "layout heads K V", state_shapes, build_trapezoid)
CHECK(rotate, "layout heads head angles parts", rotate_shapes, build_rotate)
CHECK(path, "layout heads kv_heads dk dv gates", kept_shapes, build_path)
CHECK(wall, "layout heads kv_heads dk dv bias", kept_shapes, build_wall)
CHECK(parallax, "layout heads kv_heads dk dv window", kept_shapes, build_parallax)
CHECK(deltaformer, "layout heads kv_heads dk dv unused", kept_shapes, build_deltaformer)
CHECK(nsa, "layout heads kv_heads dk dv window block count", nsa_shapes, build_nsa)
CHECK(moba, "layout heads kv_heads dk dv block count", moba_shapes, build_moba)
CHECK(indexer, "layout heads dk block count weights", indexer_shapes, build_indexer)
CHECK(indexed, "layout heads kv_heads dk dv block count key_is_value", indexed_shapes,
      build_indexed)
CHECK(pool, "layout width block gate", pool_shapes, build_pool)
CHECK(sinkhorn, "layout matrices n iters", sinkhorn_shapes, build_sinkhorn)

const struct op_check *const op_checks[OP_KINDS] = {
#define OP(KIND, name, rows, sections, cost, factor, what) [OP_##KIND] = &check_##name,
#include "kernels/ops.def"
};

void ops_rig(struct rig *r, enum op_kind k, const struct shape *s, enum input_class c,
             uint64_t seed)
{
    rig_init(r, s->p[0], c, seed, VOCAB);
    r->op.kind = k;
    op_checks[k]->build(r, s->p);
    rig_ready(r);
}

int ops_shapes(enum op_kind k) { return op_checks[k]->n_shapes; }

int ops_params(enum op_kind k)
{
    int n = 1;
    for (const char *p = op_checks[k]->params; *p; p++)
        n += *p == ' ';
    return n;
}

bool ops_parse(enum op_kind k, const char *text, struct shape *out)
{
    int n = 0;
    *out = (struct shape){0};
    for (const char *p = text; n < SHAPE_PARAMS; p++) {
        char *end;
        out->p[n++] = (int)strtol(p, &end, 10);
        if (end == p || *end != 'x')
            return end != p && *end == '\0' && n == ops_params(k) && out->p[0] >= 0 &&
                   out->p[0] < rig_layouts();
        p = end;
    }
    return false;
}
