/* A plan in parts, one for each device: every part is a plan of its own.
 *
 * It is cut between layers, before the first op on rows of logits, and only where all sections that
 * earlier ops use come before those of later ops: so the slot of a sequence is the parts' slots one
 * after the other, and a page likewise. Of the ways to cut, the largest part's weights are least;
 * a weight that several parts use is in each of them. */
#ifndef RECURD_SPLIT_CUT_H
#define RECURD_SPLIT_CUT_H

#include "base/err.h"
#include "kernels/plan.h"

/* An activation that crosses from part to part: rows of tokens. */
struct crossing { int32_t *acts, n; };

/* Owner: whoever cut. Ops, weights and sections have numbers of their own in `plan`; activations
 * keep theirs. */
struct part {
    struct plan plan;
    int32_t from, end;                /* ops of the whole */
    int32_t *weight_of;               /* [weights of the whole] -1 = not here */
    struct crossing in, out;          /* read here, and written by earlier parts; the reverse */
    int64_t slot_from, page_from;     /* where its floats begin in a slot, a page, of the whole */
    int64_t weight_bytes;
    struct ew_program *programs;
};

/* Fills parts[n], n >= 1. p outlives them. E_RANGE: there are fewer places to cut than that takes.
 * On failure nothing is held. */
int plan_cut(struct part *parts, int32_t n, const struct plan *p, struct err *e) MUST_USE;
void part_free(struct part *x);

#endif
