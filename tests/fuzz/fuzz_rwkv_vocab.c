/* Lines added to an RWKV word list of the 256 bytes: refused, or the list itself comes back from
 * its ids. */
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
        buf_fmt(&b, "%u b'\\x%02x' 1\n", i + 1, i);
    buf_add(&b, data, n);
    int rc = tokenizer_open(&t, fuzz_dir("rwkv_vocab_v20230424.txt", b.p, b.len), 1 << 20, &e);
    HOLDS((rc == 0) == (t != NULL) && rc == e.code);
    if (t && utf8_valid(b.p, b.len)) {
        ids_init(&ids, 100000);
        HOLDS(tokenizer_encode(t, b.p, b.len, 0, &ids, &e) == 0);
        fuzz_same_text(t, &ids, b.p, b.len);
        ids_free(&ids);
    }
    tokenizer_close(t);
    buf_free(&b);
    return 0;
}
