/* Describing a launch: small setters, so that lowering an op reads as a list; and what one says. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/packed.h"

void ocl_spec_init(struct ocl_spec *s, const char *file, const struct op *op)
{
    *s = (struct ocl_spec){.file = file, .rows = op ? op->rows : ROWS_TOKENS, .rows_min = 1,
                           .rows_max = INT32_MAX, .seqs_min = 1, .seqs_max = INT32_MAX,
                           .seq_max = INT32_MAX, .gate = {{BY_ONE, 1, 1}, 0, INT64_MAX}};
    for (int i = 0; i < 3; i++) {
        s->local[i] = 1;
        s->extent[i] = (struct ocl_extent){BY_ONE, 1, 1};
    }
    buf_init(&s->defines, KIB(64)); /* the longest elementwise program is below 8 KiB */
}

void ocl_def(struct ocl_spec *s, const char *name, int64_t value)
{
    buf_fmt(&s->defines, "#define %s %lld\n", name, (long long)value);
}

void ocl_def_format(struct ocl_spec *s, enum dtype t)
{
    const struct weight_format *f = &formats[t];
    ocl_def(s, "DTYPE", t);
    if (format_plain(t))
        return;
    ocl_def(s, "Q_BITS", f->bits);
    ocl_def(s, "Q_BLOCK", f->block);
    ocl_def(s, "Q_RUN", f->run);
    ocl_def(s, "Q_HEAD", f->head);
    ocl_def(s, "Q_SUB", f->sub);
    ocl_def(s, "Q_MAP", f->map);
    ocl_def(s, "Q_CENTER", f->center);
}

void ocl_def_word(struct ocl_spec *s, bool four)
{
    int n = four ? 4 : 1;
    ocl_def(s, "WORD", n);
    buf_fmt(&s->defines, "#define word float%s\n#define load_apart load_apart%d\n"
                         "#define act_word act_word%d\n", four ? "4" : "", n, n);
}

void ocl_arg(struct ocl_spec *s, enum ocl_arg_kind kind, int64_t i)
{
    ASSERT(s->n_args < OCL_ARGS);
    s->args[s->n_args++] = (struct ocl_arg){.kind = kind, .i = i};
}

void ocl_arg_place(struct ocl_spec *s, enum ocl_arg_kind kind, int64_t at, int64_t room)
{
    ocl_arg(s, kind, at);
    s->args[s->n_args - 1].room = room;
}

void ocl_arg_float(struct ocl_spec *s, float f)
{
    ocl_arg(s, ARG_FLOAT, 0);
    s->args[s->n_args - 1].f = f;
}

void ocl_arg_view(struct ocl_spec *s, const struct plan *p, struct view v)
{
    ocl_arg(s, ARG_LONG, view_given(v) ? p->acts[v.act].offset + v.col : 0);
    ocl_arg(s, ARG_INT, view_given(v) ? p->acts[v.act].stride : 0);
}

static bool whole(const struct ocl_model *m, struct view v)
{
    return m->packed && view_given(v) && v.width == m->plan->acts[v.act].width;
}

const struct ocl_packed *ocl_packed(const struct ocl_model *m, struct view v)
{
    return whole(m, v) && m->packed[v.act].from ? &m->packed[v.act] : NULL;
}

const struct op *ocl_bare(const struct ocl_model *m, struct view v)
{
    return whole(m, v) ? m->packed[v.act].bare : NULL;
}

void ocl_arg_section(struct ocl_spec *s, const struct ocl_model *m, int32_t section)
{
    int64_t at = section < 0 ? 0 : m->plan->sections[section].offset;
    int32_t i = ocl_pool_bank(&m->slots, at);
    const struct ocl_bank *b = &m->slots.banks[i];
    ocl_arg(s, ARG_SLOTS, i);
    ocl_arg(s, ARG_LONG, b->floats);
    ocl_arg(s, ARG_LONG, at - b->from);
}

bool ocl_section_aligned(const struct ocl_model *m, int32_t section)
{
    int64_t at = section < 0 ? 0 : m->plan->sections[section].offset;
    const struct ocl_bank *b = &m->slots.banks[ocl_pool_bank(&m->slots, at)];
    return (at - b->from) % 4 == 0 && b->floats % 4 == 0;
}

void ocl_local(struct ocl_spec *s, size_t x, size_t y)
{
    s->local[0] = x;
    s->local[1] = y;
}

void ocl_groups(struct ocl_spec *s, int dim, enum ocl_by by, int32_t n, int32_t per)
{
    s->extent[dim] = (struct ocl_extent){by, n, per};
}

int ocl_instance_add(struct ocl_model *m, const struct ocl_spec *s, struct err *e)
{
    const char *defines = s->defines.p ? s->defines.p : "";
    if (m->n_instances == m->max_instances) {
        int32_t n = m->max_instances ? 2 * m->max_instances : 64;
        void *p = mem_realloc(m->instances, (size_t)n * sizeof *m->instances);
        if (!p)
            return err_set(e, E_NOMEM, "no memory for %d kernels", n);
        m->instances = p;
        m->max_instances = n;
    }
    char *own = mem_strdup(defines);
    if (!own)
        return err_set(e, E_NOMEM, "no memory for a kernel of %s", s->file);
    m->instances[m->n_instances] = (struct ocl_instance){s->file, own, NULL};
    return m->n_instances++;
}

/* The instance with this source and these defines, made when new; its index or a code. */
static int find_instance(struct ocl_model *m, const struct ocl_spec *s, struct err *e)
{
    const char *defines = s->defines.p ? s->defines.p : "";
    for (int32_t i = 0; i < m->n_instances; i++)
        if (!strcmp(m->instances[i].file, s->file) && !strcmp(m->instances[i].defines, defines))
            return i;
    return ocl_instance_add(m, s, e);
}

int ocl_spec_emit(struct ocl_spec *s, struct ocl_model *m, struct err *e)
{
    int rc = E_NOMEM;
    struct ocl_arg *args = mem_array((size_t)s->n_args, sizeof *args);
    if (!args || s->defines.failed) {
        rc = err_set(e, E_NOMEM, "no memory for a launch of %s", s->file);
        goto out;
    }
    if (m->n_launches == m->max_launches) {
        int32_t n = m->max_launches ? 2 * m->max_launches : 256;
        void *p = mem_realloc(m->launches, (size_t)n * sizeof *m->launches);
        if (!p) {
            rc = err_set(e, E_NOMEM, "no memory for %d launches", n);
            goto out;
        }
        m->launches = p;
        m->max_launches = n;
    }
    int instance = find_instance(m, s, e);
    if ((rc = MIN(instance, 0)))
        goto out;
    memcpy(args, s->args, (size_t)s->n_args * sizeof *args);
    struct ocl_launch *l = &m->launches[m->n_launches++];
    *l = (struct ocl_launch){.instance = instance, .rows = s->rows, .when = s->when,
                             .merge = {-1, -1, -1, -1, -1},
                             .rows_min = s->rows_min, .rows_max = s->rows_max,
                             .seqs_min = s->seqs_min, .seqs_max = s->seqs_max,
                             .seq_min = s->seq_min, .seq_max = s->seq_max, .gate = s->gate,
                             .groups_max = s->groups_max,
                             .args = args, .n_args = s->n_args};
    memcpy(l->local, s->local, sizeof l->local);
    memcpy(l->extent, s->extent, sizeof l->extent);
    args = NULL;
out:
    mem_free(args);
    buf_free(&s->defines);
    return rc;
}

/* ---- what a launch says ---- */

cl_mem ocl_arg_mem(const struct ocl_model *m, const struct ocl_arg *a)
{
    switch (a->kind) {
    case ARG_ARENA: return m->arena.mem;
    case ARG_SLOTS: return m->slots.banks[a->i].buffer.mem;
    case ARG_PAGES: return m->pages.banks[a->i].buffer.mem;
    case ARG_SCRATCH: return m->scratch.mem;
    case ARG_WEIGHT: return a->i < 0 ? m->batch.mem : m->weights[a->i].buffer.mem;
    case ARG_BATCH: return m->part[a->i];
    default: return NULL;
    }
}

enum ocl_steps ocl_steps_of(int32_t rows, int32_t seqs, bool single)
{
    if (rows > OCL_WIDE_ROWS)
        return rows <= OCL_MANY_ROWS ? STEPS_MANY : STEPS_KINDS;
    if (rows > OCL_BUNDLE_ROWS)
        return single && seqs <= OCL_WIDE_ROWS ? STEPS_WIDE : STEPS_BROAD;
    return single && seqs <= OCL_BUNDLE_ROWS ? STEPS_SINGLE : STEPS_MIXED;
}

bool ocl_launch_runs(const struct ocl_model *m, const struct ocl_launch *l, int32_t rows,
                     int32_t seqs, bool single)
{
    enum ocl_steps kind = ocl_steps_of(rows, seqs, single);
    int32_t merge = kind < STEPS_KINDS && !(m->unmerged >> kind & 1) ? l->merge[kind] : -1;
    if (l->merged != (merge >= 0 && !m->merges[merge].off))
        return false;
    return rows >= l->rows_min && rows <= l->rows_max && seqs >= l->seqs_min &&
           seqs <= l->seqs_max && l->when != (single ? WHEN_SEVERAL : WHEN_SINGLE);
}
