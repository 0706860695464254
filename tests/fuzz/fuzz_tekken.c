/* tekken.json: refused, or it encodes text without making special tokens of it. Words of single
 * bytes are put into its list, as nothing is accepted without them. */
#include <sodium.h>

#include "base/buf.h"
#include "tests/fuzz/fuzz.h"

/* data, with the words of all bytes behind its first "vocab":[ */
static void fill(struct buf *b, const char *data, size_t n)
{
    static const char list[] = "\"vocab\":[";
    size_t at = 0, k = strlen(list);
    while (at + k <= n && memcmp(data + at, list, k) != 0)
        at++;
    at = at + k <= n ? at + k : n;
    buf_add(b, data, at);
    for (int i = 0; i < 256 && at < n; i++) {
        unsigned char byte = (unsigned char)i;
        char text[8];
        sodium_bin2base64(text, sizeof text, &byte, 1, sodium_base64_VARIANT_ORIGINAL);
        buf_fmt(b, "{\"rank\":%d,\"token_bytes\":\"%s\"},", i, text);
    }
    buf_add(b, data + at, n - at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char text[] = "Hello  World's 12 \n\tna\xc3\xafve <s> [INST] ab \xf0\x9f\x98\x80";
    struct tokenizer *t = NULL;
    struct err e = {0};
    struct ids ids;
    struct buf b;
    buf_init(&b, MIB(1));
    fill(&b, (const char *)data, n);
    int rc = tokenizer_open(&t, fuzz_dir("tekken.json", b.p ? b.p : "", b.len), 100000, &e);
    HOLDS((rc == 0) == (t != NULL) && rc == e.code && (rc == 0 || e.text[0]));
    for (int flags = 0; t && flags < 8; flags++) {
        ids_init(&ids, 1000);
        rc = tokenizer_encode(t, text, strlen(text), flags, &ids, &e); /* patterns have a limit */
        HOLDS(rc == 0 || e.text[0]);
        for (size_t i = 0; i < ids.len; i++)
            HOLDS(ids.p[i] >= 0 && ids.p[i] < tokenizer_size(t) &&
                  ((flags & TOKENIZE_SPECIAL) || !tokenizer_is_special(t, ids.p[i]) ||
                   (i == 0 && (flags & TOKENIZE_BOS))));
        ids_free(&ids);
        err_clear(&e);
    }
    tokenizer_close(t);
    buf_free(&b);
    return 0;
}
