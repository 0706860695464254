/* The buffer: its maximum, the NUL, and refusals that leave a prefix behind. */
#include "base/buf.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

Test(buf, is_always_nul_terminated)
{
    struct buf b;
    buf_init(&b, 10000);
    cr_assert_null(b.p);
    for (size_t i = 0; i < 3000; i++) {
        cr_assert_eq(buf_ch(&b, (char)('a' + i % 26)), 0);
        cr_assert_eq(b.len, i + 1);
        cr_assert_lt(b.len, b.cap);
        cr_assert_eq(b.p[b.len], 0);
    }
    for (size_t i = 0; i < 3000; i++)
        cr_assert_eq(b.p[i], (char)('a' + i % 26));
    buf_free(&b);
}

Test(buf, takes_exactly_its_maximum)
{
    static const size_t maxima[] = {0, 1, 2, 63, 64, 65, 100, 127, 128, 4095, 4096, 4097};
    for (size_t i = 0; i < ARRAY_LEN(maxima); i++) {
        size_t max = maxima[i];
        struct buf b;
        buf_init(&b, max);
        for (size_t n = 0; n < max; n++)
            cr_assert_eq(buf_ch(&b, 'x'), 0, "byte %zu of %zu refused", n + 1, max);
        cr_assert_eq(buf_ch(&b, 'x'), E_NOMEM);
        cr_assert(b.failed);
        cr_assert_eq(b.len, max);
        cr_assert_leq(b.cap, max + 1, "more memory than the maximum can use");
        buf_free(&b);
    }
}

Test(buf, a_refused_append_leaves_no_hole)
{
    struct buf b;
    buf_init(&b, 8);
    cr_assert_eq(buf_str(&b, "12345"), 0);
    cr_assert_eq(buf_str(&b, "6789"), E_NOMEM);
    cr_assert_eq(buf_str(&b, "6"), E_NOMEM, "would leave 12345 followed by a later part");
    cr_assert_eq(buf_fmt(&b, "%d", 6), E_NOMEM);
    cr_assert_eq(buf_add(&b, "", 0), E_NOMEM, "the end of a series reports the failure");
    cr_assert_str_eq(b.p, "12345");
    buf_clear(&b);
    cr_assert_not(b.failed);
    cr_assert_str_eq(b.p, "");
    cr_assert_eq(buf_str(&b, "12345678"), 0);
    buf_free(&b);
}

Test(buf, lengths_that_overflow_are_refused)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    cr_assert_eq(buf_str(&b, "abc"), 0);
    cr_assert_eq(buf_add(&b, "x", SIZE_MAX - 3), E_NOMEM, "len + n + 1 wraps");
    buf_clear(&b);
    cr_assert_eq(buf_add(&b, "x", SIZE_MAX), E_NOMEM);
    buf_free(&b);
}

Test(buf, formats_into_the_last_byte)
{
    struct buf b;
    buf_init(&b, 10);
    cr_assert_eq(buf_fmt(&b, "%s-%d", "abc", 12345), 0);
    cr_assert_str_eq(b.p, "abc-12345");
    cr_assert_eq(buf_fmt(&b, "%s", ""), 0);
    cr_assert_eq(buf_fmt(&b, "%c", '!'), 0);
    cr_assert_eq(b.len, 10);
    cr_assert_eq(buf_fmt(&b, "%c", '!'), E_NOMEM);
    cr_assert_str_eq(b.p, "abc-12345!");
    buf_free(&b);
}

Test(buf, keeps_bytes_that_are_not_text)
{
    struct buf b;
    buf_init(&b, 100);
    cr_assert_eq(buf_add(&b, "a\0b\0", 4), 0);
    cr_assert_eq(b.len, 4);
    cr_assert_arr_eq(b.p, "a\0b\0", 5);
    buf_free(&b);
}

Test(buf, drops_from_the_front)
{
    struct buf b;
    buf_init(&b, 100);
    buf_drop_front(&b, 0); /* allowed while there is no memory at all */
    cr_assert_eq(buf_str(&b, "hello world"), 0);
    buf_drop_front(&b, 6);
    cr_assert_str_eq(b.p, "world");
    cr_assert_eq(b.len, 5);
    buf_drop_front(&b, 5);
    cr_assert_str_eq(b.p, "");
    cr_assert_eq(buf_str(&b, "again"), 0);
    cr_assert_str_eq(b.p, "again");
    buf_free(&b);
}

Test(buf, dropping_more_than_there_is_stops_the_process, .signal = SIGABRT)
{
    struct buf b;
    buf_init(&b, 100);
    cr_assert_eq(buf_str(&b, "abc"), 0);
    buf_drop_front(&b, 4);
}

Test(buf, keeps_its_contents_when_memory_runs_out)
{
    struct buf b;
    buf_init(&b, 1000);
    cr_assert_eq(buf_str(&b, "first"), 0);
    char more[200];
    memset(more, 'x', sizeof more);
    mem_fail_at(1);
    cr_assert_eq(buf_add(&b, more, sizeof more), E_NOMEM);
    cr_assert(b.failed);
    cr_assert_str_eq(b.p, "first");
    buf_clear(&b);
    cr_assert_eq(buf_add(&b, more, sizeof more), 0);
    buf_free(&b);
}

Test(buf, is_empty_and_reusable_after_free)
{
    struct buf b;
    buf_init(&b, 4);
    cr_assert_eq(buf_str(&b, "12345"), E_NOMEM);
    buf_free(&b);
    cr_assert_null(b.p);
    cr_assert_not(b.failed);
    cr_assert_eq(buf_str(&b, "1234"), 0);
    cr_assert_eq(buf_str(&b, "5"), E_NOMEM, "the maximum stays");
    buf_free(&b);
}
