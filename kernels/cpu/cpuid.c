/* CPU feature bits, never model numbers: a CPU we have not heard of still gets its best kernels.
 * Any thread. */
#include "kernels/cpu/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Register states that the operating system saves on a context switch. */
static uint64_t saved_states(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool all(uint64_t have, uint64_t want) { return (have & want) == want; }

/* Tiles of bf16, and leave to use them: the system gives a process their 8 KiB of state only when
 * it is asked, and then to all of its threads. Asking again is cheap. */
static bool has_tiles(void)
{
#ifdef TILES_EMULATED
    return true;
#else
    const uint32_t tile = 1u << 24, bf16 = 1u << 22; /* 7.edx */
    const uint64_t tiles = 0x60000;                  /* configuration and data */
    const long request = 0x1023, data = 18;          /* ARCH_REQ_XCOMP_PERM, its component */
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && all(d, tile | bf16) &&
           all(saved_states(), tiles) && syscall(SYS_arch_prctl, request, data) == 0;
#endif
}

/* With tiles of bytes, too, beside vectors that multiply pairs of 16 bits. */
static bool has_byte_tiles(uint32_t d7, bool vnni)
{
#ifdef TILES_EMULATED
    (void)d7;
    (void)vnni; /* the model of tiles is compiled without */
    return true;
#else
    return d7 >> 25 & 1 && vnni;
#endif
}

unsigned cpuid_features(void)
{
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29; /* 1.ecx */
    const uint32_t avx2 = 1u << 5;                                                      /* 7.ebx */
    const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;           /* 7.ebx */
    const uint32_t vnni = 1u << 11;                                                     /* 7.ecx */
    const uint64_t ymm = 0x6, zmm = 0xe6; /* xmm and ymm; and masks, upper halves, upper zmm */
    uint32_t a, b, c, d, b7, c7, d7;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, fma | osxsave | avx | f16c) ||
        !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || !all(b7, avx2) || !all(saved_states(), ymm))
        return NEED_INT16;
    if (!all(b7, f | dq | bw | vl) || !all(saved_states(), zmm))
        return NEED_AVX2 | NEED_INT16;
    unsigned tiles = !has_tiles() ? 0 : NEED_AMX | (has_byte_tiles(d7, c7 & vnni) ? NEED_AMX8 : 0);
    return NEED_AVX2 | NEED_AVX512 | NEED_INT16 | (c7 & vnni ? NEED_VNNI : 0) | tiles;
}

#elif defined(__aarch64__)
unsigned cpuid_features(void) { return NEED_NEON | NEED_INT16; }
#else
unsigned cpuid_features(void) { return NEED_INT16; }
#endif
