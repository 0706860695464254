/* Sampling. Engine thread; see the header for the definition.
 *
 * Truncation (top_k, top_p) needs the order of the largest tokens only. They are spread over
 * buckets of logit distance from the maximum, and just the bucket in which the cut falls is
 * sorted: O(vocab) with a small sort, instead of sorting the vocabulary.
 *
 * Invariant: what is kept is a prefix of the order (logit descending, id ascending), and every
 * sum runs over fixed positions, so the draw is a function of the row. */
#include "scheduler/sample.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "scheduler/softmax.h"

#define GREEDY_BELOW 1e-5f /* as vLLM: the division would only produce infinities */
/* The counter's upper half: draws of other kinds, should there be any, use other numbers. */
#define DRAW_TOKEN 1

/* 32 buckets a nat: a bucket spans 3 % in probability, a few dozen tokens of a real vocabulary.
 * Up to SOFTMAX_FAR, beyond which weights are 0. */
#define BUCKETS_PER_NAT 32
#define BUCKETS (87 * BUCKETS_PER_NAT + 1)
/* First try with the tokens within 12 nats (6e-6) of the largest: nearly always the cut is among
 * them, and they are few. Then twice as deep, and so on. */
#define NEAR_NATS 12.0f

struct bucket {
    double sum;
    int32_t n;
};

int sample_init(struct sampler *s, int32_t vocab, struct err *e)
{
    *s = (struct sampler){.vocab = vocab,
                          .padded = (int32_t)round_up((size_t)vocab, SOFTMAX_BLOCK)};
    s->logits = mem_array((size_t)s->padded, sizeof *s->logits);
    s->weights = mem_array((size_t)s->padded, sizeof *s->weights);
    s->found = mem_array((size_t)vocab, sizeof *s->found);
    s->sorted = mem_array((size_t)vocab, sizeof *s->sorted);
    s->buckets = mem_array(BUCKETS, sizeof *s->buckets);
    if (s->logits && s->weights && s->found && s->sorted && s->buckets)
        return 0;
    sample_fini(s);
    return err_set(e, E_NOMEM, "no memory to sample from %d tokens", (int)vocab);
}

void sample_fini(struct sampler *s)
{
    mem_free(s->logits);
    mem_free(s->weights);
    mem_free(s->found);
    mem_free(s->sorted);
    mem_free(s->buckets);
    *s = (struct sampler){0};
}

bool sample_penalises(const struct sampling *p)
{
    return p->repetition_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

/* ---- steps 1 to 3 --------------------------------------------------------------------- */

static void penalise(float *x, const struct sampling *p, const struct tally *seen)
{
    for (int32_t i = 0; i < seen->n; i++) {
        int32_t id = seen->ids[i];
        float v = x[id];
        v = v > 0 ? v / p->repetition_penalty : v * p->repetition_penalty;
        uint32_t times = seen->marks[id] & TALLY_COUNT;
        if (times)
            v -= (float)times * p->frequency_penalty + p->presence_penalty;
        x[id] = v;
    }
}

/* The adjusted row in s->logits. */
static void adjust(struct sampler *s, const struct sample_in *in)
{
    const struct sampling *p = in->params;
    memcpy(s->logits, in->logits, (size_t)s->vocab * sizeof *s->logits);
    for (int32_t i = s->vocab; i < s->padded; i++)
        s->logits[i] = -INFINITY;
    for (int32_t i = 0; i < p->n_bias; i++)
        s->logits[p->bias[i].id] += p->bias[i].bias;
    if (sample_penalises(p))
        penalise(s->logits, p, in->seen);
    for (int32_t i = 0; i < in->n_banned; i++)
        s->logits[in->banned[i]] = -INFINITY;
}

/* ---- steps 7 and 8 -------------------------------------------------------------------- */

/* Whether a comes before b in the order of preference. */
static bool before(const float *x, int32_t a, int32_t b)
{
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

static void sift_down(const float *x, int32_t *v, int32_t i, int32_t n)
{
    for (int32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(x, v[child], v[child + 1]))
            child++;
        if (!before(x, v[i], v[child]))
            return;
        int32_t t = v[i];
        v[i] = v[child];
        v[child] = t;
    }
}

/* Heapsort: in place, no recursion, and no worst case for a row to provoke. */
static void sort(const float *x, int32_t *v, int32_t n)
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

/* The candidates of one row and how the cut is described. */
struct cut {
    const float *x, *w;
    float max, scale;
    int32_t n;      /* candidates in found */
    int32_t last;   /* the last token kept; -1 = not known yet, all */
};

static int32_t bucket_of(const struct cut *c, int32_t id)
{
    float d = (c->max - c->x[id]) * c->scale;
    return d < SOFTMAX_FAR ? (int32_t)(d * BUCKETS_PER_NAT) : BUCKETS - 1;
}

/* Candidates: ids with a weight and a logit >= least, counted and summed per bucket. (Not a
 * least weight: weights of almost equal logits may be rounded into the other order.) */
static double spread(struct sampler *s, struct cut *c, float least)
{
    int32_t n = 0, *found = s->found;
    for (int32_t i = 0; i < s->vocab; i++) {
        found[n] = i;
        n += (c->x[i] >= least) & (c->w[i] > 0);
    }
    c->n = n;
    memset(s->buckets, 0, BUCKETS * sizeof *s->buckets);
    for (int32_t i = 0; i < c->n; i++) {
        struct bucket *b = &s->buckets[bucket_of(c, s->found[i])];
        b->sum += c->w[s->found[i]];
        b->n++;
    }
    double sum = 0;
    for (int32_t b = 0; b < BUCKETS; b++)
        sum += s->buckets[b].sum;
    return sum;
}

/* The candidates of bucket b in order of preference, in s->sorted. */
static int32_t sort_bucket(struct sampler *s, const struct cut *c, int32_t b)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->n; i++)
        if (bucket_of(c, s->found[i]) == b)
            s->sorted[n++] = s->found[i];
    sort(c->x, s->sorted, n);
    return n;
}

/* Keeps the k <= c->n first candidates; what is cut off leaves its bucket. Returns the sum of
 * what is left. */
static double cut_top_k(struct sampler *s, struct cut *c, int32_t k)
{
    double sum = 0;
    int32_t b = 0, taken = 0;
    while (taken + s->buckets[b].n < k) {
        taken += s->buckets[b].n;
        sum += s->buckets[b++].sum;
    }
    (void)sort_bucket(s, c, b); /* it holds at least the k - taken that are looked at */
    struct bucket left = {0};
    for (; taken + left.n < k; left.n++)
        left.sum += c->w[s->sorted[left.n]];
    c->last = s->sorted[left.n - 1];
    s->buckets[b++] = left;
    memset(s->buckets + b, 0, (size_t)(BUCKETS - b) * sizeof *s->buckets);
    return sum + left.sum;
}

/* Keeps the first candidates whose weights reach `goal`. */
static void cut_top_p(struct sampler *s, struct cut *c, double goal)
{
    double sum = 0;
    int32_t b = 0, end = 0;
    for (int32_t i = 0; i < BUCKETS; i++)
        if (s->buckets[i].n)
            end = i;
    while (b < end && sum + s->buckets[b].sum < goal)
        sum += s->buckets[b++].sum;
    int32_t n = sort_bucket(s, c, b);
    n = MIN(n, s->buckets[b].n); /* top_k may have cut this bucket */
    for (int32_t i = 0; i < n; i++) {
        sum += c->w[s->sorted[i]];
        c->last = s->sorted[i];
        if (sum >= goal)
            return;
    }
}

/* Removes what top_k and top_p exclude. total: the sum of all weights. */
static void truncate_row(struct sampler *s, const struct sampling *p, float max, float scale,
                         double total)
{
    bool by_k = p->top_k > 0 && p->top_k < s->vocab, by_p = p->top_p < 1;
    struct cut c = {.x = s->logits, .w = s->weights, .max = max, .scale = scale, .last = -1};
    double sum = 0;
    for (float nats = NEAR_NATS; c.n == 0 || (by_k ? c.n < p->top_k : sum < p->top_p * total);
         nats *= 2) {
        bool all = nats > SOFTMAX_FAR;
        sum = spread(s, &c, all ? -INFINITY : max - nats / scale);
        if (all)
            break;
    }
    if (by_k && c.n < p->top_k)
        total = sum;
    if (by_k && p->top_k <= c.n) /* also when equal: the far ones are no candidates, but there */
        total = cut_top_k(s, &c, p->top_k);
    if (by_p)
        cut_top_p(s, &c, (double)p->top_p * total);
    if (c.last < 0)
        return;
    int32_t n = 0;
    for (int32_t i = 0; i < c.n; i++) {
        int32_t id = s->found[i];
        s->sorted[n] = id;
        n += id == c.last || before(c.x, id, c.last);
    }
    for (int32_t i = 0; i < n; i++) /* found is not needed any more: keep the weights there */
        memcpy(&s->found[i], &c.w[s->sorted[i]], sizeof(float));
    memset(s->weights, 0, (size_t)s->vocab * sizeof *s->weights);
    for (int32_t i = 0; i < n; i++)
        memcpy(&s->weights[s->sorted[i]], &s->found[i], sizeof(float));
}

/* ---- steps 6 and 9 -------------------------------------------------------------------- */

static double drop_below(struct sampler *s, float least)
{
    double sum = 0;
    for (int32_t i = 0; i < s->padded; i += SOFTMAX_BLOCK) {
        float *w = s->weights + i;
        for (int j = 0; j < SOFTMAX_BLOCK; j++)
            w[j] = w[j] < least ? 0 : w[j];
        sum += softmax_block_sum(w);
    }
    return sum;
}

/* The token at which the running sum of weights, by id, passes u times the whole. */
static int32_t draw(const struct sampler *s, double u)
{
    double total = 0, sum = 0;
    for (int32_t i = 0; i < s->padded; i += SOFTMAX_BLOCK)
        total += softmax_block_sum(s->weights + i);
    double goal = u * total;
    int32_t last = -1;
    for (int32_t i = 0; i < s->padded; i += SOFTMAX_BLOCK) {
        double block = softmax_block_sum(s->weights + i);
        if (block == 0)
            continue;
        double at = sum;
        sum += block;
        if (sum <= goal && sum < total)
            continue;
        /* Rounding may place the passing after the last weight of this block: take that one. */
        for (int32_t j = i; j < i + SOFTMAX_BLOCK; j++) {
            if (s->weights[j] == 0)
                continue;
            last = j;
            at += s->weights[j];
            if (at > goal)
                break;
        }
        break;
    }
    ASSERT(last >= 0 && last < s->vocab); /* the largest has weight 1 */
    return last;
}

int sample_token(struct sampler *s, const struct sample_in *in, int32_t *id, struct err *e)
{
    const struct sampling *p = in->params;
    bool greedy = !(p->temperature >= GREEDY_BELOW);
    const float *x = in->logits;
    if (!greedy || p->n_bias || in->n_banned || sample_penalises(p)) {
        adjust(s, in);
        x = s->logits;
    }
    float max;
    int rc = softmax_max(x, s->vocab, &max, e);
    if (rc)
        return rc;
    if (greedy) {
        *id = softmax_find(x, s->vocab, max);
        return 0;
    }
    float scale = 1 / p->temperature;
    double total = softmax_weights(s->logits, s->padded, max, scale, s->weights);
    if (p->min_p > 0)
        total = drop_below(s, MIN(p->min_p, 1.0f));
    if ((p->top_k > 0 && p->top_k < s->vocab) || p->top_p < 1)
        truncate_row(s, p, max, scale, total);
    *id = draw(s, rng_unit_at(p->seed, DRAW_TOKEN, (uint64_t)in->pos));
    return 0;
}

int sample_logprobs(const struct sampler *s, const float *logits, int32_t n_top,
                    struct token_event *ev, struct err *e)
{
    float max;
    int rc = softmax_max(logits, s->vocab, &max, e);
    if (rc)
        return rc;
    double log_sum = softmax_log_sum(logits, s->vocab, max);
    ev->has_logprob = true;
    ev->logprob = (float)((double)logits[ev->id] - max - log_sum);
    n_top = MIN(MIN(n_top, LIMIT_TOP_LOGPROBS), s->vocab);
    int32_t n = 0, ids[LIMIT_TOP_LOGPROBS];
    for (int32_t id = 0; n_top > 0 && id < s->vocab; id++) {
        if (n == n_top && logits[id] <= logits[ids[n - 1]])
            continue; /* a later id never goes before an equal one */
        int32_t at = n < n_top ? n++ : n - 1;
        for (; at > 0 && logits[ids[at - 1]] < logits[id]; at--)
            ids[at] = ids[at - 1];
        ids[at] = id;
    }
    ev->n_top = n;
    for (int32_t i = 0; i < n; i++) {
        ev->top[i].id = ids[i];
        ev->top[i].logprob = (float)((double)logits[ids[i]] - max - log_sum);
    }
    return 0;
}
