/* Where snapshots go along a path, and which are kept as it grows. Pure functions.
 *
 * The grid of a path of T tokens: the latest eight multiples of grid * 2^k for every k. So there
 * are O(log T) of them, and rewinding by d tokens computes about 1.25 d + grid again. */
#ifndef RECURD_PLANNER_H
#define RECURD_PLANNER_H

#include "base/base.h"

#define PLANNER_GRID 64  /* below it a state costs more to copy and keep than to compute */
#define PLANNER_LATEST 8 /* multiples of each spacing that are kept */

/* Why a position has a snapshot, least lasting first. */
enum point {
    POINT_GRID,
    POINT_END,    /* of a prompt or a turn */
    POINT_MARK,   /* a later message boundary */
    POINT_BRANCH, /* two paths part here */
    POINT_SYSTEM, /* the first message boundary: what conversations share */
    POINT_SWAP,   /* a preempted sequence */
};

/* Whether grid position p > 0 (a multiple of grid) belongs to a path of T >= p tokens. */
bool planner_on_grid(int64_t p, int64_t T, int64_t grid);

/* The least grid position > p of a path that will have T tokens; INT64_MAX = none up to T. */
int64_t planner_next(int64_t p, int64_t T, int64_t grid);

/* Whether the snapshot at p, of this kind, stays on a path of T tokens. `newer` is the next deeper
 * position that stays (T if none): points other than the grid thin out so that the gaps between
 * them grow with their distance from the end. */
bool planner_keep(enum point kind, int64_t p, int64_t T, int64_t newer, int64_t grid);

#endif
