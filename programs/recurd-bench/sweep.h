/* Runs at rising load until the server is saturated. Thread: one. */
#ifndef RECURD_LOAD_SWEEP_H
#define RECURD_LOAD_SWEEP_H

#include "programs/recurd-bench/bench.h"

/* *out: an object of kind "sweep" whose "levels" are results. each, if not NULL, hears of every
 * level as it is done. */
int sweep_run(struct bench *b, void (*each)(const json_t *level), json_t **out,
              struct err *e) MUST_USE;
void sweep_text(FILE *f, const json_t *sweep);

#endif
