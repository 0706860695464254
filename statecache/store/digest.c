/* BLAKE2b-256 in files of version 3, BLAKE3 since. Any thread. */
#include "statecache/store/digest.h"

#define BLAKE3_SINCE 4 /* version of the format */

_Static_assert(CODEC_DIGEST == BLAKE3_OUT, "a digest's length");

void digest_init(struct digest *d, unsigned version)
{
    d->version = version;
    if (version < BLAKE3_SINCE)
        crypto_generichash_init(&d->blake2b, NULL, 0, CODEC_DIGEST);
    else
        blake3_init(&d->blake3, NULL);
}

void digest_update(struct digest *d, const void *p, size_t n)
{
    if (d->version < BLAKE3_SINCE)
        crypto_generichash_update(&d->blake2b, p, n);
    else
        blake3_update(&d->blake3, p, n);
}

void digest_final(struct digest *d, unsigned char out[CODEC_DIGEST])
{
    if (d->version < BLAKE3_SINCE)
        crypto_generichash_final(&d->blake2b, out, CODEC_DIGEST);
    else
        blake3_final(&d->blake3, out);
}
