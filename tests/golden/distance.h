/* How far two computations of the same text are from one another. Pure; one thread at a time. */
#ifndef RECURD_GOLDEN_DISTANCE_H
#define RECURD_GOLDEN_DISTANCE_H

#include "base/base.h"

#define DISTANCE_TOKENS 1024 /* of a text, at most */

/* Of each token's logits: the root mean square of the differences over that of the logits; and what
 * b's distribution lacks of a's, in nats. */
struct distance {
    double median, worst; /* relative differences of tokens */
    double divergence;    /* the mean */
    int32_t same;         /* tokens whose likeliest successor is the same */
};

/* Logits a and b, [n][vocab]. */
struct distance distance_of(const float *a, const float *b, int32_t n, int32_t vocab);
double perplexity_of(const int32_t *ids, int32_t n, const float *a, int32_t vocab);

#endif
