/* Inside of the cpu backend: feature bits, the table of kernel variants, the thread pool and
 * the cost of an op. Only kernels/cpu and kernelcheck include it. */
#ifndef RECURD_CPU_H
#define RECURD_CPU_H

#include "base/err.h"
#include "kernels/host.h"
#include "kernels/ref/ref_int16.h"

/* ---- cpuid.c --------------------------------------------------------------------------- */

/* What a variant needs. Bits, because one CPU has several. */
enum cpu_need {
    NEED_NONE = 0,
    NEED_AVX2 = 1,   /* AVX2, FMA and F16C, with ymm state saved by the kernel */
    NEED_AVX512 = 2, /* F, BW, VL, DQ, with zmm state saved by the kernel */
    NEED_NEON = 4,   /* every aarch64 has it */
    NEED_AMX = 8,    /* AMX-TILE and AMX-BF16, with leave of the system */
    NEED_VNNI = 16,  /* AVX512-VNNI */
    NEED_INT16 = 32, /* every CPU has it: rows of ref/ref_int16.h, an arithmetic of its own */
    NEED_AMX8 = 64,  /* as NEED_AMX, AMX-INT8 and AVX512-VNNI */
};
/* Asks the system for what it must be asked for: before other threads start. */
unsigned cpuid_features(void);

/* ---- select.c: kernels.def as a table -------------------------------------------------- */

#define FMT(ID) (1u << DTYPE_##ID)
#define ANY (~0u)
/* When a row is used that the CPU can run and its mask does not rule out: without a mask, too, or
 * where one names it alone. */
enum cpu_when { ALWAYS, NAMED };
/* Formats of ref/ref_int16.h. */
#define FMT_OR(ID) FMT(ID) |
#define INT16_ANY (INT16_FORMATS(FMT_OR) 0u)
struct cpu_kernel {
    enum op_kind op;
    const char *variant;
    unsigned need;
    enum cpu_when when;
    uint32_t formats; /* of the op's matrix: bits 1 << dtype */
    host_kernel *run;
    /* Allowed distance from ref, either is enough: max_abs times the largest element of the output
     * row (or 1), max_rel times the element. Both 0: the same bits. */
    float max_abs, max_rel;
    const char *note;
};
extern const struct cpu_kernel select_table[];
extern const int select_rows;

/* A row that runs as vectors, whatever its arithmetic. */
static inline bool cpu_vectors(const struct cpu_kernel *k) { return k->need & ~NEED_INT16; }

/* What products of a row are made by: "float32", "int16" or "amx" (matrix units). */
const char *select_arithmetic(const struct cpu_kernel *k);

/* chosen[op][format] = the last row of each op that serves the format, whose needs are met and
 * which the mask names: by its variant or its arithmetic ("avx2,ref", "float32"; NULL = all but
 * those of NAMED). ref is always allowed: it is what is left when nothing else is. E_NOENT when the
 * mask has a name of neither. */
int select_kernels(const struct cpu_kernel *chosen[OP_KINDS][DTYPES], const char *mask,
                   struct err *e) MUST_USE;
/* The format of the op's matrix; F32 for an op without. */
enum dtype select_format(const struct plan *p, const struct op *op);

/* ---- numerics.c ------------------------------------------------------------------------ */

/* The class of a kernel: "ref", "amx" (matrix units), "int16" (x86) or "int16-c" (plain
 * C), or that of this processor's vectors, "simd" (x86) or "neon". Kernels of one class have the
 * same bits. */
const char *numerics_class(const struct cpu_kernel *k);
const char *numerics_vectors(void);

/* What the bits of a plan's results depend on: "cpu-ref/REVISION" or "cpu-CLASS/REVISION", with
 * "+int16" behind the class if products of the plan are made so, then "+f16states" if it has states
 * in float16, and " libm-DIGEST" if an op calls
 * functions of the C library whose last bits are its own. */
void numerics_cpu(const struct cpu_kernel *chosen[OP_KINDS][DTYPES], const struct plan *p,
                  char *out, size_t size);
/* Does this op, run by its plain (vector: any vector) kernel, call such functions? */
bool numerics_calls_libm(const struct op *op, bool vector);
/* A digest of what those functions return. */
uint32_t numerics_libm(void);

/* ---- threads.c ------------------------------------------------------------------------- */

/* Jobs in order. Owner: the caller of threads_run, for as long as that lasts. */
struct threads_work {
    int n_jobs;
    const bool *shared; /* [n_jobs] false: too small to share, one thread does it */
    void (*part)(void *ctx, int job, int part, int parts);
    void (*done)(void *ctx, int job); /* after all of its parts, by one thread */
    void *ctx;
};
struct threads;

/* n threads in all, the caller of threads_run being thread 0; n = 0: one per CPU this process may
 * use. Threads that start afterwards, of the pool or not, have the stack that kernels need. */
int threads_open(struct threads **out, int n, struct err *e) MUST_USE;
void threads_close(struct threads *t); /* NULL allowed */
int threads_count(const struct threads *t);
/* Does all jobs; a shared one in threads_count parts, by any of the threads. Returns when the
 * last is complete. What a job wrote is seen by every later one. */
void threads_run(struct threads *t, const struct threads_work *w);

/* Denormals count as zero in the calling thread from now on; returns what to restore. A decayed
 * state full of denormals makes the recurrences 20 times slower otherwise. */
unsigned threads_flush_denormals(void);
void threads_restore_denormals(unsigned saved);

/* ---- cost.c ---------------------------------------------------------------------------- */

struct cost {
    int64_t bytes;   /* read and written: weights, states, activations */
    double ns;       /* one thread's time by a rough model; decides who runs a small op */
    int64_t update;  /* of the bytes those of states, read and written in place */
    double flops;    /* of products and recurrences; a multiply alone counts like a multiply-add */
};
struct cost cost_op(const struct host_step *s, const struct op *op);

#endif
