/* Names in a store, as text. */
#include <sodium.h>

#include "statecache/shared/kv.h"

_Static_assert(KV_KEY_TEXT >= 2 + 2 * KV_NAME + 1, "a key as text");

void kv_key_text(const struct kv_key *key, char out[KV_KEY_TEXT])
{
    out[0] = (char)key->kind;
    out[1] = ':';
    sodium_bin2hex(out + 2, KV_KEY_TEXT - 2, key->name, key->n);
}

bool kv_key_read(enum kv_kind kind, const char *hex, size_t n_hex, size_t n, struct kv_key *out)
{
    size_t got = 0;
    *out = (struct kv_key){.kind = kind, .n = (unsigned char)n};
    return n <= KV_NAME && n_hex == 2 * n &&
           sodium_hex2bin(out->name, n, hex, n_hex, NULL, &got, NULL) == 0 && got == n;
}
