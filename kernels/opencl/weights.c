/* Weights: rows come from the host in the file's format, go through a staging buffer, and a
 * kernel puts them where the products want them, converted. */
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kernels/opencl/launches.h"
#include "kernels/opencl/program.h"
#include "kernels/opencl/source.h"

#define STAGING_BYTES MIB(32) /* one PCIe transfer of ~1 ms; a row is at most 4 MiB */

/* Tensor cores serve the plain products; experts and blocks read panels. */
static enum ocl_layout layout_of(const struct ocl_model *m, int32_t i)
{
    const struct weight *w = &m->plan->weights[i];
    if (w->role == WEIGHT_VECTOR)
        return OCL_ROWS;
    if (!format_plain(w->dtype))
        return OCL_BLOCKS;
    if (!m->d->tune.mma || w->dtype != DTYPE_BF16)
        return OCL_PANEL32;
    for (int32_t k = 0; k < m->plan->n_ops; k++) {
        const struct op *op = &m->plan->ops[k];
        if (op->w[0] == i && (op->kind == OP_EXPERTS || op->kind == OP_BLOCKS))
            return OCL_PANEL32;
    }
    return OCL_MMA;
}

static int weight_init(struct ocl_model *m, int32_t i, struct err *e)
{
    const struct weight *w = &m->plan->weights[i];
    struct ocl_weight *x = &m->weights[i];
    size_t bytes, rows;
    char what[48];
    x->layout = layout_of(m, i);
    x->cols_p = w->cols;
    rows = (size_t)w->rows;
    if (x->layout == OCL_BLOCKS) {
        x->cols_p = (int64_t)round_up((size_t)w->cols, (size_t)formats[w->dtype].block);
        rows = round_up(rows, 32) / PANEL; /* a group makes 32 outputs */
    } else if (x->layout != OCL_ROWS) {
        x->cols_p = (int64_t)round_up((size_t)w->cols, x->layout == OCL_MMA ? 32 : 2);
        rows = round_up(rows, x->layout == OCL_MMA ? 16 : 32);
        /* An even number of groups puts the same columns of all panels on the same memory
         * channels; one more group spreads them. */
        if (x->layout == OCL_MMA && x->cols_p >= 512 && x->cols_p / 32 % 2 == 0)
            x->cols_p += 32;
    }
    snprintf(what, sizeof what, "weight %d (%lld x %lld)", i, (long long)w->rows,
             (long long)w->cols);
    bool overflow = x->layout == OCL_BLOCKS
        ? mul_overflows(rows, panel_bytes(w->dtype, w->cols), &bytes)
        : mul_overflows(rows, (size_t)x->cols_p, &bytes) ||
          mul_overflows(bytes, format_bytes(x->layout == OCL_ROWS ? DTYPE_F32 : w->dtype, 1),
                        &bytes);
    if (overflow)
        return err_set(e, E_RANGE, "%s: its size overflows", what);
    return ocl_buffer_new(&x->buffer, m->d, bytes, what, e);
}

int ocl_weights_init(struct ocl_model *m, struct err *e)
{
    int rc = 0;
    if (!(m->weights = mem_array((size_t)m->plan->n_weights, sizeof *m->weights)))
        return err_set(e, E_NOMEM, "no memory for %d weights", m->plan->n_weights);
    for (int32_t i = 0; i < m->plan->n_weights && !rc; i++)
        rc = weight_init(m, i, e);
    return rc ? rc : ocl_buffer_new(&m->staging, m->d, STAGING_BYTES, "the staging buffer", e);
}

/* The kernel for one pair of formats and a layout, built when first asked for. */
static int packer(struct ocl_model *m, enum dtype from, enum dtype to, enum ocl_layout layout,
                  cl_kernel *out, struct err *e)
{
    cl_kernel *k = &m->pack[from][to][layout];
    cl_program p;
    struct buf source;
    int rc = 0;
    if (*k) {
        *out = *k;
        return 0;
    }
    buf_init(&source, MIB(1));
    ocl_source_begin(&source);
    buf_fmt(&source, "#define KERNEL pack\n#define SRC %d\n#define DST %d\n#define LAYOUT %d\n",
            from, to, layout);
    ocl_source_add(&source, "pack.cl");
    if (source.failed)
        rc = err_set(e, E_NOMEM, "no memory for the source of pack.cl");
    else if (!(rc = ocl_program_build(&p, m->d, "pack.cl", source.p, true, e)))
        rc = OCL_NEW(*k, e, "pack.cl", clCreateKernel, p, "pack");
    buf_free(&source);
    *out = *k;
    return rc;
}

static int run_packer(struct ocl_model *m, cl_kernel k, int w, int64_t row0, int64_t n_rows,
                     struct err *e)
{
    struct ocl_weight *x = &m->weights[w];
    cl_ulong first = (cl_ulong)row0, cols_p = (cl_ulong)x->cols_p;
    cl_int cols = (cl_int)m->plan->weights[w].cols;
    size_t local[2] = {64, 1};
    size_t global[2] = {round_up((size_t)cols, local[0]), (size_t)n_rows};
    int rc;
    if ((rc = OCL(e, "pack.cl", clSetKernelArg, k, 0, sizeof(cl_mem), &m->staging.mem)) ||
        (rc = OCL(e, "pack.cl", clSetKernelArg, k, 1, sizeof(cl_mem), &x->buffer.mem)) ||
        (rc = OCL(e, "pack.cl", clSetKernelArg, k, 2, sizeof first, &first)) ||
        (rc = OCL(e, "pack.cl", clSetKernelArg, k, 3, sizeof cols, &cols)) ||
        (rc = OCL(e, "pack.cl", clSetKernelArg, k, 4, sizeof cols_p, &cols_p)))
        return rc;
    return OCL(e, "packing weights", clEnqueueNDRangeKernel, m->d->queue, k, 2, NULL, global,
               local, 0, NULL, NULL);
}

/* Blocks for a weight of single elements: as float32, a row at a time. */
static int put_decoded(struct ocl_model *m, int w, int64_t row0, int64_t n_rows, const char *src,
                       enum dtype type, struct err *e)
{
    int64_t cols = m->plan->weights[w].cols;
    float *row = mem_array((size_t)cols, sizeof *row);
    int rc = row ? 0 : err_set(e, E_NOMEM, "no memory for a row of %lld", (long long)cols);
    for (int64_t r = 0; r < n_rows && !rc; r++) {
        format_decode(type, src + (size_t)r * format_bytes(type, cols), cols, row);
        rc = ocl_weights_put(m, w, row0 + r, 1, row, DTYPE_F32, e);
    }
    mem_free(row);
    return rc;
}

/* The host's copy of the panels of weight w: kept while rows of the same weight come in. */
static int host_panels(struct ocl_model *m, int w, struct err *e)
{
    const struct weight *x = &m->plan->weights[w];
    struct host_weight *h = &m->panels;
    if (h->data && m->panels_of == w)
        return 0;
    mem_aligned_free(h->data, h->bytes);
    *h = (struct host_weight){x->role, x->dtype, x->rows, x->cols, 0, NULL};
    m->panels_of = w;
    if (!pack_bytes(x, &h->bytes) || !(h->data = mem_aligned(h->bytes)))
        return err_set(e, E_NOMEM, "no memory for the panels of weight %d", w);
    if (!m->weights[w].begun)
        return 0;
    return OCL(e, "weights", clEnqueueReadBuffer, m->d->queue, m->weights[w].buffer.mem, CL_TRUE,
               0, h->bytes, h->data, 0, NULL, NULL);
}

/* Blocks are laid out on the host, and the panels that changed are written. */
static int put_blocks(struct ocl_model *m, int w, int64_t row0, int64_t n_rows, const void *src,
                      enum dtype src_dtype, struct err *e)
{
    struct host_weight *h = &m->panels;
    int rc = host_panels(m, w, e);
    if (rc || n_rows == 0)
        return rc;
    pack_rows(h, row0, n_rows, src, src_dtype);
    m->weights[w].begun = true;
    size_t each = panel_bytes(h->dtype, h->cols), first = (size_t)(row0 / PANEL) * each;
    size_t end = (size_t)((row0 + n_rows + PANEL - 1) / PANEL) * each;
    return OCL(e, "weights", clEnqueueWriteBuffer, m->d->queue, m->weights[w].buffer.mem, CL_TRUE,
               first, end - first, (char *)h->data + first, 0, NULL, NULL);
}

int ocl_weights_put(struct ocl_model *m, int w, int64_t row0, int64_t n_rows, const void *src,
                    enum dtype src_dtype, struct err *e)
{
    const struct weight *x = &m->plan->weights[w];
    size_t row_bytes = format_bytes(src_dtype, x->cols);
    enum dtype own = x->role == WEIGHT_VECTOR ? DTYPE_F32 : x->dtype;
    const char *from = src;
    cl_kernel k;
    int rc;
    if (row0 < 0 || n_rows < 0 || row0 > x->rows - n_rows)
        return err_set(e, E_RANGE, "weight %d: rows %lld to %lld of %lld", w, (long long)row0,
                       (long long)(row0 + n_rows), (long long)x->rows);
    if (m->weights[w].layout == OCL_BLOCKS)
        return put_blocks(m, w, row0, n_rows, src, src_dtype, e);
    if (!format_plain(src_dtype))
        return put_decoded(m, w, row0, n_rows, src, src_dtype, e);
    if (!m->staging.mem || row_bytes > m->staging.bytes)
        return err_set(e, E_RANGE, "weight %d: a row of %zu bytes, at most %zu can be taken now",
                       w, row_bytes, m->staging.bytes);
    if ((rc = packer(m, src_dtype, own, m->weights[w].layout, &k, e)))
        return rc;
    int64_t most = (int64_t)(m->staging.bytes / MAX(row_bytes, (size_t)1));
    while (n_rows > 0) {
        int64_t n = MIN(n_rows, most);
        if ((rc = OCL(e, "weights", clEnqueueWriteBuffer, m->d->queue, m->staging.mem, CL_TRUE, 0,
                      (size_t)n * row_bytes, from, 0, NULL, NULL)) ||
            (rc = run_packer(m, k, w, row0, n, e)))
            return rc;
        from += (size_t)n * row_bytes;
        row0 += n;
        n_rows -= n;
    }
    return 0;
}
