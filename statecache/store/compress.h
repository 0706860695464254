/* One block of a state, made smaller without loss: up to 1 MiB of 32-bit values, taken apart into
 * four byte planes, of which those that a sample says are worth it go through zstd and the others
 * stay as they are. (Values are turned left by one bit before: then one plane has all of a float's
 * exponent, which repeats, and the others its fraction and sign, which do not.)
 *
 *   0  u8   planes: 4; or 1, the bytes as they lie
 *   1  u8   method of the planes that are smaller: 1 zstd
 *   2  u16  zero
 *   4  u32  bytes that each plane takes here; as many as it has: it is as it lies
 *   …       the planes, end to end
 *
 * Little-endian. How many bytes come out is known before, from what is sealed, and no byte more is
 * ever written. The same contents give the same block with one version of zstd. Memory to memory;
 * one thread at a time for each compressor. */
#ifndef RECURD_COMPRESS_H
#define RECURD_COMPRESS_H

#include "base/err.h"
#include "base/limits.h"

#define COMPRESS_CONTENT MIB(1)      /* of one block, at most */
#define COMPRESS_BOUND(n) ((n) + 8)  /* that a block of n bytes may take */

enum compress_rule {
    COMPRESS_NEVER,
    COMPRESS_PAYING, /* what a sample says is worth it */
    COMPRESS_ALWAYS  /* everything that gets smaller by it: tests */
};

/* What was done, for the metrics. */
struct compress_count { uint64_t content_bytes, stored_bytes, ns; };
static inline void compress_counted(struct compress_count *sum, const struct compress_count *x)
{
    sum->content_bytes += x->content_bytes;
    sum->stored_bytes += x->stored_bytes;
    sum->ns += x->ns;
}

struct compressor; /* 2 MiB of scratch memory and what zstd needs */

bool compress_available(void); /* built with libzstd */
/* Whether a sample of these values says that a block of them would get smaller by more than it
 * costs to know. 4,096 bytes of it are looked at. */
bool compress_pays(const void *p, size_t n);

int compressor_open(struct compressor **out, struct err *e) MUST_USE; /* E_NOMEM */
void compressor_close(struct compressor *c);                          /* NULL allowed */

/* The block of p[0, n), 0 < n <= COMPRESS_CONTENT, into out [COMPRESS_BOUND(n)]; its length.
 * always: every plane goes through zstd that gets smaller by it; for tests. */
size_t compress_block(struct compressor *c, const void *p, size_t n, bool always,
                      unsigned char *out);
/* The `want` bytes that the block in[0, n) was made of, 0 < want <= COMPRESS_CONTENT. E_FORMAT: it
 * is not a block of so many; E_UNSUPPORTED: this build has no libzstd, or of a newer method. */
int compress_expand(struct compressor *c, const unsigned char *in, size_t n, void *out,
                    size_t want, struct err *e) MUST_USE;

#endif
