/* traceparent: any bytes are a context of hex digits, or none. */
#include <stdlib.h>
#include <string.h>

#include "server/otlp/traceparent.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct trace_context t;
    char *text = malloc(n + 1);
    HOLDS(text);
    memcpy(text, data, n);
    text[n] = '\0';
    bool ok = traceparent_read(text, &t);
    HOLDS(ok == (t.trace[0] != '\0') && ok == (t.parent[0] != '\0') && (ok || !t.sampled));
    HOLDS(!ok || (strlen(t.trace) == TRACE_ID_CHARS && strlen(t.parent) == SPAN_ID_CHARS));
    HOLDS(strspn(t.trace, "0123456789abcdef") == strlen(t.trace));
    free(text);
    return 0;
}
