/* From a row of logits to a token. Pure: the same row and the same orders give the same token, on
 * every device, whoever else is in the step.
 *
 * A backend's `sample` does this for rows of its last run; sample_choose is the definition, which
 * all of them equal bit for bit. In this order:
 *   1. bias is added;
 *   2. penalties, to every token seen: a positive logit is multiplied by `unrepeat`, any other by
 *      `repeat`, then the edit's own number is subtracted;
 *   3. banned tokens are removed (-infinity), and those that a mask does not allow;
 *   4. greedy: the largest logit, ties by lower id. Done;
 *   5. the token i weighs exp(-(max - x[i]) * scale); what weighs less than 2^-43 is removed;
 *   6. so is what weighs less than min_p (the largest weighs 1);
 *   7. top_k: the first k by (logit descending, id ascending) stay;
 *   8. top_p: the fewest of the first whose sum reaches top_p / 2^64 times the sum of what is left
 *      stay, at least one;
 *   9. of what is left, by id: the first token at which the running sum exceeds
 *      uniform / 2^64 times the sum. There always is one.
 * A row with a `shape` has further steps in between, see struct sample_shape.
 * Weights and sums are those of softmax.h. A logit of magnitude below 2^-100 counts as 0. */
#ifndef RECURD_KERNELS_SAMPLE_H
#define RECURD_KERNELS_SAMPLE_H

#include "base/err.h"
#include "base/limits.h"

#define SAMPLE_ALL UINT64_MAX /* top_p: nothing is removed */

/* A number for one token; no token twice in a list. */
struct sample_edit {
    int32_t id;
    float x;
};

#define SAMPLE_MIROSTAT_TOP 100 /* likeliest tokens that mirostat 1 looks at */

/* What few requests ask for. Meanings are llama.cpp's; their place in the order is ours. p(i) is
 * a weight's share of the sum of what is left. After step
 *   2. `repeats` are subtracted (DRY; scheduler/dry.h makes them);
 *   4. sigma (top_n_sigma): with m and s the mean and the standard deviation of all finite logits,
 *      what is below max - sigma * s is removed;
 *   8. typical (typical_p): with h the mean over p of -log p, the fewest tokens whose -log p is
 *      nearest to h (ties by lower id), and whose sum reaches typical / 2^64 of what is left, stay;
 *      xtc: of all tokens with p >= xtc / 2^64 only the last (by logit descending, id ascending)
 *      stays, besides those below;
 *      dynatemp (warm > 0): steps 5 to 8 were made with a scale of 1; what is left is weighed again
 *      with the temperature cold + (warm - cold) * (h / log n)^exponent, h the entropy of p over
 *      the n tokens left. Below SAMPLE_GREEDY it takes the largest.
 * mirostat, 1 or 2, is instead of all that follows step 5 (Basu et al., ICLR 2021):
 *   1: with d[i] the distance of the i-th logit from the next, times scale, t[i] = log((i + 2) /
 *      (i + 1)) and sums over the first SAMPLE_MIROSTAT_TOP, s = sum(t d) / sum(t t), e = s - 1:
 *      the first (e 2^mu / (1 - vocab^-e))^(1 / s) tokens stay, at least one;
 *   2: what has -log2 p > mu is removed, all but the first.
 *   What was drawn has the surprise -log2 p, p among what was left.
 * A device leaves such rows to the host: they are rare, and the bits are the same. */
struct sample_shape {
    int32_t n_repeats;
    const struct sample_edit *repeats;
    float sigma;             /* 0 = off */
    uint64_t typical, xtc;   /* SAMPLE_ALL and 0 = off */
    float cold, warm, exponent;
    int32_t mirostat;        /* 0 = off */
    double mu;
};
#define SAMPLE_GREEDY 1e-5f /* temperatures below it: the division would only make infinities */

/* What to do with one row. */
struct sample_row {
    int32_t logits;   /* the row of the last run; sample_choose is given it instead */
    int32_t n_top;    /* logprobs with so many of the likeliest; -1 = none */
    bool draw;        /* false: no draw, `id` is only looked up */
    int32_t id;
    bool greedy;
    float scale;      /* 1 / temperature: 0 or at least 2^-100, finite */
    float min_p;      /* 0 … 1 */
    int32_t top_k;    /* 0 = off */
    uint64_t top_p, uniform;
    float repeat, unrepeat; /* the repetition penalty, and 1 / it */
    int32_t n_bias, n_seen, n_banned;
    const struct sample_edit *bias, *seen;
    const int32_t *banned;
    const uint32_t *allowed; /* [sample_words] bit i % 32 of word i / 32: token i; NULL = all */
    const struct sample_shape *shape; /* NULL = none */
};

enum sample_status {
    SAMPLE_OK,
    SAMPLE_NAN,      /* a logit is not a number */
    SAMPLE_INFINITE, /* … is infinite */
    SAMPLE_NOTHING,  /* all are removed */
};

struct sample_top {
    int32_t id;
    float logit;
};
struct sample_result {
    enum sample_status status; /* of the row that was drawn from, after 1 to 3 */
    int32_t id;
    double surprise; /* with mirostat: of id, in bits; else 0 */
    /* With n_top >= 0, of the row as the model computed it: */
    enum sample_status raw;
    float max, logit;          /* the largest; that of id */
    uint64_t total;            /* the sum of exp(-(max - x[i])), in units of 2^-43 */
    int32_t n_top;
    struct sample_top top[LIMIT_TOP_LOGPROBS]; /* by (logit descending, id ascending) */
};

/* E_RANGE with a sentence, or 0. */
int sample_check(enum sample_status s, int32_t vocab, struct err *e) MUST_USE;
/* Whether two results say the same, to the bit. */
bool sample_same(const struct sample_result *a, const struct sample_result *b);
/* log of the probability of a token with this logit. */
double sample_logprob(const struct sample_result *r, float logit);
/* Whether the row may have to be changed before the draw. */
static inline bool sample_edits(const struct sample_row *r)
{
    return r->n_bias > 0 || r->n_seen > 0 || r->n_banned > 0 || r->allowed || r->shape;
}
/* Words of a mask over the vocabulary. */
static inline size_t sample_words(int32_t vocab) { return ((size_t)vocab + 31) / 32; }

/* Scratch of one thread: nothing is allocated while sampling. */
struct sampler {
    int32_t vocab;
    float *edited;    /* [vocab] the row after steps 1 to 3 */
    float *keys;      /* [vocab] of a shape: what a list is sorted by, or its logits */
    float *weights;   /* [blocks of softmax.h] 0 = removed */
    float *tops;      /* [blocks] the largest logit, */
    uint64_t *sums;   /* … and the sum of the weights of each block */
    int32_t *found;   /* [vocab] candidates, in order of id */
    int32_t *sorted;  /* [vocab] one bucket of candidates, to be put in order */
    struct bucket *buckets;
};

int sample_init(struct sampler *s, int32_t vocab, struct err *e) MUST_USE;
void sample_fini(struct sampler *s);
/* logits: [vocab]. */
void sample_choose(struct sampler *s, const float *logits, const struct sample_row *r,
                   struct sample_result *out);

#endif
