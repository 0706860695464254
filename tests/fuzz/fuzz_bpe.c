/* tokenizer.json: refused, or it encodes text without making special tokens of it. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char text[] =
        "Hello  World's 12 \n\tnaïve 日本 e\xcc\x81 <|end|> \xf0\x9f\x98\x80 ab";
    struct tokenizer *t = NULL;
    struct err e = {0};
    struct ids ids;
    int rc = tokenizer_open(&t, fuzz_dir("tokenizer.json", data, n), 100000, &e);
    HOLDS((rc == 0) == (t != NULL) && rc == e.code);
    for (int flags = 0; t && flags < 8; flags++) {
        ids_init(&ids, 1000);
        rc = tokenizer_encode(t, text, strlen(text), flags, &ids, &e);
        HOLDS(rc == 0 || e.text[0]);
        for (size_t i = 0; i < ids.len; i++)
            HOLDS(ids.p[i] >= 0 && ids.p[i] < tokenizer_size(t));
        ids_free(&ids);
        err_clear(&e);
    }
    tokenizer_close(t);
    return 0;
}
