/* What is checked of one kernel on one shape, class and seed. */
#ifndef RECURD_CHECK_H
#define RECURD_CHECK_H

#include "tests/check/ops.h"

struct verdict {
    bool served;    /* false: the row does not serve the shape's format, and nothing was run */
    char text[256]; /* empty: all well */
    double max_abs, max_ulp; /* largest distance from ref */
    uint64_t bits;           /* digest of all memory after the run; any NaN is one value */
    bool libm;               /* the kernel called the C library, whose bits are its own */
};

/* Distance from ref, guard zones, weights and inputs unchanged; threads, split, batch. */
void check_case(const struct cpu_kernel *k, const struct shape *s, enum input_class c,
                uint64_t seed, struct verdict *v);

/* ref of an op. */
host_kernel *check_ref(enum op_kind k);

/* Prints GB/s or GFLOP/s of every selected row and the share of this machine's limit; of the shapes
 * whose text matches ("0x4096x1024x2x0x0x0"), or all (NULL). */
void bench_run(const char *op_glob, const char *variant_glob, const char *shape_glob, int threads);

/* Prints how many times as fast as float32 products by inputs of 16 bits are, by this variant ("*":
 * each that the CPU has), for a matrix of "ROWSxCOLS" (NULL: 4096x1024). */
void beside_run(const char *variant, const char *shape);

#endif
