/* How many rows of prompts a step may carry beside others. Pure: times are handed in.
 *
 * A step's time is learned for each power of two of rows. A stream's step may take PACE_SHARED
 * times what it would without prompts, and a step of prompts alone PACE_ALONE times one of a single
 * row: so a request of 16 tokens, which waits for the step that runs and then has 17 of its own,
 * takes less than 8 + 17 x 2 = 42 steps of one row, whatever else there is; alone it takes 17 or
 * more. Where a step is bound by reading weights both bounds lie beyond the token budget, and
 * change nothing. What is not known, or was learned long ago, is tried: with a step without
 * prompts, or of one row. Owner: the engine. */
#ifndef RECURD_PACE_H
#define RECURD_PACE_H

#include "base/base.h"

#define PACE_SHARED 2
#define PACE_ALONE 8
#define PACE_CLASSES 18 /* rows up to 2^17: the largest step is 65,536 */
#define PACE_LEAST 4    /* rows that prompts get in any case */
#define PACE_AGE 256    /* steps after which a time is tried again */

struct pace {
    uint64_t ns[PACE_CLASSES];  /* of a step of 2^i rows; 0 = not known yet */
    uint32_t age[PACE_CLASSES]; /* steps since it was seen */
};

/* A step of `rows` rows took ns. */
void pace_note(struct pace *p, int32_t rows, uint64_t ns);
/* What a step of `rows` rows takes; 0 = nothing is known. */
uint64_t pace_ns(const struct pace *p, int32_t rows);
/* Rows of the next step, at most `budget`, of which `decode` are rows of streams and each of
 * n_prompts prompts gets one at least. Fewer: a trial, of the streams alone, or of one row. */
int32_t pace_rows(const struct pace *p, int32_t decode, int32_t n_prompts, int32_t budget);

#endif
