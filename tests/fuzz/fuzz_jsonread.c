/* JSON text: read, or refused, as jansson reads and refuses it (which overlooks zero bytes), and
 * with any allocation failing. */
#include <jansson.h>

#include "base/mem.h"
#include "base/jsonread.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    size_t flags = (data[0] & 1 ? JSON_DECODE_ANY : 0) | (data[0] & 2 ? JSON_ALLOW_NUL : 0) |
                   (data[0] & 4 ? JSON_REJECT_DUPLICATES : 0);
    const char *text = (const char *)data + 2;
    json_error_t e;
    mem_fail_at(data[1]); /* 0: none does */
    json_t *v = jsonread(text, n - 2, flags, &e);
    mem_fail_at(0);
    if (!data[1] && !memchr(text, '\0', n - 2)) {
        json_t *want = json_loadb(text, n - 2, flags, NULL);
        HOLDS(!v == !want && (!v || json_equal(v, want)));
        json_decref(want);
    }
    if (!v)
        HOLDS(json_error_code(&e) != json_error_unknown && e.position >= 0);
    json_decref(v);
    return 0;
}
