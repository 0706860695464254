/* Samplers that few requests ask for; struct sample_shape is their definition. All work on lists of
 * tokens by id in s->sorted. Sums of weights are integers, those of weights times distances too
 * (of 128 bits): exact, as in sample.c. */
#include <math.h>
#include <string.h>

#include "kernels/elementary.h"
#include "kernels/sample_int.h"

__extension__ typedef unsigned __int128 wide;

#define DISTANCE_BITS 24 /* binary places of a distance from the largest; it is below 30 */

static float distance(const struct cut *c, int32_t id)
{
    return (c->max - softmax_tame(c->x[id])) * c->scale;
}

static uint64_t sum_of(const struct sampler *s, int32_t n)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < n; i++)
        total += softmax_fixed(s->weights[s->sorted[i]]);
    return total;
}

/* The mean over the weights of the distance: the entropy is it plus log total. */
static double mean_distance(const struct sampler *s, const struct cut *c, int32_t n,
                            uint64_t total)
{
    wide sum = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t id = s->sorted[i];
        uint64_t d = (uint64_t)((double)distance(c, id) * (1 << DISTANCE_BITS));
        sum += (wide)softmax_fixed(s->weights[id]) * d;
    }
    return (double)(uint64_t)(sum / total) / (1 << DISTANCE_BITS);
}

/* ---- top_n_sigma ---------------------------------------------------------------------- */

static void cut_sigma(struct sampler *s, float max, float sigma)
{
    float *x = s->edited;
    double sum = 0, squares = 0;
    int32_t n = 0;
    for (int32_t i = 0; i < s->vocab; i++)
        if (x[i] != -INFINITY) {
            sum += (double)x[i];
            n++;
        }
    double mean = sum / n;
    for (int32_t i = 0; i < s->vocab; i++)
        if (x[i] != -INFINITY)
            squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double least = (double)max - (double)sigma * sqrt(squares / n);
    for (int32_t i = 0; i < s->vocab; i++)
        if ((double)x[i] < least)
            x[i] = -INFINITY;
    (void)softmax_max(x, s->vocab, s->tops);
}

/* ---- typical_p ------------------------------------------------------------------------ */

static int32_t bucket_of_key(float key)
{
    float b = -key * BUCKETS_PER_NAT;
    return b < (float)(BUCKETS - 1) ? (int32_t)b : BUCKETS - 1;
}

/* The last token that stays, in the order of keys (descending, then ids). */
static int32_t typical_last(struct sampler *s, int32_t n, uint64_t goal)
{
    memset(s->buckets, 0, (size_t)BUCKETS * sizeof *s->buckets);
    for (int32_t i = 0; i < n; i++) {
        struct bucket *b = &s->buckets[bucket_of_key(s->keys[s->sorted[i]])];
        b->sum += softmax_fixed(s->weights[s->sorted[i]]);
        b->n++;
    }
    uint64_t sum = 0;
    int32_t b = 0, m = 0;
    while (s->buckets[b].n == 0 || sum + s->buckets[b].sum < goal)
        sum += s->buckets[b++].sum;
    for (int32_t i = 0; i < n; i++)
        if (bucket_of_key(s->keys[s->sorted[i]]) == b)
            s->found[m++] = s->sorted[i];
    sample_sort(s->keys, s->found, m);
    int32_t i = 0;
    while ((sum += softmax_fixed(s->weights[s->found[i]])) < goal)
        i++;
    return s->found[i];
}

static int32_t cut_typical(struct sampler *s, const struct cut *c, int32_t n, uint64_t typical)
{
    uint64_t total = sum_of(s, n);
    double mean = mean_distance(s, c, n, total);
    for (int32_t i = 0; i < n; i++)
        s->keys[s->sorted[i]] = -(float)fabs((double)distance(c, s->sorted[i]) - mean);
    int32_t last = typical_last(s, n, sample_share(typical, total)), left = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t id = s->sorted[i];
        s->sorted[left] = id;
        left += id == last || sample_before(s->keys, id, last);
    }
    return left;
}

/* ---- xtc ------------------------------------------------------------------------------ */

static int32_t cut_xtc(struct sampler *s, const float *x, int32_t n, uint64_t xtc)
{
    uint64_t goal = sample_share(xtc, sum_of(s, n));
    int32_t last = -1, left = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t id = s->sorted[i];
        if (softmax_fixed(s->weights[id]) >= goal && (last < 0 || sample_before(x, last, id)))
            last = id;
    }
    for (int32_t i = 0; i < n; i++) {
        int32_t id = s->sorted[i];
        s->sorted[left] = id;
        left += id == last || softmax_fixed(s->weights[id]) < goal;
    }
    return left;
}

/* ---- dynatemp ------------------------------------------------------------------------- */

static int32_t draw_dynamic(struct sampler *s, const struct cut *c, int32_t n,
                            const struct sample_row *r)
{
    const struct sample_shape *shape = r->shape;
    uint64_t total = sum_of(s, n);
    int32_t best = s->sorted[0];
    for (int32_t i = 0; i < n; i++) {
        s->keys[i] = c->x[s->sorted[i]];
        if (sample_before(c->x, s->sorted[i], best))
            best = s->sorted[i];
    }
    if (n == 1)
        return best;
    double most = exact_log2(n);
    double h = mean_distance(s, c, n, total) / LN_2 + exact_log2((double)total) - SOFTMAX_BITS;
    double part = exact_pow(MIN(MAX(h / most, 0), 1), (double)shape->exponent);
    double t = (double)shape->cold + (double)(shape->warm - shape->cold) * part;
    if (t < (double)SAMPLE_GREEDY)
        return best;
    float scale = (float)(1 / t);
    total = softmax_weights(s->keys, n, softmax_tame(c->x[best]), scale < 0x1p-100f ? 0 : scale,
                            SOFTMAX_LEAST, s->weights, s->sums);
    return s->sorted[sample_any(s, total, r->uniform)];
}

/* ---- mirostat ------------------------------------------------------------------------- */

/* How many of the likeliest stay, from the first n of s->sorted, in order. */
static int32_t mirostat_k(const struct sampler *s, const struct cut *c, int32_t n, double mu)
{
    double tb = 0, tt = 0;
    for (int32_t i = 0; i + 1 < n; i++) {
        double t = exact_log2((double)(i + 2) / (i + 1)) * LN_2;
        tb += t * ((double)distance(c, s->sorted[i + 1]) - (double)distance(c, s->sorted[i]));
        tt += t * t;
    }
    double slope = MAX(tb / tt, 1e-3), e = slope - 1;
    double log_n = exact_log2(s->vocab), whole = exact_exp2(mu);
    double k = fabs(e) < 1e-6 ? whole / (log_n * LN_2)
                              : e * whole / (1 - exact_exp2(-e * log_n));
    k = exact_pow(k, 1 / slope);
    return k < 1 ? 1 : k < s->vocab ? (int32_t)k : s->vocab;
}

static int32_t cut_mirostat_1(struct sampler *s, struct cut *c, uint64_t total, double mu)
{
    int32_t n = sample_cut(s, c, SAMPLE_MIROSTAT_TOP, SAMPLE_ALL, total);
    sample_sort(c->x, s->sorted, n);
    int32_t k = n < 2 ? 1 : mirostat_k(s, c, MIN(n, SAMPLE_MIROSTAT_TOP), mu);
    c->last = -1;
    return sample_cut(s, c, k, SAMPLE_ALL, total);
}

static int32_t cut_mirostat_2(struct sampler *s, const struct cut *c, uint64_t total, double mu)
{
    double goal = (double)total * exact_exp2(-mu);
    int32_t n = 0;
    for (int32_t i = 0; i < s->vocab; i++) {
        s->sorted[n] = i;
        n += s->weights[i] > 0 && (double)softmax_fixed(s->weights[i]) >= goal;
    }
    if (n == 0)
        s->sorted[n++] = softmax_find(c->x, s->vocab, c->max, s->tops);
    return n;
}

static int32_t draw_mirostat(struct sampler *s, struct cut *c, const struct sample_row *r,
                             double *surprise)
{
    uint64_t total = softmax_weights(c->x, s->vocab, c->max, c->scale, SOFTMAX_LEAST, s->weights,
                                     s->sums);
    double mu = r->shape->mu;
    int32_t n = r->shape->mirostat == 1 ? cut_mirostat_1(s, c, total, mu)
                                        : cut_mirostat_2(s, c, total, mu);
    int32_t id = sample_listed(s, n, r->uniform);
    *surprise = exact_log2((double)sum_of(s, n)) -
                exact_log2((double)softmax_fixed(s->weights[id]));
    return id;
}

/* ---- the draw ------------------------------------------------------------------------- */

/* The tokens that steps 5 to 8 leave. */
static int32_t list(struct sampler *s, struct cut *c, const struct sample_row *r)
{
    float least = MIN(MAX(r->min_p, SOFTMAX_LEAST), 1.0f);
    uint64_t total = softmax_weights(c->x, s->vocab, c->max, c->scale, least, s->weights, s->sums);
    if ((r->top_k > 0 && r->top_k < s->vocab) || r->top_p != SAMPLE_ALL)
        return sample_cut(s, c, r->top_k, r->top_p, total);
    int32_t n = 0;
    for (int32_t i = 0; i < s->vocab; i++) {
        s->sorted[n] = i;
        n += s->weights[i] > 0;
    }
    return n;
}

int32_t sample_shaped(struct sampler *s, const float *x, float max, const struct sample_row *r,
                      double *surprise)
{
    const struct sample_shape *shape = r->shape;
    struct cut c = {.x = x, .w = s->weights, .max = max, .scale = r->scale, .last = -1};
    ASSERT(x == s->edited);
    if (shape->sigma > 0)
        cut_sigma(s, max, shape->sigma);
    if (shape->mirostat)
        return draw_mirostat(s, &c, r, surprise);
    int32_t n = list(s, &c, r);
    if (shape->typical != SAMPLE_ALL)
        n = cut_typical(s, &c, n, shape->typical);
    if (shape->xtc)
        n = cut_xtc(s, x, n, shape->xtc);
    return shape->warm > 0 ? draw_dynamic(s, &c, n, r) : sample_listed(s, n, r->uniform);
}
