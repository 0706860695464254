/* Which rows run in the next step. A pure function, so that fairness and limits can be tested
 * without a device.
 *
 * Decode first: every sequence that only needs its next token gets its row in every step, so a
 * stream's gap is bounded by one step, and a step by its token budget (pace.h). Then come prompts
 * that are through with this step, as far as they were marked. What is left goes to the other
 * prompts: half of it in equal shares, so that each one moves on however many short ones
 * come; the rest to the one with the least left, so that a short one takes at most twice its steps
 * however long the others are. More prompts than that half has rows take turns. */
#ifndef RECURD_BATCH_H
#define RECURD_BATCH_H

#include "base/base.h"

/* A newcomer's prompt had rows in so many steps at most, or is as short as this. */
#define BATCH_NEW 2
#define BATCH_SHORT 256

/* A sequence that may run now. */
struct batch_want {
    int32_t left;     /* rows until its next token can be drawn, >= 1 */
    int32_t most;     /* not more now: a cut position, room at the reader, pages; >= 1 */
    int32_t score_from, score_to; /* of the `left` rows, [from, to) need logits each */
    int32_t whole;    /* with the rows that it had, >= left, */
    int32_t had;      /* in so many steps */
    bool draws;       /* the row left - 1 needs logits: a token is drawn from it */
    bool decode;      /* left == 1 and the prompt is done */
    bool first;       /* a prompt that batch_first marked */
};

/* Rows of logits that the first n rows of w need. */
int32_t batch_logits(const struct batch_want *w, int32_t n);

/* Marks prompts that come first, shortest first, while they and the streams are at most `rows` rows
 * in all: newcomers, as what is left of a long one among others would only cut the steps of all
 * short. What is scored is not marked. Returns the rows of those that come first, streams
 * included, and sets *n_others to the number of the other prompts. */
int32_t batch_first(struct batch_want *w, int32_t n_want, int32_t rows, int32_t *n_others);

/* rows[i] = rows of w[i] in this step, 0 = none. w: oldest first; tokens: at least the rows that
 * come first, n_want <= logits. Never more than `tokens` rows nor `logits` rows of logits in all.
 * *turn: whose turn it is, kept from step to step, 0 at first. Of n prompts that stay, each gets a
 * row within n / h steps, rounded up, where h is half of what those that come first leave, rounded
 * up. Returns the sum. */
int32_t batch_pick(const struct batch_want *w, int32_t n_want, int32_t tokens, int32_t logits,
                   uint32_t *turn, int32_t *rows);

#endif
