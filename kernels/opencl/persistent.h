/* One launch for a whole step of few rows, or for long runs of its launches: what a kernel costs
 * the host is paid once, and the device does not wait for the host in between.
 *
 * A *walk* is a kernel with a group on every unit of the device. It goes through a table of
 * launches in their order (records: which form, the arguments) and makes each with the source that
 * it has alone, so the bits are the same; all groups meet between two. A *form* is a source with
 * its defines, size of group and local memory. Launches that cannot be in a walk (attention,
 * another instruction set, too large a group) are enqueued between two walks. The table has all
 * launches that any step of a walk's rows may have; what a step has of them, it is told by a list.
 *
 * The table holds addresses of buffers as numbers, which a small kernel tells: OpenCL promises
 * nothing about them, but devices whose memory does not move (NVIDIA, a CPU) keep them while a
 * buffer lives. What is wrong with that, or with a barrier of all groups, is found by the proof at
 * start (bundle.h), and walks are off for good. Tuning word persistent=LANES: work-items of a
 * group; 0: there are no walks. */
#ifndef RECURD_OCL_PERSISTENT_H
#define RECURD_OCL_PERSISTENT_H

#include "kernels/opencl/launches.h"

#define OCL_WALKS_MAX 8 /* of steps of one row a sequence */

/* A part of a step: launches that one kernel makes, or that are enqueued. */
struct ocl_run {
    int32_t from, to; /* of ocl_walks.launches */
    bool walked;      /* by one kernel; else they are enqueued */
    int32_t n;        /* of the step at hand: launches that it has of these */
    cl_kernel kernel;
};
/* What a step has of a launch, in the order of its run; what is not of the step is not there. */
struct ocl_stop {
    cl_int groups[3];
    cl_int meets; /* meetings of all groups in the step up to the one behind it; 0: there is none */
    cl_int next;  /* row of the table that comes then … */
    cl_int row;   /* … and its own */
};
#define OCL_STOP_INTS ((int)(sizeof(struct ocl_stop) / sizeof(cl_int)))

/* Steps of rows_min to rows_max rows of a kind (launches.h): STEPS_SINGLE, all with logits, or
 * STEPS_MIXED. */
struct ocl_walks {
    enum ocl_steps kind;
    int32_t rows_min, rows_max;
    int32_t *launches; /* of such steps, in their order: indices in ocl_model.launches */
    struct ocl_run *runs;
    int32_t n_launches, n_runs;
    int32_t record;    /* numbers of a row of the table */
    uint32_t meetings; /* of the step at hand */
    /* [n_launches][record] ulong; [n_launches] stops, a run's at its `from`; [n_launches + 1]
     * ulong, for profiles */
    struct ocl_buffer table, list, times;
    struct ocl_stop *stops;
};

/* After all kernels are built, with the arguments of launches still there. A walk that cannot be is
 * not there, with a line in the log. */
void ocl_persistent_init(struct ocl_model *m);
void ocl_persistent_free(struct ocl_model *m);

/* Steps of up to so many rows, one a sequence, are walks; 0: none are. */
int32_t ocl_persistent_rows(const struct ocl_model *m);
/* Of a walk: one on every unit, or one where groups may not run at the same time. */
size_t ocl_persistent_groups(const struct ocl_device *d);
/* The steps of this batch's kind as walks; NULL: there are none. */
struct ocl_walks *ocl_persistent_find(const struct ocl_model *m, const struct batch *b);
/* Which launches this step has, with how many groups, onto the device when that changed: before
 * the batch is written. `count`: as queue.c counts groups; false: the step does not have it. */
typedef bool ocl_count_groups(const struct ocl_model *m, const struct ocl_launch *l,
                              const struct batch *b, int64_t n[3]);
int ocl_persistent_prepare(struct ocl_model *m, struct ocl_walks *w, const struct batch *b,
                           ocl_count_groups *count, struct err *e) MUST_USE;

/* While profiling, after the step: adds to the times of its launches. */
int ocl_persistent_times(struct ocl_model *m, struct ocl_walks *w, struct err *e) MUST_USE;

/* ---- text (persistent_text.c) ---- */

/* Of a row of the table: the form. Then the arguments. */
#define OCL_RECORD_HEAD 1
#define OCL_POOL_BYTES KIB(40) /* of local memory for all teams; what is left holds records */

/* A launch in a walk, as its text sees it. */
struct ocl_form {
    const struct ocl_instance *instance;
    const struct ocl_launch *l; /* the first of this form: kinds of arguments, size of a group */
    int32_t local_bytes;        /* of its parameters in local memory */
};
/* Whether a launch's source can be a function of a walk of so many lanes; teams: whether several
 * can meet apart from each other on this device. */
bool ocl_form_fits(const struct ocl_instance *x, const struct ocl_launch *l, int32_t lanes,
                   bool teams);
/* The whole program; times: of every launch are kept. false: some form's text is not as it must
 * be. */
bool ocl_persistent_text(struct buf *out, const struct ocl_form *forms, int32_t n, int32_t lanes,
                         int32_t record, bool teams, bool times);

#endif
