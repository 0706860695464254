/* Request fields: defaults from the model's files, the forms of a prompt, limits. The API tests
 * hold the long tables; here is what they cannot see. */
#include "server/api/jsonin.h"
#include "server/api/params.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

static struct served model_of(float temperature, int32_t top_k)
{
    return (struct served){.name = "m", .names = {"m"}, .n_names = 1, .vocab = 100,
                          .defaults = {temperature, NAN, NAN, NAN, top_k, -1}};
}

static int parse(struct params *p, enum params_kind kind, const char *body, struct err *e)
{
    static struct served m;
    json_t *o = NULL;
    m = model_of(0.6F, 40);
    cr_assert_eq(jsonin_parse(&o, body, strlen(body), e), 0, "%s", e->text);
    int rc = params_read(p, kind, &m, o, strlen(body), e);
    json_decref(o);
    return rc;
}

Test(params, what_is_not_named_comes_from_the_model_then_from_the_api)
{
    struct params p;
    struct err e = {0};
    cr_assert_eq(parse(&p, PARAMS_COMPLETION, "{\"prompt\":\"a\"}", &e), 0);
    cr_assert_eq(p.sampling.temperature, 0.6F);
    cr_assert_eq(p.sampling.top_k, 40);
    cr_assert_eq(p.sampling.top_p, 1.0F);
    cr_assert_eq(p.sampling.min_p, 0.0F);
    cr_assert_eq(p.sampling.repetition_penalty, 1.0F);
    cr_assert(p.max_tokens == 16 && p.n == 1 && p.logprobs == -1 && !p.has_seed && !p.stream);
    params_fini(&p);
    cr_assert_eq(parse(&p, PARAMS_COMPLETION,
                       "{\"prompt\":\"a\",\"temperature\":0,\"top_k\":-1,\"seed\":-5}", &e), 0);
    cr_assert(p.sampling.temperature == 0 && p.sampling.top_k == 0);
    cr_assert(p.has_seed && p.sampling.seed == (uint64_t)-5);
    params_fini(&p);
}

Test(params, a_prompt_has_four_forms)
{
    static const struct { const char *body; int32_t prompts, ids; } rows[] = {
        {"{\"prompt\":\"ab\"}", 1, 0},     {"{\"prompt\":[\"a\",\"b\"]}", 2, 0},
        {"{\"prompt\":[1,2,3]}", 1, 3},    {"{\"prompt\":[[1,2],[3,4]]}", 2, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct params p;
        struct err e = {0};
        cr_assert_eq(parse(&p, PARAMS_COMPLETION, rows[i].body, &e), 0, "%s", e.text);
        cr_assert_eq(p.n_prompts, rows[i].prompts);
        cr_assert_eq(p.prompts[0].n_ids, rows[i].ids);
        cr_assert_eq(!p.prompts[0].text, rows[i].ids > 0);
        params_fini(&p);
    }
}

Test(params, text_parts_are_joined_without_anything_between)
{
    struct params p;
    struct err e = {0};
    cr_assert_eq(parse(&p, PARAMS_CHAT,
                       "{\"messages\":[{\"role\":\"user\",\"content\":["
                       "{\"type\":\"text\",\"text\":\"ab\"},"
                       "{\"type\":\"text\",\"text\":\"\"},{\"type\":\"text\",\"text\":\"c\"}]},"
                       "{\"role\":\"user\",\"content\":[]}]}", &e), 0, "%s", e.text);
    cr_assert_eq(p.n_messages, 2);
    cr_assert_eq(json_array_size(p.chat.messages), 2);
    cr_assert(p.chat.add_reply && !p.chat.tools && !p.chat.template_text);
    params_fini(&p);
}

Test(params, another_model_is_not_served)
{
    struct params p;
    struct err e = {0};
    cr_assert_eq(parse(&p, PARAMS_COMPLETION, "{\"prompt\":\"a\",\"model\":\"x\"}", &e), E_NOENT);
    cr_assert_str_eq(e.param, "model");
    params_fini(&p);
    err_clear(&e);
    cr_assert_eq(parse(&p, PARAMS_COMPLETION, "{\"prompt\":\"a\",\"model\":\"m\"}", &e), 0);
    params_fini(&p);
}
