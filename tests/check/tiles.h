/* The matrix unit of x86, or its model; only where cpuid_features() has NEED_AMX. */
#ifndef RECURD_CHECK_TILES_H
#define RECURD_CHECK_TILES_H

#include <stdint.h>

/* Of n random products of tiles (shapes, exponents, denormals, infinities), the elements whose bits
 * are not those of the definition. */
int64_t tiles_random(int64_t n, uint64_t seed);
/* The same of bytes, signed by signed and unsigned by signed; only with NEED_AMX8. */
int64_t tiles_random_bytes(int64_t n, uint64_t seed);
/* n rounds of TILES_FLOPS operations from registers. */
#define TILES_FLOPS (4.0 * 16 * 16 * 32 * 2)
void tiles_peak(long n);

#endif
