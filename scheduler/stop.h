/* From tokens to text: whole UTF-8 characters, nothing of a stop string.
 *
 * Bytes wait until their character is whole; text waits while it may be the beginning of a stop
 * string. Where the tokens' borders lie makes no difference to the text that comes out, nor to
 * where it stops: the stop string that is complete first (by its last byte; of two, the longer)
 * ends the text before its first byte. Owner: one sequence. Thread: engine. */
#ifndef RECURD_STOP_H
#define RECURD_STOP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

/* An unfinished character has at most 3 bytes; a malformed byte becomes 3 bytes of U+FFFD. */
#define STOP_RAW_BYTES (3 + LIMIT_TOKEN_BYTES)
#define STOP_HELD_BYTES (LIMIT_STOP_BYTES + 3 * STOP_RAW_BYTES)

struct stop {
    const char (*strings)[LIMIT_STOP_BYTES + 1]; /* [n], borrowed: valid UTF-8, not empty */
    size_t lengths[LIMIT_STOPS];
    int32_t n;
    size_t n_raw;
    char raw[STOP_RAW_BYTES]; /* bytes that are no whole character yet */
    struct buf held;          /* characters not given out yet; at most STOP_HELD_BYTES */
    int32_t met;              /* the string that ended the text, once one has */
};

int stop_init(struct stop *s, const char (*strings)[LIMIT_STOP_BYTES + 1], int32_t n,
              struct err *e) MUST_USE;
void stop_fini(struct stop *s);

/* One token's bytes, n <= LIMIT_TOKEN_BYTES. Afterwards the first *ready bytes of s->held may go
 * out; the caller takes them with stop_take. True: a stop string was met, *ready ends before it
 * and nothing may follow. armed false: stop strings do not count yet (min_tokens). */
bool stop_feed(struct stop *s, const char *bytes, size_t n, bool armed, size_t *ready);
/* The end without a stop string: all that was held back is ready. Returns its length. */
size_t stop_flush(struct stop *s);
void stop_take(struct stop *s, size_t n);

#endif
