/* Trace files: when each request arrives and, optionally, how long it is.
 *
 * One line a request: a number (seconds), or a JSON object with "timestamp" (milliseconds),
 * "input_length", "output_length" and "hash_ids" (each id names a block of 512 prompt tokens, so
 * that equal ids mean an equal prefix). Thread: one. */
#ifndef RECURD_LOAD_TRACE_H
#define RECURD_LOAD_TRACE_H

#include "base/err.h"

#define TRACE_BLOCK 512 /* tokens of one hash id, as in the published traces */

struct trace_row {
    uint64_t at_ns; /* since the first row of the file */
    int32_t n_in, n_out; /* 0 = not given */
    size_t first_hash, n_hashes;
};

struct trace {
    struct trace_row *rows; /* ordered by time */
    uint64_t *hashes;
    size_t n, n_hashes;
};

int trace_open(struct trace *t, const char *path, struct err *e) MUST_USE;
void trace_free(struct trace *t);

#endif
