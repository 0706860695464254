/* Lines of a tokenizer.jsonl behind the 256 bytes: refused, or the lines themselves come back from
 * their ids, and no text becomes a special token. */
#include "base/buf.h"
#include "base/utf8.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    struct ids ids;
    struct buf b;
    buf_init(&b, n + KIB(16));
    for (unsigned i = 0; i < 256; i++)
        buf_fmt(&b, "[\"<0x%02X>\",0,\"BYTE\"]\n", i);
    buf_add(&b, data, n);
    int rc = tokenizer_open(&t, fuzz_dir("tokenizer.jsonl", b.p, b.len), LIMIT_VOCAB, &e);
    HOLDS((rc == 0) == (t != NULL) && rc == e.code && (rc == 0 || e.text[0]));
    for (int special = 0; t && utf8_valid(b.p, b.len) && special < 2; special++) {
        ids_init(&ids, 100000);
        HOLDS(tokenizer_encode(t, b.p, b.len, special ? TOKENIZE_SPECIAL : 0, &ids, &e) == 0);
        for (size_t i = 0; i < ids.len; i++)
            HOLDS(ids.p[i] >= 0 && ids.p[i] < tokenizer_size(t) &&
                  (special || !tokenizer_is_special(t, ids.p[i])));
        if (!special)
            fuzz_same_text(t, &ids, b.p, b.len);
        ids_free(&ids);
    }
    tokenizer_close(t);
    buf_free(&b);
    return 0;
}
