/* CPU feature bits, never model numbers: a CPU we have not heard of still gets its best kernels.
 * Any thread. */
#include "kernels/cpu/cpu.h"

unsigned cpuid_features(void)
{
    unsigned has = NEED_NONE;
#if defined(__x86_64__)
    /* The builtins also ask XGETBV whether the operating system saves the wide registers. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c"))
        has |= NEED_AVX2;
    if ((has & NEED_AVX2) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        has |= NEED_AVX512;
#endif
    return has;
}
