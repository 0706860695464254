/* Little-endian numbers in files and blobs, whatever the machine's own order. */
#ifndef RECURD_BYTES_H
#define RECURD_BYTES_H

#include "base/base.h"

/* The low `bytes` (1 to 8) bytes of v at p, the lowest first. */
static inline void bytes_put(unsigned char *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static inline uint64_t bytes_get(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

#endif
