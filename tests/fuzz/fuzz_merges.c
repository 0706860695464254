/* vocab.json, merges.txt, added_tokens.json and tokenizer_config.json, one behind the other with a
 * NUL between: refused, or they encode text without making special tokens of it. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const files[] = {"vocab.json", "merges.txt", "added_tokens.json",
                                        "tokenizer_config.json"};
    static const char text[] =
        "Hello  World's 12 \n\tna\xc3\xafve <|endoftext|> <x>ab \xf0\x9f\x98\x80";
    struct tokenizer *t = NULL;
    struct err e = {0};
    struct ids ids;
    const char *dir = NULL;
    for (size_t i = 0, at = 0, len; i < ARRAY_LEN(files); i++, at = MIN(n, at + len + 1)) {
        const uint8_t *end = at < n ? memchr(data + at, 0, n - at) : NULL;
        len = end ? (size_t)(end - (data + at)) : n - at;
        dir = len || i < 2 ? fuzz_dir(files[i], data + at, len) : fuzz_dir(files[i], "{}", 2);
    }
    int rc = tokenizer_open(&t, dir, 100000, &e);
    HOLDS((rc == 0) == (t != NULL) && rc == e.code && (rc == 0 || e.text[0]));
    for (int flags = 0; t && flags < 8; flags++) {
        ids_init(&ids, 1000);
        rc = tokenizer_encode(t, text, strlen(text), flags, &ids, &e);
        HOLDS(rc == 0 || e.text[0]);
        for (size_t i = 0; i < ids.len; i++)
            HOLDS(ids.p[i] >= 0 && ids.p[i] < tokenizer_size(t) &&
                  ((flags & TOKENIZE_SPECIAL) || !tokenizer_is_special(t, ids.p[i]) ||
                   (i == 0 && (flags & TOKENIZE_BOS))));
        ids_free(&ids);
        err_clear(&e);
    }
    tokenizer_close(t);
    return 0;
}
