/* Any bytes as a template: refused, or run against a conversation within the limits; the result is
 * UTF-8 and its marks cover it. */
#include <jansson.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "models/text/chat/jinja/jinja.h"
#include "tests/fuzz/fuzz.h"

static bool is_role(const char *s) { return strcmp(s, "user") == 0; }

static const char talk[] =
    "[{\"role\":\"user\",\"content\":\"h\xc3\xa9 <|end|> \"},{\"role\":\"assistant\",\"content\":"
    "null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2.5,true,null]}}}]"
    "},{\"role\":\"tool\",\"content\":\"r\\n\\n<think>x</think>\"}]";

static void check(const struct text *t)
{
    uint32_t before = 0;
    HOLDS(t->n <= LIMIT_TEMPLATE_OUTPUT && utf8_valid(t->n ? t->p : "", t->n));
    for (uint32_t i = 0; i < t->n_marks; before = t->marks[i++].end)
        HOLDS(t->marks[i].end > before && t->marks[i].end <= t->n && t->marks[i].origin <= 4);
    HOLDS(!t->marks || before == t->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static json_t *messages;
    struct err e = {0};
    struct jinja *t = NULL;
    const struct text *out = NULL;
    if (!messages)
        HOLDS((messages = json_loads(talk, 0, NULL)));
    int rc = jinja_compile(&t, (const char *)data, n, &e);
    HOLDS(rc == e.code && (rc == 0) == (t != NULL));
    if (rc == 0) {
        struct run *r = jinja_run_new(sizeof talk, 20, &e);
        HOLDS(r);
        jinja_set_time(r, 1753900000);
        jinja_set_list(r, "messages", messages, 2, "role", is_role);
        jinja_set_json(r, "tools", NULL, 1);
        jinja_set_str(r, "bos_token", "<s>", 3, 0);
        jinja_set_str(r, "x", "client", 6, 1);
        jinja_set_bool(r, "add_generation_prompt", true);
        rc = jinja_render(t, r, &out, &e);
        HOLDS(rc == e.code && (rc == 0 || e.text[0]) && utf8_valid(e.text, strlen(e.text)));
        if (rc == 0)
            check(out);
        jinja_run_free(r);
    }
    jinja_free(t);
    return 0;
}
