/* One step on the device's queue: the batch goes in, launches follow, what was drawn comes out. */
#ifndef RECURD_OCL_QUEUE_H
#define RECURD_OCL_QUEUE_H

#include "kernels/opencl/launches.h"

struct ocl_times {
    uint64_t launches, enqueue_ns, wait_ns;
};

/* Until the step that was enqueued last is done. */
int ocl_queue_wait(struct ocl_model *m, struct ocl_times *t, struct err *e) MUST_USE;
/* Enqueues a step, after waiting for the one before. Adds to *t, as the two below. */
int ocl_queue_run(struct ocl_model *m, const struct batch *b, struct ocl_times *t,
                  struct err *e) MUST_USE;

/* Blocking, for the step that was enqueued last: draws, and row i of its logits in logits_host. */
int ocl_queue_sample(struct ocl_model *m, const struct sample_row *rows, int32_t n,
                     struct sample_result *out, struct ocl_times *t, struct err *e) MUST_USE;
int ocl_queue_logits(struct ocl_model *m, int32_t i, struct err *e) MUST_USE;

/* Blocking copies of an item (a slot, a page) between the device and the host, on the second queue,
 * after all that was enqueued before. */
int ocl_queue_read(struct ocl_model *m, const struct ocl_pool *p, int32_t item, void *dst,
                   struct err *e) MUST_USE;
int ocl_queue_write(struct ocl_model *m, const struct ocl_pool *p, int32_t item, const void *src,
                    struct err *e) MUST_USE;
/* Enqueued only, in order with steps. */
int ocl_queue_copy(struct ocl_model *m, const struct ocl_pool *p, int32_t to, int32_t from,
                   struct err *e) MUST_USE;
int ocl_queue_zero(struct ocl_model *m, const struct ocl_pool *p, int32_t item,
                   struct err *e) MUST_USE;

/* Rows [0, n) of an activation of tokens, [n][stride] floats; blocking, after the steps before. */
int ocl_queue_rows_read(struct ocl_model *m, int32_t act, int32_t n, float *dst,
                        struct err *e) MUST_USE;
int ocl_queue_rows_write(struct ocl_model *m, int32_t act, int32_t n, const float *src,
                         struct err *e) MUST_USE;

/* States beside the steps: see state_out, state_in and state_put of kernels/backend.h. */
int ocl_queue_out(struct ocl_model *m, int32_t slot, struct state_copy *c, struct err *e) MUST_USE;
int ocl_queue_put(struct ocl_model *m, int32_t slot, struct state_copy *c, struct err *e) MUST_USE;

#endif
