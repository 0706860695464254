/* Which tokens one sequence has seen, and what its penalties subtract from each: kept as the list
 * that a sampler wants, so that a step costs nothing but the sampler's own reading.
 *
 * A request without penalties has none. Cost of a penalty: the distinct tokens, not the
 * vocabulary. Owner: the sequence. Thread: engine. */
#ifndef RECURD_TALLY_H
#define RECURD_TALLY_H

#include "kernels/sample.h"

struct tally {
    struct sample_edit *edits; /* [vocab], the first n: distinct tokens in order of appearance */
    uint32_t *times;           /* [vocab] times written, of edits[i] */
    int32_t *place;            /* [vocab] 1 + index into both, 0 = not seen. NULL = a tally that */
    int32_t n, vocab;          /* stays empty */
    float presence, frequency; /* subtracted: once, and for each time, if written */
    int32_t window;            /* of so many tokens, the last; 0 = of all */
    int64_t fed;
    int32_t *last;             /* [window] a ring: ids, or ~id of those not written */
    uint32_t *all;             /* [vocab] times in the window, of edits[i] */
};

int tally_init(struct tally *t, int32_t vocab, float presence, float frequency,
               struct err *e) MUST_USE;
/* Before any token: only the last `window` of them count. E_NOMEM. */
int tally_limit(struct tally *t, int32_t window, struct err *e) MUST_USE;
void tally_clear(struct tally *t); /* no token was seen */
void tally_fini(struct tally *t);
void tally_prompt(struct tally *t, const int32_t *ids, int64_t n);
void tally_output(struct tally *t, int32_t id);

#endif
