/* Birth and death of a request. Any thread.
 *
 * Invariant: the memory lives until the last of its two kinds of owner (the HTTP exchange, the
 * scheduler) lets go, so neither ever checks whether the other is still there. */
#include "scheduler/request.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"

/* Text waiting for a slow reader: the engine stalls at LIMIT_EVENTS tokens, and replacing
 * malformed bytes by U+FFFD makes a token at most three times as long. One stop string may have
 * been held back besides. */
#define TEXT_MAX_BYTES (3 * ((size_t)LIMIT_EVENTS * LIMIT_TOKEN_BYTES + LIMIT_STOP_BYTES))

void sampling_without(struct sampling *s)
{
    static const struct dry_breaker usual[] = {{1, "\n"}, {1, ":"}, {1, "\""}, {1, "*"}};
#define SAMPLING(type, name, without, least, most) s->name = without;
#include "scheduler/sampling.def"
#undef SAMPLING
    s->n_breakers = (int32_t)ARRAY_LEN(usual);
    memcpy(s->breakers, usual, sizeof usual);
}

bool sampling_more(const struct sampling *s)
{
    static const struct { bool real; size_t at; float without; } members[] = {
#define SAMPLING(type, name, without, least, most) \
    {_Generic((type)0, float: true, default: false), offsetof(struct sampling, name), without},
#include "scheduler/sampling.def"
#undef SAMPLING
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const char *at = (const char *)s + members[i].at;
        int32_t n;
        float x;
        memcpy(&n, at, sizeof n);
        memcpy(&x, at, sizeof x);
        if ((members[i].real ? x : (float)n) != members[i].without)
            return true;
    }
    return false;
}

struct request *request_new(void)
{
    struct request *r = mem_zalloc(sizeof *r);
    if (!r)
        return NULL;
    if (ring_init(&r->events, LIMIT_EVENTS, sizeof(struct token_event)))
        goto no_events;
    if (pthread_mutex_init(&r->lock, NULL))
        goto no_lock;
    buf_init(&r->text, TEXT_MAX_BYTES);
    buf_init(&r->said, LIMIT_ANSWER_BYTES);
    r->refs = 1;
    r->logprobs = -1;
    r->stopped_by = -1;
    r->sampling.temperature = 1;
    r->sampling.top_p = 1;
    r->sampling.repetition_penalty = 1;
    sampling_without(&r->sampling);
    return r;

no_lock:
    ring_free(&r->events);
no_events:
    mem_free(r);
    return NULL;
}

void request_ref(struct request *r)
{
    pthread_mutex_lock(&r->lock);
    ASSERT(r->refs > 0);
    r->refs++;
    pthread_mutex_unlock(&r->lock);
}

void request_unref(struct request *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    ASSERT(r->refs > 0);
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&r->lock);
    ring_free(&r->events);
    buf_free(&r->text);
    buf_free(&r->said);
    if (r->constraint)
        r->constraint->ops->free(r->constraint);
    mem_free(r->prompt);
    mem_free(r->marks);
    mem_free(r->sampling.bias);
    mem_free(r);
}
