/* Lowering of NGRAM: the rows of a step, then the last tokens of each sequence. */
#include "kernels/ngram.h"
#include "kernels/opencl/launches.h"

#define COLUMNS 128 /* work-items of a group along the row */

/* "#define NAME a, b, c": an initialiser of unsigned 64-bit numbers. */
static void def_numbers(struct ocl_spec *s, const char *name, int n, const int64_t *v)
{
    buf_fmt(&s->defines, "#define %s", name);
    for (int i = 0; i < n; i++)
        buf_fmt(&s->defines, "%s %lldUL", i ? "," : "", (long long)v[i]);
    buf_ch(&s->defines, '\n');
}

static void def_hash(struct ocl_spec *s, const struct ngram *g)
{
    int64_t moduli[LIMIT_NGRAM_HEADS], firsts[LIMIT_NGRAM_HEADS];
    for (int32_t j = 0; j < g->heads; j++) {
        moduli[j] = g->modulus[j];
        firsts[j] = g->first[j];
    }
    ocl_def(s, "EOS", g->eos);
    ocl_def(s, "LIMIT_VOCAB", LIMIT_VOCAB);
    def_numbers(s, "MULTIPLIERS", g->size, g->multiplier);
    def_numbers(s, "MODULI", g->heads, moduli);
    def_numbers(s, "FIRSTS", g->heads, firsts);
}

static void begin(struct ocl_spec *s, const struct op *op, const char *file)
{
    ocl_spec_init(s, file, op);
    ocl_def(s, "SIZE", op->p.ngram->size);
    ocl_def(s, "HEADS", op->p.ngram->heads);
}

static int tail(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, op, "ngram_tail.cl");
    ocl_arg_section(&s, m, op->section);
    ocl_arg(&s, ARG_BATCH, BATCH_TOKENS);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_local(&s, (size_t)op->p.ngram->heads, 1);
    ocl_groups(&s, 1, BY_SEQS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_ngram_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    const struct ocl_weight *w = &m->weights[op->w[NGRAM_table]];
    struct ocl_spec s;
    begin(&s, op, "ngram.cl");
    def_hash(&s, op->p.ngram);
    ocl_def(&s, "LAYOUT", w->layout);
    ocl_def_format(&s, m->plan->weights[op->w[NGRAM_table]].dtype);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_section(&s, m, op->section);
    ocl_arg(&s, ARG_WEIGHT, op->w[NGRAM_table]);
    ocl_arg(&s, ARG_BATCH, BATCH_TOKENS);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_SEQ);
    ocl_arg(&s, ARG_INT, op->out.width / op->p.ngram->heads);
    ocl_arg(&s, ARG_LONG, w->cols_p);
    ocl_local(&s, COLUMNS, 1);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + COLUMNS - 1) / COLUMNS, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    int rc = ocl_spec_emit(&s, m, e);
    return rc ? rc : tail(m, op, e);
}
