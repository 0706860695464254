/* Settings: order of the three places, limits, and one sentence for every mistake. */
#include "server/process/options.h"

#include <criterion/criterion.h>
#include <string.h>

static int parse(struct options *o, struct err *e, char *a, char *b)
{
    char *argv[] = {(char[]){"recurd"}, a, b, NULL};
    return options_parse(o, b ? 3 : a ? 2 : 1, argv, e);
}

Test(options, defaults_hold_without_flags)
{
    struct options o;
    struct err e = {0};
    cr_assert_eq(parse(&o, &e, NULL, NULL), 0);
    cr_assert_eq(o.slots, DEFAULT_SLOTS);
    cr_assert_str_eq(o.listen, "127.0.0.1:8080");
    cr_assert_null(o.model);
    cr_assert_eq(o.action, OPTIONS_SERVE);
    options_fini(&o);
}

Test(options, a_flag_is_written_with_a_space_or_an_equals_sign)
{
    struct options o;
    struct err e = {0};
    cr_assert_eq(parse(&o, &e, (char[]){"--step-tokens"}, (char[]){"99"}), 0);
    cr_assert_eq(o.step_tokens, 99);
    options_fini(&o);
    cr_assert_eq(parse(&o, &e, (char[]){"--step-tokens=98"}, (char[]){"--check-config"}), 0);
    cr_assert_eq(o.step_tokens, 98);
    cr_assert_eq(o.action, OPTIONS_CHECK);
    options_fini(&o);
}

Test(options, the_bounds_of_a_number_are_inside)
{
    static const struct { const char *value; int code; } rows[] = {
        {"1", 0}, {"4096", 0}, {"0", E_RANGE}, {"4097", E_RANGE}, {"-1", E_RANGE}, {"", E_FORMAT},
        {" 1", E_FORMAT}, {"1 ", E_FORMAT}, {"1.5", E_FORMAT}, {"0x10", E_FORMAT},
        {"999999999999999999999", E_FORMAT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct options o;
        struct err e = {0};
        char value[32];
        snprintf(value, sizeof value, "%s", rows[i].value);
        cr_assert_eq(parse(&o, &e, (char[]){"--slots"}, value), rows[i].code, "\"%s\"", value);
        options_fini(&o);
    }
}

Test(options, a_file_is_flat_and_names_each_key_once)
{
    static const struct { const char *text; int code; } rows[] = {
        {"", 0}, {"# only a comment\n", 0}, {"slots = 5\n", 0}, {"slots=5", 0},
        {"slots = 5 ; five\n", 0}, {"slots = 5\nslots = 5\n", E_CONFLICT},
        {"[x]\nslots=5\n", E_FORMAT},
        {"slot = 5\n", E_NOENT}, {"slots\n", E_FORMAT}, {"slots = five\n", E_FORMAT},
        {"slots = 0\n", E_RANGE}, {"model =\n", E_RANGE}, {"slots = 5\n  6\n", E_CONFLICT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct options o;
        struct err e = {0};
        options_defaults(&o);
        int rc = options_parse_file(&o, rows[i].text, strlen(rows[i].text), "f", &e);
        cr_assert_eq(rc, rows[i].code, "%s: %s", rows[i].text, e.text);
        cr_assert_eq(e.code, rc);
        options_fini(&o);
    }
}
