/* The table of families, from archs.def. */
#include "models/arch.h"

#include <string.h>

#include "models/build/build.h"

static const struct arch *const archs[] = {
#define ARCH(name) &arch_##name,
#include "models/archs.def"
#undef ARCH
};

#define NAME_MAX_BYTES 64
#define NEAREST 3

/* Insertions, deletions and changes between two names. */
static int distance(const char *a, const char *b)
{
    int row[NAME_MAX_BYTES + 1], n = (int)MIN(strlen(b), (size_t)NAME_MAX_BYTES);
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1] && i <= NAME_MAX_BYTES; i++) {
        int before = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int change = before + (a[i - 1] != b[j - 1]);
            before = row[j];
            row[j] = MIN(change, 1 + MIN(row[j], row[j - 1]));
        }
    }
    return row[n];
}

static size_t common_start(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

/* Smaller is nearer; a shared beginning counts more than a shared length. */
static int farness(const char *a, const char *b)
{
    return 2 * distance(a, b) - 3 * (int)common_start(a, b);
}

static void refuse(const char *type, struct err *e)
{
    const struct arch *best[NEAREST] = {NULL};
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) {
        const struct arch *a = archs[i];
        for (size_t k = 0; k < NEAREST; k++)
            if (!best[k] || farness(type, a->model_type) < farness(type, best[k]->model_type)) {
                const struct arch *next = best[k];
                best[k] = a;
                a = next;
                if (!a)
                    break;
            }
    }
    err_set(e, E_UNSUPPORTED,
            "config.json: model_type \"%.64s\" is not one this build knows; the nearest are %s, "
            "%s, %s", type, best[0]->model_type, best[1]->model_type, best[2]->model_type);
}

const struct arch *arch_find(const char *model_type, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (!strcmp(archs[i]->model_type, model_type))
            return archs[i];
    refuse(model_type, e);
    return NULL;
}
