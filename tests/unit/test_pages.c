/* KV pages against a plain count of references. */
#include "statecache/value/pages.h"

#include <criterion/criterion.h>
#include <signal.h>

#include "base/mem.h"
#include "base/rng.h"

Test(pages, a_page_is_free_exactly_when_nobody_refers_to_it)
{
    enum { N = 19 };
    struct pages p;
    cr_assert_eq(pages_init(&p, N, NULL), 0);
    int32_t refs[N] = {0}, in_use = 0;
    struct rng rng = {.seed = 6};
    for (int turn = 0; turn < 40000; turn++) {
        int32_t page = (int32_t)rng_below(&rng, N);
        switch (rng_below(&rng, turn / 300 % 2 ? 4 : 6)) {
        case 0:
            page = pages_take(&p);
            cr_assert_eq(page < 0, in_use == N);
            if (page >= 0) {
                cr_assert_eq(refs[page], 0, "page %d has an owner", (int)page);
                refs[page] = 1;
                in_use++;
            }
            break;
        case 1:
            if (refs[page]) {
                pages_ref(&p, page);
                refs[page]++;
            }
            break;
        default:
            if (refs[page]) {
                pages_unref(&p, page);
                in_use -= --refs[page] == 0;
            }
        }
        cr_assert_eq(p.n_free, N - in_use);
        for (int32_t i = 0; i < N; i++)
            cr_assert_eq(pages_refs(&p, i), refs[i]);
    }
    pages_fini(&p);
}

Test(pages, runs_out_and_recovers)
{
    struct pages p;
    cr_assert_eq(pages_init(&p, 2, NULL), 0);
    cr_assert_eq(pages_take(&p), 0);
    cr_assert_eq(pages_take(&p), 1);
    cr_assert_eq(pages_take(&p), -1);
    pages_ref(&p, 0);
    pages_unref(&p, 0);
    cr_assert_eq(pages_take(&p), -1, "a fork still holds the page");
    pages_unref(&p, 0);
    cr_assert_eq(pages_take(&p), 0);
    pages_fini(&p);
}

Test(pages, a_model_without_growing_state_has_none)
{
    struct pages p;
    cr_assert_eq(pages_init(&p, 0, NULL), 0);
    cr_assert_eq(pages_take(&p), -1);
    pages_fini(&p);
    cr_assert_eq(pages_init(&p, -1, NULL), E_RANGE);
    pages_fini(&p);
}

Test(pages, survives_any_failing_allocation)
{
    for (uint64_t fail = 1; fail <= 2; fail++) {
        struct pages p;
        struct err e = {0};
        mem_fail_at(fail);
        cr_assert_eq(pages_init(&p, 8, &e), E_NOMEM);
        cr_assert_eq(e.code, E_NOMEM);
        cr_assert_eq(pages_take(&p), -1);
        pages_fini(&p);
    }
}

enum fault { UNREF_FREE, UNREF_TWICE, REF_FREE, REF_PAST_END, UNREF_NEGATIVE };

static void commit_fault(enum fault f)
{
    struct pages p;
    cr_assert_eq(pages_init(&p, 2, NULL), 0);
    int32_t page = pages_take(&p);
    switch (f) {
    case UNREF_FREE:
        pages_unref(&p, 1);
        break;
    case UNREF_TWICE:
        pages_unref(&p, page);
        pages_unref(&p, page);
        break;
    case REF_FREE:
        pages_ref(&p, 1);
        break;
    case REF_PAST_END:
        pages_ref(&p, 2);
        break;
    case UNREF_NEGATIVE:
        pages_unref(&p, -1);
        break;
    }
}

Test(pages, unref_of_a_free_page_stops_the_process, .signal = SIGABRT)
{
    commit_fault(UNREF_FREE);
}

Test(pages, unref_twice_stops_the_process, .signal = SIGABRT)
{
    commit_fault(UNREF_TWICE);
}

Test(pages, ref_of_a_free_page_stops_the_process, .signal = SIGABRT)
{
    commit_fault(REF_FREE);
}

Test(pages, a_number_past_the_end_stops_the_process, .signal = SIGABRT)
{
    commit_fault(REF_PAST_END);
}

Test(pages, minus_one_is_no_page, .signal = SIGABRT)
{
    commit_fault(UNREF_NEGATIVE);
}
