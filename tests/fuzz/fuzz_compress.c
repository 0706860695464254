/* Compressed blocks: any bytes, where a block of so many should be, are refused or come to exactly
 * so many; and whatever is made smaller comes back. The first three bytes say what is asked. */
#include "statecache/store/compress.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct compressor *c;
    struct err e = {0};
    if (!c)
        HOLDS(!compressor_open(&c, &e));
    if (n < 4)
        return 0;
    size_t want = 1 + (data[0] | (size_t)data[1] << 8);
    const uint8_t *in = data + 3;
    n -= 3;
    if (data[2] & 1) {
        unsigned char *block = malloc(COMPRESS_BOUND(n)), *out = malloc(n);
        size_t m = compress_block(c, in, n, data[2] & 2, block);
        HOLDS(m > 0 && m <= COMPRESS_BOUND(n));
        HOLDS(!compress_expand(c, block, m, out, n, &e) && memcmp(in, out, n) == 0);
        free(block);
        free(out);
    } else {
        unsigned char *out = malloc(want), *copy = malloc(n); /* ASan sees the byte behind each */
        memcpy(copy, in, n);
        int rc = compress_expand(c, copy, n, out, want, &e);
        HOLDS(rc == 0 || rc == E_FORMAT || rc == E_UNSUPPORTED);
        HOLDS(rc == e.code);
        free(out);
        free(copy);
    }
    return 0;
}
