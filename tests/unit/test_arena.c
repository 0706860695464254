/* The arena: alignment, zeroing, the cap, and every allocation failing once. */
#include "base/arena.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

Test(arena, gives_zeroed_aligned_memory_that_does_not_overlap)
{
    struct arena a;
    arena_init(&a, 1 << 20);
    struct rng rng = {.seed = 1};
    unsigned char *got[300];
    size_t size[300];
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        size[i] = 1 + rng_below(&rng, i % 10 ? 200 : 12000); /* also blocks of their own */
        got[i] = arena_alloc(&a, size[i]);
        if (!got[i])
            break;
        cr_assert_eq((uintptr_t)got[i] % 16, 0);
        cr_assert(all_zero(got[i], size[i]), "allocation %zu is not zeroed", i);
        memset(got[i], (int)(i % 255 + 1), size[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        for (size_t j = 0; j < size[i]; j++)
            cr_assert_eq(got[i][j], i % 255 + 1, "allocation %zu was overwritten", i);
    arena_free(&a);
}

Test(arena, refuses_exactly_past_its_cap_and_stays_usable)
{
    struct arena a;
    arena_init(&a, 100);
    cr_assert_not_null(arena_alloc(&a, 80));
    cr_assert_null(arena_alloc(&a, 21), "32 bytes with padding do not fit into 20");
    cr_assert_not_null(arena_alloc(&a, 16));
    cr_assert_eq(a.used, 96);
    cr_assert_null(arena_alloc(&a, 1));
    cr_assert_eq(a.used, 96, "a refusal must not count");
    arena_free(&a);
}

Test(arena, counts_padding_so_that_tiny_allocations_cannot_pass_the_cap)
{
    struct arena a;
    arena_init(&a, 4096);
    size_t n = 0;
    while (arena_alloc(&a, 1))
        n++;
    cr_assert_eq(n, 4096 / 16);
    arena_free(&a);
}

Test(arena, refuses_sizes_that_overflow)
{
    struct arena a;
    arena_init(&a, SIZE_MAX);
    cr_assert_null(arena_alloc(&a, SIZE_MAX));
    cr_assert_null(arena_alloc(&a, SIZE_MAX - 15));
    cr_assert_null(arena_array(&a, SIZE_MAX / 2 + 1, 2), "the product wraps to 0");
    cr_assert_null(arena_array(&a, (size_t)1 << 33, (size_t)1 << 33));
    cr_assert_eq(a.used, 0);
    arena_free(&a);
}

Test(arena, no_bytes_are_never_a_failure)
{
    struct arena a;
    arena_init(&a, 0);
    cr_assert_not_null(arena_alloc(&a, 0));
    cr_assert_not_null(arena_array(&a, 0, 8));
    cr_assert_not_null(arena_array(&a, 8, 0));
    cr_assert_null(arena_alloc(&a, 1));
    arena_free(&a);
}

Test(arena, copies_end_with_a_nul)
{
    struct arena a;
    arena_init(&a, 1024);
    cr_assert_str_eq(arena_strdup(&a, ""), "");
    cr_assert_str_eq(arena_strdup(&a, "state"), "state");
    cr_assert_str_eq(arena_copy(&a, "state", 2), "st");
    cr_assert_arr_eq(arena_copy(&a, "a\0b", 3), "a\0b", 4, "a NUL is a byte like any other");
    char sixteen[16];
    memset(sixteen, 'x', sizeof sixteen); /* no NUL: only n bytes may be read */
    cr_assert_eq(strlen(arena_copy(&a, sixteen, 16)), 16);
    arena_free(&a);
}

Test(arena, survives_any_failing_allocation)
{
    for (uint64_t fail = 1;; fail++) {
        struct arena a;
        arena_init(&a, 1 << 20);
        mem_fail_at(fail);
        int refused = 0;
        for (size_t i = 0; i < 100; i++) {
            unsigned char *p = arena_alloc(&a, i % 7 ? 500 : 9000);
            if (p)
                memset(p, 0xA5, i % 7 ? 500 : 9000);
            else
                refused++;
        }
        mem_fail_at(0);
        arena_free(&a);
        cr_assert_leq(refused, 1, "a failure must not be sticky");
        if (!refused)
            break;
        cr_assert_lt(fail, 1000);
    }
}

Test(arena, can_be_used_again_after_free)
{
    struct arena a;
    arena_init(&a, 64);
    cr_assert_not_null(arena_alloc(&a, 64));
    arena_free(&a);
    cr_assert_eq(a.used, 0);
    cr_assert_not_null(arena_alloc(&a, 64));
    arena_free(&a);
    arena_free(&a);
}
