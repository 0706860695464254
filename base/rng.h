/* Random numbers.
 *
 * Sampling uses a counter-based generator: a pure function of (seed, counter), so a draw at a
 * token position does not depend on what was drawn before or on who else is in the batch. */
#ifndef RECURD_RNG_H
#define RECURD_RNG_H

#include "base/base.h"

/* Philox-4x32-10 (Salmon et al., SC 2011) keyed by seed, at counter (hi, lo): 64 random bits. */
uint64_t rng_at(uint64_t seed, uint64_t hi, uint64_t lo);
/* The same, as a double in [0, 1) with 53 bits. */
double rng_unit_at(uint64_t seed, uint64_t hi, uint64_t lo);

/* A small sequential generator over rng_at, for tests and dummy weights. */
struct rng { uint64_t seed, n; };
uint64_t rng_next(struct rng *r);
double rng_unit(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0 <= x < n, n > 0 */
float rng_normal(struct rng *r);               /* mean 0, variance 1 */

/* Bytes from the kernel (getrandom); aborts the process if the kernel has none. */
void rng_system(void *p, size_t n);

#endif
