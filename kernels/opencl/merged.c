/* Merged launches in the list, and which steps have them (bundle.h). */
#include <string.h>

#include "base/mem.h"
#include "kernels/opencl/building.h"

struct ocl_rows ocl_rows_of(int kind)
{
    return kind >= STEPS_WIDE ? (struct ocl_rows){OCL_BUNDLE_ROWS + 1, OCL_MANY_ROWS}
                              : (struct ocl_rows){1, OCL_BUNDLE_ROWS};
}

bool ocl_launch_serves(const struct ocl_launch *l, int kind)
{
    struct ocl_rows rows = ocl_rows_of(kind);
    return kind == STEPS_SINGLE ? ocl_launch_decodes(l)
                                : l->rows_min <= rows.max && l->rows_max >= rows.min &&
                                      (kind != STEPS_WIDE || l->when != WHEN_SEVERAL);
}

/* The instance of merged text, made when new: its index, or a code. */
static int merged_instance(struct ocl_model *m, const struct ocl_instance *like, char *text,
                           struct err *e)
{
    for (int32_t i = 0; i < m->n_instances; i++)
        if (m->instances[i].text && !strcmp(m->instances[i].text, text) &&
            !strcmp(m->instances[i].defines, like->defines)) {
            mem_free(text);
            return i;
        }
    struct ocl_spec s;
    ocl_spec_init(&s, like->file, NULL);
    buf_str(&s.defines, like->defines);
    int i = ocl_instance_add(m, &s, e);
    buf_free(&s.defines);
    if (i < 0)
        mem_free(text);
    else
        m->instances[i].text = text;
    return i;
}

int ocl_add_merged(struct ocl_building *b, struct ocl_launch *r, const struct ocl_instance *like,
                   char *text, struct err *e)
{
    int i = text ? merged_instance(b->m, like, text, e) : r->instance;
    if (i < 0) {
        mem_free(r->args);
        return i;
    }
    r->instance = i;
    r->merged = true;
    ASSERT(b->n < b->max);
    b->all[b->n++] = *r;
    return 0;
}

int ocl_end_merge(struct ocl_building *b, const int32_t *ops, int32_t n, uint32_t steps,
                  int32_t from, int rc, struct err *e)
{
    struct ocl_model *m = b->m;
    if (rc) {
        while (b->n > from)
            mem_free(b->all[--b->n].args);
        if (rc != E_UNSUPPORTED)
            return rc;
        *e = (struct err){0};
        return 0;
    }
    m->merges[m->n_merges] = (struct ocl_merge){m->phases.ops[ops[0]].phase,
                                                m->phases.ops[ops[n - 1]].phase, ops[0], false};
    for (int32_t i = 0; i < b->n; i++) {
        struct ocl_launch *l = &b->all[i];
        bool ours = i >= from;
        for (int32_t k = 0; k < n && i < from && !l->merged; k++)
            ours = ours || l->op == ops[k];
        for (int kind = 0; kind < STEPS_KINDS && ours; kind++)
            if (i >= from || (steps >> kind & 1 && ocl_launch_serves(l, kind)))
                l->merge[kind] = steps >> kind & 1 ? m->n_merges : -1;
    }
    m->n_merges++;
    return 0;
}
