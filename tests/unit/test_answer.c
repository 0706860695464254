/* Kept answers come back as they were; other bytes are refused or harmless. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/rng.h"
#include "scheduler/answer.h"

static const int32_t ids[] = {5, 70000, 0};

/* Of two tokens, the second with two others. */
static void score(struct buf *out)
{
    struct token_event ev = {.id = 5, .has_logprob = true, .logprob = -0.25f};
    buf_init(out, 4096);
    answer_score(out, &ev);
    ev = (struct token_event){.id = 70000, .has_logprob = true, .logprob = -1e-30f, .n_top = 2,
                              .top = {{.id = 1, .logprob = -2}, {.id = 2, .logprob = -3}}};
    answer_score(out, &ev);
}

static void pack(struct buf *out, const char *receipt, const struct buf *scores)
{
    struct answer a = {.finish = FINISH_STOP, .n_prompt = INT64_C(1) << 40, .n_cached = 7,
                       .n_output = 3, .ids = (const unsigned char *)ids, .n_ids = 3,
                       .text = "said", .n_text = 4, .receipt = receipt,
                       .n_receipt = strlen(receipt),
                       .scores = scores ? (const unsigned char *)scores->p : NULL,
                       .n_scores = scores ? scores->len : 0};
    buf_init(out, 4096);
    cr_assert_eq(answer_pack(out, &a), 0);
}

Test(answer, comes_back_as_it_was)
{
    static const char *const receipts[] = {"", "{\"version\":1}"};
    for (size_t k = 0; k < ARRAY_LEN(receipts); k++) {
        struct buf b;
        struct answer a;
        struct err e = {0};
        pack(&b, receipts[k], NULL);
        cr_assert_eq(answer_unpack(b.p, b.len, &a, &e), 0);
        cr_assert_eq(a.finish, FINISH_STOP);
        cr_assert_eq(a.n_prompt, INT64_C(1) << 40);
        cr_assert_eq(a.n_cached, 7);
        cr_assert_eq(a.n_output, 3);
        cr_assert_eq(a.n_ids, 3);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(answer_id(&a, i), ids[i]);
        cr_assert_eq(a.n_text, 4);
        cr_assert_arr_eq(a.text, "said", 4);
        cr_assert_eq(a.n_receipt, strlen(receipts[k]));
        cr_assert(memcmp(a.receipt, receipts[k], a.n_receipt) == 0);
        buf_free(&b);
    }
}

Test(answer, scores_come_back_to_the_bit)
{
    struct buf b, scores;
    struct answer a;
    struct token_event ev;
    struct err e = {0};
    size_t at = 0;
    score(&scores);
    pack(&b, "{}", &scores);
    cr_assert_eq(answer_unpack(b.p, b.len, &a, &e), 0);
    cr_assert_arr_eq(a.receipt, "{}", 2);
    cr_assert(answer_scored(&a, &at, &ev));
    cr_expect(ev.id == 5 && ev.logprob == -0.25f && ev.n_top == 0 && ev.has_logprob);
    cr_assert(answer_scored(&a, &at, &ev));
    cr_expect(ev.id == 70000 && ev.logprob == -1e-30f && ev.n_top == 2);
    cr_expect(ev.top[1].id == 2 && ev.top[1].logprob == -3);
    cr_expect_not(answer_scored(&a, &at, &ev));
    cr_expect_eq(at, a.n_scores);
    buf_free(&scores);
    buf_free(&b);
}

Test(answer, other_bytes_never_point_outside)
{
    struct buf b;
    struct rng r = {3, 0};
    struct buf scores;
    score(&scores);
    for (int i = 0; i < 40000; i++) {
        char copy[160];
        struct answer a;
        struct err e = {0};
        pack(&b, i % 2 ? "{\"version\":1}" : "", i % 3 ? NULL : &scores);
        cr_assert(b.len <= sizeof copy);
        size_t n = rng_below(&r, b.len + 1);
        memcpy(copy, b.p, n);
        buf_free(&b);
        for (int k = 0; k < 3 && n; k++)
            copy[rng_below(&r, n)] = (char)rng_next(&r);
        if (answer_unpack(copy, n, &a, &e))
            continue;
        cr_assert_eq((const char *)a.ids, copy + (copy[0] == 3 ? 48 : copy[0] == 2 ? 40 : 32));
        cr_assert_eq((const char *)a.ids + (size_t)a.n_ids * 4, a.text);
        cr_assert_eq(a.text + a.n_text, a.receipt);
        cr_assert_eq(a.receipt + a.n_receipt, (const char *)a.scores);
        cr_assert_eq((const char *)a.scores + a.n_scores, copy + n);
        struct token_event ev;
        for (size_t at = 0; answer_scored(&a, &at, &ev);)
            cr_assert(at <= a.n_scores && ev.n_top <= LIMIT_TOP_LOGPROBS);
    }
    buf_free(&scores);
}

Test(answer, too_long_is_not_kept)
{
    struct buf b;
    struct answer a = {.text = "0123456789", .n_text = 10};
    buf_init(&b, 40);
    cr_assert_eq(answer_pack(&b, &a), E_NOMEM);
    buf_free(&b);
}
