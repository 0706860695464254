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

/* Column `c`, or the one of the vector that it takes its value from. */
static void column(char *at, size_t size, const struct ew_in *in, const char *c)
{
    if (in->spread == EW_FULL)
        snprintf(at, size, "%s", c);
    else
        snprintf(at, size, "(%s) %c %d", c, in->spread == EW_GROUP ? '/' : '%', in->period);
}

static void load(struct buf *b, const struct ew_in *in, int i, const char *c)
{
    char at[48];
    column(at, sizeof at, in, c);
    if (view_given(in->v))
        buf_fmt(b, "ROW(i%d, row)[%s]", i, at);
    else
        buf_fmt(b, "i%d[%s]", i, at);
}

/* EW_PARAMS, and the arguments. */
static void params(struct ocl_spec *s, const struct ocl_model *m, const struct ew_program *p)
{
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg(s, ARG_INT, p->width);
    buf_str(&s->defines, "#define EW_PARAMS ");
    for (int i = 0; i < p->n_in; i++) {
        bool view = view_given(p->in[i].v);
        buf_fmt(&s->defines, view ? ", VIEW(i%d)" : ", global const float *i%d", i);
        if (view)
            ocl_arg_view(s, m->plan, p->in[i].v);
        else
            ocl_arg(s, ARG_WEIGHT, p->in[i].weight);
    }
    for (int i = 0; i < p->n_out; i++) {
        buf_fmt(&s->defines, ", VIEW(o%d)", i);
        ocl_arg_view(s, m->plan, p->out[i].v);
    }
}

static void instructions(struct buf *b, const struct ew_program *p)
{
    for (int i = 0; i < p->n_code; i++)
        instruction(b, &p->code[i], p->n_in + i);
}

/* A column a work-item. */
static int by_column(struct ocl_model *m, const struct op *op, int32_t max, struct err *e)
{
    const struct ew_program *p = op->p.ew;
    struct ocl_spec s;
    ocl_spec_init(&s, "ew.cl", op);
    params(&s, m, p);
    buf_str(&s.defines, "\n#define EW_BODY");
    for (int i = 0; i < p->n_in; i++) {
        buf_fmt(&s.defines, " const float r%d = ", i);
        load(&s.defines, &p->in[i], i, "c");
        buf_ch(&s.defines, ';');
    }
    instructions(&s.defines, p);
    for (int i = 0; i < p->n_out; i++)
        buf_fmt(&s.defines, " ROW(o%d, row)[c] = r%d;", i, p->out[i].reg);
    buf_ch(&s.defines, '\n');
    ocl_local(&s, COLUMNS, 1);
    ocl_groups(&s, 0, BY_ONE, (p->width + COLUMNS - 1) / COLUMNS, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* Whether 16 bytes of every operand can be taken at once. */
static bool in_words(const struct ocl_model *m, const struct ew_program *p)
{
    bool ok = p->width % 4 == 0;
    for (int i = 0; i < p->n_in; i++)
        ok = ok && (p->in[i].spread != EW_FULL || !view_given(p->in[i].v) ||
                    ocl_aligned(m->plan, p->in[i].v));
    for (int i = 0; i < p->n_out; i++)
        ok = ok && ocl_aligned(m->plan, p->out[i].v);
    return ok;
}

/* Four columns a work-item; all are read before one is written. */
static int by_word(struct ocl_model *m, const struct op *op, int32_t min, struct err *e)
{
    static const char *const columns[] = {"c", "c + 1", "c + 2", "c + 3"};
    const struct ew_program *p = op->p.ew;
    struct ocl_spec s;
    ocl_spec_init(&s, "ew_rows.cl", op);
    params(&s, m, p);
    buf_str(&s.defines, "\n#define EW_LOADS");
    for (int i = 0; i < p->n_in; i++) {
        buf_fmt(&s.defines, " const float4 v%d = ", i);
        for (int k = 0; k < 4 && p->in[i].spread != EW_FULL; k++) {
            buf_str(&s.defines, k ? ", " : "(float4)(");
            load(&s.defines, &p->in[i], i, columns[k]);
        }
        if (p->in[i].spread == EW_FULL) {
            buf_str(&s.defines, "*(global const float4 *)(&");
            load(&s.defines, &p->in[i], i, "c");
        }
        buf_str(&s.defines, ");");
    }
    for (int i = 0; i < p->n_out; i++)
        buf_fmt(&s.defines, " float4 w%d;", i);
    buf_str(&s.defines, "\n#define EW_BODY");
    for (const char *k = "xyzw"; *k; k++) {
        buf_str(&s.defines, " {");
        for (int i = 0; i < p->n_in; i++)
            buf_fmt(&s.defines, " const float r%d = v%d.%c;", i, i, *k);
        instructions(&s.defines, p);
        for (int i = 0; i < p->n_out; i++)
            buf_fmt(&s.defines, " w%d.%c = r%d;", i, *k, p->out[i].reg);
        buf_str(&s.defines, " }");
    }
    buf_str(&s.defines, "\n#define EW_STORES");
    for (int i = 0; i < p->n_out; i++)
        buf_fmt(&s.defines, " *(global float4 *)(ROW(o%d, row) + c) = w%d;", i, i);
    buf_ch(&s.defines, '\n');
    ocl_local(&s, COLUMNS, 1);
    ocl_groups(&s, 0, BY_ONE, (p->width / 4 + COLUMNS - 1) / COLUMNS, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    s.rows_min = min;
    return ocl_spec_emit(&s, m, e);
}

int ocl_ew_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t many = m->d->tune.many_rows;
    if (!many || !in_words(m, op->p.ew))
        return by_column(m, op, INT32_MAX, e);
    int rc = by_column(m, op, many - 1, e);
    return rc ? rc : by_word(m, op, many, e);
}
