/* A request's birth and death: defaults, lost memory, and the last of several owners. */
#include "scheduler/request.h"

#include <criterion/criterion.h>
#include <signal.h>

#include "base/mem.h"

Test(request, starts_neutral_so_that_an_unset_field_changes_nothing)
{
    struct request *r = request_new();
    cr_assert_not_null(r);
    cr_assert(r->sampling.temperature == 1 && r->sampling.top_p == 1);
    cr_assert(r->sampling.repetition_penalty == 1);
    cr_assert(r->sampling.min_p == 0 && r->sampling.top_k == 0);
    cr_assert(r->sampling.presence_penalty == 0 && r->sampling.frequency_penalty == 0);
    cr_assert_eq(r->logprobs, -1);
    cr_assert_eq(r->finish, FINISH_NONE);
    cr_assert_eq(r->deadline_ns, 0);
    cr_assert_eq(r->refs, 1);
    request_unref(r);
    request_unref(NULL);
}

Test(request, holds_a_full_ring_of_tokens_and_their_text)
{
    struct request *r = request_new();
    struct token_event t = {.id = 1};
    char piece[3 * LIMIT_TOKEN_BYTES] = {0}; /* a token of bad bytes, each replaced by three */
    for (int i = 0; i < LIMIT_EVENTS; i++) {
        cr_assert(ring_push(&r->events, &t));
        cr_assert_eq(buf_add(&r->text, piece, sizeof piece), 0);
    }
    cr_assert_not(ring_push(&r->events, &t));
    cr_assert_eq(buf_add(&r->text, piece, LIMIT_STOP_BYTES), 0, "a held-back stop string");
    request_unref(r);
}

Test(request, survives_any_failing_allocation)
{
    for (uint64_t fail = 1; fail <= 2; fail++) {
        mem_fail_at(fail);
        cr_assert_null(request_new());
    }
    mem_fail_at(3);
    struct request *r = request_new();
    cr_assert_not_null(r, "two allocations, no more");
    mem_fail_at(0);
    request_unref(r);
}

enum { THREADS = 4, TURNS = 2000 };

static void *borrow(void *arg)
{
    struct request *r = arg;
    for (int i = 0; i < TURNS; i++) {
        request_ref(r);
        request_unref(r);
    }
    request_unref(r); /* the reference this thread was given */
    return NULL;
}

Test(request, lives_until_its_last_owner_lets_go)
{
    struct request *r = request_new();
    r->prompt = mem_zalloc(100);
    r->sampling.bias = mem_zalloc(100);
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) {
        request_ref(r);
        cr_assert_eq(pthread_create(&t[i], NULL, borrow, r), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(r->refs, 1);
    request_unref(r); /* a leak or a second free shows under the address sanitizer */
}
