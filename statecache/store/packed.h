/* State files whose parts are compressed: a head of version 5 as any other, which says what the
 * parts are when they are not; then of every part its blocks, of 1 MiB of it each, the last one of
 * what is left; then a foot. Written from one end to the other, a block at a time.
 *
 *   a block   0 u32 bytes of compress.h's block · 4 u32 zero · 8 tag (16) · 24 the block
 *   the foot  0 `RECURDPK` · 8 bytes that each of the 7 parts takes (u64 each) · 64 tag (16)
 *
 * The tags are codec_tag's, the number of the block counted through the file: nothing is taken
 * apart that was not written by us at this very place, and what comes out is proved by the head's
 * digests as in any other file. A file without its foot, or of another length, is torn. */
#ifndef RECURD_PACKED_H
#define RECURD_PACKED_H

#include "statecache/store/codec.h"
#include "statecache/store/compress.h"
#include "statecache/store/fsio.h"

#define PACKED_BLOCK 24 /* before each block */
#define PACKED_FOOT 80

/* A file in hand. Owner: the caller; nothing in it is ours. */
struct packed {
    const struct fsio *io;
    int fd;
    const struct format *format;
    struct compressor *compressor; /* of the thread; packed_open needs none */
    struct compress_count *count;  /* what was done is added here; NULL = nowhere */
    bool always;                   /* as in compress_block */
};

bool codec_packed(const unsigned char head[CODEC_HEAD]); /* as it says of itself */
/* Whether a sample of a part says that packing pays, and this build can. */
bool packed_pays(const struct part part[PARTS]);
/* The most bytes that a file of these parts has, packed or not. */
uint64_t packed_bound(const struct part part[PARTS]);

/* What follows head, which is written and sealed; *bytes: of all of the file. 0 or -errno. */
int packed_write(const struct packed *p, const unsigned char head[CODEC_HEAD],
                 const struct part part[PARTS], uint64_t *bytes) MUST_USE;

/* After codec_open or codec_inspect of a file of `size` bytes: offset[], stored[] and file_bytes
 * become those of the file. E_FORMAT (torn, altered), E_UNSUPPORTED (no libzstd), E_IO. */
int packed_open(const struct packed *p, uint64_t size, struct head *h, struct err *e) MUST_USE;
/* Part i into memory of its size; its digest is not looked at. As above, E_NOMEM. */
int packed_read(const struct packed *p, const struct head *h, enum codec_part i,
                const struct part *part, struct err *e) MUST_USE;
/* The same a block at a time: each() gets its bytes in turn. */
int packed_each(const struct packed *p, const struct head *h, enum codec_part i,
                void (*each)(void *arg, const void *bytes, size_t n), void *arg,
                struct err *e) MUST_USE;

#endif
