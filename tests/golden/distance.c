/* See distance.h. */
#include "tests/golden/distance.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int32_t likeliest(const float *x, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* log of the sum of exp(x). */
static double log_sum(const float *x, int32_t n)
{
    double sum = 0, most = x[likeliest(x, n)];
    for (int32_t i = 0; i < n; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

/* Of two rows of logits: what b's distribution lacks of a's. */
static double divergence(const float *a, const float *b, int32_t n)
{
    double la = log_sum(a, n), lb = log_sum(b, n), sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += exp(a[i] - la) * ((a[i] - la) - (b[i] - lb));
    return sum;
}

static double relative(const float *a, const float *b, int32_t n)
{
    double off = 0, all = 0;
    for (int32_t i = 0; i < n; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)a[i] * a[i];
    }
    return sqrt(off / all);
}

struct distance distance_of(const float *a, const float *b, int32_t n, int32_t vocab)
{
    static double token[DISTANCE_TOKENS];
    struct distance d = {0};
    ASSERT(n > 0 && n <= DISTANCE_TOKENS);
    for (int32_t i = 0; i < n; i++) {
        const float *ra = a + (size_t)i * (size_t)vocab, *rb = b + (size_t)i * (size_t)vocab;
        token[i] = relative(ra, rb, vocab);
        d.divergence += divergence(ra, rb, vocab) / n;
        d.same += likeliest(ra, vocab) == likeliest(rb, vocab);
    }
    qsort(token, (size_t)n, sizeof *token, ascending);
    d.median = token[n / 2];
    d.worst = token[n - 1];
    return d;
}

double perplexity_of(const int32_t *ids, int32_t n, const float *a, int32_t vocab)
{
    double sum = 0;
    for (int32_t i = 0; i + 1 < n; i++) {
        const float *row = a + (size_t)i * (size_t)vocab;
        sum += log_sum(row, vocab) - row[ids[i + 1]];
    }
    return exp(sum / (n - 1));
}
