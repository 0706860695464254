/* Keywords of JSON Schema: which values they let through, and by which names they are refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "models/text/constrain/grammar.h"

static const char *byte(const void *arg, int32_t id, size_t *n)
{
    static char bytes[256];
    (void)arg;
    bytes[id] = (char)id;
    *n = 1;
    return &bytes[id];
}

static int open_schema(struct match **out, const char *schema, struct err *e)
{
    struct token_trie *t;
    struct grammar *g;
    struct grammar_source s = {.kind = GRAMMAR_SCHEMA, .text = schema, .n = strlen(schema)};
    cr_assert_eq(token_trie_new(&t, 256, byte, NULL, e), 0, "%s", e->text);
    int rc = grammar_new(&g, &s, t, e);
    token_trie_unref(t);
    *out = rc ? NULL : match_new(g);
    grammar_unref(rc ? NULL : g);
    return rc;
}

static bool takes(const char *schema, const char *text)
{
    uint32_t words[8];
    struct match *m;
    struct match_state s = {0};
    struct err e = {0};
    cr_assert_eq(open_schema(&m, schema, &e), 0, "%s: %s", schema, e.text);
    bool ok = match_accept_bytes(m, text, strlen(text), NULL) == 0 &&
              match_mask(m, words, &s, &e) == 0 && s.whole;
    match_free(m);
    return ok;
}

struct sample { const char *schema, *yes[5], *no[5]; };

static void check(const struct sample *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(rows[i].yes); k++) {
            if (rows[i].yes[k])
                cr_assert(takes(rows[i].schema, rows[i].yes[k]), "%s must take %s", rows[i].schema,
                          rows[i].yes[k]);
            if (rows[i].no[k])
                cr_assert(!takes(rows[i].schema, rows[i].no[k]), "%s must not take %s",
                          rows[i].schema, rows[i].no[k]);
        }
}

Test(schema, what_is_not)
{
    static const struct sample rows[] = {
        {"{\"not\":{\"type\":[\"object\",\"array\",\"number\"]}}", {"null", "\"x\"", "true"},
         {"1", "[]", "{}"}},
        {"{\"type\":\"string\",\"not\":{\"enum\":[\"a\",\"ab\"]}}", {"\"\"", "\"b\"", "\"abc\""},
         {"\"a\"", "\"ab\"", "\"\\u0061\""}},
        {"{\"enum\":[1,2,\"x\",null],\"not\":{\"enum\":[2,null]}}", {"1", "\"x\""}, {"2", "null"}},
        {"{\"type\":[\"boolean\",\"null\"],\"not\":{\"const\":true}}", {"false", "null"},
         {"true"}},
        {"{\"type\":\"integer\",\"minimum\":-2,\"not\":{\"enum\":[0,7,1.5]}}",
         {"-2", "-1", "1", "8", "700"}, {"0", "7", "-3", "-0"}},
        {"{\"type\":\"number\",\"maximum\":3,\"not\":{\"const\":1.5}}", {"1.4", "1.51", "3"},
         {"1.5", "1.50", "4"}},
        {"{\"type\":\"integer\",\"not\":{\"minimum\":10}}", {"9", "-5"}, {"10"}},
        {"{\"type\":\"string\",\"not\":{\"maxLength\":2}}", {"\"abc\""}, {"\"ab\""}},
        {"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"not\":{\"minItems\":2}}",
         {"[]", "[null]"}, {"[null,null]"}},
        {"{\"properties\":{\"a\":{},\"b\":{}},\"not\":{\"required\":[\"a\",\"b\"]}}",
         {"{}", "{\"a\":1}", "{\"b\":1}"}, {"{\"a\":1,\"b\":2}"}},
        {"{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"],"
         "\"not\":{\"properties\":{\"a\":{\"not\":{\"minimum\":4}}}}}", {"{\"a\":4}"},
         {"{\"a\":3}"}},
        {"{\"type\":[\"integer\",\"string\",\"null\"],\"not\":{\"anyOf\":[{\"type\":\"null\"},"
         "{\"type\":\"string\",\"minLength\":2}]}}", {"1", "\"a\""}, {"null", "\"ab\""}},
        {"{\"allOf\":[{\"type\":\"string\",\"not\":{\"const\":\"a\"}},"
         "{\"not\":{\"const\":\"b\"}}]}",
         {"\"c\"", "\"aa\""}, {"\"a\"", "\"b\""}},
        {"{\"oneOf\":[{\"type\":\"string\"},{\"minLength\":3}]}", {"\"ab\"", "1"},
         {"\"abc\""}},
        {"{\"oneOf\":[{\"type\":\"integer\",\"minimum\":1},{\"type\":\"integer\",\"maximum\":5}]}",
         {"0", "6"}, {"1", "5"}},
        {"{\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"}},"
         "\"oneOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
         {"{\"a\":null}", "{\"b\":null}"}, {"{}", "{\"a\":null,\"b\":null}"}},
    };
    check(rows, ARRAY_LEN(rows));
}

Test(schema, lists_that_hold_each_value_once)
{
    static const struct sample rows[] = {
        {"{\"items\":{\"enum\":[\"a\",1,\"b\",1.0]},\"uniqueItems\":true,\"minItems\":1}",
         {"[\"a\"]", "[1, \"a\"]", "[\"b\",1,\"a\"]"},
         {"[]", "[1,1]", "[\"a\",\"b\",\"a\"]", "[1,\"c\"]"}},
        {"{\"items\":{\"type\":[\"boolean\",\"null\"]},\"uniqueItems\":true,\"maxItems\":2}",
         {"[]", "[true,null]", "[null, false]"}, {"[true,true]", "[true,false,null]"}},
        {"{\"items\":{\"type\":\"boolean\"},\"uniqueItems\":true}", {"[true,false]"},
         {"[null]"}},
        {"{\"items\":{},\"uniqueItems\":true,\"maxItems\":1}", {"[]", "[3]"}, {"[1,2]"}},
        {"{\"items\":{\"type\":\"null\"},\"uniqueItems\":false}", {"[null,null]"}, {"[1]"}},
    };
    check(rows, ARRAY_LEN(rows));
}

/* By brute force. */
Test(schema, multiples_between_bounds)
{
    static const struct { int k, low, high; } rows[] = {
        {7, -120, 230}, {5, 0, 100}, {3, 12, 12}, {10, -35, -1}, {25, 99, 1001}, {1, -3, 11},
        {400, -500, 900}, {12, 0, 9}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char schema[128], text[16];
        struct match *m;
        struct err e = {0};
        snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"multipleOf\":%d,\"minimum\":%d,"
                 "\"maximum\":%d}", rows[i].k, rows[i].low, rows[i].high);
        cr_assert_eq(open_schema(&m, schema, &e), 0, "%s: %s", schema, e.text);
        for (int n = rows[i].low - 30; n <= rows[i].high + 30; n++) {
            uint32_t words[8];
            struct match_state s = {0};
            struct match *c = match_clone(m);
            snprintf(text, sizeof text, "%d", n);
            bool taken = match_accept_bytes(c, text, strlen(text), NULL) == 0 &&
                         match_mask(c, words, &s, &e) == 0 && s.whole;
            bool right = n % rows[i].k == 0 && n >= rows[i].low && n <= rows[i].high;
            cr_assert_eq(taken, right, "%s: %d", schema, n);
            match_free(c);
        }
        match_free(m);
    }
    static const struct sample open[] = {
        {"{\"type\":\"integer\",\"multipleOf\":7,\"exclusiveMinimum\":7}",
         {"14", "7000000000000"}, {"7", "0", "-7", "15", "014"}},
        {"{\"type\":\"number\",\"multipleOf\":10,\"maximum\":-5}", {"-10", "-70"},
         {"0", "-5", "-0", "10"}},
        {"{\"type\":\"integer\",\"multipleOf\":4,\"not\":{\"const\":8}}", {"4", "12", "0"},
         {"8"}},
    };
    check(open, ARRAY_LEN(open));
}

Test(schema, conditions)
{
    static const struct sample rows[] = {
        {"{\"properties\":{\"kind\":{\"enum\":[\"a\",\"b\"]},"
         "\"n\":{\"type\":[\"integer\",\"null\"]}},"
         "\"required\":[\"kind\",\"n\"],\"if\":{\"properties\":{\"kind\":{\"const\":\"a\"}}},"
         "\"then\":{\"properties\":{\"n\":{\"type\":\"integer\"}}},"
         "\"else\":{\"properties\":{\"n\":{\"type\":\"null\"}}}}",
         {"{\"kind\":\"a\",\"n\":1}", "{\"kind\":\"b\",\"n\":null}"},
         {"{\"kind\":\"a\",\"n\":null}", "{\"kind\":\"b\",\"n\":1}"}},
        {"{\"properties\":{\"a\":{\"type\":\"boolean\"},\"b\":{\"type\":\"null\"}},"
         "\"if\":{\"properties\":{\"a\":{\"const\":true}},\"required\":[\"a\"]},"
         "\"then\":{\"required\":[\"b\"]}}",
         {"{}", "{\"a\":false}", "{\"a\":true,\"b\":null}", "{\"b\":null}"}, {"{\"a\":true}"}},
        {"{\"if\":{\"type\":\"string\"},\"then\":{\"maxLength\":1},"
         "\"else\":{\"type\":\"integer\"}}",
         {"\"a\"", "4"}, {"\"ab\"", "null"}},
        {"{\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"},\"c\":{\"type\":"
         "\"null\"}},\"dependentRequired\":{\"a\":[\"c\"],\"b\":[\"a\"]}}",
         {"{}", "{\"c\":null}", "{\"a\":null,\"c\":null}", "{\"a\":null,\"b\":null,\"c\":null}"},
         {"{\"a\":null}", "{\"b\":null}", "{\"b\":null,\"c\":null}"}},
        {"{\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"integer\"}},"
         "\"dependentSchemas\":{\"a\":{\"properties\":{\"b\":{\"minimum\":5}}}}}",
         {"{\"b\":1}", "{\"a\":null,\"b\":5}", "{\"a\":null}"}, {"{\"a\":null,\"b\":4}"}},
        {"{\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"}},"
         "\"dependencies\":{\"a\":[\"b\"]}}", {"{\"b\":null}"}, {"{\"a\":null}"}},
    };
    check(rows, ARRAY_LEN(rows));
}

/* n times c behind a text; static. */
static const char *longer(const char *begin, char c, int n, const char *end)
{
    static char text[512];
    size_t at = (size_t)snprintf(text, sizeof text, "\"%s", begin);
    memset(text + at, c, (size_t)n);
    snprintf(text + at + n, sizeof text - at - (size_t)n, "%s\"", end);
    return text;
}

Test(schema, names_on_the_net_have_a_length)
{
    static const char host[] = "{\"format\":\"hostname\"}", mail[] = "{\"format\":\"email\"}";
    static const char d63[] = "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
    char three[200], four[280];
    snprintf(three, sizeof three, "%s.%s.", d63, d63);
    snprintf(four, sizeof four, "%s%s.", three, d63);
    cr_assert(takes(host, longer("a.b.c.d.e-f.example.", 'x', 24, "")));
    cr_assert(takes(host, longer("", 'x', 63, "")));
    cr_assert(!takes(host, longer("", 'x', 64, "")));
    cr_assert(takes(host, longer(three, 'x', 63, "")));
    cr_assert(!takes(host, longer(four, 'x', 63, ""))); /* 255 */
    cr_assert(takes(mail, longer("", 'x', 64, "@example.com")));
    cr_assert(!takes(mail, longer("", 'x', 65, "@example.com")));
    cr_assert(takes(mail, longer("first.middle.last", 'x', 3, "@mail.example.co.uk")));
    cr_assert(!takes(mail, longer("a@", 'x', 3, "")));
}

Test(schema, what_cannot_be_enforced_is_refused_by_name)
{
    static const struct { const char *schema, *words[2]; } rows[] = {
        {"{\"not\":{\"pattern\":\"a\"}}", {"not:", "pattern"}},
        {"{\"not\":{\"not\":{\"type\":\"integer\"}}}", {"not:", "type"}},
        {"{\"not\":{\"items\":{}}}", {"not:", "items"}},
        {"{\"not\":{\"oneOf\":[{\"minLength\":1},{\"maxLength\":3}]}}", {"oneOf:", "not"}},
        {"{\"if\":{\"format\":\"date\"},\"then\":{\"maxLength\":2}}", {"not:", "format"}},
        {"{\"not\":{\"const\":[]}}", {"not:", "list"}},
        {"{\"items\":{\"type\":\"string\"},\"uniqueItems\":true}", {"uniqueItems:", "8"}},
        {"{\"prefixItems\":[{},{}],\"uniqueItems\":true}", {"uniqueItems:", "listed"}},
        {"{\"type\":\"string\",\"minLength\":2,\"not\":{\"const\":\"a\"}}", {"not:", "minLength"}},
        {"{\"oneOf\":[{\"pattern\":\"^a\"},{\"pattern\":\"b$\"}]}", {"oneOf:", "branch 0"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct match *m;
        struct err e = {0};
        cr_assert_eq(open_schema(&m, rows[i].schema, &e), E_UNSUPPORTED, "%s: %s", rows[i].schema,
                     e.text);
        for (int k = 0; k < 2; k++)
            cr_assert(strstr(e.text, rows[i].words[k]), "%s: %s", rows[i].schema, e.text);
    }
}
