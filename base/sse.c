/* Server-sent events, from bytes that may be cut anywhere. Thread: one. */
#include "base/sse.h"

#include <string.h>

#include "base/err.h"
#include "base/limits.h"

/* One event carries a token and its logprobs: a few KiB. A megabyte of line is an attack. */
#define EVENT_BYTES MIB(16)

void sse_init(struct sse *s)
{
    memset(s, 0, sizeof *s);
    buf_init(&s->line, EVENT_BYTES);
    buf_init(&s->data, EVENT_BYTES);
}

void sse_free(struct sse *s)
{
    buf_free(&s->line);
    buf_free(&s->data);
}

void sse_reset(struct sse *s)
{
    buf_clear(&s->line);
    buf_clear(&s->data);
    s->has_data = s->skip_lf = s->begun = false;
    s->comments = 0;
}

static int take_line(struct sse *s, const char *p, size_t n, sse_fn *fn, void *arg)
{
    if (!s->begun) {
        s->begun = true;
        if (n >= 3 && !memcmp(p, "\xEF\xBB\xBF", 3)) { /* a byte order mark may open the stream */
            p += 3;
            n -= 3;
        }
    }
    if (!n) {
        if (!s->has_data)
            return 0;
        int rc = fn(arg, s->data.p ? s->data.p : "", s->data.len);
        buf_clear(&s->data);
        s->has_data = false;
        return rc;
    }
    if (*p == ':') {
        s->comments++;
        return 0;
    }
    const char *colon = memchr(p, ':', n);
    size_t name = colon ? (size_t)(colon - p) : n;
    if (name != 4 || memcmp(p, "data", 4))
        return 0;
    const char *v = colon ? colon + 1 : p + n;
    if (v < p + n && *v == ' ')
        v++;
    if (s->has_data)
        buf_ch(&s->data, '\n');
    s->has_data = true;
    buf_add(&s->data, v, (size_t)(p + n - v));
    return s->data.failed ? E_RANGE : 0;
}

int sse_feed(struct sse *s, const char *p, size_t n, sse_fn *fn, void *arg)
{
    const char *end = p + n;
    while (p < end) {
        if (s->skip_lf) {
            s->skip_lf = false;
            if (*p == '\n') {
                p++;
                continue;
            }
        }
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *cr = memchr(p, '\r', (size_t)((lf ? lf : end) - p));
        const char *eol = cr ? cr : lf;
        if (!eol)
            return buf_add(&s->line, p, (size_t)(end - p)) ? E_RANGE : 0;
        int rc;
        if (s->line.len) {
            if (buf_add(&s->line, p, (size_t)(eol - p)))
                return E_RANGE;
            rc = take_line(s, s->line.p, s->line.len, fn, arg);
            buf_clear(&s->line);
        } else {
            rc = take_line(s, p, (size_t)(eol - p), fn, arg);
        }
        s->skip_lf = *eol == '\r';
        p = eol + 1;
        if (rc)
            return rc;
    }
    return 0;
}

bool sse_pending(const struct sse *s)
{
    return s->has_data || s->line.len > 0;
}
