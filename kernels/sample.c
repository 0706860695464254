/* Sampling on the host: the definition. See the header. */
#include "kernels/sample.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/sample_int.h"

int sample_init(struct sampler *s, int32_t vocab, struct err *e)
{
    ASSERT(vocab > 0 && vocab <= LIMIT_VOCAB);
    size_t n = (size_t)vocab, padded = round_up(n, SOFTMAX_BLOCK), blocks = padded / SOFTMAX_BLOCK;
    *s = (struct sampler){.vocab = vocab};
    s->edited = mem_array(n, sizeof *s->edited);
    s->keys = mem_array(n, sizeof *s->keys);
    s->weights = mem_array(padded, sizeof *s->weights);
    s->tops = mem_array(blocks, sizeof *s->tops);
    s->sums = mem_array(blocks, sizeof *s->sums);
    s->found = mem_array(n, sizeof *s->found);
    s->sorted = mem_array(n, sizeof *s->sorted);
    s->buckets = mem_array((size_t)BUCKETS, sizeof *s->buckets);
    if (s->edited && s->keys && s->weights && s->tops && s->sums && s->found && s->sorted &&
        s->buckets)
        return 0;
    sample_fini(s);
    return err_set(e, E_NOMEM, "no memory to sample from %d tokens", (int)vocab);
}

void sample_fini(struct sampler *s)
{
    mem_free(s->edited);
    mem_free(s->keys);
    mem_free(s->weights);
    mem_free(s->tops);
    mem_free(s->sums);
    mem_free(s->found);
    mem_free(s->sorted);
    mem_free(s->buckets);
    *s = (struct sampler){0};
}

int sample_check(enum sample_status s, int32_t vocab, struct err *e)
{
    switch (s) {
    case SAMPLE_OK:
        return 0;
    case SAMPLE_NAN:
        return err_set(e, E_RANGE, "the model computed a logit that is not a number, among %d",
                       (int)vocab);
    case SAMPLE_INFINITE:
        return err_set(e, E_RANGE, "a logit is infinite, among %d", (int)vocab);
    case SAMPLE_NOTHING:
        return err_set(e, E_RANGE, "no token is allowed, among %d", (int)vocab);
    }
    return err_set(e, E_DEVICE, "the device reports a row of logits as %d", (int)s);
}

bool sample_same(const struct sample_result *a, const struct sample_result *b)
{
    bool same = a->status == b->status && a->id == b->id && a->raw == b->raw &&
                a->total == b->total && a->n_top == b->n_top &&
                memcmp(&a->surprise, &b->surprise, sizeof a->surprise) == 0 &&
                memcmp(&a->max, &b->max, sizeof a->max) == 0 &&
                memcmp(&a->logit, &b->logit, sizeof a->logit) == 0;
    for (int32_t i = 0; same && i < a->n_top; i++)
        same = a->top[i].id == b->top[i].id &&
               memcmp(&a->top[i].logit, &b->top[i].logit, sizeof(float)) == 0;
    return same;
}

double sample_logprob(const struct sample_result *r, float logit)
{
    /* The largest contributes 2^SOFTMAX_BITS, so the logarithm is at least 0. */
    return (double)logit - (double)r->max - log((double)r->total * 0x1p-43);
}

static enum sample_status status_of(struct softmax_top t)
{
    if (t.nan)
        return SAMPLE_NAN;
    return t.max == INFINITY ? SAMPLE_INFINITE : t.max == -INFINITY ? SAMPLE_NOTHING : SAMPLE_OK;
}

/* ---- steps 1 to 3 --------------------------------------------------------------------- */

static const float *edit(struct sampler *s, const float *logits, const struct sample_row *r)
{
    float *x = s->edited;
    memcpy(x, logits, (size_t)s->vocab * sizeof *x);
    for (int32_t i = 0; i < r->n_bias; i++)
        x[r->bias[i].id] = softmax_tame(x[r->bias[i].id]) + r->bias[i].x;
    for (int32_t i = 0; i < r->n_seen; i++) {
        float *v = &x[r->seen[i].id], old = softmax_tame(*v);
        /* Tamed in between: the product of a tiny factor may be denormal. */
        *v = softmax_tame(old * (old > 0 ? r->unrepeat : r->repeat)) - r->seen[i].x;
    }
    const struct sample_shape *shape = r->shape;
    for (int32_t i = 0; shape && i < shape->n_repeats; i++)
        x[shape->repeats[i].id] = softmax_tame(x[shape->repeats[i].id]) - shape->repeats[i].x;
    for (int32_t i = 0; i < r->n_banned; i++)
        x[r->banned[i]] = -INFINITY;
    for (int32_t i = 0; r->allowed && i < s->vocab; i++)
        if (!(r->allowed[i / 32] >> (i % 32) & 1))
            x[i] = -INFINITY;
    return x;
}

/* ---- the draw ------------------------------------------------------------------------ */

static int32_t draw(struct sampler *s, const float *x, float max, const struct sample_row *r)
{
    struct cut c = {.x = x, .w = s->weights, .max = max, .scale = r->scale, .last = -1};
    float least = MIN(MAX(r->min_p, SOFTMAX_LEAST), 1.0f);
    uint64_t total = softmax_weights(x, s->vocab, max, r->scale, least, s->weights, s->sums);
    if ((r->top_k > 0 && r->top_k < s->vocab) || r->top_p != SAMPLE_ALL)
        return sample_listed(s, sample_cut(s, &c, r->top_k, r->top_p, total), r->uniform);
    return sample_any(s, total, r->uniform);
}

/* ---- logprobs ------------------------------------------------------------------------- */

/* The n_top likeliest; blocks whose largest does not reach the list are passed over. */
static void list_top(const struct sampler *s, const float *x, int32_t n_top,
                     struct sample_result *out)
{
    int32_t n = 0;
    struct sample_top *top = out->top;
    for (int32_t id = 0; n_top > 0 && id < s->vocab; id++) {
        if (n == n_top && id % SOFTMAX_BLOCK == 0 &&
            s->tops[id / SOFTMAX_BLOCK] <= softmax_tame(top[n - 1].logit)) {
            id += SOFTMAX_BLOCK - 1;
            continue;
        }
        float v = softmax_tame(x[id]);
        if (n == n_top && v <= softmax_tame(top[n - 1].logit))
            continue; /* a later id never goes before an equal one */
        int32_t at = n < n_top ? n++ : n - 1;
        for (; at > 0 && softmax_tame(top[at - 1].logit) < v; at--)
            top[at] = top[at - 1];
        top[at] = (struct sample_top){id, x[id]};
    }
    out->n_top = n;
}

void sample_choose(struct sampler *s, const float *logits, const struct sample_row *r,
                   struct sample_result *out)
{
    *out = (struct sample_result){.id = r->id};
    const float *x = logits;
    struct softmax_top top = softmax_max(x, s->vocab, s->tops);
    if (r->n_top >= 0 && (out->raw = status_of(top)) == SAMPLE_OK) {
        out->max = top.max;
        out->total = softmax_sum(x, s->vocab, top.max);
        list_top(s, x, MIN(MIN(r->n_top, LIMIT_TOP_LOGPROBS), s->vocab), out);
    }
    if (r->draw) {
        if (sample_edits(r)) {
            x = edit(s, logits, r);
            top = softmax_max(x, s->vocab, s->tops);
        }
        if ((out->status = status_of(top)) != SAMPLE_OK)
            return;
        out->id = r->greedy  ? softmax_find(x, s->vocab, top.max, s->tops)
                  : r->shape ? sample_shaped(s, x, top.max, r, &out->surprise)
                             : draw(s, x, top.max, r);
    }
    out->logit = logits[out->id];
}
