/* Grammars: which texts they take, and that masks say exactly which tokens lead to one. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "models/text/constrain/grammar.h"
#include "models/text/constrain/positions.h"
#include "models/text/constrain/regex.h"

#define TOKENS 700

/* Every byte, then pairs and longer pieces of what occurs in JSON; a few without text. */
static const char *piece(const void *arg, int32_t id, size_t *n)
{
    static char text[TOKENS][16];
    static const char letters[] = "ab\"\\:,{}[]01-. xé\n";
    (void)arg;
    char *t = text[id];
    *n = id < 256 ? 1 : 2 + (size_t)(id % 5);
    for (size_t i = 0; i < *n; i++)
        t[i] = id < 256 ? (char)id
                        : letters[rng_at(5, (uint64_t)id, i) % (sizeof letters - 1)];
    *n = id % 50 == 49 && id > 256 ? 0 : *n;
    return t;
}

static struct token_trie *trie(void)
{
    static struct token_trie *t;
    struct err e = {0};
    if (!t)
        cr_assert_eq(token_trie_new(&t, TOKENS, piece, NULL, &e), 0, "%s", e.text);
    return t;
}

static struct match *open_match(enum grammar_kind kind, const char *text, const char *trigger,
                                bool compact)
{
    struct grammar *g;
    struct err e = {0};
    struct grammar_source s = {.kind = kind, .text = text, .n = strlen(text),
                               .trigger = trigger, .compact = compact};
    cr_assert_eq(grammar_new(&g, &s, trie(), &e), 0, "%s: %s", text, e.text);
    struct match *m = match_new(g);
    grammar_unref(g); /* the match keeps it */
    return m;
}

static bool whole(struct match *m)
{
    uint32_t words[(TOKENS + 31) / 32];
    struct match_state s;
    struct err e = {0};
    cr_assert_eq(match_mask(m, words, &s, &e), 0, "%s", e.text);
    return s.whole;
}

static bool takes(enum grammar_kind kind, const char *definition, const char *text)
{
    struct match *m = open_match(kind, definition, NULL, false);
    bool ok = match_accept_bytes(m, text, strlen(text), NULL) == 0 && whole(m);
    match_free(m);
    return ok;
}

struct sample { const char *definition, *yes[4], *no[4]; };

static void check(enum grammar_kind kind, const struct sample *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++) {
            if (rows[i].yes[k])
                cr_assert(takes(kind, rows[i].definition, rows[i].yes[k]), "%s must take %s",
                          rows[i].definition, rows[i].yes[k]);
            if (rows[i].no[k])
                cr_assert(!takes(kind, rows[i].definition, rows[i].no[k]), "%s must not take %s",
                          rows[i].definition, rows[i].no[k]);
        }
}

Test(grammar, regexes)
{
    static const struct sample rows[] = {
        {"ab*c", {"ac", "abbc"}, {"ab", "abcc", ""}},
        {"(a|b){2,3}", {"ab", "aab"}, {"a", "abab"}},
        {"[^a]+é", {"bé", "éé"}, {"aé", "é"}},
        {"^(?:x|yy)$", {"x", "yy"}, {"xy"}},
        {"a{0,70}?", {"", "aaa"}, {"b"}},
        {"\\d{4}-\\d\\d", {"2020-10"}, {"2020-1", "20201-10"}},
        {"[\\]\\-a-c^]+", {"]-b^"}, {"d"}},
        {"\\x41\\u00e9\\u{1F600}.", {"Aé😀x"}, {"Aé😀\n"}},
        {"((a*)*)*b", {"b", "aab"}, {"a"}},
        {"\\S[^\\s][^\\d]\\D", {"éüßx"}, {"\u00a0üßx", "é\u00a0ßx", "éü٣x", "éüß٣"}},
        {"[\\D][^\\W]\\W", {"éa-"}, {"é--", "éaß", "1a-"}},
        {"(?P<n>\\s)\\S\\W", {" x!"}, {" x_", "xx!"}},
    };
    check(GRAMMAR_REGEX, rows, ARRAY_LEN(rows));
}

Test(grammar, long_repetitions_are_counted_exactly)
{
    char text[1202];
    memset(text, 'a', sizeof text);
    static const struct { const char *regex; int min, max; } rows[] = {
        {"a{100,1000}", 100, 1000}, {"a{65}", 65, 65}, {"(ab?){200,}", 200, 1201},
        {"a{0,999}", 0, 999}, {"(a|aa){130,300}", 130, 600}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int d = -1; d <= 1; d++) {
            int low = rows[i].min + d, high = MIN(rows[i].max + d, 1201);
            if (low >= 0) {
                text[low] = '\0';
                cr_assert_eq(takes(GRAMMAR_REGEX, rows[i].regex, text),
                             d >= 0 && low <= rows[i].max, "%s: %d", rows[i].regex, low);
                text[low] = 'a';
            }
            text[high] = '\0';
            cr_assert_eq(takes(GRAMMAR_REGEX, rows[i].regex, text),
                         high >= rows[i].min && high <= rows[i].max, "%s: %d", rows[i].regex,
                         high);
            text[high] = 'a';
        }
}

Test(grammar, gbnf)
{
    static const struct sample rows[] = {
        {"root ::= \"a\" root \"b\" | \"\"", {"", "ab", "aabb"}, {"aab", "ba"}},
        {"root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" expr \")\" # c\n",
         {"1", "(1+2)+3"}, {"(1", "+1", "1+"}},
        {"root ::= x{2,4} \"\\x41\\u00e9\"\nx ::= [a-c] |\n  \"dd\"\n", {"aaAé", "ddaddAé"},
         {"aAé"}},
        {"root ::= (\"x\" | y)? .\ny-1 ::= \"q\"\ny ::= y-1{2}", {"xé", "qqz", "q"}, {"qqzz", ""}},
    };
    check(GRAMMAR_GBNF, rows, ARRAY_LEN(rows));
}

Test(grammar, choices_and_any_object)
{
    static const struct sample choice[] = {
        {"[\"yes\",\"no\",\"yessir\",\"\"]", {"yes", "no", "yessir", ""}, {"ye", "nos"}}};
    static const struct sample object[] = {
        {"", {"{}", "{\"a\": 1}", "{\"a\":[1,2,{\"b\":null}],"
         "\n  \"c\":\"x\\n\\u00e9\\ud83d\\ude00\"}"},
         {"[]", "{\"a\":}", "{\"a\":\"\\ud83d\"}", "{\"a\":01}"}}};
    check(GRAMMAR_CHOICE, choice, 1);
    check(GRAMMAR_OBJECT, object, 1);
}

Test(grammar, schemas)
{
    static const struct sample rows[] = {
        {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},"
         "\"required\":[\"b\"]}",
         {"{\"a\":1,\"b\":\"x\"}", "{\"b\": \"y\"}"},
         {"{\"a\":1}", "{}", "{\"b\":\"x\",\"a\":1}", "{\"b\":\"x\",\"c\":1}"}},
        {"{\"properties\":{\"a\":{\"type\":\"integer\"}},"
         "\"additionalProperties\":{\"type\":\"string\"}}",
         {"{}", "{\"a\":1,\"bb\":\"x\"}", "{\"ab\":\"x\",\"\":\"y\"}"}, {"{\"a\":\"x\"}",
         "{\"b\":1}"}},
        {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":117}",
         {"-12", "-1", "0", "116"}, {"-13", "117", "05", "1.0"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0.25,\"maximum\":10.5}",
         {"0.26", "0.2501", "10.50", "9"}, {"0.25", "0.2500", "10.51", "11"}},
        /* What a double would round to a bound that is left out. */
        {"{\"type\":\"number\",\"exclusiveMinimum\":99.5,\"exclusiveMaximum\":100}",
         {"99.500000000001", "99.9999999999999"},
         {"99.5000000000000001", "99.99999999999999999", "99.500000000000001"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":-1.5,\"exclusiveMaximum\":0.30000000000000004}",
         {"-1.49999999999999", "0.3"}, {"-1.4999999999999999999", "0.30000000000000004", "0.4"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":1e-9}", {"0.0000000001",
         "0.000000001"}, {"0", "0.0", "0.000000002"}},
        {"{\"type\":\"integer\",\"minimum\":9007199254740993,\"exclusiveMaximum\":"
         "9007199254740999}", {"9007199254740994", "9007199254740996"},
         {"9007199254740992", "9007199254740999", "9007199254741000"}},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":9007199254740992}", {"9007199254740994"},
         {"9007199254740992"}},
        {"{\"type\":\"number\",\"minimum\":-2.5}", {"-2.5", "-0.1", "100.5"}, {"-2.51", "-3",
         "-20"}},
        {"{\"type\":\"integer\",\"multipleOf\":7}", {"0", "-21", "700"}, {"1", "8", "07"}},
        {"{\"type\":\"string\",\"pattern\":\"^[a-z]+$\",\"minLength\":2,\"maxLength\":4}",
         {"\"ab\"", "\"abcd\""}, {"\"a\"", "\"abcde\"", "\"A\""}},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
         {"\"ab\"", "\"é\\n€\"", "\"\\ud83d\\ude00x\""}, {"\"a\"", "\"abcd\""}},
        {"{\"enum\":[\"a\",1,null,{\"x\":[1,2]},1.5]}", {"\"a\"", "1", "{\"x\": [1,2]}", "1.5"},
         {"2", "\"b\"", "1.50"}},
        {"{\"oneOf\":[{\"properties\":{\"k\":{\"const\":1},\"v\":{}}},"
         "{\"properties\":{\"k\":{\"const\":2}}}]}",
         {"{\"k\":1,\"v\":[]}", "{\"k\":2}"}, {"{}", "{\"v\":1}"}},
        {"{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"number\"}},\"required\":[\"a\"]},"
         "{\"properties\":{\"a\":{\"maximum\":3},\"b\":{\"type\":\"null\"}}}]}",
         {"{\"a\":3}", "{\"a\":1.5,\"b\":null}"}, {"{\"a\":4}", "{\"b\":null}"}},
        {"{\"$defs\":{\"n\":{\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":"
         "[{\"$ref\":\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}},"
         "\"$ref\":\"#/$defs/n\"}",
         {"{\"v\":1,\"next\":{\"v\":2,\"next\":null}}"}, {"{\"v\":1}"}},
        {"{\"minProperties\":1,\"maxProperties\":2,\"properties\":{\"a\":{},\"b\":{},\"c\":{}}}",
         {"{\"a\":1}", "{\"b\":[],\"c\":2}"}, {"{}", "{\"a\":1,\"b\":2,\"c\":3}"}},
        {"{\"prefixItems\":[{\"type\":\"integer\"},{\"const\":\"x\"}],"
         "\"items\":{\"type\":\"null\"},\"minItems\":1}",
         {"[1]", "[1,\"x\"]", "[1, \"x\",null, null]"}, {"[]", "[1,null]"}},
        {"{\"type\":\"string\",\"format\":\"date-time\"}", {"\"2024-02-29T10:00:00Z\""},
         {"\"2023-02-29T10:00:00Z\"", "\"x\""}},
        {"true", {"[]", "{\"a\":[1.5e3]}", "-0.5"}, {"{"}},
    };
    check(GRAMMAR_SCHEMA, rows, ARRAY_LEN(rows));
}

Test(grammar, what_cannot_be_enforced_is_refused_by_name)
{
    static const struct { enum grammar_kind kind; const char *text, *word; int code; } rows[] = {
        {GRAMMAR_SCHEMA, "{\"not\":{\"format\":\"date\"}}", "not:", E_UNSUPPORTED},
        {GRAMMAR_SCHEMA, "{\"not\":{}}", "never end", E_FORMAT},
        {GRAMMAR_SCHEMA, "{\"items\":{\"uniqueItems\":true}}", "uniqueItems:", E_UNSUPPORTED},
        {GRAMMAR_SCHEMA, "{\"format\":\"iri\"}", "format:", E_UNSUPPORTED},
        {GRAMMAR_SCHEMA, "{\"$ref\":\"#\"}", "$ref:", E_RANGE},
        {GRAMMAR_SCHEMA, "{\"$ref\":\"#/x\"}", "#/x", E_NOENT},
        {GRAMMAR_SCHEMA, "{\"oneOf\":[{\"type\":\"string\"},{\"pattern\":\"a\"}]}", "oneOf:",
         E_UNSUPPORTED},
        {GRAMMAR_SCHEMA, "{\"type\":\"integer\",\"minimum\":2,\"maximum\":1}", "never end",
         E_FORMAT},
        {GRAMMAR_SCHEMA, "{\"required\":[\"a\"],\"unevaluatedProperties\":false}", "never end",
         E_FORMAT},
        {GRAMMAR_SCHEMA, "{\"properties\":{\"abc\":{}},\"propertyNames\":{\"maxLength\":2}}",
         "propertyNames:", E_UNSUPPORTED},
        {GRAMMAR_SCHEMA, "{\"pattern\":\"(?=x)\"}", "pattern: ", E_UNSUPPORTED},
        {GRAMMAR_SCHEMA, "{\"pattern\":\"x\",\"minLength\":3}", "minLength:", E_UNSUPPORTED},
        {GRAMMAR_SCHEMA, "[", "the schema", E_FORMAT},
        {GRAMMAR_GBNF, "root ::= x \"a\" | \"b\"\nx ::= root?", "begins with itself", E_FORMAT},
        {GRAMMAR_GBNF, "root ::= missing", "missing", E_NOENT},
        {GRAMMAR_GBNF, "root ::= \"a\"\nroot ::= \"b\"", "twice", E_CONFLICT},
        {GRAMMAR_GBNF, "root ::= a\na ::= \"x\" a", "never end", E_FORMAT},
        {GRAMMAR_REGEX, "(a", "byte 2", E_FORMAT},
        {GRAMMAR_REGEX, "a(?<=b)", "look-around", E_UNSUPPORTED},
        {GRAMMAR_REGEX, "x\\b", "\\b", E_UNSUPPORTED},
        {GRAMMAR_CHOICE, "[]", "at least one", E_FORMAT},
        {GRAMMAR_CHOICE, "[[\"a\"]]", "array", E_FORMAT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct grammar *g;
        struct err e = {0};
        struct grammar_source s = {.kind = rows[i].kind, .text = rows[i].text,
                                   .n = strlen(rows[i].text)};
        cr_assert_eq(grammar_new(&g, &s, trie(), &e), rows[i].code, "%s: %s", rows[i].text, e.text);
        cr_assert(!g && strstr(e.text, rows[i].word), "%s: %s", rows[i].text, e.text);
    }
}

/* Every token's bit is whether its bytes are taken, along a random text. */
static void check_masks(enum grammar_kind kind, const char *text, const char *trigger, bool compact)
{
    uint32_t words[(TOKENS + 31) / 32];
    struct rng r = {.seed = 3};
    struct match *m = open_match(kind, text, trigger, compact);
    for (int step = 0; step < 60; step++) {
        struct match_state s;
        struct err e = {0};
        int32_t chosen = -1, seen = 0;
        cr_assert_eq(match_mask(m, words, &s, &e), 0, "%s", e.text);
        for (int32_t id = 0; id < TOKENS; id++) {
            bool allowed = words[id / 32] >> (id % 32) & 1;
            struct match *c = match_clone(m);
            cr_assert_eq(match_accept(c, id, NULL) == 0, allowed, "%s: token %d at step %d", text,
                         id, step);
            match_free(c);
            if (allowed && rng_below(&r, (uint64_t)++seen) == 0)
                chosen = id;
        }
        cr_assert_eq(chosen >= 0, s.more);
        cr_assert(s.more || s.whole);
        if (chosen < 0)
            break;
        cr_assert_eq(match_accept(m, chosen, &e), 0);
    }
    match_free(m);
}

Test(grammar, a_mask_is_exact)
{
    static const char *const schemas[] = {
        "{\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"items\":{\"type\":\"number\"}}}"
         ",\"required\":[\"a\"]}",
        "{\"type\":\"string\",\"maxLength\":9}", "{\"items\":{\"enum\":[\"a\",\"ab\",\"abé\"]}}",
        "{\"additionalProperties\":{\"type\":\"integer\",\"minimum\":-3,\"maximum\":11}}", "true"};
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++)
        for (int compact = 0; compact < 2; compact++)
            check_masks(GRAMMAR_SCHEMA, schemas[i], NULL, compact);
    check_masks(GRAMMAR_REGEX, "(a|b|ab|é|\\n){3,40}x?", NULL, false);
    check_masks(GRAMMAR_GBNF, "root ::= (\"a\" root \"b\" | [^ab] root)? | \"-\"", NULL, false);
    check_masks(GRAMMAR_OBJECT, "", "ab", false);
}

Test(grammar, it_starts_behind_the_trigger)
{
    struct match *m = open_match(GRAMMAR_CHOICE, "[\"yes\"]", "</th>", false), *back;
    uint32_t words[(TOKENS + 31) / 32];
    struct match_state s;
    cr_assert_eq(match_mask(m, words, &s, NULL), 0);
    cr_assert(s.free && s.whole && s.more);
    cr_assert(words[299 / 32] >> (299 % 32) & 1); /* a token without text */
    cr_assert_eq(match_accept(m, 299, NULL), 0);
    cr_assert_eq(match_accept_bytes(m, "so </t</th", 10, NULL), 0);
    back = match_clone(m);
    cr_assert_eq(match_accept_bytes(m, ">no", 3, NULL), E_CONFLICT);
    cr_assert_eq(match_accept_bytes(m, ">\n\nye", 5, NULL), 0);
    cr_assert_eq(match_mask(m, words, &s, NULL), 0);
    cr_assert(!s.free && !s.whole && s.more);
    cr_assert_eq(match_accept(m, 299, NULL), E_CONFLICT);
    cr_assert_eq(match_accept_bytes(m, "s", 1, NULL), 0);
    cr_assert(whole(m));
    cr_assert_eq(match_accept_bytes(back, "x still free", 12, NULL), 0); /* its own text */
    match_start(back);
    cr_assert_eq(match_accept_bytes(back, "yes", 3, NULL), 0);
    match_free(back);
    match_free(m);
}

Test(grammar, one_trigger_behind_another_and_again)
{
    struct grammar_source s = {.kind = GRAMMAR_REGEX, .text = "(yes|no)!", .n = 9,
                               .trigger = "</t>", .then = "<c>", .again = true};
    static const struct { const char *text; bool taken, free; } rows[] = {
        {"a <c>maybe</t> so", true, true}, {"</t><c>yes", true, false},
        {"</t><c>maybe", false, false},
        {"</t><c>yes! and </t> then <c>", true, false}, {"</t><c>yes! and <c>so", false, false},
        {"</t><c>\n no!<c>no!", true, true}, {"</t></t><<c>n", true, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct grammar *g;
        struct err e = {0};
        cr_assert_eq(grammar_new(&g, &s, trie(), &e), 0, "%s", e.text);
        struct match *m = match_new(g);
        uint32_t words[(TOKENS + 31) / 32];
        struct match_state state;
        int rc = match_accept_bytes(m, rows[i].text, strlen(rows[i].text), &e);
        cr_assert_eq(rc == 0, rows[i].taken, "%s", rows[i].text);
        cr_assert_eq(match_mask(m, words, &state, NULL), 0);
        cr_assert(!rows[i].taken || state.free == rows[i].free, "%s", rows[i].text);
        cr_assert(!state.free || (state.whole && state.more));
        match_free(m);
        grammar_unref(g);
    }
}

Test(grammar, what_is_forgotten_is_found_again)
{
    struct automaton a;
    struct positions p;
    struct err e = {0};
    automaton_init(&a);
    int32_t root = automaton_rule(&a, "root");
    const char *regex = "((a{1,90}b){1,90}c){0,90}";
    expr_define(&a, root, regex_parse(&a, regex, strlen(regex), 0));
    cr_assert_eq(automaton_finish(&a, root, &e), 0, "%s", e.text);
    cr_assert_eq(positions_init(&p, &a, &e), 0);
    struct rng r = {.seed = 9};
    int32_t at[3] = {positions_first(&p), positions_first(&p), positions_first(&p)};
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 3; i++) {
            int32_t next = positions_byte(&p, at[i], (uint8_t)('a' + rng_below(&r, 3)));
            at[i] = next == POSITION_DEAD ? at[i] : next;
        }
        struct place kept[64];
        uint32_t n = p.all[at[1]].n;
        bool end = p.all[at[1]].whole;
        for (uint32_t k = 0; k < MIN(n, 64u); k++)
            kept[k] = p.places[p.all[at[1]].first + k];
        int32_t *keep[] = {&at[0], &at[1], &at[2]};
        if (round % 7 == 0) {
            cr_assert_eq(positions_forget(&p, keep, 3, &e), 0, "%s", e.text);
            cr_assert_leq(p.n, 6);
        }
        cr_assert(p.all[at[1]].n == n && p.all[at[1]].whole == end);
        for (uint32_t k = 0; k < MIN(n, 64u); k++)
            cr_assert_eq(p.places[p.all[at[1]].first + k].state, kept[k].state);
        p.steps = 100000;
    }
    positions_free(&p);
    automaton_free(&a);
}

Test(grammar, no_memory_is_an_error_and_no_leak)
{
    struct grammar_source s = {.kind = GRAMMAR_SCHEMA, .trigger = "t", .text =
                               "{\"properties\":{\"a\":{\"enum\":[\"x\",\"y\"]}}}"};
    s.n = strlen(s.text);
    (void)trie();
    for (uint64_t nth = 1; nth < 400; nth++) {
        struct grammar *g;
        struct err e = {0};
        mem_fail_at(nth);
        int rc = grammar_new(&g, &s, trie(), &e);
        mem_fail_at(0);
        if (rc == 0) {
            grammar_unref(g);
            cr_assert_gt(nth, 10);
            return;
        }
        cr_assert(!g && e.text[0]);
    }
    cr_assert_fail("it never succeeded");
}
