/* Elementwise programs to check: each instruction alone, and three made like a model's. */
#include "tests/check/ops.h"

static int add_in(struct rig *r, enum ew_spread spread, int width, int period, bool weight,
                  enum role role)
{
    struct ew_in *in = &r->ew.in[r->ew.n_in];
    int n = spread == EW_FULL ? width : spread == EW_TILE ? period : (width + period - 1) / period;
    *in = (struct ew_in){VIEW_NONE, -1, spread, period};
    if (weight)
        in->weight = rig_vector(r, n, role);
    else
        in->v = rig_act(r, n, ROWS_TOKENS, role);
    return r->ew.n_in++;
}
static int code(struct rig *r, enum ew_op f, int a, int b, int c, float imm)
{
    struct ew_program *e = &r->ew;
    int reg = e->n_in + e->n_code;
    e->code[e->n_code++] = (struct ew_ins){(uint8_t)f, (uint8_t)a, (uint8_t)b, (uint8_t)c, imm};
    return reg;
}
static void out(struct rig *r, struct view v, int reg)
{
    r->ew.out[r->ew.n_out].v = v;
    r->ew.out[r->ew.n_out++].reg = reg;
}
static struct view fresh(struct rig *r, int width)
{
    return rig_act(r, width, ROWS_TOKENS, ROLE_OUT);
}

/* x, y and z as activations, in[0] also an output: x = silu(x w[group]) y + tile; plus exp. */
static void mixed(struct rig *r, int width, int period)
{
    int x = add_in(r, EW_FULL, width, 0, false, ROLE_ANY);
    int y = add_in(r, EW_FULL, width, 0, true, ROLE_ANY);
    int g = add_in(r, EW_GROUP, width, period, false, ROLE_ANY);
    int t = add_in(r, EW_TILE, width, period, true, ROLE_ANY);
    int a = code(r, EW_MUL, x, g, 0, 0);
    int b = code(r, EW_SILU, a, 0, 0, 0);
    int c = code(r, EW_MADD, b, y, t, 0);
    int d = code(r, EW_SOFTPLUS, c, 0, 0, 0);
    int e = code(r, EW_MULI, d, 0, 0, -0.5f);
    int f = code(r, EW_EXP, e, 0, 0, 0);
    out(r, fresh(r, width), f);
    out(r, r->ew.in[x].v, c); /* in place */
    out(r, fresh(r, width), t);
}

/* As long as a program may be: registers do not fit a small scratch. */
static void longest(struct rig *r, int width)
{
    int x = add_in(r, EW_FULL, width, 0, false, ROLE_ANY), last = x;
    for (int i = 0; i < LIMIT_EW_CODE; i++)
        last = code(r, i % 3 ? EW_ADDI : EW_MULI, last, 0, 0, i % 3 ? 0.125f : 0.75f);
    out(r, fresh(r, width), last);
}

void build_ew(struct rig *r, const int *p)
{
    int program = p[1], width = p[2];
    r->op.p.ew = &r->ew;
    r->ew.width = width;
    if (program < EW_OPS) {
        /* logarithms and powers are defined for positive numbers */
        bool positive = program == EW_LOG || program == EW_POW || program == EW_RSQRT;
        int x = add_in(r, EW_FULL, width, 0, false, positive ? ROLE_DECAY : ROLE_ANY);
        int y = add_in(r, EW_FULL, width, 0, false, ROLE_ANY);
        int z = add_in(r, EW_FULL, width, 0, false, ROLE_ANY);
        bool wide = program >= EW_NEG && !positive; /* functions: see more than [-1, 1] */
        if (wide)
            x = code(r, EW_MULI, x, 0, 0, program == EW_SIN || program == EW_COS ? 100 : 12);
        out(r, fresh(r, width), code(r, (enum ew_op)program, x, y, z, 0.3f));
    } else if (program == EW_OPS) {
        mixed(r, width, 3);
    } else if (program == EW_OPS + 1) {
        mixed(r, width, 64);
    } else {
        longest(r, width);
    }
}

#define EACH(f) {{1, f, 131}}
const struct shape ew_shapes[EW_OPS + 6] = {
    EACH(EW_ADD), EACH(EW_SUB), EACH(EW_MUL), EACH(EW_DIV), EACH(EW_MAX), EACH(EW_MIN),
    EACH(EW_POW), EACH(EW_ADDI), EACH(EW_MULI), EACH(EW_MAXI), EACH(EW_MINI), EACH(EW_RSUBI),
    EACH(EW_MADD), EACH(EW_NEG), EACH(EW_ABS), EACH(EW_EXP), EACH(EW_LOG), EACH(EW_SQRT),
    EACH(EW_RSQRT), EACH(EW_SIN), EACH(EW_COS), EACH(EW_SIGMOID), EACH(EW_TANH),
    EACH(EW_SOFTPLUS), EACH(EW_LOGSIGMOID), EACH(EW_SILU), EACH(EW_RELU), EACH(EW_SQRELU),
    EACH(EW_GELU_TANH), EACH(EW_GELU_ERF), EACH(EW_ROUND),
    {{0, EW_OPS, 1}}, {{1, EW_OPS, 17}}, {{2, EW_OPS, 129}}, {{4, EW_OPS + 1, 768}},
    {{5, EW_OPS + 1, 1000}}, {{1, EW_OPS + 2, 300}},
};
