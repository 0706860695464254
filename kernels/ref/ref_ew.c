/* The elementwise program interpreter, one element at a time. */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

static double one(enum ew_op f, double a, float imm)
{
    switch (f) {
    case EW_ADDI: return a + imm;
    case EW_MULI: return a * imm;
    case EW_MAXI: return a > imm || a != a ? a : imm;
    case EW_MINI: return a < imm || a != a ? a : imm;
    case EW_RSUBI: return imm - a;
    case EW_NEG: return -a;
    case EW_ABS: return fabs(a);
    case EW_EXP: return exp(a);
    case EW_LOG: return log(a);
    case EW_SQRT: return sqrt(a);
    case EW_RSQRT: return 1 / sqrt(a);
    case EW_SIN: return sin(a);
    case EW_COS: return cos(a);
    case EW_SIGMOID: return ref_sigmoid(a);
    case EW_TANH: return tanh(a);
    case EW_SOFTPLUS: return ref_softplus(a);
    case EW_LOGSIGMOID: return a < -20 ? a : -log1p(exp(-a));
    case EW_SILU: return ref_act(ACT_SILU, a);
    case EW_RELU: return ref_act(ACT_RELU, a);
    case EW_SQRELU: return ref_act(ACT_SQRELU, a);
    case EW_GELU_TANH: return ref_act(ACT_GELU_TANH, a);
    case EW_GELU_ERF: return ref_act(ACT_GELU_ERF, a);
    case EW_ROUND: return nearbyint(a);
    default: ASSERT(!"not a one-argument instruction");
    }
}

static float eval(const struct ew_ins *i, const float *reg)
{
    float a = reg[i->a], b = reg[i->b];
    switch ((enum ew_op)i->op) {
    case EW_ADD: return a + b;
    case EW_SUB: return a - b;
    case EW_MUL: return a * b;
    case EW_DIV: return a / b;
    case EW_MAX: return a > b || a != a ? a : b;
    case EW_MIN: return a < b || a != a ? a : b;
    case EW_POW: return (float)exp(b * log(a));
    case EW_MADD: return fmaf(a, b, reg[i->c]);
    default: return (float)one(i->op, a, i->imm);
    }
}

static float load(const struct host_step *s, const struct ew_in *in, int32_t row, int32_t c)
{
    const float *p = view_given(in->v) ? host_row(s, in->v, row) : host_vec(s, in->weight);
    switch (in->spread) {
    case EW_FULL: return p[c];
    case EW_GROUP: return p[c / in->period];
    case EW_TILE: return p[c % in->period];
    }
    return p[c];
}

void ref_ew(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct ew_program *e = op->p.ew;
    float reg[LIMIT_EW_IN + LIMIT_EW_CODE];
    int64_t from, to;
    host_share(host_rows(s, op), ith, nth, &from, &to);
    for (int64_t t = from; t < to; t++) {
        for (int32_t c = 0; c < e->width; c++) {
            for (int32_t i = 0; i < e->n_in; i++)
                reg[i] = load(s, &e->in[i], (int32_t)t, c);
            for (int32_t i = 0; i < e->n_code; i++)
                reg[e->n_in + i] = eval(&e->code[i], reg);
            for (int32_t i = 0; i < e->n_out; i++)
                host_row(s, e->out[i].v, (int32_t)t)[c] = reg[e->out[i].reg];
        }
    }
}
