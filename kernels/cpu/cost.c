/* What an op moves and roughly costs. The bytes are for the profile; the time only decides
 * whether an op is too small to share, so a factor of two does no harm. Engine thread. */
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

static struct cost cost_linear(const struct host_step *s, const struct op *op, int64_t rows)
{
    const struct host_weight *w = &s->weights[op->w[0]];
    double flops = 2.0 * (double)w->rows * (double)w->cols * (double)rows;
    double stream = (double)w->bytes * NS_PER_STREAM_BYTE;
    return (struct cost){(int64_t)w->bytes + rows * width_of(op) * 4,
                         MAX(flops * NS_PER_FLOP, stream)};
}

/* BLOCKS reads its matrix once, EXPERTS at most the chosen parts of it. */
static struct cost cost_matrices(const struct host_step *s, const struct op *op, int64_t rows)
{
    const struct host_weight *w = &s->weights[op->w[0]];
    int64_t products = rows * op->out.width * w->cols;
    double share = (double)products / ((double)w->rows * (double)w->cols);
    int64_t bytes = (int64_t)((double)w->bytes * MIN(share, 1));
    return (struct cost){bytes + rows * width_of(op) * 4,
                         MAX((double)products * 2 * NS_PER_FLOP,
                             (double)bytes * NS_PER_STREAM_BYTE)};
}

static struct cost cost_ew(const struct op *op, int64_t rows)
{
    const struct ew_program *e = op->p.ew;
    double work = 0;
    for (int i = 0; i < e->n_code; i++)
        work += e->code[i].op >= EW_EXP || e->code[i].op == EW_POW ? 4 : 1;
    int64_t n = rows * e->width;
    return (struct cost){n * (e->n_in + e->n_out) * 4, (double)n * (work + 1) * NS_PER_EW};
}

/* A recurrence: its states are read and written once, and worked on for every token. */
static struct cost cost_state(const struct host_step *s, const struct op *op, int64_t rows,
                              double flops_per_element)
{
    int64_t elems = s->plan->sections[op->section].elems;
    int64_t bytes = elems * 8 * s->batch->n_seqs;
    return (struct cost){bytes + rows * width_of(op) * 4,
                         (double)bytes * NS_PER_STREAM_BYTE / 2 +
                             (double)(elems * rows) * flops_per_element * NS_PER_FLOP};
}

/* Only levels that exist at a position are touched: as many as it has bits set, and one more. */
static struct cost cost_fenwick(const struct host_step *s, const struct op *op, int64_t rows)
{
    const struct batch *b = s->batch;
    int64_t size = (int64_t)op->p.fenwick.heads * op->p.fenwick.K * op->p.fenwick.V, touched = 0;
    for (int32_t q = 0; q < b->n_seqs; q++) {
        int levels = 1 + __builtin_popcountll((unsigned long long)b->pos[q]);
        touched += levels * (b->cu_seqlens[q + 1] - b->cu_seqlens[q]);
    }
    return (struct cost){size * touched * 8 + rows * width_of(op) * 4,
                         (double)(size * touched) * 6 * NS_PER_FLOP};
}

static struct cost cost_attention(const struct host_step *s, const struct op *op)
{
    const struct batch *b = s->batch;
    bool ring = s->plan->sections[op->section].kind == SECTION_FIXED;
    double keys = 0, seen = 0;
    for (int32_t q = 0; q < b->n_seqs; q++) {
        double n = b->cu_seqlens[q + 1] - b->cu_seqlens[q], past = (double)b->pos[q];
        if (ring)
            past = MIN(past, op->p.attention.window);
        keys += n * (past + n / 2);
        seen += past + n;
    }
    double per_key = op->p.attention.dk + op->p.attention.dv;
    double work = op->kind == OP_ATTENTION ? 1 : 4; /* relatives take a sum over lanes a key */
    return (struct cost){(int64_t)(seen * per_key * 4 * op->p.attention.kv_heads),
                         keys * per_key * op->p.attention.heads * 2 * NS_PER_FLOP * work};
}

/* Any other op with a state: all of it, every token. */
static struct cost cost_plain(const struct host_step *s, const struct op *op, int64_t bytes)
{
    double elems = (double)s->plan->sections[op->section].elems;
    return (struct cost){bytes + (int64_t)elems * 8 * s->batch->n_seqs,
                         host_rows(s, op) * elems * NS_PER_STEP};
}

struct cost cost_op(const struct host_step *s, const struct op *op)
{
    int64_t rows = host_rows(s, op), bytes = rows * width_of(op) * 4;
    switch (op->kind) {
    case OP_LINEAR: return cost_linear(s, op, rows);
    case OP_EW: return cost_ew(op, rows);
    case OP_DELTA: return cost_state(s, op, rows, 8);
    case OP_DECAY: return cost_state(s, op, rows, 6);
    case OP_ATTENTION:
    case OP_PATH:
    case OP_WALL:
    case OP_PARALLAX:
    case OP_DELTAFORMER:
    case OP_NSA:
    case OP_MOBA: return cost_attention(s, op);
    case OP_EXPERTS:
    case OP_BLOCKS: return cost_matrices(s, op, rows);
    case OP_TRAPEZOID: return cost_state(s, op, rows, 8);
    case OP_FENWICK: return cost_fenwick(s, op, rows);
    case OP_WKV: /* four exps a channel */
        return (struct cost){bytes, (double)rows * op->out.width * 200 * NS_PER_FLOP};
    case OP_SCAN: return cost_state(s, op, rows, 60); /* an exp is about 50 operations */
    case OP_RNN:
    case OP_SHIFT:
    case OP_LOGSUM: break;
    case OP_CONV: return (struct cost){bytes, (double)bytes * op->p.conv.size * NS_PER_CACHE_BYTE};
    case OP_SOFTMAX: return (struct cost){bytes, (double)bytes * 8 * NS_PER_CACHE_BYTE};
    case OP_NORM: return (struct cost){bytes, (double)bytes * 2 * NS_PER_CACHE_BYTE};
    default:
        if (op->section >= 0 && op->kind != OP_ATTENTION_KEEP)
            return cost_plain(s, op, bytes);
    }
    return (struct cost){bytes, (double)bytes * NS_PER_CACHE_BYTE};
}
