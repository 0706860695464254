/* What decides the bits of the cpu backend: which ops run as vectors, and, for the few that call
 * it, the C library's functions.
 *
 * AVX2 and AVX-512 are one class: kernelcheck holds them to the same bits. NEON is its own: what is
 * smaller than the smallest normal number it flushes before rounding, x86 after. So are matrix
 * units and products of inputs in 16 bits, which have other definitions. Threads, tiles and batches
 * decide nothing. The library's functions are told apart by their results, not by a version:
 * distributions patch, and one library has variants of a function for several CPUs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/numerics.h"

/* ---- the C library ------------------------------------------------------------------------ */

/* Every function that a kernel calls and whose last bits the standard leaves open; sqrt and fma
 * are not among them. Inputs: `n` steps through [lo, hi]. */
static const struct {
    double (*f)(double);
    double lo, hi;
} probes[] = {
    {exp, -30, 30}, {log, 1e-6, 40}, {log1p, 0, 1},  {sin, -200, 200},
    {cos, -200, 200}, {tanh, -4, 4}, {erf, -3, 3}, {erfc, -6, 6},
};
#define PROBES_EACH 509 /* prime: inputs have long fractions */

uint32_t numerics_libm(void)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        for (int k = 0; k <= PROBES_EACH; k++) {
            double x = probes[i].lo + (probes[i].hi - probes[i].lo) * k / PROBES_EACH;
            double y = probes[i].f(x);
            unsigned char b[sizeof y];
            memcpy(b, &y, sizeof y);
            for (size_t j = 0; j < sizeof b; j++)
                h = (h ^ b[j]) * UINT64_C(0x100000001b3);
        }
    }
    return (uint32_t)(h ^ h >> 32);
}

/* ---- ops that call it --------------------------------------------------------------------- */

static bool act_calls(enum activation a, bool vector)
{
    if (vector)
        return a == ACT_GELU_ERF;
    return a != ACT_NONE && a != ACT_RELU && a != ACT_SQRELU;
}

static bool ew_calls(const struct ew_program *p, bool vector)
{
    for (int i = 0; i < p->n_code; i++) {
        switch (p->code[i].op) {
        case EW_POW: case EW_SIN: case EW_COS: case EW_GELU_ERF: return true;
        case EW_EXP: case EW_LOG: case EW_TANH: case EW_SIGMOID: case EW_SILU: case EW_SOFTPLUS:
        case EW_LOGSIGMOID: case EW_GELU_TANH:
            if (!vector)
                return true;
            break;
        default: break; /* rounded once each */
        }
    }
    return false;
}

bool numerics_calls_libm(const struct op *op, bool vector)
{
    switch (op->kind) {
    case OP_ROPE: case OP_ROTATE: return true; /* angles in double precision, by either */
    case OP_EW: return ew_calls(op->p.ew, vector);
    case OP_LINEAR: return act_calls(op->p.linear.act, vector);
    case OP_CONV: return act_calls(op->p.conv.act, vector);
    case OP_NORM: return view_given(op->in[1]) && act_calls(op->p.norm.gate_act, vector);
    case OP_SOFTMAX: case OP_LOGSUM: case OP_SCAN: case OP_WKV: case OP_ATTENTION: case OP_PATH:
    case OP_WALL: case OP_PARALLAX: case OP_DELTAFORMER: case OP_NSA: case OP_MOBA:
    case OP_INDEXED: case OP_POOL: case OP_SINKHORN: return !vector;
    default: return false;
    }
}

/* ---- the name ----------------------------------------------------------------------------- */

/* The table has a vector kernel for this op and format. */
static bool has_vector(enum op_kind op, enum dtype t)
{
    for (int i = 0; i < select_rows; i++)
        if (select_table[i].op == op && cpu_vectors(&select_table[i]) &&
            select_table[i].formats >> t & 1)
            return true;
    return false;
}

const char *numerics_class(const struct cpu_kernel *k)
{
    if (k->need & NEED_INT16)
        return cpu_vectors(k) ? "int16" : "int16-c";
    return k->need & NEED_AMX ? "amx" : k->need ? numerics_vectors() : "ref";
}

const char *numerics_vectors(void)
{
#if defined(__aarch64__)
    return "neon";
#else
    return "simd";
#endif
}

void numerics_cpu(const struct cpu_kernel *chosen[OP_KINDS][DTYPES], const struct plan *p,
                  char *out, size_t size)
{
    _Static_assert(OP_KINDS <= 64, "a bit for each op");
    uint64_t lacks = 0; /* ops whose vector kernels this instruction set lacks */
    char which[32] = "", libm[32] = "";
    const char *class = "ref"; /* of what the plan uses, the farthest from ref */
    bool any = false, calls = false, int16 = false, half = false;
    for (int i = 0; i < p->n_ops; i++) {
        const struct op *op = &p->ops[i];
        enum dtype t = select_format(p, op);
        const struct cpu_kernel *k = chosen[op->kind][t];
        bool vector = cpu_vectors(k);
        any |= vector;
        int16 |= (k->need & NEED_INT16) != 0;
        half |= op->section >= 0 && p->sections[op->section].dtype == DTYPE_F16;
        if (k->need & NEED_AMX || (vector && strcmp(class, "ref") == 0))
            class = k->need & NEED_INT16 ? numerics_vectors() : numerics_class(k);
        lacks |= (uint64_t)(!vector && has_vector(op->kind, t)) << op->kind;
        calls |= numerics_calls_libm(op, vector);
    }
    if (any && lacks)
        snprintf(which, sizeof which, "-%" PRIx64, lacks);
    if (calls)
        snprintf(libm, sizeof libm, " libm-%08" PRIx32, numerics_libm());
    snprintf(out, size, "cpu-%s%s%s%s/%d%s", class, which, int16 ? "+int16" : "",
             half ? "+f16states" : "", numerics_revision(), libm);
}
