/* From a row of logits to a token. Pure: the same row, parameters, history and position give the
 * same token, whoever else is in the batch and whatever was drawn before.
 *
 * Order of application, that of the OpenAI-compatible servers (vLLM V1):
 *   1. logit_bias is added;
 *   2. repetition penalty over prompt and output (Hugging Face: a positive logit is divided by
 *      it, any other multiplied), then frequency_penalty * times written and presence_penalty
 *      once, both over the output only (OpenAI), subtracted;
 *   3. banned ids (min_tokens) are removed;
 *   4. temperature under 1e-5: the largest logit, ties by lower id. Done;
 *   5. divided by the temperature;
 *   6. min_p: tokens less probable than min_p times the most probable are removed;
 *   7. top_k: the k largest stay; ties by lower id;
 *   8. top_p: the fewest of the largest whose probabilities, renormalised over what is left,
 *      reach top_p stay, at least one;
 *   9. one draw, by the position in the text and the seed alone.
 * Logprobs are the log-softmax of the row as the model computed it, before step 1. */
#ifndef RECURD_SAMPLE_H
#define RECURD_SAMPLE_H

#include "scheduler/request.h"
#include "scheduler/tally.h"

/* Scratch of one thread, sized at start: nothing is allocated while sampling. */
struct sampler {
    int32_t vocab, padded; /* rounded up to whole blocks */
    float *logits;         /* [padded] the adjusted row */
    float *weights;        /* [padded] exp(logit - max), 0 = removed */
    int32_t *found;        /* [vocab] candidates, in order of id */
    int32_t *sorted;       /* [vocab] one bucket of candidates, to be put in order */
    struct bucket *buckets;
};

struct sample_in {
    const float *logits;             /* [vocab] */
    const struct sampling *params;
    const struct tally *seen;        /* history; may be empty */
    const int32_t *banned;           /* ids that may not come now */
    int32_t n_banned;
    int64_t pos;                     /* of the token to be drawn, counted from the text's start */
};

int sample_init(struct sampler *s, int32_t vocab, struct err *e) MUST_USE;
void sample_fini(struct sampler *s);

/* True if the parameters need a tally. */
bool sample_penalises(const struct sampling *p);

/* E_RANGE: the row holds NaN or infinity, or nothing is allowed; other rows are unaffected. */
int sample_token(struct sampler *s, const struct sample_in *in, int32_t *id,
                 struct err *e) MUST_USE;

/* Fills logprob, n_top and top of ev for token ev->id. n_top <= LIMIT_TOP_LOGPROBS. */
int sample_logprobs(const struct sampler *s, const float *logits, int32_t n_top,
                    struct token_event *ev, struct err *e) MUST_USE;

#endif
