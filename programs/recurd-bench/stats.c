/* Exact statistics over samples that are all kept. Thread: one. */
#include "programs/recurd-bench/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void stats_add(struct stats *s, double x)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 256; /* 2 KiB first: most series are short */
        double *v = mem_realloc(s->v, cap * sizeof *v);
        if (!v) {
            s->failed = true;
            return;
        }
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = x;
}

void stats_free(struct stats *s)
{
    mem_free(s->v);
    *s = (struct stats){0};
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stats_sort(struct stats *s)
{
    if (s->n > 1)
        qsort(s->v, s->n, sizeof *s->v, compare);
}

double stats_quantile(const struct stats *s, double q)
{
    if (!s->n)
        return 0;
    double at = q * (double)(s->n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= s->n)
        return s->v[s->n - 1];
    double part = at - (double)i;
    return s->v[i] + part * (s->v[i + 1] - s->v[i]);
}

double stats_share_below(const struct stats *s, double x)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->v[mid] <= x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return s->n ? (double)lo / (double)s->n : 0;
}

void stats_summary(struct stats *s, struct summary *out)
{
    memset(out, 0, sizeof *out);
    out->n = s->n;
    if (!s->n)
        return;
    stats_sort(s);
    /* Welford: a plain sum of squares loses the deviation of large, close values. */
    double mean = 0, m2 = 0;
    for (size_t i = 0; i < s->n; i++) {
        double d = s->v[i] - mean;
        mean += d / (double)(i + 1);
        m2 += d * (s->v[i] - mean);
    }
    out->mean = mean;
    out->std = sqrt(m2 / (double)s->n);
    out->min = s->v[0];
    out->max = s->v[s->n - 1];
    out->p50 = stats_quantile(s, 0.50);
    out->p90 = stats_quantile(s, 0.90);
    out->p95 = stats_quantile(s, 0.95);
    out->p99 = stats_quantile(s, 0.99);
    out->p999 = stats_quantile(s, 0.999);
}
