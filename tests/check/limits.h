/* What this machine can do with all threads of a pool, measured now. */
#ifndef RECURD_CHECK_LIMITS_H
#define RECURD_CHECK_LIMITS_H

#include "kernels/cpu/cpu.h"

/* fn, shared among all threads. */
typedef void limits_share(void *ctx, int ith, int nth);
void limits_on_all(struct threads *t, limits_share *fn, void *ctx);

double limits_median(double *v, int n); /* sorts v */

/* Nanoseconds: of a pool of one thread its CPU time, so that others may use the machine. */
uint64_t limits_now(const struct threads *t);

/* Bytes a nanosecond of n bytes of memory, more than any cache holds: read in order; read and
 * written in place, both counted. */
double limits_read(struct threads *t, void *memory, size_t n);
double limits_update(struct threads *t, void *memory, size_t n);
/* Operations a nanosecond of multiply-adds from registers, by the widest vectors of `has`
 * (cpuid_features): of float32, and of 16 bits. 0: no such vectors. */
double limits_fma(struct threads *t, unsigned has);
double limits_int16(struct threads *t, unsigned has);

#endif
