/* The plan: a model as a flat list of ops over activations, recorded once at load.
 *
 * models/ builds it, a backend executes it every step. All activations are float32 matrices,
 * one row per token (or per row that needs logits); an op reads and writes *views*: a range of
 * columns of an activation. Nothing here knows a model or a device.
 *
 * Owner: the loaded model. Thread: written while loading, read-only afterwards. */
#ifndef RECURD_PLAN_H
#define RECURD_PLAN_H

#include "base/base.h"
#include "base/limits.h"

/* ---- values --------------------------------------------------------------------------- */

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
size_t dtype_bytes(enum dtype t);
const char *dtype_name(enum dtype t);

/* Columns [col, col + width) of activation `act`; act < 0 = absent. */
struct view {
    int32_t act, col, width;
};
#define VIEW_NONE ((struct view){-1, 0, 0})
static inline bool view_given(struct view v) { return v.act >= 0; }

enum rows { ROWS_TOKENS, ROWS_LOGITS };

struct act {
    enum rows rows;
    int32_t width;
    int32_t stride;  /* floats from row to row: width rounded up to 16 */
    int64_t offset;  /* first float in the arena, for the plan's row capacity (plan_layout) */
    int32_t first, last; /* ops that first write and last read it: its life */
};

enum weight_role {
    WEIGHT_MATRIX, /* rows = outputs, cols = inputs; in a backend's own packing */
    WEIGHT_VECTOR, /* rows == 1, always float32 */
};

struct weight {
    enum weight_role role;
    enum dtype dtype; /* storage on the device; activations and sums are float32 */
    int64_t rows, cols;
};

/* ---- state ---------------------------------------------------------------------------- */

enum section_kind {
    SECTION_FIXED, /* one array per sequence, in its slot */
    SECTION_PAGED, /* one row per token, in blocks of PAGE_TOKENS */
};
/* Attention sums keys in blocks of this many positions counted from 0, so that the order of a
 * sum depends on the position alone; a page is one such block. */
#define PAGE_TOKENS 64

/* A piece of per-sequence memory that one op owns. All zero = the state before token 0. */
struct section {
    char name[64]; /* layer and tensor, e.g. "layers.3.attn.S": the snapshot schema */
    enum section_kind kind;
    int64_t elems;  /* floats: per slot (FIXED) or per token (PAGED) */
    int64_t offset; /* FIXED: first float in the slot; PAGED: first float in a page */
};

/* ---- ops ------------------------------------------------------------------------------ */

enum op_kind {
#define OP(KIND, name, stateful, what) OP_##KIND,
#include "kernels/ops.def"
#undef OP
    OP_KINDS
};
const char *op_name(enum op_kind k);

enum activation { ACT_NONE, ACT_SILU, ACT_SIGMOID, ACT_RELU, ACT_SQRELU, ACT_TANH, ACT_GELU_TANH, ACT_GELU_ERF };

enum norm_kind {
    NORM_RMS,   /* x / sqrt(mean(x^2) + eps) */
    NORM_LAYER, /* (x - mean) / sqrt(var + eps), biased variance */
    NORM_L2,    /* x / sqrt(sum(x^2) + eps) */
    NORM_L2MAX, /* x / max(sqrt(sum(x^2)), eps) */
    NORM_SUM,   /* x / (sum(x) + eps) */
};

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

enum decay_mode {
    DECAY_NONE,
    DECAY_CONST,  /* one factor per state head, weight vector w[1] */
    DECAY_SCALAR, /* one factor per state head and token */
    DECAY_KEY,    /* K factors per state head and token: diag(a) S */
    DECAY_VALUE,  /* V factors per state head and token: S diag(c) */
};

struct op {
    enum op_kind kind;
    enum rows rows;
    struct view in[6], out;
    int32_t w[4];       /* weights, -1 = none */
    int32_t section;    /* state section, -1 = none */
    int32_t section2;
    int32_t layer;      /* for names and profiles only */
    union {
        /* out[t] = w[0][token[t]] * scale. w[0] MATRIX [vocab, width]. */
        struct { float scale; } embed;

        /* out (ROWS_LOGITS) = in[0] at batch.logit_rows. */

        /* out = act(w[0] in[0] + w[1]) + in[1]. w[0] MATRIX [out.width, in.width]; w[1] bias
         * VECTOR or none; in[1] residual (same width as out, may be the same view as out) or
         * none. Every output is the chain fma(w[k], x[k], acc) over k = 0 … cols-1, acc = 0. */
        struct { enum activation act; } linear;

        /* Groups of `group` columns of in[0], each normalised on its own; then times w[0] and
         * plus w[1] (length `group`, shared by groups, or the whole width), times scale.
         * in[1] gate (same width) with gate_act: gate_first multiplies before the norm,
         * otherwise after the weight. */
        struct {
            enum norm_kind kind;
            int32_t group;
            float eps, scale;
            enum activation gate_act;
            bool gate_first;
        } norm;

        struct ew_program *ew; /* owned by the plan */

        /* out[g] = scale * sum of group g of in[0]; out.width = in.width / group. */
        struct { int32_t group; float scale; } groupsum;
        /* out group = softmax(scale * in[0] group). */
        struct { int32_t group; float scale; } softmax;

        /* Rotates the first `rot` of every `head` columns of out in place (in[0] = out) by
         * angle position * w[0][i], w[0] VECTOR [rot/2] = inverse frequencies.
         * interleaved: pairs (2i, 2i+1); otherwise (i, i + rot/2). `scale` multiplies cos and
         * sin (yarn's attention factor; 1 normally). */
        struct { int32_t head, rot; bool interleaved; float scale; } rope;

        /* out_t[c] = act( sum_{i<size} w[0][c*size+i] * in_{t-size+1+i}[c] + w[1][c] ), zeros
         * before token 0. Section: the last size-1 inputs, oldest first, [size-1][width]. */
        struct { int32_t size; enum activation act; } conv;

        /* out_t = in_{t-1}; zeros before token 0. Section: the last input, [width]. */

        /* K1, per state head: S = diag(a) S diag(c) + k v^T, o = scale * S^T q; with bonus w[0]
         * [state_heads*K]: o = scale * (S_{t-1} + diag(u) k v^T)^T q, state as before.
         * in: 0 q [q_heads*K], 1 k [k_heads*K], 2 v [v_heads*V], 3 decay factors (not logs):
         * SCALAR [d_heads], KEY [d_heads*K], VALUE [d_heads*V]. w[1]: CONST factors.
         * state head s uses key head s*k_heads/state_heads (and v, d likewise); query head h
         * reads state head h*state_heads/q_heads. out [q_heads*V].
         * Section: S [state_heads][K][V]. */
        struct {
            int32_t q_heads, k_heads, v_heads, d_heads, state_heads, K, V;
            enum decay_mode decay;
            float scale;
        } decay;

        /* K2, per state head: u = S^T a';  S = diag(w) S + b u^T + k v'^T;  o = scale * S^T q.
         * in: 0 q, 1 k, 2 v, 3 w (decay factors, mode NONE, SCALAR or KEY), 4 a, 5 b or beta.
         * Delta form (dplr false): a' = w (.) a if decay_first else a (a absent = k);
         *   b u^T + k v'^T = k (beta (.) (v - u))^T with in[5] beta [state_heads], absent = 1.
         * DPLR form (dplr true): a' = a (times w if decay_first); b = in[5] [k_heads*K]; v' = v.
         * steps n > 1 (delta form only): per token n micro-steps; k, v, beta (a) are n times as
         * wide, step-major [n][heads][K]; the decay acts on the first, the read after the last.
         * q, k, a, b have k_heads heads, v and out state_heads, w either (d_heads).
         * Section: S [state_heads][K][V]. */
        struct {
            int32_t k_heads, d_heads, state_heads, K, V, steps;
            enum decay_mode decay;
            bool dplr, decay_first;
            float scale;
        } delta;

        /* K6: in 0 q [heads*dk], 1 k [kv_heads*dk], 2 v [kv_heads*dv]; out [heads*dv].
         * p_j = softmax over j in (t-window, t] of scale <q_t, k_j> (window 0 = all).
         * PAGED section per token: k then v, [kv_heads*(dk+dv)]; with a window a FIXED ring of
         * `window` such rows, row = position % window. Keys of this batch are read from in[1]
         * and in[2], older ones from the section; ATTENTION_KEEP (same operands and section,
         * the next op) then stores the batch's rows: reading comes before a ring overwrites.
         * Keys are visited in blocks of PAGE_TOKENS positions counted from 0, ascending, with a
         * running maximum. */
        struct {
            int32_t heads, kv_heads, dk, dv, window;
            float scale;
        } attention;
    } p;
};

struct plan {
    struct op *ops;
    int32_t n_ops;
    struct act *acts;
    int32_t n_acts;
    struct weight *weights;
    int32_t n_weights;
    struct section *sections;
    int32_t n_sections;
    int64_t slot_floats;       /* all FIXED sections of one sequence, each 16-float aligned */
    int64_t page_token_floats; /* all PAGED sections, per token; a page = PAGE_TOKENS times it */
    int32_t vocab, hidden;
    struct view logits;        /* ROWS_LOGITS, width vocab */
};

/* ---- one step ------------------------------------------------------------------------- */

/* The rows of one step: sequences packed end to end. A slot appears at most once. */
struct batch {
    int32_t n_seqs, n_tokens, n_logits;
    const int32_t *tokens;     /* [n_tokens] ids, each 0 <= id < vocab (the caller checked) */
    const int32_t *cu_seqlens; /* [n_seqs + 1] first row of each sequence; last = n_tokens */
    const int32_t *slots;      /* [n_seqs] state slot */
    const int64_t *pos;        /* [n_seqs] position of the sequence's first row; 0 = fresh */
    const int32_t *logit_rows; /* [n_logits] rows, ascending */
    const int32_t *pages;      /* [n_seqs][pages_per_seq] page of each 64-position block */
    int32_t pages_per_seq;     /* 0 when the plan has no PAGED section */
};

/* What the plan was laid out for. */
struct capacity {
    int32_t tokens, logits, seqs; /* rows and sequences of one step */
    int32_t slots;                /* sequences with a state on the device */
    int32_t pages, pages_per_seq; /* KV pages on the device, and per sequence */
};

/* Gives activations their arena offsets by liveness for this capacity; returns the arena's
 * floats, or -1 without memory. Deterministic. */
int64_t plan_layout(struct plan *p, const struct capacity *c);

#endif
