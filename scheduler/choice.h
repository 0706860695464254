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
 * The samplers of llama.cpp that vLLM has not, where they are asked for, in this order (struct
 * sample_shape has the arithmetic):
 *   repeat_last_n: the penalties count the last so many tokens only; DRY after the penalties;
 *   top_n_sigma before the temperature; typical_p after top_p; XTC after it, in a step with
 *   probability xtc_probability, drawn by seed and position too; dynatemp_range: a temperature of
 *   temperature - range (at least 0) to temperature + range, after all of them, instead of before;
 *   mirostat instead of min_p to dynatemp. Its mu begins at 2 tau with each request and moves by
 *   eta * (surprise - tau) with every token, so it is a function of prompt, seed and parameters.
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
/* What goes beyond: false = nothing. DRY's part and mu are the caller's to add. */
bool choice_shape(const struct sampling *p, int64_t pos, struct sample_shape *out);
/* The logprob of a token that is there already. */
struct sample_row choice_lookup(int32_t id);

/* Fills the logprob, n_top and top of an event. E_RANGE: the row holds NaN or infinity. */
int choice_logprobs(const struct sample_result *r, int32_t vocab, struct token_event *ev,
                    struct err *e) MUST_USE;

#endif
