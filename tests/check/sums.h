/* kernels/numerics.sum: digests of every kernel's output bits on fixed inputs, one line for each
 * op, class of kernels (ref, or the vector ones, which agree) and whether the C library is called.
 *
 * They hold NUMERICS_REVISION honest: a change that moves bits fails until sums and revision are
 * changed together. Thread: one. */
#ifndef RECURD_SUMS_H
#define RECURD_SUMS_H

#include "kernels/cpu/cpu.h"

#define CHAIN_CASES 1024

/* after[i]: the digest of the first i + 1 cases. New cases at the end leave what was before. */
struct chain {
    int n;
    uint64_t after[CHAIN_CASES];
};
void chain_add(struct chain *c, uint64_t bits);

/* What a row of kernels.def computed. False: another vector kernel of the op has other bits. */
bool sums_note(const struct cpu_kernel *k, bool libm, const struct chain *c);

/* Compares what was noted with the file; all: every line must have been. Returns how many lines
 * are wrong, each of them told. */
int sums_check(const char *path, bool all);
/* Writes what was noted into the file. Refused (false, and why is told) if bits moved under the
 * revision that the file was made with. */
bool sums_write(const char *path, bool all);

#endif
