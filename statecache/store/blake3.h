/* BLAKE3, the hash of 32 bytes (O'Connor, Aumasson, Neves, Wilcox-O'Hearn: "BLAKE3: one function,
 * fast everywhere", 2020), as states are proved by it: a tree over chunks of 1,024 bytes, so that
 * as many chunks as a vector has 32-bit lanes are done at once. The bits are those of the
 * definition on every instruction set. Any thread; nothing is allocated. */
#ifndef RECURD_BLAKE3_H
#define RECURD_BLAKE3_H

#include "base/base.h"

#define BLAKE3_OUT 32
#define BLAKE3_CHUNK 1024
#define BLAKE3_DEPTH 54 /* levels of the tree over 2^64 bytes */

struct blake3_lanes; /* one instruction set's */

struct blake3 {
    const struct blake3_lanes *lanes;
    unsigned char chunk[BLAKE3_CHUNK]; /* the last one begun, whole or not */
    size_t n;                          /* bytes in it; 0 only before the first */
    uint64_t chunks;                   /* before it */
    /* Values of whole subtrees, the largest first; one place more for a push before its merge. */
    uint32_t stack[BLAKE3_DEPTH + 1][8];
    int32_t depth;
};

/* lanes: NULL = the widest that this CPU has. */
void blake3_init(struct blake3 *s, const struct blake3_lanes *lanes);
void blake3_update(struct blake3 *s, const void *p, size_t n);
void blake3_final(const struct blake3 *s, unsigned char out[BLAKE3_OUT]);

/* The i-th instruction set that this CPU has, the widest first; NULL: there are no more. */
const struct blake3_lanes *blake3_lanes(int i);
const char *blake3_lanes_name(const struct blake3_lanes *lanes);

#endif
