/* What the load client reads out of events. Files under test are included: the client is a
 * program of its own. */
#include <criterion/criterion.h>
#include <string.h>

#include "programs/recurd-bench/pattern.c"
#include "programs/recurd-bench/reply.c"
#include "programs/recurd-bench/dataset.c"

/* Inside of the one choice of an event. */
#define CHOICE(inside) "{\"choices\":[{" inside "}]}"

static const struct {
    const char *json;
    int rc;
    bool output, error;
    int tokens;
    const char *text, *lines, *finish;
} cases[] = {
    {CHOICE("\"text\":\"hi\",\"finish_reason\":null"), 0, true, false, 0, "hi", "", ""},
    {CHOICE("\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"), 0, false, false, 0, "", "", ""},
    {CHOICE("\"delta\":{\"content\":\"a\\u00e9\"}"), 0, true, false, 0, "a\xC3\xA9", "", ""},
    {CHOICE("\"delta\":{\"reasoning_content\":\"hm\"}"), 0, true, false, 0, "hm", "", ""},
    {CHOICE("\"delta\":{\"tool_calls\":[{}]}"), 0, true, false, 0, "", "", ""},
    {CHOICE("\"delta\":{},\"finish_reason\":\"length\""), 0, false, false, 0, "", "", "length"},
    /* a token whose text is held back is an output all the same */
    {CHOICE("\"text\":\"\",\"logprobs\":{\"tokens\":[\"\\n\"],\"token_logprobs\":[-0.25],"
            "\"top_logprobs\":[{\"x\":-1.5}]}"),
     0, true, false, 1, "", " \"\\n\" -0.25|\"x\" -1.5\n", ""},
    {CHOICE("\"text\":\"\",\"logprobs\":{\"tokens\":[\"a\"],\"token_logprobs\":[null]}"),
     0, true, false, 1, "", " \"a\" null\n", ""},
    {CHOICE("\"delta\":{\"content\":\"q\"},\"logprobs\":{\"content\":[{\"token\":\"q\","
            "\"logprob\":-1,\"top_logprobs\":[{\"token\":\"r\",\"logprob\":-2}]}]}"),
     0, true, false, 1, "q", " \"q\" -1|\"r\" -2\n", ""},
    {CHOICE("\"text\":\"\",\"token_ids\":[7,8]"), 0, true, false, 2, "", "", ""},
    {"{\"choices\":[],\"usage\":{\"prompt_tokens\":3}}", 0, false, false, 0, "", "", ""},
    {"{\"error\":{\"message\":\"broken\"}}", 0, false, true, 0, "", "", ""},
    {"{\"error\":\"broken\"}", 0, false, true, 0, "", "", ""},
    {"{\"error\":null,\"choices\":[]}", 0, false, false, 0, "", "", ""},
    {"{}", E_FORMAT, false, false, 0, "", "", ""},
    {"[1]", E_FORMAT, false, false, 0, "", "", ""},
    {"{\"choices\":[{\"text\":", E_FORMAT, false, false, 0, "", "", ""},
    {"", E_FORMAT, false, false, 0, "", "", ""},
    {CHOICE("\"text\":7,\"logprobs\":7,\"delta\":[]"), 0, false, false, 0, "", "", ""},
    {"{\"choices\":[7,\"x\",null]}", 0, false, false, 0, "", "", ""},
};

Test(load_reply, events_mean_what_they_say)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply r;
        struct capture c;
        capture_init(&c);
        int rc = reply_parse(cases[i].json, strlen(cases[i].json), &r, &c);
        cr_assert_eq(rc, cases[i].rc, "case %zu", i);
        cr_assert_eq(r.output, cases[i].output, "case %zu", i);
        cr_assert_eq(r.is_error, cases[i].error, "case %zu", i);
        cr_assert_eq(r.n_tokens, cases[i].tokens, "case %zu: %d", i, r.n_tokens);
        cr_assert_str_eq(c.text.p ? c.text.p : "", cases[i].text, "case %zu", i);
        cr_assert_str_eq(c.tokens.p ? c.tokens.p : "", cases[i].lines, "case %zu", i);
        cr_assert_str_eq(r.finish, cases[i].finish, "case %zu", i);
        capture_free(&c);
    }
}

Test(load_reply, usage_is_read_and_negative_counts_are_not)
{
    const char *j = "{\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":-5,"
                    "\"prompt_tokens_details\":{\"cached_tokens\":64}}}";
    struct reply r;
    cr_assert_eq(reply_parse(j, strlen(j), &r, NULL), 0);
    cr_assert(r.has_usage && r.prompt_tokens == 100 && r.cached_tokens == 64);
    cr_assert_eq(r.completion_tokens, 0);
}

/* --verify stands on this: one unit in the ninth digit is another line. */
Test(load_reply, one_last_digit_makes_another_line)
{
    static const char *const values[] = {"-1.23456789", "-1.2345679", "-1.23456788"};
    char lines[3][64];
    for (int i = 0; i < 3; i++) {
        char j[256];
        struct reply r;
        struct capture c;
        capture_init(&c);
        snprintf(j, sizeof j,
                 CHOICE("\"logprobs\":{\"tokens\":[\"t\"],\"token_logprobs\":[%s]}"), values[i]);
        cr_assert_eq(reply_parse(j, strlen(j), &r, &c), 0);
        snprintf(lines[i], sizeof lines[i], "%s", c.tokens.p);
        capture_free(&c);
    }
    cr_assert_str_neq(lines[0], lines[1]);
    cr_assert_str_neq(lines[0], lines[2]);
    cr_assert_str_neq(lines[1], lines[2]);
}

/* What p says of an event is what the parser says; whether it needed the parser. */
static bool same(struct pattern *p, const char *json, size_t n)
{
    struct reply a, b, c;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    bool known = matches(p, json, n, &c);
    int rc = reply_parse(json, n, &a, NULL);
    cr_assert_eq(pattern_parse(p, json, n, &b), rc, "%.*s", (int)n, json);
    cr_assert(a.output == b.output && a.n_tokens == b.n_tokens && a.has_usage == b.has_usage &&
              a.is_error == b.is_error && !strcmp(a.finish, b.finish), "%.*s", (int)n, json);
    return known;
}

static bool is_known(struct pattern *p, const char *json) { return same(p, json, strlen(json)); }

#define TEXT(text) CHOICE("\"index\":0,\"text\":\"" text "\",\"finish_reason\":null")
#define DELTA(text) "{\"choices\": [{\"delta\": {\"content\": \"" text "\"}}]}"

Test(load_pattern, events_that_differ_in_their_text_are_parsed_once)
{
    struct pattern p;
    pattern_init(&p);
    cr_assert_not(is_known(&p, TEXT("a")), "nothing is known at first");
    cr_assert(is_known(&p, TEXT(" b")));
    cr_assert(is_known(&p, TEXT("")), "also without any");
    cr_assert_not(is_known(&p, TEXT("\\n")), "what is escaped is not compared");
    cr_assert_not(is_known(&p, TEXT("\xC3\xA9")), "nor what is not ASCII");
    cr_assert_not(is_known(&p, TEXT("a\",\"text\":\"b")), "nor what ends the string");
    cr_assert(is_known(&p, TEXT("c")), "and none of them is forgotten for that");
    cr_assert_not(is_known(&p, CHOICE("\"text\":\"\",\"finish_reason\":\"stop\"")), "the end");
    cr_assert_not(is_known(&p, DELTA("x")));
    cr_assert(is_known(&p, DELTA("y")), "another form takes its place");
    pattern_free(&p);
}

Test(load_pattern, an_event_that_says_more_than_a_text_is_always_parsed)
{
    static const char *const events[] = {
        CHOICE("\"text\":\"a\",\"token_ids\":[1]"),
        CHOICE("\"text\":\"a\",\"finish_reason\":\"stop\""),
        CHOICE("\"text\":\"a\",\"delta\":{\"content\":\"b\"}"),
        CHOICE("\"delta\":{\"content\":7},\"x\":{\"content\":\"b\"}"),
        CHOICE("\"text\":\"a\",\"text\": \"b\""),
        "{\"choices\":[{\"x\":\"\\\"text\\\":\\\"\",\"text\" :\"a\"}]}",
        "{\"choices\":[{\"text\":\"a\"}],\"usage\":{\"prompt_tokens\":1}}",
        "{\"choices\":[],\"error\":{\"content\":\"a\"}}",
        "{\"choices\":[{\"text\":\"a\"}",
        "[{\"text\":\"a\"}]",
        "{\"text\":\"a",
        "",
    };
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        struct pattern p;
        pattern_init(&p);
        for (int k = 0; k < 3; k++)
            cr_assert_not(is_known(&p, events[i]), "event %zu", i);
        pattern_free(&p);
    }
}

/* Any bytes of an event changed: the result is the parser's, known or not. */
Test(load_pattern, a_changed_byte_never_makes_another_result)
{
    static const char event[] = TEXT("ab");
    struct pattern p;
    char changed[sizeof event];
    for (size_t i = 0; i < sizeof event - 1; i++)
        for (int byte = 0; byte < 256; byte++) {
            pattern_init(&p);
            cr_assert_not(same(&p, event, sizeof event - 1));
            memcpy(changed, event, sizeof event);
            changed[i] = (char)byte;
            (void)same(&p, changed, sizeof event - 1);
            (void)same(&p, event, sizeof event - 1);
            pattern_free(&p);
        }
}

Test(load_pattern, a_stream_of_other_forms_is_not_learned_for_ever)
{
    struct pattern p;
    pattern_init(&p);
    for (int i = 0; i < 3 * TRIES; i++) {
        char event[100];
        snprintf(event, sizeof event, "{\"n\":%d,\"choices\":[{\"text\":\"a\"}]}", i);
        cr_assert_not(is_known(&p, event));
    }
    cr_assert_eq(p.tries, TRIES);
    pattern_begin(&p);
    cr_assert_not(is_known(&p, TEXT("a")));
    cr_assert(is_known(&p, TEXT("b")), "the next stream is");
    pattern_free(&p);
}

Test(load_dataset, text_is_escaped_for_the_inside_of_a_json_string)
{
    struct buf b;
    buf_init(&b, 1000);
    cr_assert_eq(dataset_escape(&b, "a\"b\\c\n\x01z\xC3\xA9", 10), 0);
    cr_assert_str_eq(b.p, "a\\\"b\\\\c\\n\\u0001z\xC3\xA9");
    buf_free(&b);
}
