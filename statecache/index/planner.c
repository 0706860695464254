/* Placement and thinning of snapshots. Pure: the only inputs are positions. */
#include "statecache/index/planner.h"

/* A point that is not on the grid stays if the next kept one is farther than 1/8 of its distance
 * from the end: the share that the grid's own gaps have. */
#define POINT_SHARE 8

bool planner_on_grid(int64_t p, int64_t T, int64_t grid)
{
    if (p <= 0 || p > T || p % grid)
        return false;
    /* The coarsest spacing that p is a multiple of is the one that lasts longest. */
    int k = __builtin_ctzll((uint64_t)(p / grid));
    int64_t spacing_p = p / grid >> k, spacing_T = T / grid >> k;
    return spacing_T - spacing_p < PLANNER_LATEST;
}

int64_t planner_next(int64_t p, int64_t T, int64_t grid)
{
    /* Going up the spacings from the coarsest that is alive near p would be O(log T) as well, but
     * stepping by the finest one and skipping dead ground is simpler: in the first half of a long
     * path only every 2^k-th multiple is alive. */
    int64_t q = p - p % grid + grid;
    while (q <= T) {
        if (planner_on_grid(q, T, grid))
            return q;
        /* q is dead, and so is every multiple of its own spacing up to the latest eight. */
        int k = __builtin_ctzll((uint64_t)(q / grid));
        int64_t twice = grid << (k + 1);
        int64_t next = q - q % twice + twice;
        int64_t alive = ((T / (grid << k)) - (PLANNER_LATEST - 1)) * (grid << k);
        /* Finer positions between q and next are dead too if next is before their window; a finer
         * spacing's window starts later than this one's. */
        q = next < alive ? next : q + grid;
    }
    return INT64_MAX;
}

bool planner_keep(enum point kind, int64_t p, int64_t T, int64_t newer, int64_t grid)
{
    switch (kind) {
    case POINT_GRID: return planner_on_grid(p, T, grid);
    case POINT_END:
    case POINT_MARK:
    case POINT_BRANCH: return newer - p > (T - p) / POINT_SHARE || planner_on_grid(p, T, grid);
    case POINT_SYSTEM:
    case POINT_SWAP: return true;
    }
    return true;
}
