/* Writes the one sentence of a failure. The object belongs to its caller: one thread at a time.
 *
 * Invariant: the first sentence stays, because later failures are usually its consequences; and
 * the text is one line of whole UTF-8 characters even when names in it were hostile. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Names from files and requests end up in sentences: no line breaks, no terminal escapes, and
 * no character cut in half where the text was too long. n = what vsnprintf wanted to write. */
static void make_printable(char *text, size_t size, int n)
{
    size_t len = n < 0 ? 0 : MIN((size_t)n, size - 1);
    if ((size_t)MAX(n, 0) >= size)
        len = utf8_complete(text, len);
    text[len] = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            text[i] = '?';
    }
}

static int set(struct err *e, int code, const char *param, const char *fmt, va_list args)
{
    ASSERT(code < 0);
    if (!e || e->code)
        return code;
    e->code = code;
    e->param = param;
    make_printable(e->text, sizeof e->text, vsnprintf(e->text, sizeof e->text, fmt, args));
    return code;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set(e, code, NULL, fmt, args);
    va_end(args);
    return code;
}

int err_field(struct err *e, int code, const char *param, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set(e, code, param, fmt, args);
    va_end(args);
    return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e)
        return E_IO; /* the caller threw the details away; any failure is as good */
    char tail[sizeof e->text];
    memcpy(tail, e->text, sizeof tail);

    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    make_printable(e->text, sizeof e->text, n);

    size_t len = strlen(e->text);
    n = snprintf(e->text + len, sizeof e->text - len, ": %s", tail);
    make_printable(e->text + len, sizeof e->text - len, n);
    return e->code;
}

void err_clear(struct err *e)
{
    if (!e)
        return;
    e->code = 0;
    e->param = NULL;
    e->text[0] = 0;
}
