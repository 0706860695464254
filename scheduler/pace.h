/* How many rows a step may carry, by the time that steps take. Pure: times are handed in.
 *
 * A step that has streams (rows of decoding sequences) may take the target: a time that was asked
 * for, or by default PACE_SHARED times what the streams alone would take, measured, so that it fits
 * the machine, the model and its load. One of prompts alone keeps nobody waiting but who comes
 * next: it may take PACE_ALONE times a step of one row. So a request of 16 tokens, which waits for
 * the step that runs and then has 17 of its own, takes less than 8 + 17 x 2.5 = 51 steps of one
 * row, whatever else there is; alone it takes 17 or more. Where a step is bound by reading weights
 * both bounds lie beyond the token budget, and change nothing.
 *
 * Times are learned for each power of two of rows, as one point (rows, ns) each, and lie on lines
 * between these. What is not known, or was learned long ago, is tried: with a step of the streams
 * alone, or of one row. Owner: the engine. */
#ifndef RECURD_PACE_H
#define RECURD_PACE_H

#include "base/base.h"

#define PACE_SHARED 2.5
#define PACE_ALONE 8
#define PACE_CLASSES 18 /* rows up to 2^17: the largest step is 65,536 */
#define PACE_LEAST 4    /* rows that prompts get in any case */
#define PACE_JUMP 2     /* a step counts as so many times what was expected, at most */
#define PACE_YOUNG 4    /* steps for which a time that was seen once, or is strange, is believed, */
#define PACE_AGE 256    /* and twice as many each time it is seen again, up to these */

struct pace {
    uint64_t target_ns; /* of a step with streams; 0 = PACE_SHARED times the streams alone */
    struct pace_class {
        double rows, ns;    /* of steps of 2^i to 2^(i+1) - 1 rows; ns 0 = never seen */
        uint32_t age, keep; /* steps since it was seen; it is known while age < keep */
    } seen[PACE_CLASSES];
};

/* A step of `rows` rows took ns. */
void pace_note(struct pace *p, int32_t rows, uint64_t ns);
/* What a step of `rows` rows takes; 0 = nothing is known. */
uint64_t pace_ns(const struct pace *p, int32_t rows);
/* What a step with `decode` rows of streams may take, or one of prompts alone (0); 0 = unknown. */
uint64_t pace_most(const struct pace *p, int32_t decode);
/* Rows of the next step, at most `budget`, of which `decode` <= budget are rows of streams. With
 * prompts it is never 0, and more than `decode` but in a trial. */
int32_t pace_rows(const struct pace *p, int32_t decode, int32_t n_prompts, int32_t budget);

#endif
