/* Requests to rows, results to events. Engine thread; see the header. */
#include "scheduler/choice.h"

#include <math.h>

#include "base/rng.h"

/* The counter's upper half: draws of other kinds, should there be any, use other numbers. */
#define DRAW_TOKEN 1
#define DRAW_XTC 2

bool choice_penalises(const struct sampling *p)
{
    return p->repetition_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

/* p < 1 as a fraction of 2^64, exactly. */
static uint64_t fraction(float p)
{
    return p > 0 ? (uint64_t)((double)p * 0x1p64) : 0;
}

static bool is_greedy(const struct sampling *p)
{
    return !(p->temperature >= SAMPLE_GREEDY); /* also NaN */
}

static bool is_dynamic(const struct sampling *p)
{
    return p->dynatemp_range > 0 && !p->mirostat && !is_greedy(p);
}

struct sample_row choice_draw(const struct sampling *p, const struct tally *seen, int64_t pos)
{
    bool greedy = is_greedy(p);
    float scale = greedy || is_dynamic(p) ? 1 : 1 / p->temperature;
    return (struct sample_row){
        .n_top = -1, .draw = true, .greedy = greedy, .scale = scale < 0x1p-100f ? 0 : scale,
        .min_p = p->min_p > 0 ? fminf(p->min_p, 1) : 0, .top_k = MAX(p->top_k, 0),
        .top_p = p->top_p < 1 ? fraction(p->top_p) : SAMPLE_ALL,
        .uniform = rng_at(p->seed, DRAW_TOKEN, (uint64_t)pos),
        .repeat = p->repetition_penalty, .unrepeat = 1 / p->repetition_penalty,
        .bias = p->bias, .n_bias = p->n_bias, .seen = seen->edits, .n_seen = seen->n,
    };
}

static bool xtc_now(const struct sampling *p, int64_t pos)
{
    return p->xtc_probability > 0 &&
           rng_unit_at(p->seed, DRAW_XTC, (uint64_t)pos) < (double)p->xtc_probability;
}

bool choice_shape(const struct sampling *p, int64_t pos, struct sample_shape *out)
{
    *out = (struct sample_shape){.typical = SAMPLE_ALL};
    if (is_greedy(p))
        return false;
    out->sigma = p->top_n_sigma;
    out->mirostat = p->mirostat;
    if (p->typical_p > 0 && p->typical_p < 1)
        out->typical = fraction(p->typical_p);
    if (xtc_now(p, pos))
        out->xtc = MAX(p->xtc_threshold < 1 ? fraction(p->xtc_threshold) : SAMPLE_ALL, 1);
    if (is_dynamic(p)) {
        out->cold = fmaxf(p->temperature - p->dynatemp_range, 0);
        out->warm = p->temperature + p->dynatemp_range;
        out->exponent = p->dynatemp_exponent;
    }
    return out->sigma > 0 || out->mirostat || out->typical != SAMPLE_ALL || out->xtc ||
           out->warm > 0;
}

struct sample_row choice_lookup(int32_t id)
{
    return (struct sample_row){.id = id};
}

int choice_logprobs(const struct sample_result *r, int32_t vocab, struct token_event *ev,
                    struct err *e)
{
    int rc = sample_check(r->raw, vocab, e);
    if (rc)
        return rc;
    ev->has_logprob = true;
    ev->logprob = (float)sample_logprob(r, r->logit);
    ev->n_top = r->n_top;
    for (int32_t i = 0; i < r->n_top; i++)
        ev->top[i] = (struct top_logprob){r->top[i].id,
                                          (float)sample_logprob(r, r->top[i].logit)};
    return 0;
}
