/* A rig: a plan of one op with inputs, weights, states and guard zones, on which any variant of
 * the op's kernel can be run for any part of the batch and any number of threads. */
#ifndef RECURD_RIG_H
#define RECURD_RIG_H

#include "base/rng.h"
#include "kernels/cpu/cpu.h"
#include "kernels/ngram.h"

#define RIG_ACTS 16
#define RIG_WEIGHTS 16
#define RIG_SEQS 20

/* Columns of noise around every view: odd, so that views are not aligned to more than a float; or a
 * multiple of four, for kernels that take 16 bytes at a time. Set before rigs are made. */
#define RIG_GUARD_ODD 19
#define RIG_GUARD_ALIGNED 20
extern int rig_guard;

/* What inputs look like. */
#define CLASSES(X) \
    X(uniform) X(zeros) X(alternating) X(denormal) X(large) X(decay0) X(decay1) X(onehot) \
    X(nan) X(inf)
enum input_class {
#define X(name) CLASS_##name,
    CLASSES(X)
#undef X
    CLASS_COUNT
};
extern const char *const class_names[CLASS_COUNT];

/* What an input means: a decay factor is in (0, 1) in every class but nan and inf. */
enum role {
    ROLE_OUT, /* not an input: noise */
    ROLE_ANY,
    ROLE_DECAY,
    ROLE_UNIT,  /* keys: short vectors keep states bounded */
    ROLE_FLAG,  /* 0 or 1, in every class */
    ROLE_INDEX, /* whole numbers below index_limit, in every class */
};

/* Owner: the caller. Thread: one. */
struct rig {
    struct plan plan;
    struct op op;
    struct ew_program ew;
    struct ngram ngram;
    struct act acts[RIG_ACTS];
    enum role roles[RIG_ACTS];
    int32_t widths[RIG_ACTS];
    struct weight weights[RIG_WEIGHTS];
    struct host_weight packed[RIG_WEIGHTS];
    struct section sections[2];
    struct batch batch;
    struct host_step step;
    struct rng rng;
    enum input_class klass;
    int32_t cu[RIG_SEQS + 1], slots[RIG_SEQS];
    int64_t pos[RIG_SEQS];
    int32_t *tokens, *row_seq, *logit_rows, *pages;
    int32_t n_slots, n_pages;
    float *arena, *slot_mem, *page_mem;
    int64_t arena_n, slot_n, page_n; /* floats */
    int index_limit;
    int64_t heat;                    /* columns of the one-hot class: which one is hot */
};

/* The batch: layout is an index into layouts[] (rig.c); vocab bounds the token ids. */
void rig_init(struct rig *r, int layout, enum input_class c, uint64_t seed, int vocab);
void rig_free(struct rig *r);
int rig_layouts(void);

/* An activation with guard columns on both sides; the view of its middle. */
struct view rig_act(struct rig *r, int width, enum rows rows, enum role role);
int rig_matrix(struct rig *r, int rows, int cols, enum dtype t);
int rig_vector(struct rig *r, int n, enum role role);
void rig_section(struct rig *r, enum section_kind kind, int64_t elems);
/* A state of F32 or F16. */
void rig_state(struct rig *r, int64_t elems, enum dtype t);
/* After all of the above: allocates, fills everything with noise in guards, class in views. */
void rig_ready(struct rig *r);

/* A deep copy of the memory a kernel writes. */
struct memory {
    float *arena, *slots, *pages;
};
struct memory rig_save(const struct rig *r);
void rig_load(struct rig *r, const struct memory *m);
void memory_free(struct memory *m);

/* The state that sequence q has in m; n floats to out. */
void rig_state_read(const struct rig *r, const float *slots, int q, float *out);
/* Every NaN of states in F16 becomes the same one: which payload comes through is the processor's
 * own business, and a pair of them is no float that would show it. */
void rig_plain_nans(struct rig *r);

/* Runs fn over rows [from, to) of sequence q, or the whole batch when q < 0, as nth threads
 * one after another, in reverse order when `backwards`. */
void rig_run(struct rig *r, host_kernel *fn, int q, int from, int to, int nth, bool backwards);

#endif
