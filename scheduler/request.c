/* Birth and death of a request. Any thread.
 *
 * Invariant: the memory lives until the last of its two kinds of owner (the HTTP exchange, the
 * scheduler) lets go, so neither ever checks whether the other is still there. */
#include "scheduler/request.h"

#include <string.h>

#include "base/mem.h"

/* Text waiting for a slow reader: the engine stalls at LIMIT_EVENTS tokens, and replacing
 * malformed bytes by U+FFFD makes a token at most three times as long. One stop string may have
 * been held back besides. */
#define TEXT_MAX_BYTES (3 * ((size_t)LIMIT_EVENTS * LIMIT_TOKEN_BYTES + LIMIT_STOP_BYTES))

/* Of a text of four million tokens. */
#define RECEIPT_MAX_BYTES MIB(128)

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
    buf_init(&r->scores, LIMIT_ANSWER_BYTES);
    buf_init(&r->receipt, RECEIPT_MAX_BYTES);
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
    buf_free(&r->scores);
    buf_free(&r->receipt);
    if (r->constraint)
        r->constraint->ops->free(r->constraint);
    mem_free(r->prompt);
    mem_free(r->marks);
    mem_free(r->sampling.bias);
    mem_free(r);
}
