/* kernelcheck: every kernel of kernels.def against ref, and the promises about bits.
 *
 * Each kernel runs in a forked child, so that a crash is a failed case like any other. */
#include "base/clock.h"
#include "tests/check/check.h"
#include "tests/check/sums.h"
#include "tests/check/tiles.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct options {
    const char *op, *variant, *shape, *klass, *sums;
    uint64_t seed;
    bool list, bench, beside, verbose, write_sums;
    int threads;
    long tiles;
};

/* What the child is doing, for the parent to read when it dies. */
struct progress {
    char where[256];
    int cases, failures;
    double max_abs, max_ulp;
    struct chain chain[2]; /* of the cases without and with the C library */
};

static void shape_text(char *out, size_t n, enum op_kind k, const struct shape *s)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < ops_params(k); i++)
        at += (size_t)snprintf(out + at, n - at, "%s%d", i ? "x" : "", s->p[i]);
}

static void one_case(const struct cpu_kernel *k, const struct shape *s, enum input_class c,
                     const struct options *o, struct progress *p)
{
    struct verdict v;
    char shape[128];
    shape_text(shape, sizeof shape, k->op, s);
    snprintf(p->where, sizeof p->where,
             "kernelcheck --op %s --variant %s --shape %s --class %s --seed %llu", op_name(k->op),
             k->variant, shape, class_names[c], (unsigned long long)o->seed);
    check_case(k, s, c, o->seed, &v);
    p->cases += v.served;
    chain_add(&p->chain[v.libm], v.bits); /* not served: a place in the chain all the same */
    p->max_abs = v.max_abs > p->max_abs ? v.max_abs : p->max_abs;
    p->max_ulp = v.max_ulp > p->max_ulp && c == CLASS_uniform ? v.max_ulp : p->max_ulp;
    if (v.text[0]) {
        p->failures++;
        printf("FAIL %s\n     %s\n", p->where, v.text);
    } else if (o->verbose && !v.served) {
        printf("none %s: not served\n", p->where);
    } else if (o->verbose) {
        printf("ok   %s: %.3g abs, %.0f ulp\n", p->where, v.max_abs, v.max_ulp);
    }
    fflush(stdout);
}

static void all_cases(const struct cpu_kernel *k, const struct options *o, struct progress *p)
{
    const struct op_check *oc = op_checks[k->op];
    struct shape given;
    if (o->shape && !ops_parse(k->op, o->shape, &given)) {
        fprintf(stderr, "kernelcheck: --shape for %s is %s, joined by 'x'\n", op_name(k->op),
                oc->params);
        exit(2);
    }
    /* Shapes first: one that is added at the end of the list leaves the sums before it. */
    for (int i = 0; i < (o->shape ? 1 : ops_shapes(k->op)); i++)
        for (int c = 0; c < CLASS_COUNT; c++)
            if (!o->klass || !fnmatch(o->klass, class_names[c], 0))
                one_case(k, o->shape ? &given : &oc->shapes[i], c, o, p);
}

/* Runs one row's cases in a child; returns its failures. */
static int row_in_child(const struct cpu_kernel *k, const struct options *o, struct progress *p)
{
    int status = 0;
    *p = (struct progress){0};
    uint64_t start = clock_now_ns();
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        all_cases(k, o, p);
        fflush(stdout);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("kernelcheck: fork");
        return 1;
    }
    if (WIFSIGNALED(status)) {
        printf("FAIL %s\n     %s\n", p->where, strsignal(WTERMSIG(status)));
        p->failures++;
    } else if (WEXITSTATUS(status)) {
        exit(WEXITSTATUS(status));
    }
    printf("%s %-14s %-8s %5d cases  %6.0f ulp  %.2e abs  %5.2f s\n",
           p->failures ? "FAIL" : p->cases ? "ok  " : "none",
           op_name(k->op), k->variant, p->cases, p->max_ulp, p->max_abs,
           (double)(clock_now_ns() - start) / 1e9);
    for (int libm = 0; libm < 2; libm++)
        p->failures += !sums_note(k, libm, &p->chain[libm]);
    return p->failures;
}

static bool wanted(const struct cpu_kernel *k, const struct options *o)
{
    return !fnmatch(o->op, op_name(k->op), 0) && !fnmatch(o->variant, k->variant, 0);
}

static void list_rows(const struct options *o)
{
    unsigned has = cpuid_features();
    for (int i = 0; i < select_rows; i++) {
        const struct cpu_kernel *k = &select_table[i];
        if (wanted(k, o))
            printf("%-14s %-8s %-4s abs %-6.0e rel %-6.0e %s\n", op_name(k->op), k->variant,
                   (k->need & ~has) ? "no" : "yes", (double)k->max_abs, (double)k->max_rel,
                   k->note);
    }
}

/* --tiles N: what products of the matrix unit are made of, on N random tiles. */
static int check_tiles(long n, uint64_t seed)
{
#if defined(__x86_64__)
    if (cpuid_features() & NEED_AMX) {
        long wrong = (long)tiles_random(n, seed), bytes = 0;
        printf("%s tiles: %ld random products, %ld elements have other bits than the definition\n",
               wrong ? "FAIL" : "ok  ", n, wrong);
        if (cpuid_features() & NEED_AMX8) {
            bytes = (long)tiles_random_bytes(n, seed);
            printf("%s tiles: %ld random products of bytes, %ld elements are other numbers\n",
                   bytes ? "FAIL" : "ok  ", n, bytes);
        }
        return wrong || bytes;
    }
#endif
    printf("skipped: tiles: this CPU has no AMX (seed %llu, %ld products)\n",
           (unsigned long long)seed, n);
    return 0;
}

static int usage(const char *why)
{
    fprintf(stderr,
            "kernelcheck: %s\n"
            "usage: kernelcheck [--op GLOB] [--variant GLOB] [--shape AxBxC] [--class GLOB]\n"
            "                   [--seed N] [--list] [--bench] [--beside] [--threads N]\n"
            "                   [--verbose] [--sums FILE] [--write-sums] [--tiles N]\n", why);
    return 2;
}

static bool parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool flag = true;
        if (!strcmp(a, "--list"))
            o->list = true;
        else if (!strcmp(a, "--bench"))
            o->bench = true;
        else if (!strcmp(a, "--beside"))
            o->beside = true;
        else if (!strcmp(a, "--verbose"))
            o->verbose = true;
        else if (!strcmp(a, "--write-sums"))
            o->write_sums = true;
        else
            flag = false;
        if (flag)
            continue;
        if (!value)
            return false;
        if (!strcmp(a, "--op"))
            o->op = value;
        else if (!strcmp(a, "--variant"))
            o->variant = value;
        else if (!strcmp(a, "--shape"))
            o->shape = value;
        else if (!strcmp(a, "--class"))
            o->klass = value;
        else if (!strcmp(a, "--seed"))
            o->seed = strtoull(value, NULL, 0);
        else if (!strcmp(a, "--sums"))
            o->sums = value;
        else if (!strcmp(a, "--tiles"))
            o->tiles = strtol(value, NULL, 10);
        else if (!strcmp(a, "--threads"))
            o->threads = (int)strtol(value, NULL, 10);
        else
            return false;
        i++;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options o = {.op = "*", .variant = "*", .seed = 1, .sums = "kernels/numerics.sum"};
    if (!parse(argc, argv, &o))
        return usage("unknown argument, or one without its value");
    if (o.list) {
        list_rows(&o);
        return 0;
    }
    if (o.tiles > 0)
        return check_tiles(o.tiles, o.seed);
    if (o.bench) {
        bench_run(o.op, o.variant, o.shape, o.threads);
        return 0;
    }
    if (o.beside) {
        beside_run(o.variant, o.shape);
        return 0;
    }
    struct progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                              -1, 0);
    if (p == MAP_FAILED)
        return usage("no memory");
    int failures = 0, rows = 0, cases = 0, skipped = 0, tiles = 0; /* skipped without a loss */
    for (int i = 0; i < select_rows; i++) {
        const struct cpu_kernel *k = &select_table[i];
        if (!wanted(k, &o))
            continue;
        if (k->need & ~cpuid_features()) {
            skipped++;
            /* bits that others have, too */
            tiles += !(k->need & ~cpuid_features() & ~(NEED_AMX | NEED_AMX8 | NEED_VNNI));
            continue;
        }
        failures += row_in_child(k, &o, p);
        cases += p->cases;
        rows++;
    }
    bool whole = !o.shape && !o.klass && o.seed == 1; /* what the sums are made of */
    bool all = whole && !strcmp(o.op, "*") && !strcmp(o.variant, "*");
    if (whole && !o.write_sums)
        failures += sums_check(o.sums, all && skipped == tiles);
    else if (whole && !failures)
        failures += !sums_write(o.sums, all && !skipped);
    printf("%d kernels checked, %d not for this CPU, %d failures\n", rows, skipped, failures);
    if (rows + skipped == 0)
        return usage("no kernel has that name");
    if (rows && !cases && !failures)
        return usage("no case of these was run: no kernel serves the shape, or no class has that "
                     "name");
    return failures != 0;
}
