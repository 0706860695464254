/* The end of a session's turn: its last state, durable before the reader hears. Engine thread. */
#ifndef RECURD_TURN_END_H
#define RECURD_TURN_END_H

#include "scheduler/seq.h"

struct cached;
struct track;

/* A session's turn whose text is out. Its state has yet to see the token drawn last, to be kept
 * and to become durable; then the reader is told of the end. Owner: the list in struct cached. */
struct ending {
    struct ending *next;
    struct request *r;    /* one reference; NULL until the text is delivered */
    struct track *track;
    enum finish finish;
    bool settled;         /* captured and committed: slot and pages are given back */
    bool told;            /* the track has the token drawn last */
    bool waits;           /* for its receipt; or for ids in its state's way to be read, until … */
    uint64_t until_ns;
    struct err why;       /* … or cannot be */
    int32_t slot, *pages; /* taken over from the sequence, [n_pages] of pages_per_seq */
    int32_t n_pages;
    int64_t pos, n_prompt; /* of the state; of the prompt, context included */
    int32_t *output, n_output; /* the tokens drawn; the state lacks the last one if … */
    bool left;
};

/* Takes over what the end of a turn needs: the logits of this step are still being read, so
 * nothing may run now. First in the list. NULL = no memory. */
struct ending *turn_end_take(struct cached *c, struct seq *q);
/* One that is not in the list (any more). */
void turn_end_free(struct cached *c, struct ending *x);
/* Between two steps: the last rows, states and commits of all that ended; readers of those that are
 * safe are told. A lost device is noted in c. */
void turn_end_tick(struct cached *c);
void turn_end_close(struct cached *c); /* all are told; what is not settled did not happen */

#endif
