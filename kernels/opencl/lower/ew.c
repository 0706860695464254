/* Elementwise programs become source text: one expression per instruction, so the compiler keeps
 * every register in a register and fuses nothing that is not written. */
#include <stdio.h>
#include <string.h>

#include "kernels/opencl/launches.h"

#define COLUMNS 128 /* work-items of a group along the row */

/* How an instruction is written, with A, B, C for the operands and I for the constant. */
static const char *const text[EW_OPS] = {
    [EW_ADD] = "A + B",
    [EW_SUB] = "A - B",
    [EW_MUL] = "A * B",
    [EW_DIV] = "A / B",
    [EW_MAX] = "(A > B || A != A) ? A : B",
    [EW_MIN] = "(A < B || A != A) ? A : B",
    [EW_POW] = "pow(A, B)",
    [EW_ADDI] = "A + I",
    [EW_MULI] = "A * I",
    [EW_MAXI] = "(A > I || A != A) ? A : I",
    [EW_MINI] = "(A < I || A != A) ? A : I",
    [EW_RSUBI] = "I - A",
    [EW_MADD] = "fma(A, B, C)",
    [EW_NEG] = "-A",
    [EW_ABS] = "fabs(A)",
    [EW_EXP] = "exp(A)",
    [EW_LOG] = "log(A)",
    [EW_SQRT] = "sqrt(A)",
    [EW_RSQRT] = "1.0f / sqrt(A)",
    [EW_SIN] = "sin(A)",
    [EW_COS] = "cos(A)",
    [EW_SIGMOID] = "sigmoid(A)",
    [EW_TANH] = "tanh(A)",
    [EW_SOFTPLUS] = "softplus(A)",
    [EW_LOGSIGMOID] = "A < -20.0f ? A : -log1p(exp(-A))",
    [EW_SILU] = "A * sigmoid(A)",
    [EW_RELU] = "relu(A)",
    [EW_SQRELU] = "relu(A) * relu(A)",
    [EW_GELU_TANH] = "gelu_tanh(A)",
    [EW_GELU_ERF] = "gelu_erf(A)",
    [EW_ROUND] = "rint(A)",
};

/* Constants go by their bits: no decimal can round them, and infinities have no literal. */
static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static void instruction(struct buf *b, const struct ew_ins *ins, int reg)
{
    ASSERT(ins->op < EW_OPS && text[ins->op]);
    buf_fmt(b, " const float r%d = ", reg);
    for (const char *s = text[ins->op]; *s; s++) {
        bool word = (s > text[ins->op] && (s[-1] == '_' || (s[-1] >= 'a' && s[-1] <= 'z')));
        if (word || !strchr("ABCI", *s))
            buf_ch(b, *s);
        else if (*s == 'I')
            buf_fmt(b, "as_float(0x%08xu)", bits(ins->imm));
        else
            buf_fmt(b, "r%d", *s == 'A' ? ins->a : *s == 'B' ? ins->b : ins->c);
    }
    buf_ch(b, ';');
}

static void load(struct buf *b, const struct ew_in *in, int i)
{
    char at[32] = "c";
    if (in->spread != EW_FULL)
        snprintf(at, sizeof at, "c %c %d", in->spread == EW_GROUP ? '/' : '%', in->period);
    if (view_given(in->v))
        buf_fmt(b, " const float r%d = ROW(i%d, row)[%s];", i, i, at);
    else
        buf_fmt(b, " const float r%d = i%d[%s];", i, i, at);
}

int ocl_ew_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    const struct ew_program *p = op->p.ew;
    struct ocl_spec s;
    ocl_spec_init(&s, "ew.cl", op);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg(&s, ARG_INT, p->width);
    buf_str(&s.defines, "#define EW_PARAMS ");
    for (int i = 0; i < p->n_in; i++) {
        bool view = view_given(p->in[i].v);
        buf_fmt(&s.defines, view ? ", VIEW(i%d)" : ", global const float *i%d", i);
        if (view)
            ocl_arg_view(&s, m->plan, p->in[i].v);
        else
            ocl_arg(&s, ARG_WEIGHT, p->in[i].weight);
    }
    for (int i = 0; i < p->n_out; i++) {
        buf_fmt(&s.defines, ", VIEW(o%d)", i);
        ocl_arg_view(&s, m->plan, p->out[i].v);
    }
    buf_str(&s.defines, "\n#define EW_BODY");
    for (int i = 0; i < p->n_in; i++)
        load(&s.defines, &p->in[i], i);
    for (int i = 0; i < p->n_code; i++)
        instruction(&s.defines, &p->code[i], p->n_in + i);
    for (int i = 0; i < p->n_out; i++)
        buf_fmt(&s.defines, " ROW(o%d, row)[c] = r%d;", i, p->out[i].reg);
    buf_ch(&s.defines, '\n');
    ocl_local(&s, COLUMNS, 1);
    ocl_groups(&s, 0, BY_ONE, (p->width + COLUMNS - 1) / COLUMNS, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}
