/* A client's HTTP reader: the same reply however the bytes are cut, and every kind of
 * nonsense refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/response.h"

static struct buf body;

static int keep(void *arg, const char *p, size_t n)
{
    (void)arg;
    return buf_add(&body, p, n);
}

/* Feeds text in pieces; what response_feed said last, and how many bytes were left over. */
static int feed(struct response *h, const char *text, size_t piece, size_t *left)
{
    size_t n = strlen(text), i = 0;
    int rc = 0;
    struct err e = {0};
    buf_clear(&body);
    while (!rc && i < n) {
        size_t k = MIN(piece, n - i), used;
        char *copy = memcpy(malloc(k), text + i, k); /* so that a read past it is seen */
        rc = response_feed(h, copy, k, &used, keep, NULL, &e);
        free(copy);
        i += used;
        cr_assert(rc == 0 ? used == k : used <= k);
    }
    *left = n - i;
    if (rc < 0)
        cr_assert_gt(strlen(e.text), 5, "a refusal says why");
    return rc;
}

static const struct {
    const char *text, *body;
    int status;
    bool complete, keep_alive;
    size_t left;
} good[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true, true, 0},
    {"HTTP/1.1 200\r\ncontent-length:5 \r\n\r\nhelloHTTP", "hello", 200, true, true, 4},
    {"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", "hi", 200, true, true, 0},
    {"HTTP/1.1 204 No\r\n\r\n", "", 204, true, true, 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", "", 200, true, false, 0},
    {"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end", 200, false, false, 0},
    {"HTTP/1.1 200 OK\r\n\r\nthe same", "the same", 200, false, false, 0},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\nContent-Length: 1\r\n\r\nx", "x", 429, true,
     true, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n"
     "0\r\n\r\n",
     "hello world", 200, true, true, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\nContent-Length: 3\r\n\r\nA\r\n0123456789\r\n"
     "0\r\nTrailer: 1\r\n\r\n", "0123456789", 200, true, true, 0},
};

Test(load_http, any_piece_size_gives_the_same_reply)
{
    buf_init(&body, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        for (size_t piece = 1; piece < 150; piece++) {
            struct response h;
            size_t left;
            response_init(&h);
            int rc = feed(&h, good[i].text, piece, &left);
            cr_assert_eq(rc, good[i].complete, "case %zu piece %zu: %d", i, piece, rc);
            cr_assert_eq(h.status, good[i].status);
            cr_assert_str_eq(body.p ? body.p : "", good[i].body, "case %zu piece %zu", i, piece);
            cr_assert_eq(h.keep_alive, good[i].keep_alive);
            cr_assert(response_eof(&h), "a close is good now");
            if (good[i].complete && piece == 149)
                cr_assert_eq(left, good[i].left);
            response_free(&h);
        }
    buf_free(&body);
}

Test(load_http, nonsense_is_refused_with_a_sentence)
{
    static const char *const bad[] = {
        "SSH-2.0-x\r\n",
        "HTTP/2 200 OK\r\n",
        "HTTP/1.1 2x0 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 099 OK\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
    };
    buf_init(&body, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (size_t piece = 1; piece < 100; piece += 7) {
            struct response h;
            size_t left;
            response_init(&h);
            cr_assert_eq(feed(&h, bad[i], piece, &left), E_FORMAT, "case %zu: %s", i, bad[i]);
            response_free(&h);
        }
    buf_free(&body);
}

Test(load_http, a_close_amid_the_reply_is_seen)
{
    static const char *const cut[] = {
        "", "HTTP/1.1 200 OK\r\nConte", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    };
    buf_init(&body, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
        struct response h;
        size_t left;
        response_init(&h);
        cr_assert_eq(feed(&h, cut[i], 1000, &left), 0);
        cr_assert_not(response_eof(&h), "case %zu", i);
        response_free(&h);
    }
    buf_free(&body);
}

Test(load_http, endless_headers_are_refused)
{
    static char many[400000];
    char *p = many + snprintf(many, sizeof many, "HTTP/1.1 200 OK\r\n");
    while (p < many + sizeof many - 100)
        p += snprintf(p, 100, "X-Header: something of no use whatever\r\n");
    struct response h;
    size_t used;
    struct err e = {0};
    response_init(&h);
    cr_assert_eq(response_feed(&h, many, (size_t)(p - many), &used, keep, NULL, &e), E_FORMAT);
    cr_assert_lt(used, 100000);
    response_free(&h);
    response_init(&h);
    memset(many + 17, 'x', sizeof many - 17);
    err_clear(&e);
    cr_assert_eq(response_feed(&h, many, sizeof many, &used, keep, NULL, &e), E_FORMAT);
    response_free(&h);
}

Test(load_http, random_bytes_never_do_harm)
{
    struct rng r = {.seed = 3};
    buf_init(&body, 1 << 20);
    for (int round = 0; round < 20000; round++) {
        char text[256];
        snprintf(text, sizeof text, "%s", good[rng_below(&r, ARRAY_LEN(good))].text);
        for (int k = 0; k < 3; k++)
            text[rng_below(&r, strlen(text))] = (char)(1 + rng_below(&r, 255));
        struct response h;
        size_t left;
        response_init(&h);
        (void)feed(&h, text, 1 + rng_below(&r, 40), &left);
        response_free(&h);
    }
    buf_free(&body);
}
