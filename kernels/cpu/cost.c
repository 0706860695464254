/* What an op moves and roughly costs. Bytes and operations are for the profile; the time only
 * decides whether an op is too small to share, so a factor of two does no harm. Which rule serves
 * an op is a column of ops.def. Engine thread. */
#include "kernels/cpu/cpu.h"

/* One thread's rates, measured on one server core of 2023; others are within a factor of 3. */
#define NS_PER_STREAM_BYTE 0.05  /* weights and states from memory: 20 GB/s */
#define NS_PER_CACHE_BYTE 0.02   /* activations, which the op before left in cache */
#define NS_PER_FLOP 0.012        /* fused multiply-adds counted as two: 85 GFLOP/s */
#define NS_PER_STEP 1.0          /* one state element of plain C, once a token */
#define NS_PER_EW 0.05           /* one element of one instruction; exp and friends are 4 */

static int64_t width_of(const struct op *op)
{
    int64_t w = view_given(op->out) ? op->out.width : 0;
    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        w += view_given(op->in[i]) ? op->in[i].width : 0;
    return w;
}

/* What ops.def names in its column `cost`; factor is the number beside it. */
typedef struct cost cost_fn(const struct host_step *s, const struct op *op, int64_t rows,
                            double factor);
static cost_fn cost_moved, cost_kept, cost_taps, cost_columns, cost_matrix, cost_matrices,
    cost_program, cost_state, cost_levels, cost_keys, cost_plain;

struct cost cost_op(const struct host_step *s, const struct op *op)
{
    static const struct { cost_fn *of; double factor; } table[OP_KINDS] = {
#define OP(KIND, name, rows, sections, cost, factor, what) [OP_##KIND] = {cost_##cost, factor},
#include "kernels/ops.def"
    };
    return table[op->kind].of(s, op, host_rows(s, op), table[op->kind].factor);
}

/* Views alone, each element touched `factor` times. */
static struct cost cost_moved(const struct host_step *s, const struct op *op, int64_t rows,
                              double factor)
{
    int64_t bytes = rows * width_of(op) * 4;
    (void)s;
    return (struct cost){.bytes = bytes, .ns = (double)bytes * factor * NS_PER_CACHE_BYTE};
}

/* And a small state, read and written once. */
static struct cost cost_kept(const struct host_step *s, const struct op *op, int64_t rows,
                             double factor)
{
    struct cost c = cost_moved(s, op, rows, factor);
    if (op->section >= 0)
        c.update = s->plan->sections[op->section].elems * 8 * s->batch->n_seqs;
    c.bytes += c.update;
    return c;
}

static struct cost cost_taps(const struct host_step *s, const struct op *op, int64_t rows,
                             double factor)
{
    return cost_kept(s, op, rows, factor * op->p.conv.size);
}

/* So many operations for every column of the result. */
static struct cost cost_columns(const struct host_step *s, const struct op *op, int64_t rows,
                                double factor)
{
    (void)s;
    return (struct cost){.bytes = rows * width_of(op) * 4,
                         .ns = (double)rows * op->out.width * factor * NS_PER_FLOP};
}

static struct cost cost_matrix(const struct host_step *s, const struct op *op, int64_t rows,
                               double factor)
{
    const struct host_weight *w = &s->weights[op->w[LINEAR_matrix]];
    double flops = 2.0 * (double)w->rows * (double)w->cols * (double)rows;
    double stream = (double)w->bytes * NS_PER_STREAM_BYTE;
    return (struct cost){.bytes = (int64_t)w->bytes + rows * width_of(op) * 4,
                         .ns = factor * MAX(flops * NS_PER_FLOP, stream), .flops = flops};
}

/* BLOCKS reads its matrix once, EXPERTS at most the chosen parts of it. */
static struct cost cost_matrices(const struct host_step *s, const struct op *op, int64_t rows,
                                 double factor)
{
    _Static_assert((int)EXPERTS_matrix == (int)BLOCKS_matrix, "both");
    const struct host_weight *w = &s->weights[op->w[BLOCKS_matrix]];
    int64_t products = rows * op->out.width * w->cols;
    double share = (double)products / ((double)w->rows * (double)w->cols);
    int64_t bytes = (int64_t)((double)w->bytes * MIN(share, 1));
    return (struct cost){.bytes = bytes + rows * width_of(op) * 4,
                         .ns = factor * MAX((double)products * 2 * NS_PER_FLOP,
                                            (double)bytes * NS_PER_STREAM_BYTE),
                         .flops = (double)products * 2};
}

static struct cost cost_program(const struct host_step *s, const struct op *op, int64_t rows,
                                double factor)
{
    const struct ew_program *e = op->p.ew;
    double work = 0;
    (void)s;
    for (int i = 0; i < e->n_code; i++)
        work += e->code[i].op >= EW_EXP || e->code[i].op == EW_POW ? 4 : 1;
    int64_t n = rows * e->width;
    return (struct cost){.bytes = n * (e->n_in + e->n_out) * 4,
                         .ns = factor * (double)n * (work + 1) * NS_PER_EW};
}

/* A recurrence: its states are read and written once, and worked on for every token: `factor`
 * operations an element. */
static struct cost cost_state(const struct host_step *s, const struct op *op, int64_t rows,
                              double factor)
{
    const struct section *x = &s->plan->sections[op->section];
    int64_t elems = x->elems, bytes = section_floats(x) * 8 * s->batch->n_seqs;
    double flops = (double)(elems * rows) * factor;
    return (struct cost){.bytes = bytes + rows * width_of(op) * 4,
                         .ns = (double)bytes * NS_PER_STREAM_BYTE / 2 + flops * NS_PER_FLOP,
                         .update = bytes, .flops = flops};
}

/* Only levels that exist at a position are touched: as many as it has bits set, and one more. */
static struct cost cost_levels(const struct host_step *s, const struct op *op, int64_t rows,
                               double factor)
{
    const struct batch *b = s->batch;
    int64_t size = (int64_t)op->p.fenwick.heads * op->p.fenwick.K * op->p.fenwick.V, touched = 0;
    for (int32_t q = 0; q < b->n_seqs; q++) {
        int levels = 1 + __builtin_popcountll((unsigned long long)b->pos[q]);
        touched += levels * (b->cu_seqlens[q + 1] - b->cu_seqlens[q]);
    }
    double flops = (double)(size * touched) * factor;
    return (struct cost){.bytes = size * touched * 8 + rows * width_of(op) * 4,
                         .ns = flops * NS_PER_FLOP, .update = size * touched * 8, .flops = flops};
}

/* factor: 1, or more for relatives, which take a sum over lanes a key. */
static struct cost cost_keys(const struct host_step *s, const struct op *op, int64_t rows,
                             double factor)
{
    const struct batch *b = s->batch;
    bool ring = s->plan->sections[op->section].kind == SECTION_FIXED;
    double keys = 0, seen = 0;
    (void)rows;
    for (int32_t q = 0; q < b->n_seqs; q++) {
        double n = b->cu_seqlens[q + 1] - b->cu_seqlens[q], past = (double)b->pos[q];
        if (ring)
            past = MIN(past, op->p.attention.window);
        keys += n * (past + n / 2);
        seen += past + n;
    }
    double per_key = op->p.attention.dk + op->p.attention.dv;
    double flops = keys * per_key * op->p.attention.heads * 2;
    return (struct cost){.bytes = (int64_t)(seen * per_key * 4 * op->p.attention.kv_heads),
                         .ns = flops * NS_PER_FLOP * factor, .flops = flops};
}

/* All of the state, every token, in plain C. */
static struct cost cost_plain(const struct host_step *s, const struct op *op, int64_t rows,
                              double factor)
{
    double elems = (double)s->plan->sections[op->section].elems;
    int64_t update = (int64_t)elems * 8 * s->batch->n_seqs;
    return (struct cost){.bytes = rows * width_of(op) * 4 + update,
                         .ns = factor * (double)rows * elems * NS_PER_STEP, .update = update};
}
