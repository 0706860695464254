/* The heap front door: zeroed memory, overflow, alignment, and failures where a test wants them. */
#include "base/mem.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/rng.h"

static bool all_zero(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

Test(mem, is_zeroed_even_when_it_was_used_before)
{
    for (int round = 0; round < 50; round++) {
        unsigned char *p = mem_zalloc(1000);
        cr_assert(all_zero(p, 1000));
        memset(p, 0xFF, 1000);
        mem_free(p);
        p = mem_aligned(1000);
        cr_assert(all_zero(p, 1000));
        memset(p, 0xFF, 1000);
        mem_aligned_free(p, 1000);
    }
}

Test(mem, products_and_sizes_that_overflow_are_refused)
{
    cr_assert_null(mem_array(SIZE_MAX / 2 + 1, 2));
    cr_assert_null(mem_array((size_t)1 << 33, (size_t)1 << 33));
    cr_assert_null(mem_aligned(SIZE_MAX));
    cr_assert_null(mem_aligned(SIZE_MAX - 63));
    cr_assert_null(mem_unfilled(SIZE_MAX));
}

/* A large block takes no memory before it is written: what the first writer's thread pays for. */
Test(mem, unfilled_blocks_are_taken_page_by_page)
{
    enum { LARGE = 64 << 20, SMALL = 1000 };
    char *small = mem_unfilled(SMALL), *large = mem_unfilled(LARGE);
    unsigned char in_core[16] = {0};
    int taken = 0;
    cr_assert(small && large && (uintptr_t)small % 64 == 0 && (uintptr_t)large % MIB(2) == 0);
    for (int i = 1; i < 16; i++) /* sanitizers fill the first one */
        if (!mincore(large + (size_t)i * MIB(4), 1, &in_core[i]))
            taken += in_core[i] & 1;
    cr_assert_eq(taken, 0, "%d of 15 pages are there already", taken);
    memset(small, 1, SMALL);
    memset(large, 1, LARGE);
    mem_aligned_free(small, SMALL);
    mem_aligned_free(large, LARGE);
}

Test(mem, null_always_means_failure)
{
    void *p = mem_zalloc(0), *q = mem_array(0, 8), *r = mem_realloc(NULL, 0), *s = mem_aligned(0);
    cr_assert(p && q && r && s);
    r = mem_realloc(r, 0); /* does not free */
    cr_assert_not_null(r);
    mem_free(p);
    mem_free(q);
    mem_free(r);
    mem_aligned_free(s, 0);
    mem_free(NULL);
    mem_aligned_free(NULL, 0);
}

/* States that come and go, and small things between them that stay for a while. */
Test(mem, aligned_blocks_that_come_and_go_leave_no_holes)
{
    enum { BLOCKS = 27, SMALL = 2000, ROUNDS = 3000, SIZE = 304 * 1000 };
    static void *block[BLOCKS], *small[SMALL];
    struct rng r = {.seed = 1};
    size_t half = 0;
    mallopt(M_MMAP_THRESHOLD, (int)MIB(1)); /* as the daemon has it */
    for (int i = 0; i < ROUNDS; i++) {
        int at = (int)rng_below(&r, BLOCKS);
        mem_aligned_free(block[at], SIZE);
        for (int k = 0; k < 3; k++) {
            void **s = &small[rng_below(&r, SMALL)];
            mem_free(*s);
            *s = mem_zalloc(16 + rng_below(&r, 200));
        }
        block[at] = mem_aligned(SIZE);
        if (i == ROUNDS / 2)
            half = mallinfo2().arena;
    }
    size_t end = mallinfo2().arena, used = (size_t)BLOCKS * SIZE + SMALL * 150;
    cr_assert_leq(end, half + MIB(1), "%zu bytes of heap, %zu half way", end, half);
    cr_assert_leq(end, 2 * used, "%zu bytes of heap for %zu", end, used);
    for (int i = 0; i < BLOCKS; i++)
        mem_aligned_free(block[i], SIZE);
    for (int i = 0; i < SMALL; i++)
        mem_free(small[i]);
}

static size_t resident(void)
{
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert_not_null(f);
    cr_assert_eq(fscanf(f, "%*s %zu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* A huge page more than what was asked for would be a third of it. */
/* Whether the system gives huge pages to who does not ask: then libc's blocks are larger. */
static bool huge_always(void)
{
    char mode[128] = "";
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (f && !fgets(mode, sizeof mode, f))
        mode[0] = 0;
    if (f)
        fclose(f);
    return strstr(mode, "[always]") != NULL;
}

Test(mem, large_blocks_take_what_was_asked_for)
{
    enum { N = 20 };
    size_t n = MIB(6) + KIB(192), before = resident();
    void *p[N], *mapped[N];
    for (int i = 0; i < N; i++) {
        p[i] = huge_always() ? mem_mapped(n) : mem_unfilled(n);
        mapped[i] = mem_mapped(n);
        cr_assert(p[i] && mapped[i]);
        memset(p[i], 1, n);
        memset(mapped[i], 1, n);
    }
    size_t took = resident() - before;
    cr_assert_geq(took, 2 * N * n);
    cr_assert_lt(took, 2 * N * (n + n / 16) + MIB(2), "%zu bytes for %zu", took, 2 * N * n);
    for (int i = 0; i < N; i++) {
        if (huge_always())
            mem_mapped_free(p[i], n);
        else
            mem_aligned_free(p[i], n);
        mem_mapped_free(mapped[i], n);
    }
}

Test(mem, an_idle_block_can_be_written_again_and_its_neighbours_are_as_they_were)
{
    static const size_t sizes[] = {1, 4096, 5000, 300 * 1024};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i];
        unsigned char *p[3];
        for (int k = 0; k < 3; k++)
            memset(p[k] = mem_aligned(n), k + 1, n);
        mem_idle(p[1], n);
        memset(p[1], 9, n);
        for (int k = 0; k < 3; k++) {
            cr_assert(p[k][0] == (k == 1 ? 9 : k + 1) && p[k][n - 1] == p[k][0]);
            mem_aligned_free(p[k], n);
        }
    }
}

Test(mem, aligned_blocks_are_aligned_and_whole)
{
    static const size_t sizes[] = {1, 63, 64, 65, 4097, MIB(4) - 1, MIB(4), MIB(4) + 1, MIB(7)};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i];
        unsigned char *p = mem_aligned(n);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % (n >= MIB(4) ? MIB(2) : 64), 0, "%zu bytes", n);
        cr_assert(all_zero(p, n));
        memset(p, 1, round_up(n, 64)); /* a vector store may touch the whole last line */
        mem_aligned_free(p, n);
    }
}

Test(mem, copies_strings)
{
    char *s = mem_strdup("state");
    cr_assert_str_eq(s, "state");
    mem_free(s);
}

Test(mem, fails_exactly_once_at_the_chosen_allocation)
{
    for (uint64_t at = 1; at <= 5; at++) {
        mem_fail_at(at);
        for (uint64_t i = 1; i <= 8; i++) {
            void *p = i == 1   ? mem_zalloc(8)
                      : i == 2 ? mem_array(2, 8)
                      : i == 3 ? mem_realloc(NULL, 8)
                      : i == 4 ? mem_strdup("x")
                               : mem_aligned(8);
            cr_assert_eq(!p, i == at, "failure %lu, allocation %lu", (unsigned long)at,
                         (unsigned long)i);
            if (i < 5)
                mem_free(p);
            else
                mem_aligned_free(p, 8);
        }
    }
    mem_fail_at(2);
    mem_fail_at(0);
    for (int i = 0; i < 4; i++) {
        void *p = mem_zalloc(8);
        cr_assert_not_null(p);
        mem_free(p);
    }
}

Test(mem, a_failed_realloc_keeps_the_old_block)
{
    char *p = mem_strdup("kept");
    mem_fail_at(1);
    cr_assert_null(mem_realloc(p, 1000));
    cr_assert_str_eq(p, "kept");
    mem_free(p);
}

enum { THREADS = 4, EACH = 2000 };

static void *count_failures(void *arg)
{
    int *failures = arg;
    for (int i = 0; i < EACH; i++) {
        void *p = mem_zalloc(16);
        *failures += !p;
        mem_free(p);
    }
    return NULL;
}

Test(mem, one_failure_is_one_failure_across_threads)
{
    int failures[THREADS] = {0}, total = 0;
    pthread_t t[THREADS];
    mem_fail_at(THREADS * EACH / 2);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, count_failures, &failures[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        total += failures[i];
    }
    cr_assert_eq(total, 1);
}
