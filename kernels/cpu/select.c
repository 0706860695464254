/* Which kernel runs each op on each format of its matrix: ref first, then every row of
 * kernels.def that the CPU and the mask allow overwrites it. Read-only after start. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/kernels.h"

#include <string.h>

const struct cpu_kernel select_table[] = {
#define OP(KIND, name, rows, sections, cost, factor, what) \
    {OP_##KIND, "ref", NEED_NONE, ALWAYS, ANY, ref_##name, 0, 0, what},
#include "kernels/ops.def"
#define K(OP, variant, need, when, formats, function, max_abs, max_rel, note) \
    {OP_##OP, #variant, need, when, formats, function, max_abs, max_rel, note},
#ifndef REF_ALONE /* tests/race, where the others are not compiled */
#include "kernels/cpu/kernels.def"
#endif
#undef K
};
const int select_rows = ARRAY_LEN(select_table);

const char *select_arithmetic(const struct cpu_kernel *k)
{
    return k->need & NEED_INT16 ? "int16" : k->need & NEED_AMX ? "amx" : "float32";
}

/* The n bytes at `name` are the row's variant or its arithmetic. */
static bool names(const char *name, size_t n, const struct cpu_kernel *k)
{
    const char *arithmetic = select_arithmetic(k);
    return (strlen(k->variant) == n && memcmp(k->variant, name, n) == 0) ||
           (strlen(arithmetic) == n && memcmp(arithmetic, name, n) == 0);
}

static bool mask_has(const char *mask, const struct cpu_kernel *k)
{
    if (!mask || !*mask)
        return k->when == ALWAYS;
    for (const char *p = mask; *p;) {
        size_t len = strcspn(p, ",");
        if (names(p, len, k))
            return true;
        p += len + (p[len] == ',');
    }
    return false;
}

static bool name_exists(const char *name, size_t n)
{
    for (int i = 0; i < select_rows; i++)
        if (names(name, n, &select_table[i]))
            return true;
    return false;
}

int select_kernels(const struct cpu_kernel *chosen[OP_KINDS][DTYPES], const char *mask,
                   struct err *e)
{
    for (const char *p = mask ? mask : ""; *p;) {
        size_t len = strcspn(p, ",");
        if (!name_exists(p, len))
            return err_set(e, E_NOENT, "kernels: there is no variant \"%.*s\"", (int)MIN(len, 64),
                           p);
        p += len + (p[len] == ',');
    }
    unsigned has = cpuid_features();
    for (int i = 0; i < select_rows; i++) {
        const struct cpu_kernel *k = &select_table[i];
        bool ref = strcmp(k->variant, "ref") == 0;
        if (ref || ((k->need & ~has) == 0 && mask_has(mask, k)))
            for (int t = 0; t < DTYPES; t++)
                if (k->formats >> t & 1)
                    chosen[k->op][t] = k;
    }
    return 0;
}

enum dtype select_format(const struct plan *p, const struct op *op)
{
    int32_t w = op->w[0];
    return w >= 0 && p->weights[w].role == WEIGHT_MATRIX ? p->weights[w].dtype : DTYPE_F32;
}
