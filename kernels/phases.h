/* The phases of a step: which ops may run at the same time, and which follow each other without
 * any wait between the parts of a device. A backend that runs a whole step as one launch meets at
 * a barrier between phases, so their number bounds how fast a step of few rows can be.
 *
 * An op that reads or writes what another one writes comes in a later phase than it, unless both
 * are *row-local* (norm, ew, shift, conv, rope, recurrences by head …) and cut alike: then the two
 * form a *chain*. A product may begin one, so that an activation is its epilogue. An op that needs
 * several chains of one phase makes one of them. A chain falls into `tiles` that share nothing. A
 * member's row falls into *pieces* (q, k and v of one convolution, say), and tile i of `tiles` has
 * the i-th equal share of each: of the same columns of every operand that a member owns. A tile of
 * a row belongs to one group of work-items, which runs the members in order with a barrier of its
 * own. What wants a whole row (a norm) has one tile; an op of many columns behind it rather waits
 * for all of it and has the whole device.
 *
 * That holds for a step of one row a sequence: rows of one sequence wait for each other. */
#ifndef RECURD_PHASES_H
#define RECURD_PHASES_H

#include "base/buf.h"
#include "base/err.h"
#include "kernels/plan.h"

#define PHASE_PIECES 8

/* Where the pieces of an op's row end. A row has `units` equal units, or 0: it cannot be cut. */
struct pieces { int32_t units, n, end[PHASE_PIECES]; };

struct phase_op {
    int32_t phase; /* from 0 */
    int32_t chain; /* the first op of its chain: itself for most */
    int32_t tiles; /* of the chain; 0: an op that is cut otherwise (attention, …) */
    struct pieces pieces;
};

/* Owner: the caller. Thread: any. */
struct phases {
    struct phase_op *ops; /* one for each op of the plan */
    int32_t n_ops, n_phases;
};

/* c: what p is laid out for (plan_layout); then activations that share memory wait for each other.
 * NULL: each has memory of its own, and only what is computed matters. Quadratic in the ops of the
 * plan: 10 ms for 700. E_NOMEM. On failure nothing is held. */
int phases_find(struct phases *out, const struct plan *p, const struct capacity *c,
                struct err *e) MUST_USE;
void phases_free(struct phases *x);

/* Into level[n_ops]: one more than that of any op before it which shares data with it, or 0. Ops of
 * one level may run at the same time, whatever the rows of a step. Otherwise as phases_find. */
int phases_levels(int32_t *level, const struct plan *p, const struct capacity *c,
                  struct err *e) MUST_USE;

/* One line a phase: its ops, chains in brackets with their tiles. */
void phases_text(const struct phases *x, const struct plan *p, struct buf *out);

#endif
