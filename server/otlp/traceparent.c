#include "server/otlp/traceparent.h"

#include <string.h>

/* n digits of hex in lower case, as the standard wants them; not all zero unless `zeros`. */
static bool hex(const char *s, size_t n, bool zeros)
{
    return strspn(s, "0123456789abcdef") >= n && (zeros || strspn(s, "0") < n);
}

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

bool traceparent_read(const char *header, struct trace_context *t)
{
    /* version "-" trace "-" parent "-" flags */
    enum { TRACE = 3, PARENT = TRACE + TRACE_ID_CHARS + 1, FLAGS = PARENT + SPAN_ID_CHARS + 1,
           END = FLAGS + 2 };
    *t = (struct trace_context){.sampled = false};
    if (!header || strnlen(header, END) < END)
        return false;
    if (header[TRACE - 1] != '-' || header[PARENT - 1] != '-' || header[FLAGS - 1] != '-')
        return false;
    bool first = strncmp(header, "00", 2) == 0;
    if (!hex(header, 2, true) || strncmp(header, "ff", 2) == 0 ||
        !hex(header + TRACE, TRACE_ID_CHARS, false) ||
        !hex(header + PARENT, SPAN_ID_CHARS, false) || !hex(header + FLAGS, 2, true))
        return false;
    if (header[END] && (first || header[END] != '-'))
        return false;
    memcpy(t->trace, header + TRACE, TRACE_ID_CHARS);
    memcpy(t->parent, header + PARENT, SPAN_ID_CHARS);
    t->sampled = digit(header[FLAGS + 1]) & 1;
    return true;
}
