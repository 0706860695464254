/* The log of turns: records in sealed, numbered frames, appended to segments of a fixed size. All
 * that waits goes into one frame, and one fsync makes it durable. README.md shows the bytes; what a
 * record says is change.h's.
 *
 * A frame is written when the one before it is on the medium, so a frame whose number is missing
 * among those found was damaged there: a crash tears only the last. A segment is never written
 * again after a call failed on it. Used by the thread that opens the cache, then by the log's
 * writer thread alone. */
#ifndef RECURD_TURNLOG_H
#define RECURD_TURNLOG_H

#include "base/buf.h"
#include "statecache/store/dirstore.h"

#define TURNLOG_HEAD 112      /* of a frame; its records follow */
#define TURNLOG_BLOCK 512     /* frames begin at its multiples: a disk writes it whole or not */
#define TURNLOG_SEGMENTS 64
#define TURNLOG_FRAME_MAX (UINT64_C(8) << 20)
#define TURNLOG_FILE_MAX (UINT64_C(64) << 20) /* no segment is larger */

struct turnlog_segment {
    uint64_t number, bytes, good; /* good: frames that checked when it was read */
    bool bad;                     /* has some that did not: it goes to quarantine */
};

struct turnlog {
    const struct fsio *io;       /* NULL = not open */
    const struct format *format; /* the key */
    char dir[STORE_PATH - 256];
    uint64_t limit, usual;       /* bytes: of all segments at most; of one, if its frame fits */
    struct turnlog_segment segment[TURNLOG_SEGMENTS]; /* oldest first */
    int n_segments;
    uint64_t bytes;              /* of all of them */
    uint64_t quarantined;        /* of those moved away */
    uint64_t next_segment, next_frame;
    int fd;                      /* of the last one while it is appended to, or -1 */
    uint64_t used;               /* bytes of it */
    bool named;                  /* its name is on the medium */
    struct store_health health;
};

/* The part of a disk budget that the log may take. 0: too small for one. */
uint64_t turnlog_share(uint64_t disk_bytes);

/* Reads what is there, the oldest first: each() gets the records of every frame that checks; what
 * it points to is valid until it returns. Nothing is written. The limit is the whole share until
 * turnlog_steady. E_IO, E_NOMEM, E_UNSUPPORTED: it cannot be read, and what was acknowledged is
 * not known. */
int turnlog_open(struct turnlog *l, const struct fsio *io, const char *dir,
                 const struct format *f, uint64_t share,
                 void (*each)(void *arg, const unsigned char *records, size_t n), void *arg,
                 struct err *e) MUST_USE;
/* From now on half of the share is the limit, so that the next start can write all again that is
 * needed before it removes what it read. */
void turnlog_steady(struct turnlog *l, uint64_t share);
void turnlog_close(struct turnlog *l);

/* frame: TURNLOG_HEAD bytes of room, then n_records records; it is padded and sealed in place. 0:
 * it is on the medium, in *segment. E_NOMEM: no space, in the log's share or at all; E_IO: tried
 * twice, it is sick. After an error it may be there or not. */
int turnlog_append(struct turnlog *l, struct buf *frame, uint32_t n_records, uint64_t *segment,
                   struct err *e) MUST_USE;
/* Seals the frames of a segment's bytes p[n] with f's key that have the seal of the one before;
 * *anew: how many. What does not check is left as it is. E_UNSUPPORTED: some are of a newer
 * version. */
int turnlog_reseal(const struct format *f, unsigned char *p, uint64_t n, uint64_t segment,
                   unsigned *anew, struct err *e) MUST_USE;
/* The last segment is not appended to any more. */
void turnlog_seal(struct turnlog *l);
/* No record in segments below `below` is needed: they go, the oldest first and durably, so that
 * what undoes a record never goes before it. Not the one appended to. */
int turnlog_drop(struct turnlog *l, uint64_t below, struct err *e) MUST_USE;

#endif
