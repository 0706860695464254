/* Lowering of the recurrences that stay within a channel: conv, shift, K3, logsumexp, K4. Each is
 * one work-item per channel and sequence, walking the tokens in order; a convolution or a shift of
 * many rows takes them all at once. */
#include "kernels/opencl/shifted.h"

/* Work-items of a group along the channels; small, so that one sequence fills many groups. */
#define CHANNELS 64

/* arena, the views given (-1 = out), the section. */
static void begin(struct ocl_spec *s, struct ocl_model *m, const struct op *op, const char *file,
                  int inputs)
{
    ocl_spec_init(s, file, op);
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg_view(s, m->plan, op->out);
    for (int i = 0; i < inputs; i++)
        ocl_arg_view(s, m->plan, op->in[i]);
    ocl_arg_section(s, m, op->section);
}

static int finish(struct ocl_spec *s, struct ocl_model *m, int32_t width, struct err *e)
{
    ocl_arg(s, ARG_INT, width);
    ocl_local(s, CHANNELS, 1);
    ocl_groups(s, 0, BY_ONE, (width + CHANNELS - 1) / CHANNELS, 1);
    ocl_groups(s, 1, BY_SEQS, 1, 1);
    return ocl_spec_emit(s, m, e);
}

static void arg_seqs(struct ocl_spec *s)
{
    ocl_arg(s, ARG_BATCH, BATCH_CU);
    ocl_arg(s, ARG_BATCH, BATCH_SLOTS);
}

/* One work-item a channel, in token order: single tokens, and rows a mask may skip. */
static int conv_serial(struct ocl_model *m, const struct op *op, enum ocl_when when, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "conv.cl", 2);
    ocl_def(&s, "SIZE", op->p.conv.size);
    ocl_def(&s, "ACT", op->p.conv.act);
    ocl_def(&s, "HAS_BIAS", op->w[CONV_bias] >= 0);
    ocl_def(&s, "HAS_MASK", view_given(op->in[CONV_mask]));
    ocl_arg(&s, ARG_WEIGHT, op->w[CONV_filter]);
    ocl_arg(&s, ARG_WEIGHT, op->w[CONV_bias]);
    arg_seqs(&s);
    s.when = when;
    return finish(&s, m, op->out.width, e);
}

#define RUN 8 /* rows of an item: what it reads before them is used so often */

int ocl_keep_tail(struct ocl_model *m, const struct op *op, int32_t size, int32_t min, int32_t max,
                  struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "conv_tail.cl", op);
    ocl_def(&s, "SIZE", size);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->in[0]);
    ocl_arg_section(&s, m, op->section);
    arg_seqs(&s);
    s.when = WHEN_SEVERAL;
    s.rows_min = min;
    s.rows_max = max;
    return finish(&s, m, op->out.width, e);
}

/* What follows the section and weights of a kernel that takes words of many rows. */
static int finish_rows(struct ocl_spec *s, struct ocl_model *m, const struct op *op,
                       struct err *e)
{
    int32_t width = op->out.width;
    bool four = width % 4 == 0 && ocl_aligned(m->plan, op->in[0]) &&
                ocl_aligned(m->plan, op->out) && ocl_section_aligned(m, op->section);
    int32_t words = four ? width / 4 : width;
    ocl_def_word(s, four);
    ocl_def(s, "RUN", RUN);
    arg_seqs(s);
    ocl_arg(s, ARG_BATCH, BATCH_ROW_SEQ);
    ocl_arg(s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(s, ARG_INT, width);
    ocl_local(s, CHANNELS, 1);
    ocl_groups(s, 0, BY_ONE, (words + CHANNELS - 1) / CHANNELS, 1);
    ocl_groups(s, 1, BY_ROWS, 1, RUN);
    s->when = WHEN_SEVERAL;
    return ocl_spec_emit(s, m, e);
}

/* Every row at once, then the states. */
static int conv_parallel(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "conv_rows.cl", 1);
    ocl_def(&s, "SIZE", op->p.conv.size);
    ocl_def(&s, "ACT", op->p.conv.act);
    ocl_def(&s, "HAS_BIAS", op->w[CONV_bias] >= 0);
    ocl_arg(&s, ARG_WEIGHT, op->w[CONV_filter]);
    ocl_arg(&s, ARG_WEIGHT, op->w[CONV_bias]);
    int rc = finish_rows(&s, m, op, e);
    return rc || op->p.conv.size == 1
               ? rc : ocl_keep_tail(m, op, op->p.conv.size, 1, INT32_MAX, e);
}

int ocl_conv_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int rc;
    if (view_given(op->in[CONV_mask]) || /* or in place: rows must go in order */
        op->out.act == op->in[CONV_x].act)
        return conv_serial(m, op, WHEN_ANY, e);
    if ((rc = conv_serial(m, op, WHEN_SINGLE, e)))
        return rc;
    return conv_parallel(m, op, e);
}

static int shift_serial(struct ocl_model *m, const struct op *op, enum ocl_when when, int32_t max,
                        struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "shift.cl", 1);
    arg_seqs(&s);
    s.when = when;
    s.rows_max = max;
    return finish(&s, m, op->out.width, e);
}

int ocl_shift_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    int32_t max = ocl_shift_rows_max(m, op);
    int rc;
    if (op->out.act == op->in[SHIFT_x].act) /* in place: rows must go in order */
        return shift_serial(m, op, WHEN_ANY, max, e);
    if ((rc = shift_serial(m, op, WHEN_SINGLE, max, e)))
        return rc;
    begin(&s, m, op, "shift_rows.cl", 1);
    s.rows_max = max;
    rc = finish_rows(&s, m, op, e);
    return rc ? rc : ocl_keep_tail(m, op, 2, 1, max, e);
}

int ocl_rnn_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "rnn.cl", 2);
    arg_seqs(&s);
    return finish(&s, m, op->out.width, e);
}

int ocl_logsum_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "logsum.cl", 1);
    arg_seqs(&s);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    return finish(&s, m, op->in[LOGSUM_x].width, e);
}

int ocl_wkv_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "wkv.cl", 2);
    ocl_arg(&s, ARG_WEIGHT, op->w[WKV_decay]);
    ocl_arg(&s, ARG_WEIGHT, op->w[WKV_bonus]);
    arg_seqs(&s);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    return finish(&s, m, op->out.width, e);
}

int ocl_scan_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "scan.cl", 4);
    ocl_def(&s, "N", op->p.scan.N);
    ocl_def(&s, "HAS_D", op->w[SCAN_D] >= 0);
    ocl_arg(&s, ARG_WEIGHT, op->w[SCAN_A]);
    ocl_arg(&s, ARG_WEIGHT, op->w[SCAN_D]);
    arg_seqs(&s);
    return finish(&s, m, op->out.width, e);
}
