/* A safetensors header: what is accepted lies inside the file and tiles it. The first four bytes
 * are the number of data bytes. */
#include "models/files/checkpoint.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    uint32_t size;
    if (n < sizeof size)
        return 0;
    memcpy(&size, data, sizeof size);
    n -= sizeof size;
    int rc = checkpoint_parse_header(&c, (const char *)data + sizeof size, n, size, "f", &e);
    HOLDS((rc == 0) == (c != NULL) && rc == e.code);
    uint64_t total = 0;
    for (size_t i = 0; c && i < checkpoint_count(c); i++) {
        const struct tensor *t = checkpoint_at(c, i);
        HOLDS(t->elems > 0 && t->offset >= 8 + n && t->offset - 8 - n < size);
        HOLDS(checkpoint_find(c, t->name) == t);
        total = MAX(total, t->offset - 8 - n);
    }
    HOLDS(!c || checkpoint_count(c) == 0 || total < size);
    checkpoint_close(c);
    return 0;
}
