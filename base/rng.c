/* Philox-4x32-10: ten rounds of two 32 x 32 -> 64 multiplications over a 128-bit counter.
 *
 * Pure functions, any thread. Invariant: the bits for (seed, hi, lo) never change between builds
 * or machines; sampled texts are reproducible only because of that. */
#include "base/rng.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"

/* The constants of the paper: multipliers with good avalanche, and Weyl increments (golden
 * ratio, sqrt(3) - 1) for the key. */
#define MUL_0 UINT32_C(0xD2511F53)
#define MUL_1 UINT32_C(0xCD9E8D57)
#define KEY_STEP_0 UINT32_C(0x9E3779B9)
#define KEY_STEP_1 UINT32_C(0xBB67AE85)
#define ROUNDS 10

uint64_t rng_at(uint64_t seed, uint64_t hi, uint64_t lo)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)lo, c1 = (uint32_t)(lo >> 32);
    uint32_t c2 = (uint32_t)hi, c3 = (uint32_t)(hi >> 32);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)MUL_0 * c0;
        uint64_t p1 = (uint64_t)MUL_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += KEY_STEP_0;
        k1 += KEY_STEP_1;
    }
    return (uint64_t)c1 << 32 | c0; /* words 0 and 1; the other two are as good and unused */
}

/* The upper 53 bits: every value is a multiple of 2^-53 and 1.0 is out of reach. */
static double unit(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

double rng_unit_at(uint64_t seed, uint64_t hi, uint64_t lo)
{
    return unit(rng_at(seed, hi, lo));
}

uint64_t rng_next(struct rng *r)
{
    return rng_at(r->seed, 0, r->n++);
}

double rng_unit(struct rng *r)
{
    return unit(rng_next(r));
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    ASSERT(n > 0);
    uint64_t skip = (0 - n) % n; /* 2^64 mod n: values below it would make small ones likelier */
    uint64_t x;
    do
        x = rng_next(r);
    while (x < skip);
    return x % n;
}

float rng_normal(struct rng *r)
{
    /* Box-Muller; 1 - u is in (0, 1], so the logarithm is finite. */
    double radius = sqrt(-2.0 * log(1.0 - rng_unit(r)));
    double angle = 6.283185307179586 * rng_unit(r); /* 2 pi */
    return (float)(radius * cos(angle));
}

void rng_system(void *p, size_t n)
{
    unsigned char *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            log_error("the kernel gives no random bytes: %s", strerror(errno));
            abort();
        }
        at += got;
        n -= (size_t)got;
    }
}
