/* The digest of a part of a state file, by the version of the format that wrote the file. Any
 * thread. */
#ifndef RECURD_DIGEST_H
#define RECURD_DIGEST_H

#include <sodium.h>

#include "statecache/store/blake3.h"
#include "statecache/store/codec.h"

struct digest {
    unsigned version;
    union {
        crypto_generichash_state blake2b; /* version 3 */
        struct blake3 blake3;
    };
};

void digest_init(struct digest *d, unsigned version);
void digest_update(struct digest *d, const void *p, size_t n);
void digest_final(struct digest *d, unsigned char out[CODEC_DIGEST]);

#endif
