/* Which launches can be members of one bundle (bundle.h). */
#include <string.h>

#include "kernels/opencl/bundle.h"
#include "kernels/opencl/wgmma.h"

/* Sources whose work-items along dimension 1 are slices of a sum that is added over those there
 * are: members with fewer of them may share a group with more. */
static bool has_slices(const char *file)
{
    return !strcmp(file, "linear_few.cl") || !strcmp(file, "nvidia/linear_few.cl");
}

bool ocl_same_pack(const struct ocl_launch *a, const struct ocl_launch *b)
{
    for (int32_t i = 0; i < a->n_args; i++)
        if (a->args[i].kind != ARG_PACK_ROWS && a->args[i].kind != ARG_PACK_AT &&
            a->args[i].i != b->args[i].i)
            return false;
    return true;
}

bool ocl_is_pack(const char *file)
{
    return !strcmp(file, "nvidia/pack_rows.cl");
}

static bool same_extent(struct ocl_extent a, struct ocl_extent b)
{
    return a.by == b.by && a.n == b.n && a.per == b.per;
}

/* Two lists of defines, but for the number of slices. */
static bool same_defines(const char *a, const char *b, bool slices)
{
    if (!slices || strncmp(a, "#define SLICES ", 15) || strncmp(b, "#define SLICES ", 15))
        return !strcmp(a, b);
    return !strcmp(a + strcspn(a, "\n"), b + strcspn(b, "\n"));
}

static bool same_args(const struct ocl_launch *a, const struct ocl_launch *b)
{
    bool ok = a->n_args == b->n_args;
    for (int32_t i = 0; i < a->n_args && ok; i++)
        ok = a->args[i].kind == b->args[i].kind &&
             (a->args[i].kind != ARG_BATCH || a->args[i].i == b->args[i].i);
    return ok;
}

bool ocl_shares_scratch(const struct ocl_launch *l)
{
    int all = 0, placed = 0;
    for (int32_t i = 0; i < l->n_args; i++) {
        all += l->args[i].kind == ARG_SCRATCH;
        placed += l->args[i].kind == ARG_PACK_AT || l->args[i].kind == ARG_CHAINS_AT;
    }
    return all > placed;
}

/* The same steps, among those of min to max rows. */
static bool same_steps(const struct ocl_launch *a, const struct ocl_launch *b, int32_t min,
                       int32_t max)
{
    return a->rows == b->rows && a->when == b->when &&
           MAX(a->rows_min, min) == MAX(b->rows_min, min) &&
           MIN(a->rows_max, max) == MIN(b->rows_max, max) && a->seqs_min == b->seqs_min &&
           a->seqs_max == b->seqs_max && a->seq_min == b->seq_min && a->seq_max == b->seq_max &&
           same_extent(a->gate.of, b->gate.of) && a->gate.min == b->gate.min &&
           a->gate.max == b->gate.max;
}

bool ocl_alike(const struct ocl_model *m, const struct ocl_launch *a, const struct ocl_launch *b,
               int32_t min, int32_t max)
{
    const struct ocl_instance *x = &m->instances[a->instance], *y = &m->instances[b->instance];
    bool slices = has_slices(x->file), wgmma = ocl_is_wgmma(x->file);
    return !strcmp(x->file, y->file) && same_defines(x->defines, y->defines, slices) &&
           same_steps(a, b, min, max) &&
           (wgmma || (!a->groups_max && !b->groups_max && same_args(a, b))) &&
           a->extent[0].by == BY_ONE && b->extent[0].by == BY_ONE &&
           same_extent(a->extent[1], b->extent[1]) && same_extent(a->extent[2], b->extent[2]) &&
           a->local[0] == b->local[0] && a->local[2] == b->local[2] &&
           (slices || a->local[1] == b->local[1]) && !ocl_shares_scratch(a);
}

size_t ocl_bundle_bytes(const struct ocl_launch *l, int32_t members)
{
    size_t shared = 0, own = 8;
    for (int32_t i = 0; i < l->n_args; i++)
        *(ocl_merge_shared(l->args[i].kind) ? &shared : &own) += ocl_arg_bytes(l, i);
    return shared + own * (size_t)members;
}
