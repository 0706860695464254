/* How many rows a step may carry, by the time that steps take. Pure: times are handed in.
 *
 * The rows of streams, and of prompts so short that they are through at once, come *first*; the
 * other prompts get what is left of the time that the step may take:
 *
 *  - with streams, PACE_SHARED times what these alone would take, measured, so that it fits the
 *    machine, the model and its load (or a target that was asked for); with short prompts and no
 *    stream, as much of these;
 *  - with few streams, all of them beyond their first PACE_SHORT tokens, *calm* ones, more: up to
 *    PACE_CALM times what one alone takes, divided by the root of their number, as long as nobody
 *    feels it (PACE_FELT_NS). A step has a part that does not grow with its rows, which is about
 *    that of one row: in steps ten times as long prompts run nine tenths as fast as they could,
 *    in such of PACE_SHARED little more than half as fast. The more streams there are the more
 *    wait, and the larger is the part of their own. What a calm step took longer than PACE_SHARED
 *    says is a debt to who comes next, see below;
 *  - with none, PACE_ALONE times a step of one row, or more as long as nobody feels it and rows get
 *    cheaper by it (PACE_WORTH; tried, where a device has several kernels): nobody waits but who
 *    comes next, and for this step alone. That time is a debt: until it is paid back, those that
 *    come first run by themselves. So a request that takes t alone takes at most PACE_SHARED t, or
 *    t and one step of prompts, whichever is longer, whatever else there is.
 *
 * Where even PACE_LEAST rows more take longer than that, they run less often, and more of them
 * where that costs little (on a GPU streams alone are one kernel, a step with prompts hundreds):
 * what steps took less than they might is saved up for them, so the mean holds. Nobody saves for
 * more than PACE_PATIENCE steps. Where a step is bound by reading weights all of this lies beyond
 * the token budget and changes nothing.
 *
 * Times are learned for each power of two of rows, as one point (rows, ns) each, and lie on lines
 * between these: those of all steps, and apart from them those of what runs alone, which the bounds
 * are multiples of; where a device makes steps of one row a sequence by other kernels
 * (single_rows), these are in the latter alone. What is not known, or was learned long ago, is
 * tried: PACE_TRIAL steps in a row of the streams alone, or of one row, of which the last count
 * most: what other rows left in the caches makes the first of them slow. Owner: the engine. */
#ifndef RECURD_PACE_H
#define RECURD_PACE_H

#include "base/base.h"
#include "base/clock.h"

#define PACE_SHARED 2.5
#define PACE_CALM 10
#define PACE_FELT_NS (70 * NS_PER_MS) /* of 100: steps differ, and a text has a way to go */
#define PACE_SHORT 32    /* tokens */
#define PACE_ALONE 16
#define PACE_CLASSES 18  /* rows up to 2^17: the largest step is 65,536 */
#define PACE_WORTH 0.05  /* of a row's time that twice as many must save to be taken */
#define PACE_LEAST 4     /* rows that prompts get if they get any */
#define PACE_FLAT 1.25   /* times as long may such a step take with PACE_MANY and more */
#define PACE_MANY 16
#define PACE_PATIENCE 16 /* steps that they get none in a row, at most */
#define PACE_TRIAL 6
#define PACE_JUMP 2      /* a step counts as so many times what was expected, at most */
#define PACE_YOUNG 4     /* steps for which a time that was seen once, or is strange, is */
#define PACE_AGE 256     /* believed, and twice as many each time it is seen again, up to these */

struct pace {
    uint64_t target_ns;  /* of a step with rows that come first; 0 = by PACE_SHARED */
    int32_t single_rows; /* as in struct device: times of such steps say nothing about others */
    struct pace_class {
        double rows, ns;    /* of steps of 2^i to 2^(i+1) - 1 rows; ns 0 = never seen */
        uint32_t age, keep; /* steps since it was seen; it is known while age < keep */
    } all[PACE_CLASSES], alone[PACE_CLASSES];
    double saved;   /* ns that steps took less than PACE_SHARED says; < 0 = a debt */
    int32_t base;   /* of the last step: its streams; without any, the rows that come first */
    bool streams;   /* the last step had any */
    bool calm;      /* of the last step: it had calm streams and nobody else came first */
    int32_t trial;  /* steps that a trial still takes */
    int32_t passed; /* steps in a row in which others waited and got nothing */
};

/* A step of `rows` rows took ns. single: of as many sequences, each with logits. */
void pace_note(struct pace *p, int32_t rows, bool single, uint64_t ns);
/* What a step of `rows` rows takes, prompts among them; 0 = nothing is known. */
uint64_t pace_ns(const struct pace *p, int32_t rows);
/* What `rows` rows of prompts take beside so many streams, as long as these last, in steps of at
 * most `budget` rows; 0 = nothing is known. */
uint64_t pace_prompts_ns(const struct pace *p, int32_t streams, int64_t rows, int32_t budget);
/* What a step with `base` rows of streams (or, without any, of prompts that come first) may take,
 * debts aside, or one of other prompts alone (0); 0 = unknown. calm: the rows are calm streams'. */
uint64_t pace_most(const struct pace *p, int32_t base, bool calm);
/* Rows that may come first: the `decode` of streams and as many of short prompts as fit in half of
 * the time that the step may take besides. <= budget. */
int32_t pace_first(const struct pace *p, int32_t decode, int32_t budget);
/* Rows of the next step, at most `budget`, of which first <= budget come first, decode of them of
 * streams; n_others prompts wait besides. Never less than `first`, never 0 with prompts. calm: no
 * stream is within its first PACE_SHORT tokens. */
int32_t pace_rows(struct pace *p, int32_t decode, int32_t first, bool calm, int32_t n_others,
                  int32_t budget);

#endif
