/* Hashed n-grams: the numbers a config makes, what an end of text parts, what a state keeps. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/ngram.h"
#include "kernels/plan.h"
#include "kernels/validate.h"
#include "models/model.h"

#define DIMS "{\"model_type\": \"qwen4_exp_text\", \"hidden_size\": 32, " \
             "\"num_hidden_layers\": 2, " \
             "\"layer_types\": [\"linear_attention\", \"linear_attention\"], " \
             "\"num_experts\": 2, \"num_experts_per_tok\": 1, \"moe_intermediate_size\": 16, " \
             "\"linear_num_key_heads\": 1, \"linear_num_value_heads\": 1, \"hc_lowrank\": 4, " \
             "\"linear_key_head_dim\": 16, \"linear_value_head_dim\": 16, \"head_dim\": 16, " \
             "\"shared_expert_intermediate_size\": 16, \"ple_layer_ids\": [1, 2], "

/* What recurd says of a config of DIMS and more keys; the model, or NULL and a sentence. */
static struct model *open_config(const char *more, struct err *e)
{
    char dir[] = "/tmp/recurd-test-XXXXXX", path[64];
    struct model *m = NULL;
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fprintf(f, DIMS "%s}", more);
    fclose(f);
    *e = (struct err){0};
    if (model_open(&m, &(struct model_options){.dir = dir, .dummy = true}, e) < 0)
        m = NULL;
    unlink(path);
    rmdir(dir);
    return m;
}

/* The n-th table's hash. */
static const struct ngram *hash_of(const struct model *m, int n)
{
    for (int i = 0; i < m->plan.n_ops; i++)
        if (m->plan.ops[i].kind == OP_NGRAM && n-- == 0)
            return m->plan.ops[i].p.ngram;
    cr_assert_fail("there is no such table");
    return NULL;
}

#define PUBLISHED "\"vocab_size\": 248320, \"eos_token_id\": [248044, 7], \"ple_embed_dim\": 64"

/* What transformers 5.24 makes of the same numbers. */
Test(ngram, a_config_makes_the_published_numbers)
{
    static const int64_t multipliers[2][3] = {{23703573157769, 20109073645365, 8052911324071},
                                              {3352040966061, 19752442147475, 10742103100073}};
    struct err e;
    struct model *m = open_config(PUBLISHED, &e);
    cr_assert_not_null(m, "%s", e.text);
    for (int table = 0; table < 2; table++) {
        const struct ngram *g = hash_of(m, table);
        cr_assert_eq(g->size, 3);
        cr_assert_eq(g->heads, 16);
        cr_assert_eq(g->eos, 248044);
        for (int s = 0; s < 3; s++)
            cr_assert_eq(g->multiplier[s], multipliers[table][s], "table %d, multiplier %d is %lld",
                         table, s, (long long)g->multiplier[s]);
    }
    const struct ngram *g = hash_of(m, 0);
    cr_assert_eq(g->modulus[0], 20000003);
    cr_assert_eq(g->modulus[1], 20000023);
    cr_assert_eq(g->modulus[15], 20000171);
    cr_assert_eq(g->first[2], 40000026);
    cr_assert_eq(g->first[15], 300001275);
    cr_assert_eq(hash_of(m, 1)->modulus[0], 20000213);
    model_close(m);
}

Test(ngram, sizes_that_make_no_table_are_refused)
{
    static const struct { const char *more, *said; } cases[] = {
        {"\"vocab_size\": 100", "n-grams end at eos_token_id -1, which must be 0 to 99"},
        {"\"vocab_size\": 100, \"eos_token_id\": 100", "eos_token_id 100, which must be 0 to 99"},
        {"\"vocab_size\": 100, \"eos_token_id\": 1, \"ngram_size\": 1", "for 0 heads of n-grams"},
        {"\"vocab_size\": 100, \"eos_token_id\": 1, \"ngram_size\": 9, \"ple_embed_dim\": 64",
         "ngram_size 9, 2 to 8"},
        {"\"vocab_size\": 100, \"eos_token_id\": 1, \"ple_embed_dim\": 60",
         "ple_embed_dim 60 for 16 heads"},
        {"\"vocab_size\": 100, \"eos_token_id\": 1, \"heads_per_ngram\": 64, "
         "\"ple_embed_dim\": 128", "64 heads for each of 2 kinds of n-grams, at most 64 in all"},
        {"\"vocab_size\": 100, \"eos_token_id\": 1, \"ngram_vocab_size_base\": 100000000, "
         "\"ple_embed_dim\": 64", "at most"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e;
        cr_assert_null(open_config(cases[i].more, &e), "%s was taken", cases[i].more);
        cr_assert(strstr(e.text, cases[i].said), "%s: %s", cases[i].more, e.text);
    }
}

static const struct ngram small = {.size = 4, .heads = 3, .eos = 5,
                                   .multiplier = {1234567, 7654321, 1357913, 9753113},
                                   .modulus = {101, 103, 107}, .first = {0, 101, 204}};

static int64_t last_row(const int32_t *tokens, int32_t n, int32_t head)
{
    static const float none[3];
    return ngram_row(&small, head, tokens, n - 1, none);
}

Test(ngram, what_stands_before_an_end_of_text_does_not_matter)
{
    int32_t a[] = {1, 2, 5, 8}, b[] = {9, 3, 5, 8}, c[] = {5, 8}, d[] = {8}, e[] = {1, 2, 6, 8};
    for (int32_t j = 0; j < small.heads; j++) {
        int64_t row = last_row(a, 4, j);
        cr_assert(row >= small.first[j] && row < small.first[j] + small.modulus[j]);
        cr_assert_eq(last_row(b, 4, j), row);
        cr_assert_eq(last_row(c, 2, j), row);
        cr_assert_eq(last_row(d, 1, j), row); /* a text starts as if one had just ended */
        cr_assert_neq(last_row(e, 4, j), row);
    }
    a[3] = b[3] = 5; /* the token itself parts nothing from those before it */
    a[2] = b[2] = 6;
    cr_assert_neq(last_row(a, 4, 2), last_row(b, 4, 2));
}

Test(ngram, a_text_cut_anywhere_chooses_the_same_rows)
{
    int32_t tokens[] = {3, 5, 7, 7, 2, 5, 5, 9, 1, 4, 6, 8};
    for (int32_t cut = 0; cut <= (int32_t)ARRAY_LEN(tokens); cut++)
        for (int32_t j = 0; j < small.heads; j++) {
            float kept[3] = {0};
            for (int32_t i = 0; i < cut; i += 2)
                ngram_keep(&small, tokens + i, MIN(2, cut - i), kept);
            for (int32_t t = cut; t < (int32_t)ARRAY_LEN(tokens); t++)
                cr_assert_eq(ngram_row(&small, j, tokens + cut, t - cut, kept),
                             last_row(tokens, t + 1, j), "cut %d, head %d, token %d", cut, j, t);
        }
}

/* A snapshot's bytes are a file's: any float stands for some token or for none. */
Test(ngram, a_state_of_any_floats_chooses_a_row)
{
    static const float odd[] = {-1, 0.5f, 1e30f, INFINITY, -INFINITY, NAN, 1048577};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        float kept[3] = {odd[i], odd[i], odd[i]};
        int32_t token = 8;
        cr_assert_eq(ngram_row(&small, 2, &token, 0, kept), last_row(&token, 1, 2), "%g",
                     (double)odd[i]);
    }
}

Test(ngram, a_hash_that_leaves_its_table_is_refused)
{
    struct err e;
    struct model *m = open_config(PUBLISHED, &e);
    cr_assert_not_null(m, "%s", e.text);
    struct ngram *g = (struct ngram *)hash_of(m, 0), whole = *g;
    struct { const char *what; struct ngram g; } broken[] = {
        {"a head past the last row", whole}, {"a negative row", whole}, {"no rows", whole},
        {"a product past 63 bits", whole}, {"no length", whole}, {"too many heads", whole}};
    broken[0].g.first[15] += 200;
    broken[1].g.first[3] = -1;
    broken[2].g.modulus[3] = 0;
    broken[3].g.multiplier[2] = INT64_MAX / 1000;
    broken[4].g.size = 1;
    broken[5].g.heads = LIMIT_NGRAM_HEADS + 2;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        *g = broken[i].g;
        e = (struct err){0};
        cr_expect_lt(plan_validate(&m->plan, NULL, NULL, &e), 0, "%s was accepted", broken[i].what);
        cr_expect(strstr(e.text, "ngram: "), "%s: %s", broken[i].what, e.text);
    }
    *g = whole;
    e = (struct err){0};
    cr_assert_eq(plan_validate(&m->plan, NULL, NULL, &e), 0, "%s", e.text);
    model_close(m);
}
