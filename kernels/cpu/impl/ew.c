/* EW: the elementwise interpreter. A program runs over a piece of a row small enough for all its
 * registers to stay in the first-level cache; each instruction is one loop over the piece. Pieces
 * are padded to whole vectors, so every element goes through the same code. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"
#include "kernels/cpu/impl/vmath.h"

/* 64 columns of the longest program; short ones get longer pieces, up to PIECE. 19 KiB. */
#define SCRATCH (64 * (LIMIT_EW_IN + LIMIT_EW_CODE))
#define PIECE 512

static float each_sin(float x) { return (float)sin((double)x); }
static float each_cos(float x) { return (float)cos((double)x); }

/* exp(b log a) in double precision, as ref: floats would lose digits to a large exponent. */
INLINE v16 v16_pow(v16 a, v16 b)
{
    float x[LANES], y[LANES];
    v16_store(x, a);
    v16_store(y, b);
    for (int i = 0; i < LANES; i++)
        x[i] = (float)exp((double)y[i] * log((double)x[i]));
    return v16_load(x);
}

/* The larger (smaller) of two; a NaN on either side is the result. */
INLINE v16 nan_max(v16 a, v16 b) { return v16_select(v16_nan(a), a, v16_max(a, b)); }
INLINE v16 nan_min(v16 a, v16 b) { return v16_select(v16_nan(a), a, v16_min(a, b)); }

/* One instruction over n columns, n a multiple of 16. */
#define LOOP(expression) \
    for (int c = 0; c < n; c += LANES) { \
        v16 a = v16_load(x + c); \
        v16_store(d + c, expression); \
    } \
    break
#define B v16_load(y + c)
static void instruction(const struct ew_ins *ins, float *d, const float *const *reg, int n)
{
    const float *x = reg[ins->a], *y = reg[ins->b], *z = reg[ins->c];
    const v16 imm = v16_set1(ins->imm);
    switch ((enum ew_op)ins->op) {
    case EW_ADD: LOOP(v16_add(a, B));
    case EW_SUB: LOOP(v16_sub(a, B));
    case EW_MUL: LOOP(v16_mul(a, B));
    case EW_DIV: LOOP(v16_div(a, B));
    case EW_MAX: LOOP(nan_max(a, B));
    case EW_MIN: LOOP(nan_min(a, B));
    case EW_POW: LOOP(v16_pow(a, B));
    case EW_ADDI: LOOP(v16_add(a, imm));
    case EW_MULI: LOOP(v16_mul(a, imm));
    case EW_MAXI: LOOP(nan_max(a, imm));
    case EW_MINI: LOOP(nan_min(a, imm));
    case EW_RSUBI: LOOP(v16_sub(imm, a));
    case EW_MADD: LOOP(v16_fma(a, B, v16_load(z + c)));
    case EW_NEG: LOOP(v16_neg(a));
    case EW_ABS: LOOP(v16_abs(a));
    case EW_EXP: LOOP(v16_exp(a));
    case EW_LOG: LOOP(v16_log(a));
    case EW_SQRT: LOOP(v16_sqrt(a));
    case EW_RSQRT: LOOP(v16_div(v16_set1(1), v16_sqrt(a)));
    case EW_SIN: LOOP(v16_each(each_sin, a));
    case EW_COS: LOOP(v16_each(each_cos, a));
    case EW_SIGMOID: LOOP(v16_sigmoid(a));
    case EW_TANH: LOOP(v16_tanh(a));
    case EW_SOFTPLUS: LOOP(v16_softplus(a));
    case EW_LOGSIGMOID: LOOP(v16_logsigmoid(a));
    case EW_SILU: LOOP(v16_silu(a));
    case EW_RELU: LOOP(v16_relu(a));
    case EW_SQRELU: LOOP(v16_sqrelu(a));
    case EW_GELU_TANH: LOOP(v16_gelu_tanh(a));
    case EW_GELU_ERF: LOOP(v16_each(one_gelu_erf, a));
    case EW_ROUND: LOOP(v16_round(a));
    case EW_OPS: break;
    }
}
#undef B
#undef LOOP

/* Columns [c0, c0 + n) of an operand that repeats or spreads. */
static void spread(float *d, const float *p, const struct ew_in *in, int c0, int n)
{
    int period = in->period;
    for (int c = 0; c < n;) {
        int at = c0 + c, left = MIN(period - at % period, n - c);
        if (in->spread == EW_TILE) {
            memcpy(d + c, p + at % period, (size_t)left * sizeof *d);
        } else {
            const v16 one = v16_set1(p[at / period]);
            for (int i = 0; i < left; i += LANES)
                store_left(d + c + i, left - i, one);
        }
        c += left;
    }
}

/* Input i of a piece: in place when it is there in whole vectors, otherwise copied to d. `kept`
 * are the inputs that must be copied: outputs themselves, they may be overwritten. */
static const float *input(const struct host_step *s, const struct ew_in *in, int32_t row, int c0,
                          int n, float *d, bool kept)
{
    const float *p = view_given(in->v) ? host_row(s, in->v, row) : host_vec(s, in->weight);
    int padded = (int)round_up((size_t)n, LANES);
    if (!kept && n == padded) {
        if (in->spread == EW_FULL)
            return p + c0;
        if (in->spread == EW_TILE && c0 % in->period + n <= in->period)
            return p + c0 % in->period;
    }
    if (in->spread == EW_FULL)
        memcpy(d, p + c0, (size_t)n * sizeof *d);
    else
        spread(d, p, in, c0, n);
    memset(d + n, 0, (size_t)(padded - n) * sizeof *d);
    return d;
}

/* How a program is run: what does not change from piece to piece. */
struct run {
    const struct ew_program *e;
    int size;                 /* columns of a piece */
    bool kept[LIMIT_EW_IN];   /* inputs that are outputs, too */
    int8_t to[LIMIT_EW_CODE]; /* the output that an instruction writes at once; -1: none */
};

static bool reads(const struct ew_program *e, int32_t act)
{
    for (int i = 0; i < e->n_in; i++)
        if (view_given(e->in[i].v) && e->in[i].v.act == act)
            return true;
    return false;
}

static struct run run_of(const struct ew_program *e)
{
    struct run r = {.e = e, .size = MIN(SCRATCH / (e->n_in + e->n_code) / LANES * LANES, PIECE)};
    memset(r.to, -1, sizeof r.to);
    for (int i = 0; i < e->n_out; i++) {
        int at = e->out[i].reg - e->n_in;
        if (at < 0)
            r.kept[e->out[i].reg] = true;
        else if (!reads(e, e->out[i].v.act)) /* what is read stays until all instructions have */
            r.to[at] = (int8_t)i;
    }
    return r;
}

static void piece(const struct host_step *s, const struct run *r, int32_t row, int c0, int n)
{
    const struct ew_program *e = r->e;
    _Alignas(64) float scratch[SCRATCH];
    const float *reg[LIMIT_EW_IN + LIMIT_EW_CODE];
    int padded = (int)round_up((size_t)n, LANES), regs = 0;
    for (int i = 0; i < e->n_in; i++, regs++)
        reg[regs] = input(s, &e->in[i], row, c0, n, scratch + regs * r->size, r->kept[i]);
    for (int i = 0; i < e->n_code; i++, regs++) {
        float *d = scratch + regs * r->size;
        if (r->to[i] >= 0 && n == padded)
            d = host_row(s, e->out[r->to[i]].v, row) + c0;
        instruction(&e->code[i], d, reg, padded);
        reg[regs] = d;
    }
    for (int i = 0; i < e->n_out; i++) {
        float *out = host_row(s, e->out[i].v, row) + c0;
        if (out != reg[e->out[i].reg])
            memcpy(out, reg[e->out[i].reg], (size_t)n * sizeof *out);
    }
}

/* The views of a piece that comes later, of many rows: no near cache holds them. */
static void fetch_piece(const struct host_step *s, const struct ew_program *e, int32_t row, int c0,
                        int n)
{
    for (int i = 0; i < e->n_in; i++) {
        if (!view_given(e->in[i].v) || e->in[i].spread != EW_FULL)
            continue;
        const float *p = host_row(s, e->in[i].v, row) + c0;
        for (int c = 0; c < n; c += LANES)
            __builtin_prefetch(p + c);
    }
    for (int i = 0; i < e->n_out; i++) {
        const float *p = host_row(s, e->out[i].v, row) + c0;
        for (int c = 0; c < n; c += LANES)
            __builtin_prefetch(p + c, 1);
    }
}

#define MANY_ROWS 64 /* the rows of fewer stay in the second-level cache */

void FN(ew)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct ew_program *e = op->p.ew;
    const struct run r = run_of(e);
    int64_t pieces = (e->width + r.size - 1) / r.size, from, to;
    bool many = host_rows(s, op) >= MANY_ROWS;
    host_share(host_rows(s, op) * pieces, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int c0 = (int)(i % pieces) * r.size, c1 = (int)((i + 1) % pieces) * r.size;
        if (many && i + 1 < to)
            fetch_piece(s, e, (int32_t)((i + 1) / pieces), c1, MIN(r.size, e->width - c1));
        piece(s, &r, (int32_t)(i / pieces), c0, MIN(r.size, e->width - c0));
    }
}
