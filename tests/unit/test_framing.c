/* Where requests end, and what is refused before anything reads it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "server/http/framing.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n"
#define CHUNKED "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

/* Fed in one piece and byte by byte; *good = what comes before the fault. */
static struct framing feed(const char *text, size_t n, size_t *good)
{
    struct framing f, single;
    framing_init(&f);
    framing_init(&single);
    *good = framing_feed(&f, text, n);
    for (size_t i = 0; i < n && !single.fault; i++)
        framing_feed(&single, text + i, 1);
    cr_assert_eq(f.fault, single.fault, "%s", text);
    return f;
}

Test(framing, messages_end_where_they_say)
{
    static const char *const good[] = {
        GET "\r\n", GET "\r\n" GET "\r\n", "\r\n\r\n" GET "\r\n", "OPTIONS * HTTP/1.0\r\n\r\n",
        GET "Content-Length: 3\r\n\r\nabc" GET "\r\n", GET "Content-Length: 0\r\n\r\n" GET "\r\n",
        CHUNKED "3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nX: y\r\n\r\n" GET "\r\n",
        GET "X:\r\nY: \x80\t!\r\n\r\n",
    };
    size_t n;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct framing f = feed(good[i], strlen(good[i]), &n);
        cr_assert(!f.fault && framing_idle(&f) && n == strlen(good[i]), "%zu: %s", i, f.fault);
        f = feed(good[i], strlen(good[i]) - 1, &n);
        cr_assert(!f.fault && (!framing_idle(&f) || i == 1), "%zu is not whole yet", i);
    }
}

Test(framing, what_can_be_read_in_two_ways_is_refused)
{
    static const char *const bad[] = {
        GET "X: y\n\r\n", GET "X: y\r\n z\r\n\r\n", GET "X : y\r\n\r\n", GET ": y\r\n\r\n",
        GET "X: y\r\n\n", GET "X: \x7f\r\n\r\n", GET "X: y\rZ: y\r\n\r\n", GET "Host: x\r\n\r\n",
        GET "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", GET "content-LENGTH: +1\r\n\r\n",
        GET "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        GET "Transfer-Encoding: gzip\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.2\r\n",
        "GET / HTTP/1.1\n", "GET  / HTTP/1.1\r\n", " GET / HTTP/1.1\r\n", "GET x HTTP/1.1\r\n",
        "GET /\r\n", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "\n" GET "\r\n",
        CHUNKED "3\nabc\r\n0\r\n\r\n", CHUNKED "3\r\nabc\n0\r\n\r\n", CHUNKED "0\r\n\n",
        CHUNKED "0\r\nHost: y\r\n\r\n", CHUNKED "\r\n", CHUNKED "-1\r\n", CHUNKED "0x1\r\n",
        CHUNKED "3\r\nabcd", CHUNKED "3 \r\n", CHUNKED ";x\r\n",
    };
    size_t n;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct framing f = feed(bad[i], strlen(bad[i]), &n);
        cr_assert(f.fault && f.why == APIERR_BAD_REQUEST && n == 0, "%zu: %s", i, bad[i]);
        char text[512];
        snprintf(text, sizeof text, GET "\r\n%s", bad[i]);
        f = feed(text, strlen(text), &n);
        cr_assert(f.fault && n == strlen(GET "\r\n"), "%zu behind another", i);
    }
}

/* start, then n times more. */
static struct framing many(const char *start, const char *more, size_t n)
{
    struct framing f;
    framing_init(&f);
    framing_feed(&f, start, strlen(start));
    for (size_t i = 0; i < n && !f.fault; i++)
        framing_feed(&f, more, strlen(more));
    return f;
}

Test(framing, limits_are_exact)
{
    cr_assert_null(many(GET, "a: b\r\n", LIMIT_HEADERS - 1).fault);
    cr_assert_eq(many(GET, "a: b\r\n", LIMIT_HEADERS).why, APIERR_HEADERS);
    cr_assert_null(many("", "GET / HTTP/1.1\r\nHost: x\r\na: b\r\n\r\n", 10000).fault);
    cr_assert_null(many(GET "a:", "b", LIMIT_HEADER_BYTES - strlen(GET "a:")).fault);
    cr_assert_eq(many(GET "a:", "b", LIMIT_HEADER_BYTES).why, APIERR_HEADERS);
    cr_assert_null(many("GET /", "b", LIMIT_TARGET_BYTES - 1).fault);
    cr_assert_eq(many("GET /", "b", LIMIT_TARGET_BYTES).why, APIERR_TARGET);
    cr_assert_eq(many(GET "Content-Length: ", "9", 19).fault, NULL);
    cr_assert_eq(many(GET "Content-Length: 999999999999999999", "9\r\n", 1).why, APIERR_TOO_LARGE);
    cr_assert_eq(many(CHUNKED, "0", 9).why, APIERR_TOO_LARGE);
    cr_assert_not_null(many(CHUNKED "1;", "x", LIMIT_CHUNK_EXTENSION + 1).fault);
}
