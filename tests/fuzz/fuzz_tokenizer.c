/* Any bytes as text for the bundled vocabulary: refused if they are not UTF-8, else they come back
 * from their ids. The first byte is the flags. */
#define _GNU_SOURCE /* memmem */
#include "base/utf8.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct tokenizer *t;
    struct err e = {0};
    struct ids ids;
    if (!t)
        HOLDS(tokenizer_open(&t, "models/demo/gated-deltanet", 4096, &e) == 0 && t);
    if (n == 0)
        return 0;
    int flags = data[0] & 7;
    const char *text = (const char *)data + 1;
    ids_init(&ids, 100000);
    int rc = tokenizer_encode(t, text, --n, flags, &ids, &e);
    HOLDS(utf8_valid(text, n) ? rc == 0 : rc == E_FORMAT);
    for (size_t i = 0; i < ids.len; i++) {
        bool bos = i == 0 && (flags & TOKENIZE_BOS);
        HOLDS(!tokenizer_is_special(t, ids.p[i]) || bos || (flags & TOKENIZE_SPECIAL));
    }
    /* U+2581 is how the vocabulary writes a space: it comes back as one. */
    if (rc == 0 && !(flags & TOKENIZE_SPECIAL) && (n == 0 || !memmem(text, n, "\xe2\x96\x81", 3)))
        fuzz_same_text(t, &ids, text, n);
    ids_free(&ids);
    return 0;
}
