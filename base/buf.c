/* Growable bytes with a maximum. One thread at a time.
 *
 * Invariant: p is NULL, or p[len] == 0 and len < cap; len <= max. After a refused append the
 * contents are a prefix of what was meant, never one with a hole: later appends are refused. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"

#define FIRST_BYTES ((size_t)64) /* one cache line; smaller would only reallocate sooner */

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_free(struct buf *b)
{
    mem_free(b->p);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->p)
        b->p[0] = 0;
}

static int refuse(struct buf *b)
{
    b->failed = true;
    return E_NOMEM;
}

/* Room for n more bytes and the NUL. */
static int reserve(struct buf *b, size_t n)
{
    size_t need;
    if (b->failed || n > b->max - b->len || add_overflows(b->len + n, (size_t)1, &need))
        return refuse(b);
    if (need <= b->cap)
        return 0;
    /* Doubling makes a series of appends linear; the maximum bounds the last step. */
    size_t cap = MAX(b->cap, FIRST_BYTES / 2);
    cap = cap > SIZE_MAX / 2 ? SIZE_MAX : 2 * cap;
    if (b->max < SIZE_MAX)
        cap = MIN(cap, b->max + 1);
    cap = MAX(cap, need);
    char *p = mem_realloc(b->p, cap);
    if (!p)
        return refuse(b);
    b->p = p;
    b->cap = cap;
    return 0;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return b->failed ? E_NOMEM : 0;
    int rc = reserve(b, n);
    if (rc)
        return rc;
    memcpy(b->p + b->len, p, n);
    b->len += n;
    b->p[b->len] = 0;
    return 0;
}

int buf_str(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

int buf_ch(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

int buf_fmt(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        return refuse(b);
    if (n == 0)
        return b->failed ? E_NOMEM : 0;
    int rc = reserve(b, (size_t)n);
    if (rc)
        return rc;
    va_start(args, fmt);
    (void)vsnprintf(b->p + b->len, (size_t)n + 1, fmt, args); /* measured above */
    va_end(args);
    b->len += (size_t)n;
    return 0;
}

void buf_drop_front(struct buf *b, size_t n)
{
    ASSERT(n <= b->len);
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->len - n + 1);
    b->len -= n;
}

int buf_sanitize(struct buf *b, const char *s, size_t n)
{
    int rc = 0;
    while (n && !rc) {
        size_t good = utf8_valid_prefix(s, n);
        rc = buf_add(b, s, good);
        s += good;
        n -= good;
        if (n && !rc) {
            size_t bad = utf8_bad(s, n);
            rc = buf_str(b, "\xEF\xBF\xBD"); /* U+FFFD */
            s += bad;
            n -= bad;
        }
    }
    return rc;
}
