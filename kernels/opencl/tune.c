/* Reading the tuning table. The table is part of the program, so an error in it is ours. */
#include "kernels/opencl/tune.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kernels/cpu/quota.h"
#include "kernels/opencl/beside.h"
#include "kernels/opencl/source.h"

static const struct {
    const char *key;
    size_t at;
    int32_t min, max;
    bool moves_bits;
} keys[] = {
    {"slices", offsetof(struct ocl_tune, slices), 1, 32, true},
    {"slice_min", offsetof(struct ocl_tune, slice_min), 32, 4096, true},
    {"few_rows", offsetof(struct ocl_tune, few_rows), 1, 4096, false},
    {"group", offsetof(struct ocl_tune, group), 1, 1024, true},
    {"state_cols", offsetof(struct ocl_tune, state_cols), 1, 1024, false},
    {"state_split", offsetof(struct ocl_tune, state_split), 1, 256, false},
    {"unroll", offsetof(struct ocl_tune, unroll), 1, 32, false},
    {"wide_rows", offsetof(struct ocl_tune, wide_rows), 65, 1 << 20, false},
    {"sample", offsetof(struct ocl_tune, sample), 1, 1024, false},
    {"key_split", offsetof(struct ocl_tune, key_split), 32, 1 << 20, true},
    {"mma", offsetof(struct ocl_tune, mma), 0, 1, true},
    {"movers", offsetof(struct ocl_tune, movers), 1, OCL_MOVERS_MAX, false},
    {"many_rows", offsetof(struct ocl_tune, many_rows), 0, 4096, false},
    {"packs", offsetof(struct ocl_tune, packs), 0, 1, false},
    {"wgmma", offsetof(struct ocl_tune, wgmma), 0, 1, false},
    {"wgmma_rows", offsetof(struct ocl_tune, wgmma_rows), 33, 65, false},
    {"split", offsetof(struct ocl_tune, split), 0, 2, false},
    {"tile", offsetof(struct ocl_tune, tile), 0, 256, false},
    {"bundle", offsetof(struct ocl_tune, bundle), 0, 1, false},
    {"persistent", offsetof(struct ocl_tune, persistent), 0, 1024, false},
    {"persistent_rows", offsetof(struct ocl_tune, persistent_rows), 1, 32, false},
    {"bank_kib", offsetof(struct ocl_tune, bank_kib), 0, INT32_MAX, false},
};

int ocl_tune_parse(struct ocl_tune *t, const char *words, struct err *e)
{
    for (const char *s = words; *s;) {
        size_t i, n = strcspn(s, "= \t"), len = strcspn(s, " \t");
        for (i = 0; i < ARRAY_LEN(keys); i++)
            if (strlen(keys[i].key) == n && !strncmp(keys[i].key, s, n))
                break;
        char *end = NULL;
        long v = s[n] == '=' ? strtol(s + n + 1, &end, 10) : 0;
        if (len && (i == ARRAY_LEN(keys) || end != s + len || end == s + n + 1 ||
                    v < keys[i].min || v > keys[i].max))
            return err_set(e, E_FORMAT, "tuning: \"%.*s\" is not a known key=number in its range",
                           (int)MIN(len, (size_t)64), s);
        if (len)
            *(int32_t *)((char *)t + keys[i].at) = (int32_t)v;
        s += len + strspn(s + len, " \t");
    }
    return 0;
}

struct ocl_slices ocl_slices(const struct ocl_tune *t, int32_t inputs)
{
    int32_t n = MAX(1, MIN(t->slices, inputs / t->slice_min));
    int32_t len = (int32_t)round_up((size_t)((inputs + n - 1) / n), 32);
    return (struct ocl_slices){(inputs + len - 1) / len, len};
}

void ocl_tune_numerics(const struct ocl_tune *t, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (keys[i].moves_bits && at < size)
            at += (size_t)snprintf(out + at, size - at, " %s=%d", keys[i].key,
                                   *(const int32_t *)((const char *)t + keys[i].at));
}

static bool contains(const char *text, const char *part)
{
    for (size_t n = strlen(part); *text; text++)
        if (!strncasecmp(text, part, n))
            return true;
    return false;
}

static void apply(struct ocl_tune *t, const struct ocl_info *d, char *line)
{
    char *colon = strchr(line, ':');
    if (line[0] == '#' || !colon)
        return;
    *colon = '\0';
    struct err e = {0};
    if (!strcmp(line, "*") || contains(d->vendor, line) || contains(d->name, line) ||
        contains(d->platform_name, line) || contains(d->arch, line))
        ASSERT(!ocl_tune_parse(t, colon + 1 + strspn(colon + 1, " \t"), &e));
}

void ocl_tune_choose(struct ocl_tune *t, const struct ocl_info *d)
{
    *t = (struct ocl_tune){0};
    char line[256];
    const char *s = ocl_source_find("opencl.tune");
    ASSERT(s);
    while (*s) {
        size_t n = strcspn(s, "\n");
        ASSERT(n < sizeof line);
        memcpy(line, s, n);
        line[n] = '\0';
        apply(t, d, line);
        s += n + (s[n] == '\n');
    }
    int32_t most = (int32_t)MIN(d->group_max, (size_t)1024);
    while (t->slices > 1 && t->slices * 32 > most) /* 32 outputs of a panel times the slices */
        t->slices /= 2;
    t->group = MIN(t->group, most);
    t->persistent = t->persistent > most ? 0 : t->persistent;
    t->sample = MIN(t->sample, most);
    t->state_cols = MIN(t->state_cols, most);
    t->movers = MIN(t->movers, MAX(quota_cpus(NULL, 0) / 2, 1));
}
