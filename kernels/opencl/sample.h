/* Sampling on the device: rows of logits stay there, and one small read brings what was drawn. */
#ifndef RECURD_OCL_SAMPLE_H
#define RECURD_OCL_SAMPLE_H

#include "kernels/opencl/buffer.h"
#include "kernels/sample.h"

/* Owner: the loaded model. Thread: one at a time. */
struct ocl_sampler {
    struct ocl_device *d;
    cl_kernel kernel;
    size_t group;              /* work-items of a row */
    int32_t vocab, rows;       /* rows of one call at most */
    int32_t scratch_rows;      /* of these, so many may be edited in one launch */
    size_t edits_max;          /* words of edits in one launch */
    struct ocl_buffer asked;   /* rows, then their edits */
    struct ocl_buffer scratch; /* edited rows */
    struct ocl_buffer told;
    struct ocl_pinned asked_host, told_host;
    cl_mem logits;             /* of the model: row i begins at float at + i * stride */
    int64_t at;
    int32_t stride;
    struct sampler host;       /* for rows with a shape: they are drawn here, */
    float *row;                /* [vocab] … from a copy */
};

/* For rows of `vocab` logits, `stride` floats apart; the first at a float offset of `logits`. */
int ocl_sample_init(struct ocl_sampler *s, struct ocl_device *d, cl_mem logits, int64_t at,
                    int32_t stride, int32_t vocab, int32_t rows, struct err *e) MUST_USE;
void ocl_sample_free(struct ocl_sampler *s);

/* Blocking, on the queue of steps: what was enqueued before is done when it returns. As
 * backend.h's sample. *launches grows by what it took: 1, unless the edits do not fit, or rows with
 * a shape (which are read back) come in between. */
int ocl_sample_run(struct ocl_sampler *s, const struct sample_row *rows, int32_t n,
                   struct sample_result *out, uint64_t *launches, struct err *e) MUST_USE;

/* Known answers: rows of every kind against sample_choose. E_DEVICE names the row. */
int ocl_sample_selftest(struct ocl_device *d, struct err *e) MUST_USE;

#endif
