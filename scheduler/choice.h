/* Between requests and the sampler of a device: what a request asks of a row of logits, and what
 * came back, as an event. Pure; engine thread.
 *
 * kernels/sample.h defines what is done with a row. In the words of the API, and in the order of
 * the OpenAI-compatible servers (vLLM V1):
 *   logit_bias is added; repetition penalty over prompt and output (Hugging Face: a positive logit
 *   is divided by it, any other multiplied), then frequency_penalty * times written and
 *   presence_penalty once, both over the output only (OpenAI), subtracted; banned ids (min_tokens)
 *   are removed; a temperature under 1e-5 takes the largest logit, ties by lower id; any other
 *   divides; then min_p, top_k, top_p, and one draw, by the position in the text and the seed
 *   alone.
 * Logprobs are the log-softmax of the row as the model computed it, before all this. */
#ifndef RECURD_CHOICE_H
#define RECURD_CHOICE_H

#include "scheduler/request.h"
#include "scheduler/tally.h"

/* True if the parameters need a tally. */
bool choice_penalises(const struct sampling *p);

/* A draw of the token at position pos, counted from the text's start. What p and seen hold must
 * not change until it is made. */
struct sample_row choice_draw(const struct sampling *p, const struct tally *seen, int64_t pos);
/* The logprob of a token that is there already. */
struct sample_row choice_lookup(int32_t id);

/* Fills the logprob, n_top and top of an event. E_RANGE: the row holds NaN or infinity. */
int choice_logprobs(const struct sample_result *r, int32_t vocab, struct token_event *ev,
                    struct err *e) MUST_USE;

#endif
