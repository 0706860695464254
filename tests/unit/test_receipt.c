/* Receipts: the chain is what the header says, as text they come back to the bit, and every number
 * of one moves its head. */
#include <criterion/criterion.h>
#include <math.h>
#include <sodium.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/rng.h"
#include "server/api/receipt_in.h"

#define VOCAB 50

static const struct receipt_origin origin = {.build = "0.1.0 abc", .numerics = "cpu-ref/2 libm-1f",
                                             .model = {1, 2, 250}, .vocab = VOCAB};

static struct request *request_of(const int32_t *prompt, int32_t n)
{
    struct request *r = request_new();
    r->prompt = mem_array((size_t)n, sizeof *prompt);
    memcpy(r->prompt, prompt, (size_t)n * sizeof *prompt);
    r->n_prompt = n;
    r->sampling.temperature = 0.7F;
    r->sampling.top_p = 0.95F;
    r->sampling.min_p = 0x1.99999ap-5F;
    r->sampling.presence_penalty = -0.0F; /* as text it has no sign */
    r->sampling.seed = UINT64_MAX;
    r->sampling.n_bias = 2;
    r->sampling.bias = mem_array(2, sizeof *r->sampling.bias);
    r->sampling.bias[0] = (struct sample_edit){4, -1.1F};
    r->sampling.bias[1] = (struct sample_edit){7, 99};
    return r;
}

static void fill(float *row, uint32_t seed)
{
    struct rng r = {seed, 0};
    for (int i = 0; i < VOCAB; i++)
        row[i] = (float)rng_below(&r, 1000) / 7;
}

static struct receipt *made(int32_t n_output)
{
    static const int32_t prompt[] = {3, 1, 49}, ends[] = {0, 2};
    struct request *r = request_of(prompt, 3);
    struct err e = {0};
    float row[VOCAB];
    r->min_tokens = 2;
    r->sampling.mirostat_tau = 3.3F;
    r->sampling.n_breakers = 1;
    r->sampling.breakers[0] = (struct dry_breaker){2, "\n\""};
    struct receipt *x = receipt_new(&origin, r, ends, 2);
    request_unref(r);
    for (int32_t i = 0; i < n_output; i++) {
        fill(row, (uint32_t)i);
        cr_assert_eq(receipt_drawn(x, row, (5 * i) % VOCAB, &e), 0);
    }
    return x;
}

static struct receipt *again(struct receipt *x, bool ids)
{
    struct buf text;
    json_t *root;
    const json_t *list[LIMIT_CHOICES];
    struct receipt *back = NULL;
    struct err e = {0};
    int n;
    buf_init(&text, MIB(1));
    receipt_put(&text, x, ids);
    cr_assert_eq(receipt_find(text.p, text.len, &root, list, &n, &e), 0, "%s", e.text);
    cr_assert_eq(n, 1);
    cr_assert_eq(receipt_read(&back, list[0], &e), 0, "%s", e.text);
    json_decref(root);
    buf_free(&text);
    return back;
}

/* By the other BLAKE3 there is: none. So by the words of the header, piece by piece. */
Test(receipt, a_link_is_the_digest_of_the_last_one_the_token_and_the_row)
{
    struct receipt *x = made(3);
    unsigned char link[BLAKE3_OUT], of_row[BLAKE3_OUT], all[2 * BLAKE3_OUT + 4];
    float row[VOCAB];
    struct blake3 b;
    receipt_head(x, x->tokens, link);
    cr_assert_arr_eq(x->head, link, sizeof link);
    for (int32_t i = 0; i < 3; i++) {
        fill(row, (uint32_t)i);
        blake3_init(&b, NULL);
        blake3_update(&b, row, sizeof row);
        blake3_final(&b, of_row);
        memcpy(all, link, 32);
        bytes_put(all + 32, (uint64_t)(5 * i), 4);
        memcpy(all + 36, of_row, 32);
        blake3_init(&b, NULL);
        blake3_update(&b, all, sizeof all);
        blake3_final(&b, link);
        cr_assert_arr_eq(x->links + (size_t)i * RECEIPT_LINK, link, RECEIPT_LINK);
    }
    cr_assert_arr_eq(x->digest, link, sizeof link);
    receipt_free(x);
}

Test(receipt, comes_back_from_its_text_to_the_bit)
{
    for (int32_t n = 0; n < 700; n += 233) {
        struct receipt *x = made(n);
        for (int ids = 0; ids < 2; ids++) {
            struct receipt *y = again(x, ids);
            unsigned char head[BLAKE3_OUT];
            cr_assert_eq(y->n_prompt, 3);
            cr_assert_eq(y->n_output, n);
            cr_assert_eq(y->tokens != NULL, ids);
            if (ids)
                cr_assert_arr_eq(y->tokens, x->tokens, (size_t)(3 + n) * sizeof *y->tokens);
            receipt_head(y, x->tokens, head);
            cr_assert_arr_eq(head, x->head, sizeof head);
            cr_assert_arr_eq(y->digest, x->digest, sizeof y->digest);
            cr_assert(memcmp(y->links, x->links ? x->links : y->links,
                             (size_t)n * RECEIPT_LINK) == 0);
            receipt_free(y);
        }
        receipt_free(x);
    }
}

Test(receipt, what_no_draw_looks_at_is_not_in_the_head)
{
    struct receipt *x = made(0), *y;
    sampling_without(&x->sampling);
    x->sampling.n_breakers = 1;
    x->sampling.breakers[0] = (struct dry_breaker){1, "x"};
    y = again(x, true);
    unsigned char head[BLAKE3_OUT];
    receipt_head(y, y->tokens, head);
    cr_assert_arr_eq(head, y->head, sizeof head);
    receipt_free(x);
    receipt_free(y);
}

Test(receipt, whatever_is_changed_changes_the_head)
{
    struct receipt *x = made(1);
    unsigned char other[BLAKE3_OUT];
    struct { void *at; size_t n; } parts[] = {
        {x->origin.build, 1}, {x->origin.numerics, 1}, {x->origin.model, 32},
        {&x->sampling.temperature, 4}, {&x->sampling.top_p, 4}, {&x->sampling.min_p, 4},
        {&x->sampling.top_k, 4}, {&x->sampling.repetition_penalty, 4},
        {&x->sampling.frequency_penalty, 4}, {&x->sampling.seed, 8},
        {&x->sampling.bias[1].x, 4}, {&x->sampling.bias[0].id, 4},
        {x->sampling.breakers[0].bytes, 2}, {&x->min_tokens, 4}, {x->ends, 8},
        {&x->constrained, 1}, {x->tokens, 12},
#define SAMPLING(type, name, without, least, most) {&x->sampling.name, 4},
#include "scheduler/sampling.def"
#undef SAMPLING
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        for (size_t k = 0; k < parts[i].n; k++) {
            unsigned char *p = (unsigned char *)parts[i].at + k;
            *p ^= 1;
            receipt_head(x, x->tokens, other);
            cr_assert(memcmp(other, x->head, sizeof other) != 0, "part %zu, byte %zu", i, k);
            *p ^= 1;
        }
    receipt_head(x, x->tokens, other);
    cr_assert_arr_eq(other, x->head, sizeof other);
    receipt_free(x);
}

static void copy_one(void *arg, int64_t from, int64_t to, int32_t *out)
{
    (void)arg;
    for (int64_t i = from; i < to; i++)
        *out++ = (int32_t)i % VOCAB;
}

Test(receipt, what_a_session_said_before_is_part_of_the_prompt)
{
    struct receipt *x = made(0), *y;
    struct err e = {0};
    int32_t all[503];
    unsigned char head[BLAKE3_OUT];
    copy_one(NULL, 0, 500, all);
    memcpy(all + 500, x->tokens, 3 * sizeof *all);
    cr_assert_eq(receipt_before(x, 500, copy_one, NULL, &e), 0);
    cr_assert_eq(x->n_prompt, 503);
    receipt_head(x, all, head);
    y = again(x, true);
    cr_assert_arr_eq(y->head, head, sizeof head);
    cr_assert_arr_eq(y->tokens, all, sizeof all);
    receipt_free(y);
    receipt_free(x);
}

/* Every text that is near a receipt: refused in a sentence, or read. */
Test(receipt, other_texts_are_refused_in_a_sentence)
{
    static const struct { const char *from, *to, *words; } rows[] = {
        {"\"version\":1", "\"version\":2", "version 2"},
        {"\"version\":1", "\"version\":\"1\"", "version is a string"},
        {"\"vocab\":50", "\"vocab\":0", "vocab is 0"},
        {"\"vocab\":50", "\"vocab\":49", "entry 2 is not a token id of 0 to 48"},
        {"\"prompt_tokens\":3", "\"prompt_tokens\":4", "5 ids, 6 are expected"},
        {"\"output_tokens\":2", "\"output_tokens\":9223372036854775807", "output_tokens is"},
        {"\"constrained\":false", "\"constrained\":0", "constrained is an integer"},
        {"\"seed\":\"18446744073709551615\"", "\"seed\":7", "seed is not a string"},
        {"\"top_k\":0", "\"top_k\":1e9", "top_k is a number"},
        {"\"temperature\":0.699999988", "\"temperature\":1e30", "temperature is 1e+30"},
        {"\"mirostat\":0", "\"mirostat\":3", "mirostat is 3"},
        {"[4,-1.10000002]", "[7,-1]", "named twice"},
        {"\"0a22\"", "\"0a2\"", "dry_breakers: entry 0"},
        {"\"ends\":[0,2]", "\"ends\":[0,50]", "ends: entry 1"},
        {"\"numerics\":\"cpu", "\"numerics\":\"\\n", "numerics: character 0"},
        {"\"links\":\"", "\"links\":\"0", "links: 33 characters, 32"},
        {"\"head\":\"", "\"head\":\"zz", "head: 66 characters"},
    };
    struct receipt *x = made(2);
    struct buf text;
    buf_init(&text, MIB(1));
    receipt_put(&text, x, true);
    receipt_free(x);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *at = strstr(text.p, rows[i].from);
        struct buf other;
        json_t *root;
        const json_t *list[LIMIT_CHOICES];
        struct receipt *back;
        struct err e = {0};
        int n;
        cr_assert(at, "%s in %s", rows[i].from, text.p);
        buf_init(&other, MIB(1));
        buf_add(&other, text.p, (size_t)(at - text.p));
        buf_str(&other, rows[i].to);
        buf_str(&other, at + strlen(rows[i].from));
        cr_assert_eq(receipt_find(other.p, other.len, &root, list, &n, &e), 0);
        cr_assert(receipt_read(&back, list[0], &e) != 0, "%s", rows[i].to);
        cr_assert_null(back);
        cr_assert(strstr(e.text, rows[i].words), "%s: %s", rows[i].to, e.text);
        json_decref(root);
        buf_free(&other);
    }
    buf_free(&text);
}

Test(receipt, is_found_in_a_reply)
{
    static const struct { const char *text; int rc, n; } rows[] = {
        {"{\"links\":\"\"}", 0, 1},
        {"{\"receipt\":{}}", 0, 1},
        {"{\"choices\":[{\"receipt\":{}},{\"receipt\":null},{},{\"receipt\":{}}]}", 0, 2},
        {"{\"choices\":7}", E_NOENT, 0},
        {"[]", E_FORMAT, 0},
        {"", E_FORMAT, 0},
        {"{\"a\":1,\"a\":2}", E_FORMAT, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *root;
        const json_t *list[LIMIT_CHOICES];
        struct err e = {0};
        int n;
        cr_assert_eq(receipt_find(rows[i].text, strlen(rows[i].text), &root, list, &n, &e),
                     rows[i].rc, "%zu: %s", i, e.text);
        cr_assert_eq(n, rows[i].n);
        json_decref(root);
    }
}
