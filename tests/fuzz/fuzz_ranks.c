/* tiktoken.model: refused, or text comes back from its ids. The first byte chooses the text; the
 * words of single bytes are put before the rest, as nothing is accepted without them. */
#include <sodium.h>

#include "base/buf.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const texts[] = {"Hello  World's 12 \n\tnaïve", "日本 e\xcc\x81 ab abc bc",
                                        "\xf0\x9f\x98\x80 <|reserved_token_260|> aaaaaaaa"};
    struct tokenizer *t = NULL;
    struct err e = {0};
    struct ids ids;
    struct buf b;
    if (n == 0)
        return 0;
    buf_init(&b, MIB(1));
    for (int i = 0; i < 256 && data[0] % 8; i++) {
        unsigned char byte = (unsigned char)i;
        char text[8];
        sodium_bin2base64(text, sizeof text, &byte, 1, sodium_base64_VARIANT_ORIGINAL);
        buf_fmt(&b, "%s %d\n", text, i);
    }
    buf_add(&b, (const char *)data + 1, n - 1);
    int rc = tokenizer_open(&t, fuzz_dir("tiktoken.model", b.p ? b.p : "", b.len), 100000, &e);
    HOLDS((rc == 0) == (t != NULL) && rc == e.code && (rc == 0 || e.text[0]));
    for (size_t i = 0; t && i < ARRAY_LEN(texts); i++) {
        ids_init(&ids, 1000);
        HOLDS(tokenizer_encode(t, texts[i], strlen(texts[i]), 0, &ids, &e) == 0);
        for (size_t k = 0; k < ids.len; k++)
            HOLDS(ids.p[k] >= 0 && ids.p[k] < tokenizer_size(t));
        fuzz_same_text(t, &ids, texts[i], strlen(texts[i]));
        ids_free(&ids);
    }
    tokenizer_close(t);
    buf_free(&b);
    return 0;
}
