/* The part of SentencePiece files that our own code reads: the model's wire format (first byte
 * even) and the normaliser table (odd). What the check of the table accepts is walked with every
 * byte, without looking at bounds beyond the sanitizer's. */
#include "models/text/spm_charsmap.h"
#include "models/text/spm_proto.h"
#include "tests/fuzz/fuzz.h"

static uint32_t unit_at(const uint8_t *units, size_t i)
{
    uint32_t u;
    memcpy(&u, units + 4 * i, sizeof u);
    return u;
}

/* The library's search, as it trusts the table. */
static void search(const uint8_t *units, const uint8_t *strings, const uint8_t *text, size_t n)
{
    volatile uint8_t last; /* the string is read, whatever it is */
    size_t at = 0, matches = 0, step = unit_at(units, 0) >> 10;
    at ^= step << ((unit_at(units, 0) & 0x200) >> 6);
    for (size_t i = 0; i < n; i++, (void)last) {
        uint32_t u = unit_at(units, at ^= text[i]);
        if ((u & 0x800000ff) != text[i])
            return;
        at ^= (size_t)(u >> 10) << ((u & 0x200) >> 6);
        if (u & 0x100) {
            HOLDS(++matches <= 32);
            last = strings[unit_at(units, at) & 0x7fffffff];
        }
    }
}

static void charsmap(const uint8_t *data, size_t n)
{
    struct err e = {0};
    uint32_t trie;
    uint8_t *exact = malloc(n ? n : 1); /* so that the sanitizer sees its end */
    memcpy(exact, data, n);
    if (spm_charsmap_check(exact, n, "f", &e) == 0) {
        memcpy(&trie, exact, sizeof trie);
        for (size_t from = 0; from < n; from++)
            search(exact + 4, exact + 4 + trie, exact + from, MIN(n - from, 64));
        for (int c = 0; c < 256; c++) {
            uint8_t run[64];
            memset(run, c, sizeof run);
            search(exact + 4, exact + 4 + trie, run, sizeof run);
        }
    }
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct spm_proto p = {0};
    struct err e = {0};
    if (n == 0)
        return 0;
    if (data[0] & 1) {
        charsmap(data + 1, n - 1);
        return 0;
    }
    int rc = spm_proto_read(&p, data + 1, n - 1, "f", &e);
    HOLDS(rc == e.code && (rc < 0 || p.n > 0));
    for (size_t i = 0; rc == 0 && i < p.n; i++)
        HOLDS(p.pieces[i].n > 0 && p.pieces[i].type_at < n - 1);
    spm_proto_free(&p);
    return 0;
}
