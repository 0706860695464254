/* JSON out, by hand: one pass, no tree. Thread: any. */
#include "server/api/jsonout.h"

#include <math.h>
#include <string.h>

#include "base/utf8.h"

/* Escapes valid UTF-8. */
static void escape(struct buf *out, const char *s, size_t n)
{
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        buf_add(out, s + from, i - from);
        from = i + 1;
        switch (c) {
        case '"': buf_str(out, "\\\""); break;
        case '\\': buf_str(out, "\\\\"); break;
        case '\n': buf_str(out, "\\n"); break;
        case '\r': buf_str(out, "\\r"); break;
        case '\t': buf_str(out, "\\t"); break;
        default: buf_fmt(out, "\\u%04x", c);
        }
    }
    buf_add(out, s + from, n - from);
}

void jsonout_chars(struct buf *out, const char *s, size_t n)
{
    if (n == 0)
        return; /* s may be NULL then */
    if (utf8_valid(s, n)) {
        escape(out, s, n);
        return;
    }
    struct buf clean;
    buf_init(&clean, 3 * n); /* a malformed byte becomes at most the three of U+FFFD */
    if (buf_sanitize(&clean, s, n))
        out->failed = true;
    else
        escape(out, clean.p, clean.len);
    buf_free(&clean);
}

void jsonout_strn(struct buf *out, const char *s, size_t n)
{
    buf_ch(out, '"');
    jsonout_chars(out, s, n);
    buf_ch(out, '"');
}

void jsonout_str(struct buf *out, const char *s) { jsonout_strn(out, s, strlen(s)); }

void jsonout_int(struct buf *out, int64_t v) { buf_fmt(out, "%lld", (long long)v); }

void jsonout_float(struct buf *out, float v)
{
    /* The C locale's point: the program never calls setlocale. */
    buf_fmt(out, "%.9g", isfinite(v) ? (double)v : -9999.0);
}

void jsonout_ids(struct buf *out, const int32_t *ids, size_t n)
{
    buf_ch(out, '[');
    for (size_t i = 0; i < n; i++)
        buf_fmt(out, i ? ",%d" : "%d", ids[i]);
    buf_ch(out, ']');
}
