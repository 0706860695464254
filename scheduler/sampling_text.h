/* Sampling parameters as a JSON object: in traces and in receipts, so that a draw can be made
 * again. Pure. */
#ifndef RECURD_SAMPLING_TEXT_H
#define RECURD_SAMPLING_TEXT_H

#include "scheduler/request.h"

/* {"temperature":…,"seed":"…","bias":[[id,x],…]}; the numbers of sampling.def and dry_breakers
 * (bytes as hexadecimal digits) where sampling_more says so. Floats with nine digits: they are
 * read back to the same bits. */
void sampling_put(struct buf *b, const struct sampling *p);

#endif
