/* The vocabulary in which an architecture writes its formulas; each call records ops.
 *
 * Errors are sticky: the first one is kept in b->err, later calls do nothing, so an architecture
 * file has no error handling. Values are views (columns of an activation); slicing is free.
 * Thread: the loading thread. */
#ifndef RECURD_BUILD_H
#define RECURD_BUILD_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/plan.h"
#include "models/files/checkpoint.h"
#include "models/files/config.h"

typedef struct view val; /* the one typedef: formulas read better */

/* Where the rows of a weight come from. A packed matrix has several parts. */
struct binding_part {
    char name[LIMIT_TENSOR_NAME]; /* empty: `fill` everywhere, or `values` */
    int64_t tensor_row, rows;     /* rows taken from the tensor (seen as [rows][cols]) */
    int64_t at_row;               /* where they go in the weight */
    bool transposed;              /* the file stores [cols][rows] … */
    int64_t tensor_col, stride;   /* … from this row on, in rows of stride (0: all of the tensor) */
    int64_t apart;                /* > 1: the tensor's columns stand so far apart, zeros between */
    enum transform transform;
    void (*derive)(const float *whole, int64_t elems, int64_t row, int64_t n, float *out);
    const float *values;          /* computed at build time (rope tables); owned by the binding */
    float fill;
    struct binding_part *next;
};
struct binding {
    struct binding_part *parts;
    float dummy_scale;            /* standard deviation of dummy weights */
    float dummy_mean;
};

struct build; /* opaque; see build.c */

/* ---- configuration (keys are marked as understood) ---- */
int64_t cfg_int(struct build *b, const char *key, int64_t dflt);   /* 0 <= x <= 2^31-1 */
double cfg_num(struct build *b, const char *key, double dflt);
bool cfg_bool(struct build *b, const char *key, bool dflt);
const char *cfg_str(struct build *b, const char *key, const char *dflt);
bool cfg_has(struct build *b, const char *key);
bool cfg_is_str(struct build *b, const char *key, const char *value); /* a string equal to value */
const struct config *cfg(struct build *b);         /* the raw object */
/* Names the keys that do not matter to inference; "a b c". Others unread at the end are an
 * error that names them. */
void cfg_irrelevant(struct build *b, const char *keys);
void b_fail(struct build *b, int code, const char *fmt, ...) PRINTF(3, 4);
bool b_failed(const struct build *b);
struct err *b_err(struct build *b); /* for reads of nested config objects */
/* Refuses a model whose config gives this key a value other than null, false or 0. */
void cfg_refuse(struct build *b, const char *key);
/* Keys of the (nested) object c that nobody asked for: those that say nothing (null, false, 0) or
 * change nothing at inference are left aside with a warning, others refuse the model. where: the
 * object's path for messages, "rope_parameters." */
void b_leave_unread(struct build *b, const struct config *c, const char *where);
/* Returns ok; when false, the formatted sentence says what the config contradicts. */
bool b_require(struct build *b, bool ok, const char *fmt, ...) PRINTF(3, 4);

/* ---- names ---- */
void b_prefix(struct build *b, const char *fmt, ...) PRINTF(2, 3); /* before tensor names */
void b_layer(struct build *b, int layer); /* for section names and profiles */
/* Whether the checkpoint has prefix+name; dummy models answer dflt. */
bool b_has(struct build *b, const char *name, bool dflt);
/* Rows of a tensor (first dimension) whatever they are: "shapes decide"; dummy: dflt. */
int64_t b_rows(struct build *b, const char *name, int64_t dflt);
int64_t b_cols(struct build *b, const char *name, int64_t dflt); /* its last dimension */

/* ---- weights as vectors (float32) ---- */
/* The tensor's n elements (any shape with n elements). Returns a weight index. */
int w_vec(struct build *b, const char *name, int64_t n);
int w_vec_as(struct build *b, const char *name, int64_t n, enum transform t);
/* Filters of a short convolution, [channels][size]. */
int w_filter(struct build *b, const char *name, int channels, int size);
/* Filters whose taps lie `apart` tokens apart (a dilated convolution): of the size that b_conv is
 * told, (size - 1) * apart + 1, with zeros between. */
int w_filter_apart(struct build *b, const char *name, int channels, int size, int apart);
/* Row `row` of a tensor seen as [rows][n]. */
int w_vec_row(struct build *b, const char *name, int64_t rows, int64_t row, int64_t n);
/* A matrix put together from tensors: w_matrix, then w_rows for every piece. */
int w_matrix(struct build *b, const char *like, int64_t rows, int64_t cols); /* dtype of `like` */
void w_rows(struct build *b, int w, const char *name, int64_t total, int64_t row0, int64_t rows,
            int64_t at, bool transposed);
/* Computed from a whole tensor at load: out [n] of row `row`; whole [elems]. Used by HGRN's lower
 * bounds and BitNet's mean. */
typedef void derive_fn(const float *whole, int64_t elems, int64_t row, int64_t n, float *out);
int w_derived(struct build *b, const char *name, int64_t elems, int64_t row, int64_t n,
              derive_fn *f);
/* The same for a vector of n numbers that a tensor of `elems`, fewer or more, gives. */
int w_derived_vec(struct build *b, const char *name, int64_t elems, int64_t n, derive_fn *f);
/* Rows [row0, row0 + rows) of a matrix of `cols` columns, computed from the tensor
 * [tensor_rows][tensor_cols]. */
struct derived { int64_t tensor_rows, tensor_cols, row0, rows, cols; derive_fn *f;
                 bool exact; }; /* exact: float32 whatever the tensor is, before --quantize */
int w_derived_matrix(struct build *b, const char *name, const struct derived *d);
/* Rows [row0, row0 + rows) of the tensor [tensor_rows][tensor_cols] as they are, or turned (then
 * `rows` are the weight's columns and tensor_cols its rows), at row `at` of weight w. */
struct block_part { int64_t tensor_rows, tensor_cols, row0, rows, at; bool transposed; };
void w_block(struct build *b, int w, const char *name, const struct block_part *p);
int w_values(struct build *b, const float *values, int64_t n);

/* ---- ops ---- */
val b_embed(struct build *b, const char *name, int vocab, int width, float scale);
val b_linear(struct build *b, val x, const char *name, int rows);       /* name + ".weight" */
val b_linear_bias(struct build *b, val x, const char *name, int rows);  /* and ".bias" */
/* Rows [row0, row0 + rows) of the tensor `weight` (full name) of total_rows; bias NULL = none. */
val b_linear_part(struct build *b, val x, const char *weight, const char *bias, int total_rows,
                  int row0, int rows, bool transposed);
val b_slice(val x, int col, int width);
val b_norm(struct build *b, val x, enum norm_kind k, int group, int weight, int bias, float eps,
           float scale);
val b_rms(struct build *b, val x, const char *name, float eps);        /* whole row, + ".weight" */
val b_layer_norm(struct build *b, val x, const char *name, bool bias, float eps);
val b_l2(struct build *b, val x, int group);                            /* eps 1e-6 in the root */
/* norm(x) (.) act(gate), or norm(x (.) act(gate)) when gate_first. */
val b_gated_norm(struct build *b, val x, val gate, enum norm_kind k, int group, int weight,
                 int bias, float eps, enum activation act, bool gate_first);
val b_conv(struct build *b, val x, int weight, int bias, int size, enum activation act);
val b_shift(struct build *b, val x); /* previous token's row */
val b_groupsum(struct build *b, val x, int group, float scale);
val b_softmax(struct build *b, val x, int group, float scale);
val b_rope(struct build *b, val x, int head, int rot, double theta, bool interleaved);
/* With given inverse frequencies [rot/2] and a factor on cos and sin. */
val b_rope_with(struct build *b, val x, int head, int rot, const float *inv, bool interleaved,
                float scale);

/* States: a member that is left out means the usual thing. Heads: as many as state_heads; scale
 * and steps: 1; weights bonus and constant: none (0 is the embedding); values a and b: absent. */
struct decay_args { val q, k, v, d; int q_heads, k_heads, v_heads, d_heads, state_heads, K, V;
                    enum decay_mode decay; int bonus, constant; float scale; };
val b_decay(struct build *b, const struct decay_args *a);
struct delta_args { val q, k, v, w, a, b; int k_heads, d_heads, state_heads, K, V, steps;
                    enum decay_mode decay; bool dplr, decay_first; float scale; };
val b_delta(struct build *b, const struct delta_args *a);
/* ATTENTION [kind 0] or one of its relatives; stores the rows too. more: operands 3 to 5 of the
 * kind (op_params.h); v left out: values are the first dv columns of keys; v_heads 0 = kv_heads.
 * To share one cache among layers: the first caller passes share (gets the handle), later ones
 * pass it as shared with the same k, v; b_attention_keep(shared) once after the last. */
/* asked: operand 6, of the row that asks: INDEXER's weights, INDEXED's chosen blocks. */
struct attention_args { enum op_kind kind; val q, k, v, more[3], asked;
                        int heads, kv_heads, v_heads, dk, dv, window, block, count;
                        float scale; int shared, *share; };
val b_attention(struct build *b, const struct attention_args *a);
void b_attention_keep(struct build *b, const struct attention_args *a);
val b_rnn(struct build *b, val f, val i);                /* h = f (.) h + i */
val b_logsum(struct build *b, val x);                    /* [exp(x - z) | exp(z_prev - z)] */
val b_scan(struct build *b, val x, val dt, val B, val C, int A, int D);
struct topk_args { int n, k, n_groups, topk_groups, none, bias; bool norm, dense;
                   float eps, scale; };
val b_topk(struct build *b, val scores, const struct topk_args *a);
val b_experts(struct build *b, val x, val route, int k, int weight, int rows, bool per_slot);
val b_blocks(struct build *b, val x, int blocks, int weight, int bias, int rows, bool shared);
/* Matrices of blocks and experts start at multiples of so many rows: what backends tile by. */
#define BLOCK_ROWS 16
int b_padded(int rows); /* rounded up to that */
/* Of each of n parts of b_padded(width) columns the first `width`. */
val b_cut(struct build *b, val x, int n, int width);
val b_columns(struct build *b, val x, const float *index, int n); /* out[c] = x[index[c]] */
/* Means of blocks weighted by softmax(gate + bias), at their last rows; gate left out: plain. */
val b_pool(struct build *b, val x, val gate, int bias, int block);
val b_sinkhorn(struct build *b, val x, int n, int iters, float eps); /* of n x n columns */
val b_first(struct build *b);                            /* width 1: 1 at position 0, else 0 */

/* ---- elementwise; fused into as few passes as possible ---- */
val e_add(struct build *b, val x, val y);
val e_sub(struct build *b, val x, val y);
val e_div(struct build *b, val x, val y);
val e_cat(struct build *b, int n, const val *x);         /* side by side */
val e_tile(struct build *b, val x, int n);     /* n times side by side */
val e_mul(struct build *b, val x, val y);      /* a narrower y spreads over groups of x */
val e_addw(struct build *b, val x, int w);     /* w: vector weight; shorter = tiled */
val e_mulw(struct build *b, val x, int w);
/* w holds one value per group of x. */
val e_add_group_w(struct build *b, val x, int w);
val e_mul_group_w(struct build *b, val x, int w);
val e_maddw(struct build *b, val x, val d, int w);       /* x + d (.) w */
val e_affine(struct build *b, val x, float mul, float add);
val e_fn(struct build *b, enum ew_op f, val x);          /* one-argument functions */
val e_max(struct build *b, val x, float c);
val e_min(struct build *b, val x, float c);
val e_act(struct build *b, enum activation a, val x);

/* Ops of single families (relatives.c); operands as in op_params.h. */
val b_fenwick(struct build *b, val q, val k, val v, val alpha, val lambda, int heads, int levels);
val b_mesa(struct build *b, val q, val k, val v, val alpha, val beta, int lambda, float bound,
           int heads, int K);
struct trapezoid_args { val q, k, v, alpha, now, before; int heads, K, V; };
val b_trapezoid(struct build *b, const struct trapezoid_args *a);
val b_rotate(struct build *b, val x, val angles, int heads, int head, int parts); /* in place */
val b_wkv(struct build *b, val k, val v, int decay, int bonus);
void b_context_max(struct build *b, int64_t positions); /* the model ends there */

/* ---- the end ---- */
/* Gathers the rows that need logits; the returned value has ROWS_LOGITS. */
val b_gather(struct build *b, val x);
/* logits = W x with the named matrix; tied: the embedding's. */
void b_logits(struct build *b, val x, const char *name, bool tied);

/* ---- shared pieces of many architectures ---- */
val b_swiglu(struct build *b, val x, const char *gate, const char *up, const char *down,
             int inner, const char *act);                /* section 1.2 */
int64_t b_mlp_width(struct build *b, int hidden);        /* intermediate_size or the rule */
int64_t b_mlp_width_ratio(struct build *b, int hidden, double hidden_ratio); /* default ratio */
/* up(act(down(x))): name.lora.0.weight [rank, in], name.lora.2.weight [width, rank] (+ .bias).
 * The rank is the tensor's; dummy models take the given one. */
val b_lora(struct build *b, val x, const char *name, int rank, enum activation act, int width,
           bool bias);
/* Softmax attention of section 1.4 under the current prefix; spec: the object in `attn`. */
val b_hybrid_attention(struct build *b, val x, int hidden, const struct config *spec);
/* The object of config `attn` that lists this layer, or NULL. */
const struct config *b_hybrid_spec(struct build *b, int layer);
enum activation activation_parse(const char *name); /* ACT_NONE also for unknown: see ok */
bool activation_known(const char *name);

#include "models/build/skeleton.h"
#include "models/build/attention.h"
#include "models/build/hybrid.h"
#include "models/build/ssm.h"
#include "models/build/ngram.h"
#include "models/build/hyper.h"

/* ---- architectures ---- */
struct arch {
    const char *model_type;
    void (*build)(struct build *b);
};
#define ARCH(name) extern const struct arch arch_##name;
#include "models/archs.def"
#undef ARCH
/* NULL, with an error: no such model_type. arch_find (models/arch.h) is the one of the product. */
typedef const struct arch *arch_find_fn(const char *model_type, struct err *e);

struct model;
/* Builds m->plan and m->bindings from the config and the checkpoint (NULL: dummy). */
int build_model(struct model *m, arch_find_fn *find, const struct config *c,
                struct checkpoint *ck, struct err *e) MUST_USE;

#endif
