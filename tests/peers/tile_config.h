/* Included before every C++ file of llama.cpp that is built here. gcc before 12.4 and 13.3 (its bug
 * 114098) says of _tile_loadconfig that it reads 8 of the 64 bytes it reads, so the others may be
 * left out: built for a CPU with AMX llama.cpp then ends with SIGILL at a prompt in Q8_0. */
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
static inline void whole_tile_config(const void *config)
{
    __asm__ volatile("ldtilecfg %0" : : "m"(*(const char(*)[64])config));
}
#undef _tile_loadconfig
#define _tile_loadconfig whole_tile_config
#endif
