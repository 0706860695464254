/* A client's event parser: the same events however the bytes are cut. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"
#include "base/sse.h"

static struct buf got;

static int keep(void *arg, const char *data, size_t n)
{
    (void)arg;
    cr_assert_eq(strlen(data), n);
    buf_str(&got, data);
    buf_ch(&got, '|');
    return 0;
}

static void feed_in_pieces(const char *text, size_t n, size_t piece, struct rng *r)
{
    struct sse s;
    sse_init(&s);
    buf_init(&got, 1 << 16);
    for (size_t i = 0; i < n;) {
        size_t k = r ? 1 + rng_below(r, piece) : piece;
        k = MIN(k, n - i);
        char *copy = memcpy(malloc(k), text + i, k); /* so that a read past it is seen */
        cr_assert_eq(sse_feed(&s, copy, k, keep, NULL), 0);
        free(copy);
        i += k;
    }
    cr_assert_not(sse_pending(&s));
    sse_free(&s);
}

static const struct { const char *stream, *events; } cases[] = {
    {"data: one\n\ndata: two\n\n", "one|two|"},
    {"data: one\r\n\r\ndata: two\r\n\r\n", "one|two|"},
    {"data: one\r\rdata: two\r\r", "one|two|"},
    {"data: a\ndata: b\r\ndata:c\r\rdata\n\n", "a\nb\nc||"},
    {": comment\n\n:\n\nevent: x\nid: 7\nretry: 1\ndata:  two spaces\n\n", " two spaces|"},
    {"\xEF\xBB\xBF" "data: after a mark\n\n", "after a mark|"},
    {"dat: no\ndatax: no\n\n\n\nevent: only\n\n", ""},
    {"data: {\"a\":\"b: c\"}\n\n", "{\"a\":\"b: c\"}|"},
};

Test(load_sse, any_piece_size_gives_the_same_events)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece < 60; piece++) {
            feed_in_pieces(cases[i].stream, strlen(cases[i].stream), piece, NULL);
            cr_assert_str_eq(got.p ? got.p : "", cases[i].events, "case %zu in pieces of %zu", i,
                             piece);
            buf_free(&got);
        }
}

Test(load_sse, random_pieces_give_the_same_events)
{
    struct rng r = {.seed = 5};
    for (int round = 0; round < 2000; round++) {
        size_t i = rng_below(&r, ARRAY_LEN(cases));
        feed_in_pieces(cases[i].stream, strlen(cases[i].stream), 9, &r);
        cr_assert_str_eq(got.p ? got.p : "", cases[i].events);
        buf_free(&got);
    }
}

static int count(void *arg, const char *data, size_t n)
{
    (void)data;
    *(size_t *)arg += n;
    return 0;
}

Test(load_sse, random_bytes_never_do_harm)
{
    static const char alphabet[] = "data: \r\n:x{}\0\xff";
    struct rng r = {.seed = 6};
    struct sse s;
    size_t bytes = 0;
    sse_init(&s);
    for (int round = 0; round < 20000; round++) {
        char junk[16];
        for (size_t i = 0; i < sizeof junk; i++)
            junk[i] = alphabet[rng_below(&r, sizeof alphabet - 1)];
        cr_assert_eq(sse_feed(&s, junk, sizeof junk, count, &bytes), 0);
    }
    cr_assert_lt(bytes, 20000 * 16);
    sse_free(&s);
}

static int stop(void *arg, const char *data, size_t n)
{
    (void)data;
    (void)n;
    return ++*(int *)arg == 2 ? -77 : 0;
}

Test(load_sse, a_refusal_of_the_reader_stops_at_once)
{
    struct sse s;
    int n = 0;
    sse_init(&s);
    const char *three = "data: 1\n\ndata: 2\n\ndata: 3\n\n";
    cr_assert_eq(sse_feed(&s, three, strlen(three), stop, &n), -77);
    cr_assert_eq(n, 2);
    sse_free(&s);
}

Test(load_sse, an_endless_line_is_refused)
{
    struct sse s;
    sse_init(&s);
    static char block[1 << 20];
    memset(block, 'x', sizeof block);
    int rc = 0, blocks = 0;
    while (!rc && blocks++ < 64)
        rc = sse_feed(&s, block, sizeof block, keep, NULL);
    cr_assert_eq(rc, E_RANGE);
    cr_assert_lt(blocks, 20);
    sse_free(&s);
}
