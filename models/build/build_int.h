/* What the builder's own files share. build.c: errors, config, weights; whole.c: from a
 * config to a plan; leftovers.c: what a family does not read; ops.c: ops;
 * ew.c: elementwise; parts.c: pieces of many architectures; passes.c, join.c, activate.c,
 * fuse.c, uses.c: generic passes over the finished list. */
#ifndef RECURD_BUILD_INT_H
#define RECURD_BUILD_INT_H

#include "base/arena.h"
#include "base/mem.h"
#include "models/build/build.h"
#include "models/model.h"

struct build {
    struct model *m;
    struct plan *plan; /* &m->plan */
    const struct config *config;
    struct checkpoint *ck; /* NULL: dummy weights */
    struct err *err;
    char prefix[LIMIT_TENSOR_NAME];
    int layer, layer_sections;
    arch_find_fn *find;
    bool bare; /* a mixer alone between the matrices `input` and `output`: the layer tests */
    int cap_ops, cap_acts, cap_weights, cap_sections;
    int embedding; /* weight index of b_embed, for tied logits */
    char embedding_name[LIMIT_TENSOR_NAME];
    bool tied; /* the config around text_config says tie_word_embeddings */
};

/* ---- build.c ---- */
/* A fresh matrix or vector weight without parts; -1 after a failure. */
int build_weight(struct build *b, enum weight_role role, enum dtype t, int64_t rows, int64_t cols);
/* Adds rows [row0, row0 + rows) of tensor `name` (full name, seen as [total][cols]) to weight w at
 * row at. Checks the tensor's shape. */
struct binding_part *build_part(struct build *b, int w, const char *name, int64_t total,
                                int64_t row0, int64_t rows, int64_t at, bool transposed);
/* prefix + name, in the arena of the model. */
const char *build_name(struct build *b, const char *name, const char *suffix);
/* Storage dtype of a tensor, BF16 for dummy models; DTYPE_F32 if it is missing. */
enum dtype build_dtype(struct build *b, const char *name);
int build_find(struct build *b, enum weight_role role, const char *name, int64_t row0,
               int64_t rows, enum transform t); /* an equal weight already there, or -1 */

/* build_model for one mixer without its frame (model_type "layer_X"): the layer tests. The
 * checkpoint holds the mixer's tensors without prefix and the matrices input.weight [rows, hidden],
 * which token ids choose from, and output.weight [rows, hidden], which the mixer's output is
 * multiplied by. */
int build_bare_layer(struct model *m, arch_find_fn *find, const struct config *c,
                     struct checkpoint *ck, struct err *e) MUST_USE;

/* ---- leftovers.c ---- */
/* Refuses sizes no model has; marks the keys of every published config as understood. */
void build_common_keys(struct build *b);
/* Keys and tensors that the family has not read: left aside or refused, as b_leave_unread. */
void build_leftovers(struct build *b);
/* Unread keys beside a text_config: left aside, but for what looks like arithmetic. */
void b_leave_outer(struct build *b);

/* ---- ops.c ---- */
val build_act(struct build *b, enum rows rows, int width);
struct op *build_op(struct build *b, enum op_kind k, val out);
int build_section(struct build *b, const char *what, enum section_kind kind, int64_t elems);
enum rows build_rows(struct build *b, val v);

/* ---- passes.c: the finished plan, in this order ---- */
int pass_formats(struct build *b);    /* formats of matrices; --quantize (formats.c) */
int pass_residual(struct build *b);   /* x + linear(y) -> one op */
int pass_pack(struct build *b);       /* linears of one input -> one matrix */
int pass_join(struct build *b);       /* neighbouring convolutions, norms -> one op (join.c) */
int pass_activate(struct build *b);   /* act(linear(x)) -> one op (activate.c) */
int pass_fuse(struct build *b);       /* chains of elementwise ops -> programs */
int pass_lives(struct build *b);      /* first and last use of every activation */
int pass_sections(struct build *b);   /* offsets of state sections */

/* ---- check.c: the finished plan and where its weights come from ---- */
int build_check(struct build *b);

/* ---- uses.c: who touches what, for the length of a pass; ops keep their numbers meanwhile ---- */
struct use_link { int32_t op, next; };
struct uses {
    struct plan *plan;
    int32_t *head, *weights; /* of every activation: its last link; of every weight: its users */
    struct use_link *links;
    int32_t n, cap;
    bool failed; /* a use is not noted: no memory */
};
/* E_NOMEM, with nothing to close. */
int uses_open(struct uses *u, struct plan *p) MUST_USE;
/* E_NOMEM if anything got lost: the plan is not to be used then. */
int uses_close(struct uses *u) MUST_USE;
/* Op touches act from now on. */
void uses_note(struct uses *u, int32_t act, int32_t op);
/* Ops that read act, the caller's reading of logits included. */
int uses_readers(const struct uses *u, int32_t act);
int uses_first_writer(const struct uses *u, int32_t act); /* -1: none */
/* Whether an op in (from, to) writes act. */
bool uses_written_between(const struct uses *u, int32_t act, int from, int to);
/* All views of `from` become views of `to`, col columns further on. */
void uses_move(struct uses *u, int32_t from, int32_t to, int32_t col);

/* What passes are made of. Indices are of ops; dead ops are dropped at a pass's end. */
/* The rows of weight `from` move into w, from row `at` on. */
void pass_append_rows(struct build *b, int w, int from, int64_t at);
/* Op j's results become columns from `at` on of op i's activation; op j is dead. */
void pass_absorb(struct uses *u, int i, int j, int32_t at);
void pass_drop_dead_ops(struct plan *p);
int pass_drop_dead_weights(struct build *b);

#endif
