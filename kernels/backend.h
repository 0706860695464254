/* What a device does for the layers above: hold weights and states, execute a plan.
 *
 * One struct of functions per kind of device (cpu, which is ref too, opencl, and several as one).
 * Everything is
 * called by the engine thread only, apart from open/close/load/put_weight, which run before it
 * starts. No host pointer into device memory leaves a backend. */
#ifndef RECURD_BACKEND_H
#define RECURD_BACKEND_H

#include "base/err.h"
#include "kernels/plan.h"
#include "kernels/sample.h"
#include "kernels/validate.h"

struct device_options {
    const char *spec;      /* "cpu", "ref", "opencl[:name]", or several of them: "A+B" */
    const char *kernels;   /* mask of variants, e.g. "avx2,ref"; NULL = best */
    const char *cache_dir; /* compiled kernels; NULL = none */
    int threads;           /* cpu: 0 = one for each CPU it may use */
    bool profile;          /* times every op, which is what `profile` prints */
};

/* What a machine can do with all threads: bytes and operations a nanosecond. */
struct device_rates {
    double read;       /* of memory, in order */
    double update;     /* of memory, read and written in place: both count */
    double fma, int16; /* multiply-adds of float32, and of 16 bits, as two operations */
};

/* First member of every backend's own device struct. */
struct device {
    const struct backend *backend;
    char description[256]; /* one line for humans: name, threads, instruction set */
    int ways; /* for weights, at a time, each to another n-th of the plan; 0 = one */
    /* Once it is ready: steps of one row a sequence, all with logits, up to so many, have kernels
     * of their own, so their times say nothing about other steps. 0 = none */
    int32_t single_rows;
};

/* One copy of a state on its way between a device and the host; the backend's own. */
struct state_copy;
struct state_wake {
    void (*wake)(void *arg); /* from any thread, when a copy is over; NULL = not wanted */
    void *arg;
};

struct backend {
    const char *name;  /* for humans; nothing is decided by it */
    bool host_memory;  /* slots and pages are host memory like any other */
    bool puts_at_once; /* several threads may be in put_weight, each with other rows */
    int (*open)(struct device **out, const struct device_options *o, struct err *e);
    void (*close)(struct device *d); /* NULL allowed; frees everything */

    /* Allocates weights, arena, slots and pages for a laid-out plan, which must outlive the
     * device. E_NOMEM names the bytes asked and available. */
    int (*load)(struct device *d, const struct plan *p, const struct capacity *c, struct err *e);

    /* Rows [row0, row0 + n_rows) of weight w, row-major, n_rows * cols elements of src_dtype;
     * converted to the weight's own dtype (exact when that is wider or equal). Rows never
     * written are zero. */
    int (*put_weight)(struct device *d, int w, int64_t row0, int64_t n_rows, const void *src,
                      enum dtype src_dtype, struct err *e);
    /* Once, after the last put_weight. */
    int (*ready)(struct device *d, struct err *e);

    /* Executes the plan over the batch: states advance, logits can be asked for. May return before
     * the device is done: the batch may be changed, and whatever is called next comes after it.
     * E_DEVICE, here and below: the device is lost and every later call fails. */
    int (*run)(struct device *d, const struct batch *b, struct err *e);
    /* (optional, where run may return before the device is done) Until it is. */
    int (*wait)(struct device *d, struct err *e);
    /* out[i] = what sample_choose says of rows[i] and its row of logits; n <= capacity.logits, and
     * each row of logits at most once. One small transfer on a device of its own memory. */
    int (*sample)(struct device *d, const struct sample_row *rows, int32_t n,
                  struct sample_result *out, struct err *e);
    /* *out = row i < n_logits of the last run, [vocab] floats on the host; valid until the next
     * call of run or logits. Fetched when asked for. */
    int (*logits)(struct device *d, int32_t i, const float **out, struct err *e);

    /* States as values. A slot is plan.slot_floats floats in section order; a page is
     * PAGE_TOKENS * plan.page_token_floats. Reads and writes end before they return; zero and copy
     * may not have, but whatever is called next comes after them. */
    int (*slot_zero)(struct device *d, int32_t slot, struct err *e);
    int (*slot_copy)(struct device *d, int32_t dst, int32_t src, struct err *e);
    int (*slot_read)(struct device *d, int32_t slot, void *dst, struct err *e);
    int (*slot_write)(struct device *d, int32_t slot, const void *src, struct err *e);

    /* (optional, all five: where slots are host memory slot_read and slot_write are as good)
     * States beside the work: they travel while steps go on, and no call waits for them but where
     * it says so.
     *
     * state_out begins a copy of the slot, as the calls before left it, to dst; the slot may be
     * used, zeroed or given to another sequence at once. state_in begins to bring src to the
     * device; when that is over, state_put copies it into a slot (of several, too), in order with
     * the calls around it. What state_out copies can be put from its beginning on. dst and src are
     * slot_floats floats of the caller's: they stay, nobody writes them, and dst is not read, until
     * state_poll has said anything but E_BUSY. *out = NULL with 0: the device has no room for one
     * more copy now; slot_read and slot_write always work.
     *
     * state_poll: E_BUSY; 0; or E_DEVICE, and dst is worth nothing. wait: until it is over.
     * state_end gives the copy back, once, after state_poll or not: then it waits first. */
    int (*state_out)(struct device *d, int32_t slot, void *dst, const struct state_wake *w,
                     struct state_copy **out, struct err *e);
    int (*state_in)(struct device *d, const void *src, const struct state_wake *w,
                    struct state_copy **out, struct err *e);
    int (*state_poll)(struct device *d, struct state_copy *c, bool wait, struct err *e);
    int (*state_put)(struct device *d, struct state_copy *c, int32_t slot, struct err *e);
    void (*state_end)(struct device *d, struct state_copy *c);

    int (*page_copy)(struct device *d, int32_t dst, int32_t src, struct err *e);
    int (*page_read)(struct device *d, int32_t page, void *dst, struct err *e);
    int (*page_write)(struct device *d, int32_t page, const void *src, struct err *e);

    /* (optional, all three: what a device needs to be one of several, kernels/split)
     * Rows [0, n) of an activation, [n][its stride] floats: as the last run left them, of one that
     * lives to the plan's end; or as the next run finds them, of one that lives from its start.
     * Both end before they return. */
    int (*rows_read)(struct device *d, int32_t act, int32_t n, float *dst, struct err *e);
    int (*rows_write)(struct device *d, int32_t act, int32_t n, const float *src, struct err *e);
    /* What numerics would say if p were loaded, for --describe, too; out: NUMERICS_TEXT bytes. */
    void (*numerics_of)(const struct device *d, const struct plan *p, char *out);

    /* After load: which arithmetic computes the plan, as printable text of less than NUMERICS_TEXT
     * bytes. Two devices with the same text give the same bits; see kernels/numerics.h. */
    const char *(*numerics)(const struct device *d);
    /* What parameters of ops its kernels have room for; a constant of the open device. */
    const struct op_limits *(*limits)(const struct device *d);
    /* (optional) Bytes held on the device, for metrics and --describe. */
    int64_t (*memory)(const struct device *d);
    /* (optional) Bytes of its own memory that nothing of this process holds; what others hold, and
     * what the driver needs, is not known. < 0: not known, or it has none of its own. *one: the
     * most that a section of all slots, or of all pages, may take. */
    int64_t (*memory_left)(const struct device *d, int64_t *one);
    /* (optional) Prints one line per op kind: calls, time, bytes; on a cpu what a step takes on
     * average, and the share of `limit` (NULL: not known) that was reached. Reset by each call;
     * nothing without device_options.profile. */
    void (*profile)(struct device *d, const struct device_rates *limit);
};

extern const struct backend backend_cpu;

/* Opens the device named by o->spec. E_NOENT for an unknown name, with the names there are. */
int device_open(struct device **out, const struct device_options *o, struct err *e) MUST_USE;

#endif
