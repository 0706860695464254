/* Making a plan ready: buffers, one program per source file with every specialisation the plan
 * needs, one kernel per launch with its arguments set for good. */
#include "kernels/opencl/launches.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/packed.h"
#include "kernels/opencl/persistent.h"
#include "kernels/opencl/program.h"
#include "kernels/opencl/source.h"
#include "kernels/opencl/wgmma.h"

/* At least so much page-locked memory: rows of activations pass through it, too (kernels/split). */
#define ROWS_HOST_BYTES KIB(512)

/* Places the batch's parts; each begins where a sub-buffer may. */
static void place_parts(struct ocl_model *m)
{
    const struct capacity *c = &m->cap;
    size_t seqs = (size_t)MAX(c->seqs, 1), tokens = (size_t)MAX(c->tokens, 1), at = 0;
    size_t bytes[BATCH_PARTS] = {
        [BATCH_COUNTS] = 4 * 4,
        [BATCH_TOKENS] = tokens * 4,
        [BATCH_CU] = (seqs + 1) * 4,
        [BATCH_SLOTS] = seqs * 4,
        [BATCH_LOGIT_ROWS] = (size_t)MAX(c->logits, 1) * 4,
        [BATCH_PAGES] = MAX(seqs * (size_t)MAX(c->pages_per_seq, 0) * 4, (size_t)4),
        [BATCH_ROW_SEQ] = tokens * 4,
        [BATCH_ROW_POS] = tokens * 8,
    };
    for (int i = 0; i < BATCH_PARTS; i++) {
        m->part_at[i] = at;
        at += round_up(bytes[i], m->d->info.align_bytes);
    }
    m->batch_bytes = at;
}

static int make_parts(struct ocl_model *m, struct err *e)
{
    int rc = 0;
    for (int i = 0; i < BATCH_PARTS && !rc; i++) {
        size_t end = i + 1 < BATCH_PARTS ? m->part_at[i + 1] : m->batch_bytes;
        cl_buffer_region r = {m->part_at[i], end - m->part_at[i]};
        rc = OCL_NEW(m->part[i], e, "the batch", clCreateSubBuffer, m->batch.mem,
                     CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &r);
    }
    return rc;
}

static int make_buffers(struct ocl_model *m, struct err *e)
{
    const struct plan *p = m->plan;
    const struct capacity *c = &m->cap;
    size_t row = view_given(p->logits) ? (size_t)p->acts[p->logits.act].stride * 4 : 0;
    int rc;
    place_parts(m);
    /* Of the last product of 16 inputs, 32 bytes a row. */
    size_t past = m->d->tune.mma && m->d->tune.packs ? OCL_PACKED_PAST * 32 : 0;
    if ((rc = ocl_buffer_new(&m->arena, m->d, ocl_arena_bytes(p, c) + past, "activations", e)))
        return rc;
    if ((rc = ocl_pool_init(&m->slots, m->d, p, SECTION_FIXED, c->slots, e)) ||
        (rc = ocl_pool_init(&m->pages, m->d, p, SECTION_PAGED, c->pages, e)) ||
        (rc = ocl_buffer_new(&m->batch, m->d, m->batch_bytes, "the batch", e)) ||
        (rc = ocl_pinned_new(&m->batch_host, m->d, m->batch_bytes, "the batch", e)) ||
        (rc = ocl_pinned_new(&m->logits_host, m->d, row, "logits", e)) ||
        (rc = ocl_pinned_new(&m->state_host, m->d,
                             MAX(MAX(ocl_pool_bytes(&m->slots), ocl_pool_bytes(&m->pages)),
                                 ROWS_HOST_BYTES), "states", e)))
        return rc;
    return make_parts(m, e);
}

/* "nvidia/linear_few.cl", 3 -> "nvidia_linear_few_3". */
static void kernel_name(char *out, size_t max, const struct ocl_instance *x, int32_t i)
{
    const char *file = x->file;
    size_t n = strcspn(file, "."), at = 0;
    if (ocl_is_wgmma(file)) {
        const char *rows = x->defines + strlen("#define ROWS ");
        snprintf(out, max, "wgmma_%.*s", (int)strcspn(rows, "\n"), rows);
        return;
    }
    for (size_t j = 0; j < n && at + 16 < max; j++)
        out[at++] = isalnum((unsigned char)file[j]) ? file[j] : '_';
    snprintf(out + at, max - at, "_%d", i);
}

/* One specialisation: its defines, the source, and the defines taken back. */
static void add_instance(struct buf *b, const struct ocl_instance *x, const char *name)
{
    buf_fmt(b, "#define KERNEL %s\n#define FN(f) f##_%s\n", name, name);
    ocl_source_define(b, x->defines);
    buf_fmt(b, "\n#line 1 \"%s\"\n%s\n", x->file, x->text ? x->text : ocl_source_find(x->file));
    buf_str(b, "#undef KERNEL\n#undef FN\n");
    ocl_source_undefine(b, x->defines);
}

/* Whether two instances are in one program: of one file, and both merged or neither. A chain is
 * alone, so that one that does not build takes no other along. */
static bool together(const struct ocl_instance *a, const struct ocl_instance *b)
{
    return a == b || (!strcmp(a->file, b->file) && !a->text == !b->text &&
                      strcmp(a->file, OCL_CHAIN) != 0);
}

/* Index of the first instance of the same program. */
static int32_t first_of(const struct ocl_model *m, int32_t i)
{
    int32_t j = 0;
    while (!together(&m->instances[j], &m->instances[i]))
        j++;
    return j;
}

/* The text of all instances of the file of instance `first`. */
static void write_source(const struct ocl_model *m, int32_t first, struct buf *source)
{
    const char *file = m->instances[first].file;
    char name[64];
    if (ocl_is_wgmma(file)) {
        ocl_wgmma_program(source);
        return;
    }
    ocl_source_begin(source);
    const char *text = m->instances[first].text;
    bool mma = !strncmp(file, "nvidia/", 7) || (text && strstr(text, "MMA_LOCAL("));
    ocl_source_add(source, mma ? "mma.clh" : "kept.clh");
    if (!strncmp(file, "nvidia/attention", 16))
        ocl_source_add(source, "attention.clh");
    for (int32_t i = first; i < m->n_instances; i++) {
        if (!together(&m->instances[i], &m->instances[first]))
            continue;
        kernel_name(name, sizeof name, &m->instances[i], i - first);
        add_instance(source, &m->instances[i], name);
    }
}

/* Builds the program of the file of instance `first`. */
static int build_file(struct ocl_model *m, int32_t first, cl_program *out, struct err *e)
{
    const char *file = m->instances[first].file;
    struct buf source;
    int rc;
    buf_init(&source, MIB(16));
    write_source(m, first, &source);
    rc = source.failed ? err_set(e, E_NOMEM, "no memory for the source of %s", file)
                       : ocl_program_build(out, m->d, file, source.p, !m->instances[first].text, e);
    buf_free(&source);
    return rc;
}

static int set_arg(const struct ocl_model *m, cl_kernel k, cl_uint n, const struct ocl_arg *a,
                   const char *file, struct err *e)
{
    cl_mem mem = ocl_arg_mem(m, a);
    cl_int i = (cl_int)a->i;
    cl_ulong l = (cl_ulong)a->i;
    switch (a->kind) {
    case ARG_PACK_ROWS: case ARG_PACK_AT: case ARG_CHAINS_AT:
    case ARG_LONG: return OCL(e, file, clSetKernelArg, k, n, sizeof l, &l);
    case ARG_INT: return OCL(e, file, clSetKernelArg, k, n, sizeof i, &i);
    case ARG_FLOAT: return OCL(e, file, clSetKernelArg, k, n, sizeof a->f, &a->f);
    case ARG_LOCAL: return OCL(e, file, clSetKernelArg, k, n, (size_t)a->i, NULL);
    default: return OCL(e, file, clSetKernelArg, k, n, sizeof mem, &mem);
    }
}

/* What the members of a product have goes by records (wgmma.h). */
static int set_members(const struct ocl_model *m, const struct ocl_launch *l, struct err *e)
{
    cl_ulong records[OCL_WGMMA_MEMBERS * OCL_WGMMA_NUMBERS] = {0};
    cl_mem shared[] = {m->arena.mem, m->scratch.mem, m->part[BATCH_COUNTS]};
    cl_int members = l->n_args / OCL_WGMMA_ARGS;
    cl_uint n = 0;
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(shared) && !rc; i++)
        rc = OCL(e, OCL_WGMMA, clSetKernelArg, l->kernel, n++, sizeof shared[i], &shared[i]);
    for (cl_int k = 0; k < members; k++)
        for (int i = 0; i < OCL_WGMMA_NUMBERS; i++)
            records[k * OCL_WGMMA_NUMBERS + i] =
                (cl_ulong)l->args[k * OCL_WGMMA_ARGS + 3 + i].i;
    if (rc || (rc = OCL(e, OCL_WGMMA, clSetKernelArg, l->kernel, n++, sizeof members, &members)) ||
        (rc = OCL(e, OCL_WGMMA, clSetKernelArg, l->kernel, n++, sizeof records, records)))
        return rc;
    for (cl_int k = 0; k < OCL_WGMMA_MEMBERS; k++)
        for (int i = 0; i < 3 && !rc; i++) /* of those that are not there any memory */
            rc = set_arg(m, l->kernel, n++, &l->args[(k < members ? k : 0) * OCL_WGMMA_ARGS + i],
                         OCL_WGMMA, e);
    return rc;
}

static int set_args(const struct ocl_model *m, const struct ocl_launch *l, struct err *e)
{
    const char *file = m->instances[l->instance].file;
    if (ocl_is_wgmma(file))
        return set_members(m, l, e);
    for (int32_t i = 0; i < l->n_args; i++) {
        int rc = set_arg(m, l->kernel, (cl_uint)i, &l->args[i], file, e);
        if (rc)
            return err_wrap(e, "argument %d", i);
    }
    return 0;
}

static int make_kernel(struct ocl_model *m, struct ocl_launch *l, cl_program p, int32_t first,
                       struct err *e)
{
    const char *file = m->instances[l->instance].file;
    char name[64];
    int rc;
    cl_ulong local = 0;
    size_t most = 0, asked = l->local[0] * l->local[1] * l->local[2], fixed[3] = {0};
    kernel_name(name, sizeof name, &m->instances[l->instance], l->instance - first);
    if ((rc = OCL_NEW(l->kernel, e, file, clCreateKernel, p, name)) || (rc = set_args(m, l, e)))
        return rc;
    if ((rc = OCL(e, file, clGetKernelWorkGroupInfo, l->kernel, m->d->info.id,
                  CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL)) ||
        (rc = OCL(e, file, clGetKernelWorkGroupInfo, l->kernel, m->d->info.id,
                  CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof fixed, fixed, NULL)) ||
        (rc = OCL(e, file, clGetKernelWorkGroupInfo, l->kernel, m->d->info.id,
                  CL_KERNEL_LOCAL_MEM_SIZE, sizeof local, &local, NULL)))
        return rc;
    l->local_bytes = local;
    const struct op *op = &m->plan->ops[l->op];
    /* PoCL runs such a kernel, beyond its memory. Elsewhere the launch itself is the check: NVIDIA
     * and oclgrind give a kernel more than they say they have, and count memory of their own. */
    if (local > m->d->info.local_bytes &&
        strstr(m->d->info.platform_name, "Portable Computing Language"))
        return err_set(e, E_UNSUPPORTED, "layer %d: %s: %llu bytes of local memory, %s has %llu",
                       op->layer, op_name(op->kind), (unsigned long long)local, m->d->info.name,
                       (unsigned long long)m->d->info.local_bytes);
    /* A size the source requires was checked by the compiler; NVIDIA answers 256 all the same. */
    if (asked > most && !ocl_is_wgmma(file) && fixed[0] * fixed[1] * fixed[2] != asked)
        return err_set(e, E_UNSUPPORTED, "%s: a group of %zu work-items, %s runs at most %zu", name,
                       asked, m->d->info.name, most);
    return 0;
}

static int make_kernels(struct ocl_model *m, struct err *e)
{
    for (int32_t first = 0; first < m->n_instances; first++) {
        cl_program p;
        if (first_of(m, first) != first)
            continue;
        bool merged = m->instances[first].text, told = false;
        int rc = build_file(m, first, &p, e);
        for (int32_t i = 0; i < m->n_launches && (!rc || merged); i++) {
            struct ocl_launch *l = &m->launches[i];
            if (first_of(m, l->instance) != first)
                continue;
            int own = rc ? rc : make_kernel(m, l, p, first, e);
            for (int k = 0; k < STEPS_KINDS && own && merged; k++)
                if (l->merge[k] >= 0) {
                    ocl_bundle_off(m, l->merge[k], told ? NULL : e->text);
                    told = true;
                }
            rc = merged ? rc : own;
        }
        if (rc && !merged)
            return rc;
        if (merged)
            *e = (struct err){0};
    }
    return 0;
}

static int make_sampler(struct ocl_model *m, struct err *e)
{
    const struct plan *p = m->plan;
    const struct act *a = &p->acts[p->logits.act];
    return ocl_sample_init(&m->sampler, m->d, m->arena.mem, a->offset + p->logits.col, a->stride,
                           p->vocab, m->cap.logits, e);
}

int ocl_model_init(struct ocl_model *m, struct ocl_device *d, const struct plan *p,
                   const struct capacity *c, struct err *e)
{
    *m = (struct ocl_model){.d = d, .plan = p, .cap = *c, .until = INT32_MAX};
    int rc;
    ocl_wgmma_test(d);
    if ((rc = ocl_bundle_begin(m, e)) || (rc = ocl_weights_init(m, e)) ||
        (rc = make_buffers(m, e)) || (rc = ocl_packed_init(m, e)) ||
        (rc = ocl_ops_lower(m, e)) || (rc = ocl_bundle_launches(m, e)) ||
        (rc = ocl_buffer_new(&m->scratch, d, m->scratch_bytes, "packed activations", e)) ||
        (rc = make_kernels(m, e)) ||
        (rc = ocl_beside_init(&m->beside, d, (size_t)p->slot_floats * 4, c->slots, e)))
        return rc;
    ocl_persistent_init(m);
    return view_given(p->logits) && c->logits > 0 ? make_sampler(m, e) : 0;
}

void ocl_model_loaded(struct ocl_model *m)
{
    for (int i = 0; i < 27; i++) /* all combinations */
        OCL_FREE(clReleaseKernel, (&m->pack[0][0][0])[i]);
    ocl_buffer_free(&m->staging, m->d);
    mem_aligned_free(m->panels.data, m->panels.bytes);
    m->panels.data = NULL;
    for (int32_t i = 0; i < m->n_launches; i++) {
        mem_free(m->launches[i].args);
        m->launches[i].args = NULL;
    }
}

void ocl_model_free(struct ocl_model *m)
{
    if (!m->d)
        return;
    ocl_model_loaded(m);
    ocl_beside_free(&m->beside);
    if (m->pending)
        (void)ocl_api.clFinish(m->d->queue); /* it reads the memory that goes away */
    ocl_persistent_free(m);
    ocl_sample_free(&m->sampler);
    for (int32_t i = 0; i < m->n_launches; i++)
        OCL_FREE(clReleaseKernel, m->launches[i].kernel);
    for (int32_t i = 0; i < m->n_instances; i++)
        mem_free(m->instances[i].defines), mem_free(m->instances[i].text);
    for (int i = 0; i < BATCH_PARTS; i++)
        OCL_FREE(clReleaseMemObject, m->part[i]);
    for (int32_t i = 0; m->weights && i < m->plan->n_weights; i++)
        ocl_buffer_free(&m->weights[i].buffer, m->d);
    ocl_pinned_free(&m->batch_host, m->d);
    ocl_pinned_free(&m->logits_host, m->d);
    ocl_pinned_free(&m->state_host, m->d);
    ocl_buffer_free(&m->batch, m->d);
    ocl_buffer_free(&m->scratch, m->d);
    ocl_pool_free(&m->pages, m->d);
    ocl_pool_free(&m->slots, m->d);
    ocl_buffer_free(&m->arena, m->d);
    mem_free(m->packed);
    mem_free(m->weights);
    mem_free(m->instances);
    mem_free(m->launches);
    ocl_bundle_free(m);
    *m = (struct ocl_model){0};
}
