/* Exact statistics: every sample is kept, nothing is binned.
 *
 * Percentiles interpolate linearly between the two nearest ranks (the convention of numpy's
 * default), the deviation is the population's. Thread: one. */
#ifndef RECURD_LOAD_STATS_H
#define RECURD_LOAD_STATS_H

#include "base/base.h"

/* Owner: whoever declared it; starts as all zeros. */
struct stats {
    double *v;
    size_t n, cap;
    bool failed; /* a sample was lost for want of memory */
};

struct summary {
    size_t n; /* 0: everything below is 0 */
    double mean, std, min, p50, p90, p95, p99, p999, max;
};

void stats_add(struct stats *s, double x);
void stats_free(struct stats *s);

/* Sorts the samples in place. */
void stats_sort(struct stats *s);
/* 0 <= q <= 1 over sorted samples; 0 when there are none. */
double stats_quantile(const struct stats *sorted, double q);
/* Share of the sorted samples that are <= x. */
double stats_share_below(const struct stats *sorted, double x);
/* Sorts, then fills *out. */
void stats_summary(struct stats *s, struct summary *out);

#endif
