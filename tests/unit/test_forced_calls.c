/* Calls that masks force: in every dialect, whatever may be written is read back as one call of a
 * function that was offered, with arguments that its schema allows. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "models/text/constrain/grammar.h"
#include "models/text/toolcall/toolcall.h"

#define TOKENS 320
#define STEPS 900
#define WALKS 60

/* Every byte; what may end a text too early, and common pieces. */
static const char *piece(const void *arg, int32_t id, size_t *n)
{
    static char bytes[256];
    static const char *const more[] = {
        "</parameter>", "</tool_call>", "\n</tool_call>", "</param", "</function>\n", "<tool_call>",
        "</invoke>", "[TOOL_CALLS]", "[ARGS]", "<|tool_call_end|>", "\", \"", "True", "null", "]}",
        "\\u00", ")]", "\n</parameter>\n", "\n", "\n\n", "é", "\xF0\x9F", "12", "city", "{\"",
        "': '", "\\", "\\/"};
    (void)arg;
    if (id < 256) {
        bytes[id] = (char)id;
        *n = 1;
        return &bytes[id];
    }
    id = (id - 256) % (int32_t)ARRAY_LEN(more);
    *n = strlen(more[id]);
    return more[id];
}

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"strict\":true,\"parameters\":"
    "{\"$defs\":{\"day\":{\"type\":\"string\",\"format\":\"date\"}},\"type\":\"object\","
    "\"properties\":{"
    "\"city\":{\"type\":\"string\",\"minLength\":1},\"days\":{\"type\":\"integer\",\"minimum\":1,"
    "\"maximum\":14},\"unit\":{\"type\":\"string\",\"enum\":[\"C\",\"F\",\"</parameter>\"]},"
    "\"note\":{\"type\":\"string\",\"maxLength\":3},\"code\":{\"type\":\"string\",\"pattern\":"
    "\"^[A-C<]{2}[a-z]?$\"},\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\","
    "\"maxLength\":2},"
    "\"maxItems\":2},\"more\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":[\"boolean\","
    "\"null\"]}},\"required\":[\"a\"],\"additionalProperties\":false},\"when\":{\"$ref\":"
    "\"#/$defs/day\"},\"kind\":{\"enum\":[\"x\",2,true,null]}},\"required\":[\"city\",\"days\","
    "\"kind\"],\"additionalProperties\":false}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

static struct token_trie *trie;

static struct match *open_match(enum grammar_kind kind, const char *text, const char *trigger)
{
    struct grammar *g;
    struct err e = {0};
    struct grammar_source s = {.kind = kind, .text = text, .n = strlen(text), .trigger = trigger};
    if (!trie)
        cr_assert_eq(token_trie_new(&trie, TOKENS, piece, NULL, &e), 0, "%s", e.text);
    cr_assert_eq(grammar_new(&g, &s, trie, &e), 0, "%s: %s", e.text, text);
    struct match *m = match_new(g);
    cr_assert(m);
    grammar_unref(g);
    return m;
}

/* A random text of the grammar in out; false: it came to no end. */
static bool walk(struct match *m, uint64_t seed, struct buf *out)
{
    uint32_t words[(TOKENS + 31) / 32];
    struct match_state s;
    struct err e = {0};
    for (uint64_t step = 0; step < STEPS; step++) {
        cr_assert_eq(match_mask(m, words, &s, &e), 0, "%s", e.text);
        if (s.whole && !s.more)
            return true;
        int32_t some[TOKENS], n = 0, closing = 0;
        for (int32_t i = 0; i < TOKENS; i++) {
            bool allowed = words[i / 32] >> (i % 32) & 1;
            size_t len;
            if (allowed && i > 0 && strchr("\"<]})>\n,/", *piece(NULL, i, &len)))
                some[closing++] = i;
        }
        bool close = closing && rng_at(seed, step, 1) % 1000 < 300 + step;
        for (int32_t i = 0; i < TOKENS && !close; i++)
            if (words[i / 32] >> (i % 32) & 1)
                some[n++] = i;
        n = close ? closing : n;
        cr_assert_gt(n, 0);
        int32_t id = some[rng_at(seed, step, 2) % (uint64_t)n];
        size_t len;
        const char *p = piece(NULL, id, &len);
        cr_assert_eq(match_accept(m, id, &e), 0, "%s", e.text);
        buf_add(out, p, len);
    }
    return false;
}

struct read { int calls, other; struct buf name, arguments; };

static void emit(void *arg, const struct toolcall_event *ev)
{
    struct read *r = arg;
    r->calls += ev->kind == TOOLCALL_BEGIN;
    r->other += ev->kind == TOOLCALL_TEXT;
    if (ev->kind == TOOLCALL_BEGIN)
        buf_add(&r->name, ev->p, ev->n);
    else if (ev->kind == TOOLCALL_ARGUMENTS)
        buf_add(&r->arguments, ev->p, ev->n);
}

/* Reads text in pieces (cut 0: as a whole). */
static void read_text(struct read *r, const struct toolcall_options *o, const struct buf *text,
                      uint64_t cut)
{
    struct toolcall_options own = *o;
    struct err e = {0};
    own.emit = emit;
    own.arg = r;
    *r = (struct read){0};
    buf_init(&r->name, KIB(4));
    buf_init(&r->arguments, MIB(1));
    struct toolcall *t = toolcall_new(&own);
    for (size_t i = 0, n; i < text->len; i += n) {
        n = cut ? MIN(1 + rng_at(cut, i, 3) % 9, text->len - i) : text->len;
        cr_assert_eq(toolcall_feed(t, text->p + i, n, &e), 0, "%s", e.text);
    }
    cr_assert_eq(toolcall_finish(t, &e), 0, "%s", e.text);
    toolcall_free(t);
}

static void drop(struct read *r)
{
    buf_free(&r->name);
    buf_free(&r->arguments);
}

/* The arguments again, as the schema alone would have them written. */
static void check_arguments(const json_t *tools, const struct read *r, const char *text)
{
    const json_t *f = json_object_get(json_array_get(tools, 0), "function");
    json_error_t je;
    json_t *args = json_loadb(r->arguments.p, r->arguments.len, JSON_ALLOW_NUL, &je);
    cr_assert(args, "%s: %s", je.text, text);
    char *plain = json_dumps(args, 0);
    if (strcmp(r->name.p, "now") == 0) {
        cr_assert(json_is_object(args));
    } else {
        cr_assert_str_eq(r->name.p, "get_weather");
        char *schema = json_dumps(json_object_get(f, "parameters"), 0);
        struct match *m = open_match(GRAMMAR_SCHEMA, schema, NULL);
        struct err e = {0};
        cr_assert_eq(match_accept_bytes(m, plain, strlen(plain), &e), 0, "%s: %s of %s", e.text,
                     plain, text);
        match_free(m);
        mem_free(schema);
    }
    mem_free(plain);
    json_decref(args);
}

/* Read while it is written it is the same call; and cut anywhere, what has left is a beginning. */
static void check_early(const struct toolcall_options *o, const struct buf *text,
                        const struct read *whole, uint64_t seed)
{
    struct toolcall_options own = *o;
    own.early = true;
    for (uint64_t k = 0; k < 12; k++) {
        struct buf some = *text;
        struct read r;
        some.len = k < 3 ? text->len : rng_at(seed, k, 4) % text->len;
        read_text(&r, &own, &some, k);
        cr_assert(r.calls == 1 ? !r.other : k >= 3, "%d calls in %s", r.calls, text->p);
        cr_assert(!r.calls || strcmp(r.name.p, whole->name.p) == 0);
        size_t n = k < 3 ? whole->arguments.len : r.arguments.len;
        cr_assert(r.arguments.len == n && n <= whole->arguments.len &&
                  (!n || memcmp(r.arguments.p, whole->arguments.p, n) == 0),
                  "%s: %s of %s", text->p, r.arguments.p, whole->arguments.p);
        drop(&r);
    }
}

static void check_dialect(const char *name, const char *function)
{
    json_t *tools = json_loads(tools_text, 0, NULL);
    struct toolcall_demand d = {.dialect = toolcall_find(name), .tools = tools, .name = function};
    struct toolset *set = toolset_new(tools);
    struct toolcall_options o = {.dialect = d.dialect, .tools = set};
    struct err e = {0};
    char *text;
    int ended = 0;
    cr_assert(d.dialect);
    cr_assert_eq(toolcall_structure(&text, &d, &e), 0, "%s: %s", name, e.text);
    for (uint64_t seed = 1; seed <= WALKS; seed++) {
        struct match *m = open_match(GRAMMAR_STRUCTURE, text, NULL);
        struct buf out;
        struct read whole, cut;
        buf_init(&out, KIB(64));
        if (walk(m, seed, &out)) {
            ended++;
            read_text(&whole, &o, &out, 0);
            read_text(&cut, &o, &out, seed);
            cr_assert(whole.calls == 1 && !whole.other, "%s: %d calls in %s", name, whole.calls,
                      out.p);
            cr_assert(cut.calls == 1 && strcmp(cut.name.p, whole.name.p) == 0 &&
                      strcmp(cut.arguments.p, whole.arguments.p) == 0);
            cr_assert(!function || strcmp(function, whole.name.p) == 0);
            check_arguments(tools, &whole, out.p);
            drop(&cut);
            check_early(&o, &out, &whole, seed);
            drop(&whole);
        }
        match_free(m);
        buf_free(&out);
    }
    cr_assert_gt(ended, WALKS / 2, "%s: %d texts ended", name, ended);
    mem_free(text);
    toolset_free(set);
    json_decref(tools);
}

Test(forced_calls, every_dialect_reads_back_what_may_be_written)
{
    static const char *const names[] = {"kimi", "minimax", "lfm2", "function-tags", "hermes",
                                        "tool-calls", "nemotron", "mistral", "mistral-json",
                                        "llama"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        check_dialect(names[i], NULL);
        check_dialect(names[i], "get_weather");
        check_dialect(names[i], "now");
    }
}

static void expect(const char *dialect, const char *structure_of, const char *text, bool taken)
{
    json_t *tools = json_loads(structure_of, 0, NULL);
    struct toolcall_demand d = {.dialect = toolcall_find(dialect), .tools = tools};
    struct err e = {0};
    char *s;
    cr_assert_eq(toolcall_structure(&s, &d, &e), 0, "%s", e.text);
    struct match *m = open_match(GRAMMAR_STRUCTURE, s, NULL);
    cr_assert_eq(match_accept_bytes(m, text, strlen(text), NULL) == 0, taken, "%s: %s", dialect,
                 text);
    match_free(m);
    mem_free(s);
    json_decref(tools);
}

Test(forced_calls, each_dialect_is_written_as_its_template_writes_it)
{
    static const char one[] = "[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"s\""
                              ":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}},\"required\":["
                              "\"s\"]}}}]";
    static const struct { const char *dialect, *yes, *no; } rows[] = {
        {"hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 3}}\n"
         "</tool_call>", "<tool_call>\n{\"name\": \"g\""},
        {"function-tags", "<tool_call>\n<function=f>\n<parameter=s>\na < b </p>\n\n</parameter>\n"
         "<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>",
         "<tool_call>\n<function=f>\n<parameter=n>"},
        {"minimax", "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"s\">x y"
         "</parameter>\n</invoke>\n</minimax:tool_call>",
         "<minimax:tool_call>\n<invoke name=\"f\">\n</invoke>"},
        {"lfm2", "<|tool_call_start|>[f(s=\"a\", n=3)]<|tool_call_end|>",
         "<|tool_call_start|>[f()"},
        {"kimi", "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
         "<|tool_call_argument_begin|>{\"s\": \"a\"}<|tool_call_end|><|tool_calls_section_end|>",
         "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:x"},
        {"mistral", "[TOOL_CALLS]f[ARGS]{\"s\": \"a\"}", "[TOOL_CALLS]f[ARGS]{}"},
        {"mistral-json", "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"s\": \"a\"}}]",
         "[TOOL_CALLS]f"},
        {"llama", "{\"name\": \"f\", \"parameters\": {\"s\": \"a\"}}", "Hello"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        expect(rows[i].dialect, one, rows[i].yes, true);
        expect(rows[i].dialect, one, rows[i].no, false);
    }
}

/* Every way that anyOf, if … leave: arguments one by one. $ tells arguments apart. */
Test(forced_calls, arguments_one_by_one_follow_what_is_said_of_all)
{
    static const struct { const char *parameters, *yes[3], *no[3]; } rows[] = {
        {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}},"
         "\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
         {"a=1", "b=2", "a=1$b=2"}, {"", "c=1"}},
        {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}},"
         "\"oneOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
         {"a=1", "b=2"}, {"", "a=1$b=2"}},
        {"{\"$defs\":{\"n\":{\"type\":\"integer\",\"maximum\":5}},\"allOf\":[{\"properties\":"
         "{\"a\":{\"$ref\":\"#/$defs/n\"}},\"required\":[\"a\"]},{\"properties\":{\"a\":"
         "{\"minimum\":3}}}]}", {"a=3", "a=5"}, {"a=2", "a=6", ""}},
        {"{\"properties\":{\"a\":{\"enum\":[1,2]},\"b\":{\"type\":\"integer\"}},\"required\":"
         "[\"a\"],\"if\":{\"properties\":{\"a\":{\"const\":1}}},\"then\":{\"required\":[\"b\"]},"
         "\"else\":{\"properties\":{\"b\":false}}}", {"a=1$b=7", "a=2"}, {"a=1", "a=2$b=7"}},
        {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}},"
         "\"dependentRequired\":{\"a\":[\"b\"]}}", {"", "b=1", "a=1$b=1"}, {"a=1"}},
    };
    static const struct { const char *dialect, *before, *eq, *between, *after; } forms[] = {
        {"function-tags", "<tool_call>\n<function=f>\n", ">\n",
         "\n</parameter>\n", "</function>\n</tool_call>"},
        {"lfm2", "<|tool_call_start|>[f(", "=", ", ", ")]<|tool_call_end|>"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t k = 0; k < ARRAY_LEN(forms) * 6; k++) {
            size_t nth = k % 3;
            const char *args = k % 6 < 3 ? rows[i].yes[nth] : rows[i].no[nth];
            bool tags = k < 6;
            char tools[1024], text[512];
            size_t n = 0;
            if (!args)
                continue;
            snprintf(tools, sizeof tools, "[{\"function\":{\"name\":\"f\",\"parameters\":%s}}]",
                     rows[i].parameters);
            const char *tag = tags && *args ? "<parameter=" : "";
            n += (size_t)snprintf(text, sizeof text, "%s%s", forms[k / 6].before, tag);
            for (const char *p = args; *p; p++)
                n += (size_t)(*p == '=' ? snprintf(text + n, sizeof text - n, "%s", forms[k / 6].eq)
                              : *p == '$' ? snprintf(text + n, sizeof text - n, "%s%s",
                                                     forms[k / 6].between, tag)
                                          : snprintf(text + n, sizeof text - n, "%c", *p));
            snprintf(text + n, sizeof text - n, "%s%s", *tag ? forms[k / 6].between : "",
                     forms[k / 6].after);
            expect(forms[k / 6].dialect, tools, text, k % 6 < 3);
        }
}

/* A text between tags that may be of one form or another. */
Test(forced_calls, a_text_of_several_forms)
{
    static const char one[] = "[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{"
                              "\"s\":{\"type\":\"string\",\"anyOf\":[{\"const\":\"now\"},{"
                              "\"pattern\":\"^[0-9]{2}$\"},{\"type\":\"integer\"}]}},"
                              "\"required\":[\"s\"]}}}]";
    static const struct { const char *value; bool taken; } rows[] = {
        {"now", true}, {"12", true}, {"123", false}, {"no", false}, {"", false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256];
        snprintf(text, sizeof text, "<tool_call>\n<function=f>\n<parameter=s>\n%s\n"
                 "</parameter>\n</function>\n</tool_call>", rows[i].value);
        expect("function-tags", one, text, rows[i].taken);
    }
}

Test(forced_calls, what_a_dialect_cannot_write_is_refused_by_name)
{
    static const struct { const char *dialect, *parameters, *word; } rows[] = {
        {"function-tags", "{\"minProperties\":2}", "minProperties"},
        {"function-tags", "{\"patternProperties\":{\"a\":{}}}", "patternProperties"},
        {"lfm2", "{\"properties\":{\"a b\":{}},\"required\":[\"a b\"]}", "a b"},
        {"minimax", "{\"additionalProperties\":{\"type\":\"integer\"}}", "additionalProperties"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *tools = json_pack("[{s:{s:s,s:o}}]", "function", "name", "f", "parameters",
                                  json_loads(rows[i].parameters, 0, NULL));
        struct toolcall_demand d = {.dialect = toolcall_find(rows[i].dialect), .tools = tools};
        struct err e = {0};
        char *s;
        cr_assert_eq(toolcall_structure(&s, &d, &e), E_UNSUPPORTED);
        cr_assert(strstr(e.text, rows[i].word) && strstr(e.text, rows[i].dialect), "%s", e.text);
        json_decref(tools);
    }
}

Test(forced_calls, no_memory_is_an_error_and_no_leak)
{
    json_t *tools = json_loads(tools_text, 0, NULL);
    struct toolcall_demand d = {.dialect = toolcall_find("function-tags"), .tools = tools};
    for (uint64_t nth = 1; nth < 2000; nth++) {
        struct err e = {0};
        char *s;
        mem_fail_at(nth);
        int rc = toolcall_structure(&s, &d, &e);
        mem_fail_at(0);
        if (rc == 0) {
            mem_free(s);
            json_decref(tools);
            return;
        }
        cr_assert(!s && rc == E_NOMEM && e.text[0]);
    }
    cr_assert_fail("it never succeeded");
}
