/* Correctness under load: the same requests at temperature 0, alone and at concurrency N.
 *
 * Token ids (when the server names them), token texts and every logprob must be equal, bit for
 * bit; also between a first computation and a cache hit. Thread: one. */
#ifndef RECURD_LOAD_VERIFY_H
#define RECURD_LOAD_VERIFY_H

#include "programs/recurd-bench/bench.h"

/* *out: an object of kind "verify"; its "mismatches" and "failed" must both be 0. Needs a
 * configuration with temperature 0. */
int verify_run(struct bench *b, json_t **out, struct err *e) MUST_USE;
void verify_text(FILE *f, const json_t *verify);

#endif
