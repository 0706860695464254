/* Which tokens one sequence has seen, and how often it wrote them: what the penalties need.
 *
 * A request without penalties has none. Cost of a penalty: the distinct tokens, not the
 * vocabulary. Owner: the sequence. Thread: engine. */
#ifndef RECURD_TALLY_H
#define RECURD_TALLY_H

#include "base/err.h"

#define TALLY_PROMPT (UINT32_C(1) << 31) /* the token is in the prompt */
#define TALLY_COUNT (TALLY_PROMPT - 1)   /* times it was written */

struct tally {
    uint32_t *marks; /* [vocab]; TALLY_PROMPT | count. NULL = an empty tally that stays empty */
    int32_t *ids;    /* [vocab], the first n are the distinct tokens, in order of appearance */
    int32_t n, vocab;
};

int tally_init(struct tally *t, int32_t vocab, struct err *e) MUST_USE;
void tally_fini(struct tally *t);
void tally_prompt(struct tally *t, const int32_t *ids, int64_t n);
void tally_output(struct tally *t, int32_t id);

#endif
