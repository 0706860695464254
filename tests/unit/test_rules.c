/* Normalising rules of system messages: the file, what they change, and what they leave alone. */
#include "models/text/chat/rules.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

static int parse(struct chat_rules **r, const char *text, struct err *e)
{
    return chat_rules_parse(r, text, strlen(text), "f", e);
}

/* What becomes of a message's content; *bits: of the rules that changed it. */
static void expect(struct chat_rules *r, const char *role, const char *in, const char *out,
                   uint32_t bits)
{
    json_t *m = json_pack("[{s:s, s:s}]", "role", role, "content", in);
    cr_assert_eq(chat_rules_apply(r, m), bits, "%s", in);
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(m, 0), "content")), out);
    json_decref(m);
}

Test(rules, system_messages_change_and_what_others_say_does_not)
{
    struct chat_rules *r;
    struct err e = {0};
    cr_assert_eq(parse(&r, "# ours\r\ndefault\nday\tToday is ([0-9-]+)\\.\tToday is a day.", &e), 0,
                 "%s", e.text);
    cr_assert_eq(chat_rules_count(r), 2);
    cr_assert_str_eq(chat_rules_name(r, 1), "day");
    expect(r, "system", "x-anthropic-billing-header: a=1;\nHi", "Hi", 1);
    expect(r, "developer", "Today is 2026-01-01. Hi", "Today is a day. Hi", 2);
    expect(r, "system", "x-anthropic-billing-header: a\nToday is 7.", "Today is a day.", 3);
    const char *later = "Hi\nx-anthropic-billing-header: a";
    expect(r, "system", later, later, 0);
    expect(r, "user", "Today is 7.", "Today is 7.", 0);
    expect(r, "system", "Today is a day.", "Today is a day.", 0);
    cr_assert(chat_rules_applied(r, 0) == 2 && chat_rules_applied(r, 1) == 2);
    cr_assert(chat_rules_failed(r, 0) == 0 && chat_rules_failed(r, 1) == 0);
    chat_rules_close(r);
}

Test(rules, a_pattern_that_takes_too_long_leaves_the_text_alone)
{
    struct chat_rules *r;
    struct err e = {0};
    const char *text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";
    cr_assert_eq(parse(&r, "slow\t^(a+)+$(*COMMIT)\tx\n", &e), 0, "%s", e.text);
    expect(r, "system", text, text, 0);
    cr_assert_eq(chat_rules_failed(r, 0), 1);
    chat_rules_close(r);
}

Test(rules, a_bad_file_is_refused_with_its_line)
{
    static const struct { const char *text, *says; } bad[] = {
        {"a\n", "line 1"}, {"\n#\nA\tx", "line 3"}, {"a\t(", "line 1"},
        {"a\tx\na\ty", "already"}, {"default\ndefault", "already"}, {"\tx", "name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct chat_rules *r;
        struct err e = {0};
        cr_assert_neq(parse(&r, bad[i].text, &e), 0, "%s", bad[i].text);
        cr_assert(!r && strstr(e.text, bad[i].says), "%s", e.text);
    }
}
