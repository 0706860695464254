/* Asking the sampler kernel. Rows and edits travel in one write, results in one read. */
#include "kernels/opencl/sample.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/opencl/program.h"
#include "kernels/opencl/source.h"
#include "kernels/softmax.h"

#define EDIT_WORDS 2        /* id and number; a banned token is an id alone */
#define EDITED_ROWS 64      /* what one launch edits at once: 64 x 152,064 tokens are 39 MB */
#define EDITS_MIN 65536     /* words of edits: some thousand tokens for each of many rows */
#define BINS 1024           /* of the kernel */

/* As src/sample.cl reads and writes them: 4-byte words only, so both sides agree on the layout. */
struct row {
    cl_int logits, n_top, draw, id, greedy;
    cl_float scale, min_p;
    cl_int top_k;
    cl_uint top_p[2], uniform[2];
    cl_float repeat, unrepeat;
    cl_int n_bias, n_seen, n_banned, masked, edits_at, edited;
};
struct result {
    cl_int status, id, raw;
    cl_float max;
    cl_uint logit, total[2];
    cl_int n_top;
    cl_uint top[2 * LIMIT_TOP_LOGPROBS];
};

static int make_kernel(struct ocl_sampler *s, cl_mem logits, int64_t at, int32_t stride,
                       struct err *e)
{
    const char *file = "sample.cl";
    size_t list = MAX(2 * s->group, (size_t)256), pool = MAX(list, (size_t)BINS * 3 / 2);
    struct buf b;
    cl_program p;
    buf_init(&b, MIB(1));
    buf_fmt(&b, "#define KERNEL sample\n#define FN(f) f##_sample\n#define WG %zu\n", s->group);
    buf_fmt(&b, "#define LIST %zu\n#define POOL %zu\n#define TOP_MAX %d\n#define WIDE %d\n", list,
            pool, LIMIT_TOP_LOGPROBS, at % 4 == 0 && stride % 4 == 0);
    ocl_source_begin(&b);
    ocl_source_add(&b, file);
    int rc = b.failed ? err_set(e, E_NOMEM, "no memory for the source of %s", file)
                      : ocl_program_build(&p, s->d, file, b.p, true, e);
    buf_free(&b);
    if (rc || (rc = OCL_NEW(s->kernel, e, file, clCreateKernel, p, "sample")))
        return rc;
    cl_ulong first = (cl_ulong)at;
    cl_int n = s->vocab, scratch_stride = (cl_int)round_up((size_t)n, 4);
    const struct { size_t size; const void *value; } args[] = {
        {sizeof logits, &logits}, {sizeof first, &first}, {sizeof stride, &stride},
        {sizeof n, &n}, {sizeof s->asked.mem, &s->asked.mem},
        {sizeof s->scratch.mem, &s->scratch.mem}, {sizeof scratch_stride, &scratch_stride},
        {sizeof s->told.mem, &s->told.mem}};
    for (cl_uint i = 0; i < ARRAY_LEN(args) && !rc; i++)
        rc = OCL(e, file, clSetKernelArg, s->kernel, i, args[i].size, args[i].value);
    return rc;
}

int ocl_sample_init(struct ocl_sampler *s, struct ocl_device *d, cl_mem logits, int64_t at,
                    int32_t stride, int32_t vocab, int32_t rows, struct err *e)
{
    size_t n = (size_t)vocab, most = (size_t)rows;
    ASSERT(vocab > 0 && vocab <= LIMIT_VOCAB && rows > 0);
    *s = (struct ocl_sampler){.d = d, .vocab = vocab, .rows = rows, .group = 1,
                              .logits = logits, .at = at, .stride = stride};
    while (2 * s->group <= MIN((size_t)d->tune.sample, MIN(d->info.group_max, (size_t)BINS)))
        s->group *= 2;
    s->scratch_rows = MIN(rows, EDITED_ROWS);
    /* One row with every token in every list always fits. */
    s->edits_max = MAX((2 * EDIT_WORDS + 1) * n, (size_t)EDITS_MIN) +
                   (size_t)s->scratch_rows * sample_words(vocab);
    size_t asked = most * sizeof(struct row) + s->edits_max * 4;
    size_t told = most * sizeof(struct result);
    int rc;
    if ((rc = ocl_buffer_new(&s->asked, d, asked, "sampling", e)) ||
        (rc = ocl_buffer_new(&s->scratch, d, (size_t)s->scratch_rows * round_up(n, 4) * 4,
                             "sampling", e)) ||
        (rc = ocl_buffer_new(&s->told, d, told, "sampling", e)) ||
        (rc = ocl_pinned_new(&s->asked_host, d, asked, "sampling", e)) ||
        (rc = ocl_pinned_new(&s->told_host, d, told, "sampling", e)) ||
        (rc = sample_init(&s->host, vocab, e)))
        return rc;
    if (!(s->row = mem_array(n, sizeof *s->row)))
        return err_set(e, E_NOMEM, "no memory to sample from %d tokens", (int)vocab);
    return make_kernel(s, logits, at, stride, e);
}

void ocl_sample_free(struct ocl_sampler *s)
{
    if (!s->d)
        return;
    OCL_FREE(clReleaseKernel, s->kernel);
    ocl_pinned_free(&s->asked_host, s->d);
    ocl_pinned_free(&s->told_host, s->d);
    ocl_buffer_free(&s->asked, s->d);
    ocl_buffer_free(&s->scratch, s->d);
    ocl_buffer_free(&s->told, s->d);
    sample_fini(&s->host);
    mem_free(s->row);
    *s = (struct ocl_sampler){0};
}

static size_t edit_words(const struct ocl_sampler *s, const struct sample_row *r)
{
    size_t lists = ((size_t)r->n_bias + (size_t)r->n_seen) * EDIT_WORDS + (size_t)r->n_banned;
    return r->draw ? lists + (r->allowed ? sample_words(s->vocab) : 0) : 0;
}

/* As many of the rows as one launch takes: none of them has a shape. */
static int32_t portion(const struct ocl_sampler *s, const struct sample_row *rows, int32_t n)
{
    size_t words = 0;
    int32_t edited = 0, i = 0;
    for (; i < n && !rows[i].shape; i++) {
        edited += edit_words(s, &rows[i]) > 0;
        words += edit_words(s, &rows[i]);
        if (edited > s->scratch_rows || words > s->edits_max)
            break;
    }
    return i;
}

static struct row pack_row(const struct sample_row *r)
{
    return (struct row){
        .logits = r->logits, .n_top = r->n_top, .draw = r->draw, .id = r->id, .greedy = r->greedy,
        .scale = r->scale, .min_p = MIN(MAX(r->min_p, 0x1p-43f), 1.0f), .top_k = r->top_k,
        .top_p = {(cl_uint)r->top_p, (cl_uint)(r->top_p >> 32)},
        .uniform = {(cl_uint)r->uniform, (cl_uint)(r->uniform >> 32)}, .repeat = r->repeat,
        .unrepeat = r->unrepeat, .n_bias = r->n_bias, .n_seen = r->n_seen,
        .n_banned = r->n_banned, .masked = r->allowed != NULL, .edited = -1};
}

/* Rows and then edits into the staging memory. Returns their bytes. */
static size_t pack(struct ocl_sampler *s, const struct sample_row *rows, int32_t n)
{
    struct row *to = s->asked_host.host;
    size_t at = (size_t)n * sizeof *to;
    cl_int edited = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct sample_row *r = &rows[i];
        to[i] = pack_row(r);
        to[i].n_top = MIN(MIN(r->n_top, LIMIT_TOP_LOGPROBS), s->vocab);
        if (!edit_words(s, r))
            continue;
        to[i].edited = edited++;
        to[i].edits_at = (cl_int)(at / 4);
        const struct { const void *p; size_t n; } lists[] = {
            {r->bias, (size_t)r->n_bias * sizeof *r->bias},
            {r->seen, (size_t)r->n_seen * sizeof *r->seen},
            {r->banned, (size_t)r->n_banned * sizeof *r->banned},
            {r->allowed, r->allowed ? sample_words(s->vocab) * sizeof *r->allowed : 0}};
        for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
            if (lists[k].n)
                memcpy((char *)s->asked_host.host + at, lists[k].p, lists[k].n);
            at += lists[k].n;
        }
    }
    return at;
}

static float from_bits(cl_uint bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* What a device writes is checked before it is used as an index. */
static int unpack(const struct ocl_sampler *s, const struct sample_row *rows, int32_t n,
                  struct sample_result *out, struct err *e)
{
    const struct result *from = s->told_host.host;
    for (int32_t i = 0; i < n; i++) {
        const struct result *r = &from[i];
        struct sample_result *o = &out[i];
        bool scored = rows[i].n_top >= 0 && r->raw == SAMPLE_OK;
        if (r->status < 0 || r->status > SAMPLE_NOTHING || r->raw < 0 || r->raw > SAMPLE_NOTHING ||
            r->id < 0 || r->id >= s->vocab || r->n_top < 0 || r->n_top > LIMIT_TOP_LOGPROBS)
            return err_set(e, E_DEVICE, "%s drew token %d of %d", s->d->info.name, r->id, s->vocab);
        *o = (struct sample_result){.status = (enum sample_status)r->status, .id = r->id,
                                    .raw = (enum sample_status)r->raw};
        if (r->status == SAMPLE_OK)
            o->logit = from_bits(r->logit);
        if (!scored)
            continue;
        o->max = r->max;
        o->total = (uint64_t)r->total[1] << 32 | r->total[0];
        o->n_top = r->n_top;
        for (int32_t k = 0; k < r->n_top; k++)
            o->top[k] = (struct sample_top){(int32_t)r->top[2 * k], from_bits(r->top[2 * k + 1])};
    }
    return 0;
}

static int draw_here(struct ocl_sampler *s, const struct sample_row *r,
                     struct sample_result *out, struct err *e)
{
    size_t from = ((size_t)s->at + (size_t)r->logits * (size_t)s->stride) * sizeof(float);
    int rc = OCL(e, "sampling", clEnqueueReadBuffer, s->d->queue, s->logits, CL_TRUE, from,
                 (size_t)s->vocab * sizeof(float), s->row, 0, NULL, NULL);
    if (!rc)
        sample_choose(&s->host, s->row, r, out);
    return rc;
}

int ocl_sample_run(struct ocl_sampler *s, const struct sample_row *rows, int32_t n,
                   struct sample_result *out, uint64_t *launches, struct err *e)
{
    const char *what = "sampling";
    int rc = 0;
    if (n > s->rows)
        return err_set(e, E_RANGE, "%d rows to sample from, laid out for %d", n, s->rows);
    for (int32_t m; n > 0 && !rc; rows += m, out += m, n -= m) {
        if (rows->shape) {
            m = 1;
            rc = draw_here(s, rows, out, e);
            continue;
        }
        if ((m = portion(s, rows, n)) == 0)
            return err_set(e, E_RANGE, "%zu words of edits for one row, at most %zu",
                           edit_words(s, rows), s->edits_max);
        size_t bytes = pack(s, rows, m), global = (size_t)m * s->group;
        if ((rc = OCL(e, what, clEnqueueWriteBuffer, s->d->queue, s->asked.mem, CL_FALSE, 0, bytes,
                      s->asked_host.host, 0, NULL, NULL)) ||
            (rc = OCL(e, what, clEnqueueNDRangeKernel, s->d->queue, s->kernel, 1, NULL, &global,
                      &s->group, 0, NULL, NULL)) ||
            (rc = OCL(e, what, clEnqueueReadBuffer, s->d->queue, s->told.mem, CL_TRUE, 0,
                      (size_t)m * sizeof(struct result), s->told_host.host, 0, NULL, NULL)))
            return rc;
        ++*launches;
        rc = unpack(s, rows, m, out, e);
    }
    return rc;
}

/* ---- known answers -------------------------------------------------------------------- */

#define TEST_VOCAB 3001
#define TEST_STRIDE 3008
#define TEST_ROWS 8

/* Rows with ties, far and missing tokens, and one that is broken. */
static void make_rows(float *x, struct rng *r)
{
    for (int32_t i = 0; i < TEST_ROWS * TEST_STRIDE; i++) {
        float v = 4 * rng_normal(r);
        x[i] = i / TEST_STRIDE % 2 ? rintf(2 * v) / 2 : v;
        if (i % 37 == 0)
            x[i] = -INFINITY;
    }
    x[(TEST_ROWS - 1) * TEST_STRIDE + 5] = NAN;
}

static struct sample_row make_row(int32_t i, struct rng *r, const struct sample_edit *edits,
                                  const int32_t *banned, const uint32_t *mask)
{
    static const int32_t ks[] = {0, 1, 40, 2000};
    bool some = i & 1;
    return (struct sample_row){
        .logits = i % TEST_ROWS, .n_top = i % 3 * 7 - 1, .draw = i % 5 != 4, .id = i,
        .greedy = i % 7 == 3, .scale = 0.5f + (float)rng_unit(r),
        .min_p = i % 4 == 3 ? 0.01f : 0, .top_k = ks[i % ARRAY_LEN(ks)],
        .top_p = i / 4 % 2 ? UINT64_C(15) << 60 : SAMPLE_ALL, .uniform = rng_next(r),
        .repeat = 1.25f, .unrepeat = 1 / 1.25f, .bias = edits, .n_bias = some ? 20 : 0,
        .seen = edits + 10, .n_seen = some ? 30 : 0, .banned = banned, .n_banned = some ? 3 : 0,
        .allowed = i % 3 == 1 ? mask : NULL};
}

static int compare(const struct ocl_sampler *s, const struct sample_row *rows, int32_t n,
                   const float *x, const struct sample_result *told, struct err *e)
{
    struct sampler host;
    struct sample_result want;
    int rc = sample_init(&host, TEST_VOCAB, e);
    for (int32_t i = 0; i < n && !rc; i++) {
        sample_choose(&host, x + (size_t)rows[i].logits * TEST_STRIDE, &rows[i], &want);
        if (!sample_same(&want, &told[i]))
            rc = err_set(e, E_DEVICE, "self-test: sampling on %s (driver %s) gives token %d, must "
                         "be %d (row %d)", s->d->info.name, s->d->info.driver, told[i].id, want.id,
                         i);
    }
    sample_fini(&host);
    return rc;
}

int ocl_sample_selftest(struct ocl_device *d, struct err *e)
{
    enum { N = 2 * TEST_ROWS };
    struct ocl_sampler s = {0};
    struct ocl_buffer logits = {0};
    struct sample_edit edits[40];
    static const int32_t banned[3] = {7, 2999, 55};
    struct sample_row rows[N];
    struct sample_result told[N];
    struct rng r = {.seed = 11};
    uint32_t mask[(TEST_VOCAB + 31) / 32];
    uint64_t launches = 0;
    size_t bytes = TEST_ROWS * TEST_STRIDE * sizeof(float);
    float *x = mem_array(1, bytes);
    int rc = x ? 0 : err_set(e, E_NOMEM, "no memory for the self-test");
    if (rc)
        return rc;
    make_rows(x, &r);
    for (int32_t i = 0; i < 40; i++)
        edits[i] = (struct sample_edit){i * 71, 3 * rng_normal(&r)};
    for (size_t i = 0; i < ARRAY_LEN(mask); i++)
        mask[i] = (uint32_t)rng_next(&r);
    for (int32_t i = 0; i < N; i++)
        rows[i] = make_row(i, &r, edits, banned, mask);
    if (!(rc = ocl_buffer_new(&logits, d, bytes, "the self-test", e)) &&
        !(rc = OCL(e, "the self-test", clEnqueueWriteBuffer, d->queue, logits.mem, CL_TRUE, 0,
                   bytes, x, 0, NULL, NULL)) &&
        !(rc = ocl_sample_init(&s, d, logits.mem, 0, TEST_STRIDE, TEST_VOCAB, N, e)) &&
        !(rc = ocl_sample_run(&s, rows, N, told, &launches, e)))
        rc = compare(&s, rows, N, x, told, e);
    ocl_sample_free(&s);
    ocl_buffer_free(&logits, d);
    mem_free(x);
    return rc;
}
