/* What op EW computes: a small program over the columns of a row. Part of op_params.h. */
#ifndef RECURD_EW_PROGRAM_H
#define RECURD_EW_PROGRAM_H

/* One instruction of an elementwise program: op(reg[a], reg[b], reg[c], imm). */
enum ew_op {
    EW_ADD, EW_SUB, EW_MUL, EW_DIV, EW_MAX, EW_MIN, EW_POW, /* a, b; POW: a > 0 */
    EW_ADDI, EW_MULI, EW_MAXI, EW_MINI, EW_RSUBI,           /* a, imm; RSUBI: imm - a */
    EW_MADD,     /* a * b + c in one rounding (fma); c = reg[c] */
    EW_NEG, EW_ABS, EW_EXP, EW_LOG, EW_SQRT, EW_RSQRT, EW_SIN, EW_COS,
    EW_SIGMOID, EW_TANH, EW_SOFTPLUS /* a for a > 20 */, EW_LOGSIGMOID, EW_SILU, EW_RELU,
    EW_SQRELU, EW_GELU_TANH, EW_GELU_ERF, EW_ROUND /* to nearest even */,
    EW_OPS
};
struct ew_ins {
    uint8_t op, a, b, c;
    float imm;
};
/* How an operand narrower than the program's width spreads over it; c = column. */
enum ew_spread {
    EW_FULL,  /* element c */
    EW_GROUP, /* element c / period: one value per group, e.g. per head */
    EW_TILE,  /* element c % period: one vector shared by all groups */
};
struct ew_in {
    struct view v; /* an activation, or … */
    int32_t weight; /* … a WEIGHT_VECTOR when v is absent */
    enum ew_spread spread;
    int32_t period;
};
/* Inputs are in registers 0..n_in-1 at the start; instruction i writes register n_in + i, none
 * is written twice. An output may be the very view an EW_FULL input reads: element c is loaded
 * before it is stored. */
struct ew_program {
    int32_t width;
    int32_t n_in, n_code, n_out;
    struct ew_in in[LIMIT_EW_IN];
    struct ew_ins code[LIMIT_EW_CODE];
    struct { struct view v; int32_t reg; } out[LIMIT_EW_OUT];
};

#endif
