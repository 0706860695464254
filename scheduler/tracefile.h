/* --trace FILE: a JSON object a line for every request that ended, written by a thread of its own.
 *
 * Fields: model, fingerprint, numerics; context, prompt and output as ids (or their digests),
 * cached, matched, why, cuts, slot, steps; sampling; finish; logprob_bits, prompt_logprob_bits as
 * 8 hexadecimal digits a token; times in ns. recurd-eval --replay reads them. Version 2 has the
 * numbers of sampling.def and dry_breakers (bytes as hexadecimal digits) in sampling besides; a
 * line that names none of them stays of version 1. */
#ifndef RECURD_TRACEFILE_H
#define RECURD_TRACEFILE_H

#include "scheduler/trace.h"

struct tracefile;

struct tracefile_options {
    const char *path;          /* appended to; made with mode 0600 */
    bool digests;              /* of ids instead of the ids: no text can be read from the file */
    const char *model;         /* these three are copied into every line; they outlive it */
    const unsigned char *fingerprint; /* [32] */
    const char *numerics;
};

/* E_IO: the file cannot be opened. */
int tracefile_open(struct tracefile **out, const struct tracefile_options *o,
                   struct err *e) MUST_USE;
/* For sched_options. A record that finds the queue full is dropped and counted in the next line. */
struct trace_sink tracefile_sink(struct tracefile *t);
void tracefile_close(struct tracefile *t); /* writes what is queued; NULL allowed */

#endif
