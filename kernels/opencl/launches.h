/* A plan made ready on a device: buffers, built kernels, and the flat list of launches that a
 * step enqueues. lower/ turns each op into launches; everything about a launch that does not
 * change is set once, here. */
#ifndef RECURD_OCL_MODEL_H
#define RECURD_OCL_MODEL_H

#include "base/buf.h"
#include "kernels/opencl/beside.h"
#include "kernels/opencl/pool.h"
#include "kernels/opencl/sample.h"
#include "kernels/host.h"
#include "kernels/phases.h"

#define OCL_ARGS 64 /* an elementwise program: 2 for each of 20 views, and some */

/* How a weight lies on the device: LAYOUT_* of src/common.clh. */
enum ocl_layout {
#define LAYOUT(name) OCL_##name,
#include "kernels/enums.def"
};

struct ocl_weight {
    struct ocl_buffer buffer;
    enum ocl_layout layout;
    int64_t cols_p; /* inputs rounded up as the layout wants */
    bool begun;     /* OCL_BLOCKS: some rows are there */
};

/* Parts of the batch descriptor, each a sub-buffer of one buffer written once a step. */
enum ocl_batch_part {
    BATCH_COUNTS, /* int: sequences, tokens, logits, meetings of groups before (persistent.h) */
    BATCH_TOKENS, BATCH_CU, BATCH_SLOTS, BATCH_LOGIT_ROWS, BATCH_PAGES,
    BATCH_ROW_SEQ, /* sequence of each row */
    BATCH_ROW_POS, /* position of each row, long */
    BATCH_PARTS
};

enum ocl_arg_kind {
    ARG_ARENA, ARG_SCRATCH,
    ARG_SLOTS, ARG_PAGES,   /* i: bank */
    ARG_WEIGHT,             /* i: index; -1 = any valid buffer, which the kernel will not read */
    ARG_BATCH,              /* i: enum ocl_batch_part */
    ARG_INT, ARG_LONG, ARG_FLOAT,
    ARG_LOCAL,              /* i: bytes of local memory */
    ARG_PACK_ROWS,          /* i: room for so many packed rows; a bundle has its own */
    ARG_PACK_AT,            /* i: where they begin in the scratch buffer, in floats; the same */
    ARG_CHAINS_AT,          /* i: the same for chains of slices */
};
struct ocl_arg {
    enum ocl_arg_kind kind;
    int64_t i;
    float f;
    int64_t room; /* ARG_PACK_AT: floats of a row; ARG_CHAINS_AT: floats of all chains */
};

/* What a launch counts in the batch, of the sequences that it serves. */
enum ocl_by {
    BY_ONE, BY_ROWS, BY_SEQS,  /* 1; all rows; all sequences */
    BY_FIRST,  /* sequences before the first one of several rows */
    BY_REST,   /* that one, and all behind it */
    BY_SERVED, /* rows of sequences served */
    BY_SHARES, /* of every sequence: ceil(n * its rows / per) */
    BY_KEYS,   /* positions of the longest */
    BY_SPANS   /* of every sequence: spans of `per` positions that its rows see, at most the last n
                * positions each (0 = all) */
};
/* Groups along a dimension: n * ceil(count / per), and as said above. */
struct ocl_extent {
    enum ocl_by by;
    int32_t n, per;
};

/* Which batches a launch is for: those in which `of` counts min to max. */
struct ocl_gate {
    struct ocl_extent of;
    int64_t min, max;
};

/* Which steps a launch belongs to: all, those with one row a sequence, or the others. */
enum ocl_when { WHEN_ANY, WHEN_SINGLE, WHEN_SEVERAL };

/* A launch being described. */
struct ocl_spec {
    const char *file;   /* source, below src/ */
    struct buf defines; /* "#define NAME value" lines that specialise it */
    struct ocl_arg args[OCL_ARGS];
    int32_t n_args;
    size_t local[3];
    struct ocl_extent extent[3];
    enum rows rows;              /* what BY_ROWS counts */
    int32_t rows_min, rows_max;  /* enqueued only for this many rows … */
    int32_t seqs_min, seqs_max;  /* … and sequences */
    int32_t seq_min, seq_max;    /* serves sequences with so many rows */
    struct ocl_gate gate;
    int32_t groups_max;          /* not 0: that many take all the work in turn */
    enum ocl_when when;
};

/* One specialised source; launches share it. */
struct ocl_instance {
    const char *file;
    char *defines;
    char *text; /* in place of the file's: a merged kernel (bundle.h) */
};

/* Steps as merges tell them apart, of every op by its own rows (logits, or all). */
enum ocl_steps {
    STEPS_SINGLE, /* one row a sequence, at most OCL_BUNDLE_ROWS rows and sequences */
    STEPS_MIXED,  /* others of at most so many rows */
    STEPS_WIDE,   /* one row a sequence, more rows, at most OCL_WIDE_ROWS */
    STEPS_BROAD,  /* others of so many rows */
    STEPS_MANY,   /* of more rows, at most OCL_MANY_ROWS */
    STEPS_KINDS   /* and of still more, where nothing is merged */
};
#define STEPS_EVERY ((1u << STEPS_KINDS) - 1)

/* Launches that some steps run in place of others (bundle.h). */
struct ocl_merge {
    int32_t phase, last, op; /* of the first op, of the last one, the first */
    bool off;                /* for good: the separate ones run */
};

struct ocl_launch {
    cl_kernel kernel;
    int32_t instance, op; /* op: for profiles */
    int32_t merge[STEPS_KINDS]; /* of ocl_model.merges: in such steps only merged launches of it
                                   run, in place of others; -1 = none */
    bool merged, copied; /* copied: a merged one that is as a separate one is, and needs no proof */
    enum rows rows;
    enum ocl_when when;
    int32_t rows_min, rows_max, seqs_min, seqs_max, seq_min, seq_max,
        groups_max;
    struct ocl_gate gate;
    size_t local[3];
    struct ocl_extent extent[3];
    struct ocl_arg *args; /* until the kernel has them */
    int32_t n_args;
    size_t local_bytes;   /* of a group, as the driver counts them */
    uint64_t ns, calls;   /* profiling */
};

/* Owner: the backend. Thread: one at a time. */
struct ocl_model {
    struct ocl_device *d;
    const struct plan *plan; /* the caller's, or own */
    struct plan own;         /* the same with other places of activations (bundle.h) */
    struct phases phases;    /* nothing without bundles */
    struct capacity cap;
    struct ocl_buffer arena, scratch, batch;
    struct ocl_pool slots, pages;
    cl_mem part[BATCH_PARTS];
    size_t part_at[BATCH_PARTS], batch_bytes;
    struct ocl_pinned batch_host, state_host;
    struct ocl_pinned logits_host; /* one row */
    struct ocl_sampler sampler;    /* when the plan has logits */
    struct ocl_beside beside;      /* states in and out while steps go on */
    bool pending;                  /* something was enqueued, and nothing has waited for it yet */
    struct ocl_weight *weights;
    struct ocl_instance *instances;
    struct ocl_launch *launches;
    struct ocl_merge *merges;
    struct ocl_packed *packed; /* [acts of the plan]; or NULL (packed.h) */
    int32_t n_instances, n_launches, max_instances, max_launches, n_merges;
    struct ocl_walks *walks; /* persistent.h */
    int32_t n_walks;
    struct ocl_buffer met; /* how often groups have met, as the device counts them … */
    uint32_t meetings;     /* … and as they will have when the steps enqueued are done */
    /* Bits 1 << enum ocl_steps: such steps are no walks; they run no merged launches. */
    uint32_t unwalked, unmerged;
    int32_t until;  /* a step ends with this phase: INT32_MAX but for proofs */
    int32_t ones;   /* of the step: sequences before the first one of several rows */
    size_t scratch_bytes; /* grown while lowering */
    /* While weights arrive: */
    struct ocl_buffer staging;
    struct host_weight panels; /* OCL_BLOCKS: the host's copy of one weight … */
    int panels_of;             /* … this one, when data is set */
    cl_kernel pack[3][3][3]; /* [source dtype][own dtype][layout], made when first needed */
};

/* ---- building (launches.c) ---- */
/* Everything but the weights' values. On failure m can be freed. */
int ocl_model_init(struct ocl_model *m, struct ocl_device *d, const struct plan *p,
                   const struct capacity *c, struct err *e) MUST_USE;
void ocl_model_free(struct ocl_model *m);
/* Releases what only loading needs. */
void ocl_model_loaded(struct ocl_model *m);

/* ---- describing launches (spec.c) ---- */
void ocl_spec_init(struct ocl_spec *s, const char *file, const struct op *op);
void ocl_def(struct ocl_spec *s, const char *name, int64_t value);
/* DTYPE, and Q_* of a format with blocks (src/blocks.clh). */
void ocl_def_format(struct ocl_spec *s, enum dtype t);
/* WORD and what goes with it (src/common.clh). */
void ocl_def_word(struct ocl_spec *s, bool four);
void ocl_arg(struct ocl_spec *s, enum ocl_arg_kind kind, int64_t i);
void ocl_arg_float(struct ocl_spec *s, float f);
/* ARG_PACK_AT or ARG_CHAINS_AT, and their room. */
void ocl_arg_place(struct ocl_spec *s, enum ocl_arg_kind kind, int64_t at, int64_t room);
/* VIEW(name): offset and stride; an absent view passes zeros. */
void ocl_arg_view(struct ocl_spec *s, const struct plan *p, struct view v);
/* Whether 16-byte loads of its rows, from its first column on, are aligned. */
bool ocl_aligned(const struct plan *p, struct view v);
/* The same of a FIXED section of any slot. */
bool ocl_section_aligned(const struct ocl_model *m, int32_t section);
/* A bank of slots, floats from slot to slot there, where the FIXED section begins. */
void ocl_arg_section(struct ocl_spec *s, const struct ocl_model *m, int32_t section);
/* Work-items of a group, and groups along dimension dim. */
void ocl_local(struct ocl_spec *s, size_t x, size_t y);
void ocl_groups(struct ocl_spec *s, int dim, enum ocl_by by, int32_t n, int32_t per);
/* Appends the launch; shares the source of an equal one. */
int ocl_spec_emit(struct ocl_spec *s, struct ocl_model *m, struct err *e) MUST_USE;
/* Appends an instance of the spec's source and defines; its index or a code. */
int ocl_instance_add(struct ocl_model *m, const struct ocl_spec *s, struct err *e) MUST_USE;

/* The buffer of an argument, or NULL: it is a number. */
cl_mem ocl_arg_mem(const struct ocl_model *m, const struct ocl_arg *a);
/* The kind of a step for an op that has so many rows in it. single: the step has one row a
 * sequence. */
enum ocl_steps ocl_steps_of(int32_t rows, int32_t seqs, bool single);
/* Whether a step has a launch whose op has so many rows, what its gate counts aside. */
bool ocl_launch_runs(const struct ocl_model *m, const struct ocl_launch *l, int32_t rows,
                     int32_t seqs, bool single);

/* ---- ops -> launches (ops.c and friends) ---- */
int ocl_ops_lower(struct ocl_model *m, struct err *e) MUST_USE;
/* One function for every row of ops.def. */
typedef int ocl_lower(struct ocl_model *m, const struct op *op, struct err *e);
#define OP(KIND, name, rows, sections, cost, factor, what) ocl_lower ocl_##name##_lower;
#include "kernels/ops.def"
/* Columns of a cached row before operand `part`; 6: of the whole row. */
int32_t ocl_width_before(const struct op *op, int part);
/* kept, slot_floats, section, page_floats, pages, pages_per_seq of an op that caches rows; floats
 * from item to item in the bank. */
void ocl_arg_kept(struct ocl_spec *s, const struct ocl_model *m, const struct op *op);

/* Whether softmax attention runs on tensor cores: q, k and v as bf16 (lower/attention.c). */
bool ocl_attention_mma(const struct ocl_model *m, const struct op *op);

/* ---- weights (weights.c) ---- */
int ocl_weights_init(struct ocl_model *m, struct err *e) MUST_USE;
int ocl_weights_put(struct ocl_model *m, int w, int64_t row0, int64_t n_rows, const void *src,
                    enum dtype src_dtype, struct err *e) MUST_USE;

/* ---- known answers (selftest.c) ---- */
/* Runs every distinct kernel of a built model on small random operands against the definition;
 * `products`: the products again, with enough rows for their tiled kernels. E_DEVICE names the op
 * and both numbers. */
int ocl_selftest(const struct ocl_model *m, bool products, struct err *e) MUST_USE;

#endif
