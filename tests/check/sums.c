/* See sums.h. */
#include "tests/check/sums.h"

#include "kernels/numerics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char header[] =
    "# Digests of the bits that every kernel computes on kernelcheck's inputs (seed 1): op,\n"
    "# kernels, whether they call the C library, cases, digest. `simd` is every vector kernel.\n"
    "# Lines with `libm` are compared where the library's functions have this digest: the last\n"
    "# bits of exp, log, sin, cos, tanh, erf and their like are the library's own. `libm-neon` is\n"
    "# that of the lines of neon, which another processor's library computed.\n"
    "# Written by `build/kernelcheck --write-sums` after NUMERICS_REVISION (kernels/numerics.h)\n"
    "# was raised; for new ops and cases, which move no bits, without.\n";

void chain_add(struct chain *c, uint64_t bits)
{
    uint64_t h = c->n ? c->after[c->n - 1] : UINT64_C(0xcbf29ce484222325);
    ASSERT(c->n < CHAIN_CASES);
    for (int i = 0; i < 64; i += 8)
        h = (h ^ (bits >> i & 255)) * UINT64_C(0x100000001b3);
    c->after[c->n++] = h;
}

/* One line: [op][vector][libm]. */
/* Classes of kernels (numerics_class): simd and neon are the vector kernels of one processor. */
#define CLASSES 6
static const char *const classes[CLASSES] = {"ref", "simd", "neon", "amx", "int16", "int16-c"};
static const char *const calls[2] = {"-", "libm"};

struct line {
    int cases; /* 0 = there is none */
    uint64_t digest;
};
struct file {
    int revision;
    uint32_t libm[2]; /* of neon's lines; of the others. 0 = there are none yet */
    struct line lines[OP_KINDS][CLASSES][2];
    bool has[CLASSES]; /* a line of it */
};

static struct chain noted[OP_KINDS][CLASSES][2];

/* The digest of the library that computed a class's lines. */
static uint32_t *libm_of(struct file *f, int class)
{
    return &f->libm[strcmp(classes[class], "neon") != 0];
}

static int find(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

bool sums_note(const struct cpu_kernel *k, bool libm, const struct chain *c)
{
    struct chain *x = &noted[k->op][find(classes, CLASSES, numerics_class(k))][libm];
    if (x->n && memcmp(x, c, sizeof *x) != 0) {
        printf("FAIL %s: %s has other bits than another vector kernel\n", op_name(k->op),
               k->variant);
        return false;
    }
    *x = *c;
    return true;
}

static int find_op(const char *name)
{
    for (int k = 0; k < OP_KINDS; k++)
        if (strcmp(op_name((enum op_kind)k), name) == 0)
            return k;
    return -1;
}

static bool parse_line(struct file *f, const char *text)
{
    char op[32], kernels[8], library[8];
    struct line x;
    if (text[0] == '#' || sscanf(text, "revision %d", &f->revision) == 1 ||
        sscanf(text, "libm-neon %8" SCNx32, &f->libm[0]) == 1 ||
        sscanf(text, "libm %8" SCNx32, &f->libm[1]) == 1)
        return true;
    if (sscanf(text, "%31s %7s %7s %d %16" SCNx64, op, kernels, library, &x.cases, &x.digest) != 5)
        return false;
    int k = find_op(op), vector = find(classes, CLASSES, kernels), libm = find(calls, 2, library);
    if (k < 0 || vector < 0 || libm < 0 || x.cases < 1)
        return false;
    f->lines[k][vector][libm] = x;
    f->has[vector] = true;
    return true;
}

static bool read_file(const char *path, struct file *f)
{
    char text[256];
    *f = (struct file){0};
    FILE *in = fopen(path, "re");
    if (!in)
        return false;
    bool good = true;
    while (good && fgets(text, sizeof text, in))
        if (!(good = parse_line(f, text)))
            printf("FAIL %s: not understood: %s", path, text);
    fclose(in);
    return good && f->revision > 0;
}

/* The noted digest after as many cases as the line has; 0 = it has fewer. */
static uint64_t after(const struct chain *c, const struct line *x)
{
    return x->cases <= c->n ? c->after[x->cases - 1] : 0;
}

/* every(k, vector, libm) */
#define EACH_LINE(k, v, l)                                                                         \
    for (int k = 0; k < OP_KINDS; k++)                                                             \
        for (int v = 0; v < CLASSES; v++)                                                          \
            for (int l = 0; l < 2; l++)

/* Kernels of this class run here. */
static bool is_here(int class)
{
    if (strcmp(classes[class], "amx") == 0)
        return cpuid_features() & NEED_AMX;
    if (strcmp(classes[class], "int16") == 0)
        return cpuid_features() & NEED_AVX2;
    return !class || strcmp(classes[class], "int16-c") == 0 ||
           strcmp(classes[class], numerics_vectors()) == 0;
}

/* Whether a line can be compared here, or written. */
static bool own(struct file *f, int class, int libm)
{
    uint32_t digest = *libm_of(f, class);
    return is_here(class) && (!libm || !digest || digest == numerics_libm());
}

static int check_line(struct file *f, int k, int vector, int libm, bool all, int *foreign)
{
    const struct line *x = &f->lines[k][vector][libm];
    const struct chain *c = &noted[k][vector][libm];
    const char *why = NULL;
    if (!is_here(vector))
        return 0;
    if (c->n && ((x->cases && !own(f, vector, libm)) || !f->has[vector]))
        (*foreign)++;
    else if (c->n && !x->cases)
        why = "is not in the file";
    else if (!c->n && x->cases && all)
        why = "is in the file and is computed no more";
    else if (c->n && after(c, x) != x->digest)
        why = "has other bits than the file says";
    else if (c->n && c->n != x->cases)
        why = "has more cases than the file";
    if (why)
        printf("FAIL %s %s %s %s\n", op_name((enum op_kind)k), classes[vector], calls[libm], why);
    return why != NULL;
}

int sums_check(const char *path, bool all)
{
    struct file f;
    int wrong = 0, foreign = 0;
    if (!read_file(path, &f)) {
        printf("FAIL %s cannot be read\n", path);
        return 1;
    }
    if (f.revision != NUMERICS_REVISION) {
        printf("FAIL %s is of revision %d, kernels/numerics.h says %d: kernelcheck --write-sums\n",
               path, f.revision, NUMERICS_REVISION);
        return 1;
    }
    EACH_LINE(k, v, l)
        wrong += check_line(&f, k, v, l, all, &foreign);
    if (wrong)
        printf("%s: if the bits are to move, raise NUMERICS_REVISION in kernels/numerics.h, then "
               "kernelcheck --write-sums; for new ops and cases only the latter\n", path);
    if (foreign)
        printf("%s: %d lines not compared: this C library's functions have digest %08" PRIx32
               ", the file is of %08" PRIx32 "%s%s\n", path, foreign, numerics_libm(), f.libm[1],
               f.has[find(classes, CLASSES, numerics_vectors())] ? "" : "; it has no kernels of ",
               f.has[find(classes, CLASSES, numerics_vectors())] ? "" : numerics_vectors());
    return wrong;
}

/* Is the file's revision used up? Every line that moved is told. */
static bool moved(struct file *f)
{
    bool any = false;
    EACH_LINE(k, v, l) {
        const struct line *x = &f->lines[k][v][l];
        const struct chain *c = &noted[k][v][l];
        if (!x->cases || !c->n || !own(f, v, l) || after(c, x) == x->digest)
            continue;
        printf("%s %s %s has other bits than in revision %d\n", op_name((enum op_kind)k),
               classes[v], calls[l], f->revision);
        any = true;
    }
    return any;
}

bool sums_write(const char *path, bool all)
{
    struct file f;
    bool there = read_file(path, &f), same = there && f.revision == NUMERICS_REVISION;
    uint32_t *libm = libm_of(&f, find(classes, CLASSES, numerics_vectors()));
    bool partly = same && (!*libm || *libm == numerics_libm());
    if (!all && !partly) {
        printf("FAIL a new file, revision or C library needs every kernel: without --op and "
               "--variant, on a CPU that has all instruction sets "
               "(build/tests/kernelcheck-tiles has a model of the matrix unit)\n");
        return false;
    }
    if (same && moved(&f)) {
        printf("FAIL raise NUMERICS_REVISION in kernels/numerics.h first; it is %d\n",
               NUMERICS_REVISION);
        return false;
    }
    *libm = numerics_libm();
    if (!f.libm[1])
        f.libm[1] = numerics_libm();
    FILE *out = fopen(path, "we");
    if (!out) {
        perror(path);
        return false;
    }
    fprintf(out, "%srevision %d\n", header, NUMERICS_REVISION);
    for (int i = 1; i >= 0; i--)
        if (f.libm[i])
            fprintf(out, "libm%s %08" PRIx32 "\n", i ? "" : "-neon", f.libm[i]);
    EACH_LINE(k, v, l) {
        struct line x = f.lines[k][v][l];
        const struct chain *c = &noted[k][v][l];
        if (own(&f, v, l) && (c->n || all))
            x = (struct line){c->n, c->n ? c->after[c->n - 1] : 0};
        if (x.cases)
            fprintf(out, "%-14s %-4s %-4s %4d %016" PRIx64 "\n", op_name((enum op_kind)k),
                    classes[v], calls[l], x.cases, x.digest);
    }
    bool good = fclose(out) == 0;
    printf("%s: revision %d\n", path, NUMERICS_REVISION);
    return good;
}
