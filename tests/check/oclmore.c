/* Shapes and rigs of the ops that only have a definition on the host. Parameters as in ops.c. */
#include "tests/check/oclmore.h"

#include <stdlib.h>

#define EXPERTS 5
#define VOCAB 37

static struct view out_of(struct rig *r, int width)
{
    return r->op.out = rig_act(r, width, ROWS_TOKENS, ROLE_OUT);
}
static void in_of(struct rig *r, int i, int width, enum role role)
{
    r->op.in[i] = rig_act(r, width, ROWS_TOKENS, role);
}

static void build_rnn(struct rig *r, const int *p)
{
    in_of(r, 0, p[1], ROLE_DECAY);
    in_of(r, 1, p[1], ROLE_ANY);
    out_of(r, p[1]);
    rig_section(r, SECTION_FIXED, p[1]);
}

static void build_logsum(struct rig *r, const int *p)
{
    in_of(r, 0, p[1], ROLE_UNIT);
    out_of(r, 2 * p[1]);
    rig_section(r, SECTION_FIXED, p[1]);
}

static void build_scan(struct rig *r, const int *p)
{
    in_of(r, 0, p[1], ROLE_ANY);
    in_of(r, 1, p[1], ROLE_DECAY);
    in_of(r, 2, p[2], ROLE_UNIT);
    in_of(r, 3, p[2], ROLE_UNIT);
    r->op.p.scan.N = p[2];
    r->op.w[0] = rig_vector(r, p[1] * p[2], ROLE_UNIT);
    if (p[3])
        r->op.w[1] = rig_vector(r, p[1], ROLE_ANY);
    out_of(r, p[1]);
    rig_section(r, SECTION_FIXED, (int64_t)p[1] * p[2]);
}

/* layout groups n k ranges open norm dense bias */
static void build_topk(struct rig *r, const int *p)
{
    in_of(r, 0, p[1] * p[2], ROLE_DECAY);
    r->op.p.topk.n = p[2];
    r->op.p.topk.k = p[3];
    r->op.p.topk.n_groups = p[4];
    r->op.p.topk.topk_groups = p[5];
    r->op.p.topk.norm = p[6];
    r->op.p.topk.dense = p[7];
    r->op.p.topk.eps = 1e-20f;
    r->op.p.topk.scale = 1.5f;
    if (p[8])
        r->op.w[0] = rig_vector(r, p[1] * p[2], ROLE_UNIT);
    out_of(r, p[1] * (p[7] ? p[2] : 2 * p[3]));
}

/* layout k cols rows dtype per_slot; oclmore_rig writes the choices. */
static void build_experts(struct rig *r, const int *p)
{
    in_of(r, 0, p[2] * (p[5] ? p[1] : 1), ROLE_ANY);
    in_of(r, 1, 2 * p[1], ROLE_DECAY);
    r->op.w[0] = rig_matrix(r, EXPERTS * p[3], p[2], (enum dtype)p[4]);
    r->op.p.experts.k = p[1];
    r->op.p.experts.rows = p[3];
    r->op.p.experts.per_slot = p[5];
    out_of(r, p[1] * p[3]);
}

/* layout blocks rows cols dtype shared bias */
static void build_blocks(struct rig *r, const int *p)
{
    int rows = p[2] * (p[5] ? 1 : p[1]);
    in_of(r, 0, p[1] * p[3], ROLE_ANY);
    r->op.w[0] = rig_matrix(r, rows, p[3], (enum dtype)p[4]);
    if (p[6])
        r->op.w[1] = rig_vector(r, rows, ROLE_ANY);
    r->op.p.blocks.blocks = p[1];
    r->op.p.blocks.shared = p[5];
    out_of(r, p[1] * p[2]);
}

static void build_columns(struct rig *r, const int *p)
{
    in_of(r, 0, p[1], ROLE_ANY);
    int w = r->op.w[0] = rig_vector(r, p[2], ROLE_ANY);
    for (int c = 0; c < p[2]; c++)
        ((float *)r->packed[w].data)[c] = (float)(c * 7 % p[1]);
    out_of(r, p[2]);
}

static void build_first(struct rig *r, const int *p)
{
    (void)p;
    out_of(r, 1);
}

static const struct shape rnn_shapes[] = {{{0, 1}}, {{2, 65}}, {{5, 200}}};
static const struct shape logsum_shapes[] = {{{0, 1}}, {{2, 65}}, {{5, 130}}};
static const struct shape scan_shapes[] = {
    {{0, 1, 1, 0}}, {{2, 65, 16, 1}}, {{5, 130, 7, 0}}, {{4, 96, 16, 1}},
};
static const struct shape topk_shapes[] = {
    {{0, 1, 2, 1, 0, 0, 0, 0, 0}},  {{2, 1, 64, 8, 0, 0, 1, 0, 1}},
    {{1, 3, 17, 4, 1, 1, 1, 1, 0}}, {{5, 1, 64, 6, 8, 3, 1, 0, 1}},
    {{4, 2, 128, 5, 4, 2, 0, 1, 1}},
};
static const struct shape experts_shapes[] = {
    {{0, 1, 3, 16, 0, 0}}, {{2, 2, 70, 48, 2, 0}}, {{1, 3, 129, 32, 1, 1}},
};
static const struct shape blocks_shapes[] = {
    {{0, 1, 1, 3, 0, 0, 0}}, {{2, 4, 16, 70, 2, 0, 1}}, {{1, 3, 48, 129, 1, 0, 0}},
    {{4, 5, 7, 33, 0, 1, 1}},
};
static const struct shape columns_shapes[] = {{{0, 1, 1}}, {{2, 50, 300}}};
static const struct shape first_shapes[] = {{{0}}, {{5}}};

#define CHECK(params, shapes, build) {params, shapes, ARRAY_LEN(shapes), build}
static const struct op_check more[OP_KINDS] = {
    [OP_RNN] = CHECK("layout width", rnn_shapes, build_rnn),
    [OP_LOGSUM] = CHECK("layout width", logsum_shapes, build_logsum),
    [OP_SCAN] = CHECK("layout width N d", scan_shapes, build_scan),
    [OP_TOPK] = CHECK("layout groups n k ranges open norm dense bias", topk_shapes, build_topk),
    [OP_EXPERTS] = CHECK("layout k cols rows dtype per_slot", experts_shapes, build_experts),
    [OP_BLOCKS] = CHECK("layout blocks rows cols dtype shared bias", blocks_shapes, build_blocks),
    [OP_COLUMNS] = CHECK("layout from to", columns_shapes, build_columns),
    [OP_FIRST] = CHECK("layout", first_shapes, build_first),
};

struct op_check oclmore_check(enum op_kind k)
{
    if (k == OP_EW)
        return (struct op_check){"layout program width", ew_shapes, ew_n_shapes, build_ew};
    return op_checks[k].n_shapes ? op_checks[k] : more[k];
}

int oclmore_params(enum op_kind k)
{
    int n = 1;
    for (const char *p = oclmore_check(k).params; *p; p++)
        n += *p == ' ';
    return n;
}

bool oclmore_parse(enum op_kind k, const char *text, struct shape *out)
{
    char *end = NULL;
    int n = 0;
    *out = (struct shape){0};
    for (const char *p = text; n < SHAPE_PARAMS; p = end + 1) {
        out->p[n++] = (int)strtol(p, &end, 10);
        if (end == p || *end != 'x')
            return end != p && !*end && n == oclmore_params(k) && (unsigned)out->p[0] < (unsigned)rig_layouts();
    }
    return false;
}

void oclmore_rig(struct rig *r, enum op_kind k, const struct shape *s, enum input_class c,
                 uint64_t seed)
{
    rig_init(r, s->p[0], c, seed, VOCAB);
    r->op.kind = k;
    oclmore_check(k).build(r, s->p);
    rig_ready(r);
    for (int t = 0; k == OP_EXPERTS && t < r->batch.n_tokens; t++)
        for (int j = 0; j < r->op.p.experts.k; j++)
            host_row(&r->step, r->op.in[1], t)[j] = (float)((t * 3 + j) % EXPERTS);
}
