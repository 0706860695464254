/* The order of the likeliest tokens, and steps 7 to 9 of sample.h.
 *
 * Truncation (top_k, top_p) needs the order of the likeliest tokens only. They are spread over
 * buckets of distance from the largest logit, and just the bucket in which the cut falls is
 * sorted. How deep to look is guessed from the largest logits of the blocks: k blocks whose
 * largest reaches a depth hold k tokens that do. If it was not deep enough, four times as deep is
 * next.
 *
 * Invariant: what is kept is a prefix of the order (logit descending, id ascending), and sums are
 * exact, so how it was found leaves no trace. */
#include <math.h>
#include <string.h>

#include "kernels/sample_int.h"

/* Without another guess: tokens within 12 nats (6e-6) of the largest, and for top_p alone as many
 * as this: more than most vocabularies need for 0.95. */
#define NEAR_NATS 12.0f
#define NEAR_TOKENS 256

/* ---- steps 7 and 8 -------------------------------------------------------------------- */

static void sift_down(const float *x, int32_t *v, int32_t i, int32_t n)
{
    for (int32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && sample_before(x, v[child], v[child + 1]))
            child++;
        if (!sample_before(x, v[i], v[child]))
            return;
        int32_t t = v[i];
        v[i] = v[child];
        v[child] = t;
    }
}

/* Heapsort: in place, no recursion, and no worst case for a row to provoke. */
void sample_sort(const float *x, int32_t *v, int32_t n)
{
    for (int32_t i = n / 2; i-- > 0;)
        sift_down(x, v, i, n);
    for (int32_t end = n; end-- > 1;) {
        int32_t t = v[0];
        v[0] = v[end];
        v[end] = t;
        sift_down(x, v, 0, end);
    }
}

static int32_t bucket_of(const struct cut *c, float x)
{
    float d = (c->max - softmax_tame(x)) * c->scale;
    return d < SOFTMAX_FAR ? (int32_t)(d * BUCKETS_PER_NAT) : BUCKETS - 1;
}

/* A depth at which at least `need` tokens are likely, from the blocks' largest. */
static float guess_depth(struct sampler *s, const struct cut *c, int32_t need)
{
    int32_t blocks = (s->vocab + SOFTMAX_BLOCK - 1) / SOFTMAX_BLOCK, b = 0, sum = 0;
    if (need > blocks / 2) /* their tails overlap: no better than the fixed guess */
        return NEAR_NATS;
    memset(s->buckets, 0, (size_t)BUCKETS * sizeof *s->buckets);
    for (int32_t i = 0; i < blocks; i++)
        s->buckets[bucket_of(c, s->tops[i])].n++;
    while ((sum += s->buckets[b].n) < need)
        b++;
    return (float)(b + 1) / BUCKETS_PER_NAT;
}

/* Candidates: ids with a weight and a logit >= least, counted and summed per bucket. (Not a
 * least weight: weights of almost equal logits may be rounded into the other order.) */
static uint64_t spread(struct sampler *s, struct cut *c, float least)
{
    int32_t n = 0, *found = s->found;
    for (int32_t at = 0; at < s->vocab; at += SOFTMAX_BLOCK) {
        if (s->tops[at / SOFTMAX_BLOCK] < least)
            continue;
        for (int32_t i = at; i < MIN(at + SOFTMAX_BLOCK, s->vocab); i++) {
            found[n] = i;
            n += (softmax_tame(c->x[i]) >= least) & (c->w[i] > 0);
        }
    }
    c->n = n;
    memset(s->buckets, 0, (size_t)BUCKETS * sizeof *s->buckets);
    uint64_t sum = 0;
    for (int32_t i = 0; i < n; i++) {
        struct bucket *b = &s->buckets[bucket_of(c, c->x[found[i]])];
        uint64_t w = softmax_fixed(c->w[found[i]]);
        b->sum += w;
        b->n++;
        sum += w;
    }
    return sum;
}

/* The candidates of bucket b in order of preference, in s->sorted. */
static int32_t sort_bucket(struct sampler *s, const struct cut *c, int32_t b)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->n; i++)
        if (bucket_of(c, c->x[s->found[i]]) == b)
            s->sorted[n++] = s->found[i];
    sample_sort(c->x, s->sorted, n);
    return n;
}

/* Keeps the k <= c->n first candidates; what is cut off leaves its bucket. Returns the sum of
 * what is left. */
static uint64_t cut_top_k(struct sampler *s, struct cut *c, int32_t k)
{
    uint64_t sum = 0;
    int32_t b = 0, taken = 0;
    while (taken + s->buckets[b].n < k) {
        taken += s->buckets[b].n;
        sum += s->buckets[b++].sum;
    }
    (void)sort_bucket(s, c, b); /* it holds at least the k - taken that are looked at */
    struct bucket left = {0};
    for (; taken + left.n < k; left.n++)
        left.sum += softmax_fixed(c->w[s->sorted[left.n]]);
    c->last = s->sorted[left.n - 1];
    s->buckets[b++] = left;
    memset(s->buckets + b, 0, (size_t)(BUCKETS - b) * sizeof *s->buckets);
    return sum + left.sum;
}

/* Keeps the first candidates whose weights reach the goal, which all of them together do. */
static void cut_top_p(struct sampler *s, struct cut *c, uint64_t goal)
{
    uint64_t sum = 0;
    int32_t b = 0;
    while (s->buckets[b].n == 0 || sum + s->buckets[b].sum < goal)
        sum += s->buckets[b++].sum;
    (void)sort_bucket(s, c, b); /* of which top_k may have cut the end: the goal comes before */
    for (int32_t i = 0; i == 0 || sum < goal; i++) {
        sum += softmax_fixed(c->w[s->sorted[i]]);
        c->last = s->sorted[i];
    }
}

int32_t sample_cut(struct sampler *s, struct cut *c, int32_t top_k, uint64_t top_p,
                   uint64_t total)
{
    bool by_k = top_k > 0 && top_k < s->vocab;
    uint64_t sum = 0, goal = sample_share(top_p, total);
    float nats = guess_depth(s, c, by_k ? top_k : NEAR_TOKENS);
    for (;; nats *= 4) {
        bool all = nats > SOFTMAX_FAR;
        sum = spread(s, c, all ? -INFINITY : c->max - nats / c->scale);
        if (all || (c->n > 0 && (by_k ? c->n >= top_k : sum >= goal)))
            break;
    }
    if (by_k && top_k <= c->n) /* also when equal: the far ones are no candidates, but there */
        total = cut_top_k(s, c, top_k);
    if (top_p != SAMPLE_ALL)
        cut_top_p(s, c, sample_share(top_p, total));
    int32_t n = 0;
    for (int32_t i = 0; i < c->n; i++) {
        int32_t id = s->found[i];
        s->sorted[n] = id;
        n += c->last < 0 || id == c->last || sample_before(c->x, id, c->last);
    }
    return n;
}

/* ---- step 9 --------------------------------------------------------------------------- */

int32_t sample_listed(const struct sampler *s, int32_t n, uint64_t uniform)
{
    uint64_t total = 0, sum = 0;
    for (int32_t i = 0; i < n; i++)
        total += softmax_fixed(s->weights[s->sorted[i]]);
    uint64_t goal = sample_share(uniform, total);
    int32_t i = 0;
    while ((sum += softmax_fixed(s->weights[s->sorted[i]])) <= goal)
        i++;
    return s->sorted[i];
}

int32_t sample_any(const struct sampler *s, uint64_t total, uint64_t uniform)
{
    uint64_t goal = sample_share(uniform, total), sum = 0;
    int32_t block = 0;
    while (sum + s->sums[block] <= goal)
        sum += s->sums[block++];
    int32_t i = block * SOFTMAX_BLOCK;
    while ((sum += softmax_fixed(s->weights[i])) <= goal)
        i++;
    return i;
}
