/* Elementwise programs become source text: one expression per instruction, so the compiler keeps
 * every register in a register and fuses nothing that is not written. */
#include <stdio.h>
#include <string.h>

#include "kernels/opencl/packed.h"
#include "kernels/opencl/shifted.h"

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

/* How output i is packed, where the kernel packs; else NULL. */
static const struct ocl_packed *packed_out(const struct ocl_model *m, const struct ew_program *p,
                                           int i, bool packs)
{
    return packs ? ocl_packed(m, p->out[i].v) : NULL;
}

/* Whether input i is the row before, of a shift that is not made (shifted.h; NULL: all are). */
static bool is_before(const struct ew_program *p, int i, const struct op *shift)
{
    return shift && p->in[i].v.act == shift->out.act;
}

/* The input that such a shift is of. */
static int input_of(const struct ew_program *p, const struct op *shift)
{
    int i = 0;
    while (p->in[i].spread != EW_FULL || p->in[i].v.act != shift->in[SHIFT_x].act ||
           p->in[i].v.col != shift->in[SHIFT_x].col)
        i++;
    return i;
}

/* In place of the view of the shifted rows, where the kernel reads what they are made of. */
static void shift_params(struct ocl_spec *s, const struct ocl_model *m, const struct op *shift)
{
    buf_str(&s->defines, ", global float *slots, const ulong slot_floats, const ulong section, "
                         "global const int *row_seq, global const int *slot");
    ocl_arg_section(s, m, shift->section);
    ocl_arg(s, ARG_BATCH, BATCH_ROW_SEQ);
    ocl_arg(s, ARG_BATCH, BATCH_SLOTS);
}

/* EW_PARAMS and their arguments, behind those of the source. */
static void params(struct ocl_spec *s, const struct ocl_model *m, const struct ew_program *p,
                   bool packs, const struct op *shift)
{
    buf_str(&s->defines, "#define EW_PARAMS ");
    for (int i = 0; i < p->n_in; i++) {
        bool view = view_given(p->in[i].v);
        if (is_before(p, i, shift)) {
            shift_params(s, m, shift);
            continue;
        }
        buf_fmt(&s->defines, view ? ", VIEW(i%d)" : ", global const float *i%d", i);
        if (view)
            ocl_arg_view(s, m->plan, p->in[i].v);
        else
            ocl_arg(s, ARG_WEIGHT, p->in[i].weight);
    }
    for (int i = 0; i < p->n_out; i++) {
        const struct ocl_packed *x = packed_out(m, p, i, packs);
        buf_fmt(&s->defines, x ? ", const ulong p%d_at, const ulong p%d_rows" : ", VIEW(o%d)", i,
                i);
        if (!x) {
            ocl_arg_view(s, m->plan, p->out[i].v);
            continue;
        }
        ocl_arg(s, ARG_LONG, x->at);
        ocl_arg(s, ARG_LONG, x->rows_p);
    }
}

static void begin(struct ocl_spec *s, const struct op *op, const char *file)
{
    ocl_spec_init(s, file, op);
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg(s, ARG_INT, op->p.ew->width);
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
    begin(&s, op, "ew.cl");
    params(&s, m, p, false, NULL);
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

static void load_word(struct buf *b, const struct ew_program *p, int i, const struct op *shift)
{
    static const char *const columns[] = {"c", "c + 1", "c + 2", "c + 3"};
    buf_fmt(b, " const float4 v%d = ", i);
    for (int k = 0; k < 4 && p->in[i].spread != EW_FULL; k++) {
        buf_str(b, k ? ", " : "(float4)(");
        load(b, &p->in[i], i, columns[k]);
    }
    if (is_before(p, i, shift)) {
        buf_str(b, "*(global const float4 *)(before_ + c");
    } else if (p->in[i].spread == EW_FULL) {
        buf_str(b, "*(global const float4 *)(&");
        load(b, &p->in[i], i, "c");
    }
    buf_str(b, ");");
}

/* EW_LOADS, EW_BODY, EW_STORES of four columns; all are read before one is written. */
static void word(struct buf *b, const struct ocl_model *m, const struct ew_program *p, bool packs,
                 const struct op *shift)
{
    buf_str(b, "\n#define EW_LOADS");
    for (int i = 0; i < p->n_in; i++)
        load_word(b, p, i, shift);
    for (int i = 0; i < p->n_out; i++)
        buf_fmt(b, " float4 w%d;", i);
    buf_str(b, "\n#define EW_BODY");
    for (const char *k = "xyzw"; *k; k++) {
        buf_str(b, " {");
        for (int i = 0; i < p->n_in; i++)
            buf_fmt(b, " const float r%d = v%d.%c;", i, i, *k);
        instructions(b, p);
        for (int i = 0; i < p->n_out; i++)
            buf_fmt(b, " w%d.%c = r%d;", i, *k, p->out[i].reg);
        buf_str(b, " }");
    }
    buf_str(b, "\n#define EW_STORES");
    for (int i = 0; i < p->n_out; i++) {
        if (packed_out(m, p, i, packs))
            buf_fmt(b, " p%d[half_] = (uint2)(pair_bf16(w%d.x, w%d.y), pair_bf16(w%d.z, w%d.w));",
                    i, i, i, i, i);
        else
            buf_fmt(b, " *(global float4 *)(ROW(o%d, row) + c) = w%d;", i, i);
    }
    if (shift)
        buf_fmt(b, " if (only_) *(global float4 *)(kept_ + c) = v%d;", input_of(p, shift));
    buf_ch(b, '\n');
}

/* Four columns a work-item. */
static int by_word(struct ocl_model *m, const struct op *op, int32_t min, int32_t max,
                   struct err *e)
{
    struct ocl_spec s;
    if (min > max)
        return 0;
    begin(&s, op, "ew_rows.cl");
    params(&s, m, op->p.ew, false, NULL);
    word(&s.defines, m, op->p.ew, false, NULL);
    ocl_local(&s, COLUMNS, 1);
    ocl_groups(&s, 0, BY_ONE, (op->p.ew->width / 4 + COLUMNS - 1) / COLUMNS, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

#define WARPS 4 /* of a group of nvidia/ew_packed.cl */

/* Where the row before this one is: in the state, of a sequence's first. only_: it has no other. */
static void find_before(struct buf *b, const struct ew_program *p, const struct op *shift)
{
    buf_fmt(b, " const int q_ = row_seq[row];"
               " const bool first_ = !row || row_seq[row - 1] != q_;"
               " const bool only_ = first_ && (row + 1 == counts[1] || row_seq[row + 1] != q_);"
               " global float *kept_ = slots + (ulong)slot[q_] * slot_floats + section;"
               " global const float *before_ = first_ ? kept_ : ROW(i%d, row - 1);",
            input_of(p, shift));
}

/* Eight columns a work-item; some outputs packed. */
static int by_eight(struct ocl_model *m, const struct op *op, int32_t min, struct err *e)
{
    const struct op *shift = ocl_shift_in_ew(m, op);
    const struct ew_program *p = op->p.ew;
    const struct ocl_packed *x;
    struct ocl_spec s;
    begin(&s, op, "nvidia/ew_packed.cl");
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(&s, ARG_INT, op->rows == ROWS_LOGITS);
    params(&s, m, p, true, shift);
    buf_str(&s.defines, "\n#define EW_BEGIN");
    for (int i = 0; i < p->n_out; i++)
        if (packed_out(m, p, i, true))
            buf_fmt(&s.defines, " uint2 p%d[2]; p%d[0] = p%d[1] = (uint2)(0, 0);", i, i, i);
    if (shift)
        find_before(&s.defines, p, shift);
    word(&s.defines, m, p, true, shift);
    buf_str(&s.defines, "#define EW_END");
    for (int i = 0; i < p->n_out; i++)
        if ((x = packed_out(m, p, i, true)))
            buf_fmt(&s.defines, " store_eight((global uint *)arena + p%d_at, %d, p%d_rows, row, "
                                "first, (uint4)(p%d[0], p%d[1]));", i, x->cores, i, i, i);
    buf_ch(&s.defines, '\n');
    ocl_local(&s, 32, WARPS);
    ocl_groups(&s, 0, BY_ONE, (p->width + 32 * WARPS - 1) / (32 * WARPS), 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 8);
    s.rows_min = min;
    int rc = ocl_spec_emit(&s, m, e);
    return rc || !shift ? rc : ocl_keep_tail(m, shift, 2, min, INT32_MAX, e);
}

int32_t ocl_ew_packs_from(const struct ocl_model *m, const struct op *op)
{
    return in_words(m, op->p.ew) ? m->d->tune.many_rows : 0;
}

int ocl_ew_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t many = m->d->tune.many_rows, packs = ocl_ew_packed_from(m, op);
    if (!many || !in_words(m, op->p.ew))
        return by_column(m, op, INT32_MAX, e);
    int rc = by_column(m, op, many - 1, e);
    rc = rc ? rc : by_word(m, op, many, packs ? packs - 1 : INT32_MAX, e);
    return rc || !packs ? rc : by_eight(m, op, packs, e);
}
