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
#include "kernels/formats.h"

/* ---- values --------------------------------------------------------------------------- */

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
    WEIGHT_VECTOR, /* float32, row after row (one, but for the filters of convolutions) */
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
    int64_t elems;  /* numbers: per slot (FIXED) or per token (PAGED) */
    int64_t offset; /* FIXED: first float in the slot; PAGED: first float in a page */
    enum dtype dtype; /* F32; or F16, of FIXED sections of the ops that section_may_be_f16 names */
};
/* What it takes, in floats: two numbers of F16 lie in the place of one. */
static inline int64_t section_floats(const struct section *s)
{
    return s->dtype == DTYPE_F16 ? (s->elems + 1) / 2 : s->elems;
}

/* ---- ops ------------------------------------------------------------------------------ */

#define OP_INPUTS 7
/* Operands 1 to 5 of attention and its relatives are what is cached of a token; 0 and 6 belong to
 * the row that asks. */
#define OP_CACHED_END 6
#define OP_WEIGHTS 2

enum op_kind {
#define OP(KIND, name, rows, sections, cost, factor, what) OP_##KIND,
#include "kernels/ops.def"
    OP_KINDS
};
/* The operands' places: op.in[DELTA_q], op.w[NORM_weight]. */
enum op_operand {
#define IN(KIND, n, operand, use) KIND##_##operand = n,
#define WEIGHT(KIND, n, operand, role, use) KIND##_##operand = n,
#include "kernels/ops.def"
};

/* ops.def says what each value means. */
enum op_rows { OP_ROWS_ANY, OP_ROWS_TOKENS, OP_ROWS_LOGITS };
enum op_sections {
    OP_SECTIONS_NONE, OP_SECTIONS_FIXED, OP_SECTIONS_PAGED, OP_SECTIONS_RING, OP_SECTIONS_MAYBE
};
enum operand_use {
    OPERAND_GIVEN, OPERAND_OPTIONAL, OPERAND_INPLACE, OPERAND_OPTIONAL_INPLACE, OPERAND_SAME,
    OPERAND_OWN
};
struct operand {
    const char *name; /* NULL: the op has no such operand */
    enum operand_use use;
    enum weight_role role; /* of weights */
};
/* An op's row of ops.def. */
struct op_face {
    const char *name, *what;
    enum op_rows rows;
    enum op_sections sections;
    struct operand in[OP_INPUTS], w[OP_WEIGHTS];
};
extern const struct op_face op_faces[OP_KINDS];
const char *op_name(enum op_kind k);

#include "kernels/op_params.h"

struct op {
    enum op_kind kind;
    enum rows rows;
    struct view in[OP_INPUTS], out;
    int32_t w[OP_WEIGHTS]; /* weights, -1 = none */
    int32_t section;       /* state section, -1 = none */
    int32_t layer;         /* for names and profiles only */
    union op_params p;
};

/* Whether the op's state may lie in float16: matrix states (DECAY, DELTA) of 16 columns or more
 * that forget. Narrower ones are sums that others are divided by, and small; a sum that only grows
 * (DECAY with DECAY_NONE) soon takes no more (DELTA takes off what it predicts). */
bool section_may_be_f16(const struct op *op);

/* Calls f for every view an op reads (writes false) or writes (true). */
typedef void view_fn(struct view *v, bool writes, void *arg);
void op_views(struct op *op, view_fn *f, void *arg);

struct plan {
    struct op *ops;
    int32_t n_ops;
    struct act *acts;
    int32_t n_acts;
    struct weight *weights;
    int32_t n_weights;
    struct section *sections;
    int32_t n_sections;
    /* All FIXED sections of one sequence, each 16-float aligned; a float: four bytes, whatever lies
     * in them. */
    int64_t slot_floats;
    int64_t page_token_floats; /* all PAGED sections, per token; a page = PAGE_TOKENS times it */
    int32_t vocab, hidden;
    struct view logits;        /* ROWS_LOGITS, width vocab */
};

/* ---- one step ------------------------------------------------------------------------- */

/* Which ops of the plan a step runs: all, or those on rows of one kind. */
enum step_ops { STEP_ALL, STEP_TOKENS, STEP_LOGITS };

/* The rows of one step: sequences packed end to end. A slot appears at most once. */
struct batch {
    int32_t n_seqs, n_tokens, n_logits;
    const int32_t *tokens;     /* [n_tokens] ids, each 0 <= id < vocab (the caller checked) */
    const int32_t *cu_seqlens; /* [n_seqs + 1] first row of each sequence; last = n_tokens. With
                                * those of one row before others, and of these the longest last, a
                                * step may be faster */
    const int32_t *slots;      /* [n_seqs] state slot */
    const int64_t *pos;        /* [n_seqs] position of the sequence's first row; 0 = fresh */
    const int32_t *logit_rows; /* [n_logits] rows, ascending */
    const int32_t *pages;      /* [n_seqs][pages_per_seq] page of each 64-position block */
    int32_t pages_per_seq;     /* 0 when the plan has no PAGED section */
    enum step_ops ops;
};

static inline bool batch_runs(const struct batch *b, const struct op *op)
{
    return b->ops == STEP_ALL || (b->ops == STEP_LOGITS) == (op->rows == ROWS_LOGITS);
}

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
