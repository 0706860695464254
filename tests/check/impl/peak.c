/* As many chains as the registers hold, which hides any latency; see peak.h. */
#ifdef BY_INT16
#include "kernels/cpu/impl/simd_int16.h"
#else
#include "kernels/cpu/impl/lanes.h"
#endif
#include "tests/check/peak.h"

#define CHAINS (V16_REGS == 32 ? 12 : 6)

#ifdef BY_INT16
/* Two products of 16 bits and their sum in place of each. */
void FN(peak)(long n)
{
    i16 a[CHAINS], m = i16_set1(0x00030005);
    UNROLL for (int i = 0; i < CHAINS; i++)
        a[i] = i16_set1(i);
    for (long k = 0; k < n * 12 / CHAINS; k++) {
        UNROLL for (int i = 0; i < CHAINS; i++)
            a[i] = i16_dot(a[i], m, m); /* wraps around: integers have no slow values */
        __asm__("" : "+m"(m)); /* not to be multiplied once for all rounds */
    }
    v16 s = i16_float(a[0]);
    UNROLL for (int i = 1; i < CHAINS; i++)
        s = v16_add(s, i16_float(a[i]));
    volatile float keep = v16_sum(s);
    (void)keep;
}
#else

void FN(peak)(long n)
{
    v16 a[CHAINS], m = v16_set1(0.999f), c = v16_set1(1e-3f);
    UNROLL for (int i = 0; i < CHAINS; i++)
        a[i] = v16_set1((float)i);
    for (long k = 0; k < n * 12 / CHAINS; k++) {
        UNROLL for (int i = 0; i < CHAINS; i++)
            a[i] = v16_fma(a[i], m, c);
    }
    v16 s = a[0];
    UNROLL for (int i = 1; i < CHAINS; i++)
        s = v16_add(s, a[i]);
    volatile float keep = v16_sum(s);
    (void)keep;
}
#endif
