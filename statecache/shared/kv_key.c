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
