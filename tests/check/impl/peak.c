/* As many chains as the registers hold, which hides any latency; see peak.h. */
#include "kernels/cpu/impl/lanes.h"
#include "tests/check/peak.h"

#define CHAINS (V16_REGS == 32 ? 12 : 6)

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
