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
    cr_assert_eq(o.slots, OPTIONS_AUTO);
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

Test(options, auto_is_a_word_of_some_settings_only)
{
    struct options o;
    struct err e = {0};
    cr_assert_eq(parse(&o, &e, (char[]){"--slots=7"}, (char[]){"--slots=auto"}), 0, "%s", e.text);
    cr_assert_eq(o.slots, OPTIONS_AUTO);
    options_fini(&o);
    cr_assert_eq(parse(&o, &e, (char[]){"--queue=auto"}, NULL), E_FORMAT);
    options_fini(&o);
}

Test(options, names_from_elsewhere_mean_ours)
{
    static const struct { const char *flag, *value, *key, *want; } rows[] = {
        {"-m", "dir", "model", "dir"},           {"-c", "4096", "context", "4096"},
        {"--ctx-size", "1", "context", "1"},     {"--port", "99", "listen", "127.0.0.1:99"},
        {"--host", "::1", "listen", "[::1]:8080"}, {"--host", "h", "listen", "h:8080"},
        {"-a", "x", "alias", "x"},               {"--api-key-file", "f", "api-keys", "f"},
        {"-ngl", "99", "device", "opencl"},      {"-ngl", "all", "device", "opencl"},
        {"-ngl", "0", "device", "cpu"},          {"-np", "3", "slots", "3"},
        {"-t", "3", "threads", "3"},             {"--served-model-name", "y", "alias", "y"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct options o;
        struct err e = {0};
        char flag[32], value[32], text[8192] = "", want[64];
        snprintf(flag, sizeof flag, "%s", rows[i].flag);
        snprintf(value, sizeof value, "%s", rows[i].value);
        cr_assert_eq(parse(&o, &e, flag, value), 0, "%s: %s", flag, e.text);
        FILE *f = fmemopen(text, sizeof text - 1, "w");
        options_print(&o, f);
        fclose(f);
        snprintf(want, sizeof want, "%s = %s\n", rows[i].key, rows[i].want);
        cr_assert_not_null(strstr(text, want), "%s: no %s in %s", flag, want, text);
        options_fini(&o);
    }
}

Test(options, a_list_grows_in_its_place_and_a_flag_replaces_the_files)
{
    struct options o;
    struct err e = {0};
    char *argv[] = {(char[]){"recurd"}, (char[]){"-a"}, (char[]){"x,y"},
                    (char[]){"--alias=z"}, NULL};
    cr_assert_eq(options_parse(&o, 4, argv, &e), 0);
    cr_assert_str_eq(o.alias, "x,y,z");
    cr_assert_eq(options_parse_file(&o, "alias = p\nalias = q\n", 20, "f", &e), 0, "%s", e.text);
    cr_assert_str_eq(o.alias, "p,q");
    options_fini(&o);
}

Test(options, layers_are_not_divided_between_devices)
{
    static const struct { const char *value; int code; } rows[] = {
        {"20", E_UNSUPPORTED}, {"98", E_UNSUPPORTED}, {"some", E_FORMAT}, {"-2", E_FORMAT}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct options o;
        struct err e = {0};
        char value[16];
        snprintf(value, sizeof value, "%s", rows[i].value);
        cr_assert_eq(parse(&o, &e, (char[]){"-ngl"}, value), rows[i].code, "%s", value);
        options_fini(&o);
    }
}

Test(options, a_path_is_not_taken_for_a_key)
{
    struct options o;
    struct err e = {0};
    options_defaults(&o);
    cr_assert_eq(options_parse_file(&o, "port = 99\n", 10, "/ghost/ngl", &e), 0, "%s", e.text);
    cr_assert_str_eq(o.listen, "127.0.0.1:99");
    cr_assert_eq(options_parse_file(&o, "host = unix\nport = x\n", 21, "f", &e), E_RANGE);
    cr_assert_str_eq(e.text, "f line 2: port: \"x\" is no port, 0 … 65535");
    options_fini(&o);
}

Test(options, all_faults_are_told_each_with_its_line_and_the_nearest_key)
{
    static const char text[] = "# a comment\n\nslots = x\n; another\nstate-dri = a\n"
                               "queue = 9\nqueue = 8\n\n  \nlog-levle = info\n";
    static const char *const want[] = {
        "f line 3: slots: \"x\" is not a whole number or auto",
        "f line 5: unknown key \"state-dri\"; do you mean state-dir?",
        "f line 7: key \"queue\" has two values",
        "f line 10: unknown key \"log-levle\"; do you mean log-level?",
    };
    struct options o;
    struct err e = {0};
    options_defaults(&o);
    cr_assert_eq(options_parse_file(&o, text, sizeof text - 1, "f", &e), E_FORMAT);
    cr_assert_eq(o.n_faults, (int)ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        cr_assert_str_eq(o.faults[i], want[i]);
    cr_assert_str_eq(e.text, want[0]);
    options_fini(&o);
}

Test(options, more_faults_than_are_told_are_counted)
{
    struct options o;
    struct err e = {0};
    char text[30 * 16] = "";
    for (int i = 0; i < 30; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "zzzzzz%d = 1\n", i);
    options_defaults(&o);
    cr_assert_eq(options_parse_file(&o, text, strlen(text), "f", &e), E_NOENT);
    cr_assert_eq(o.n_faults, 30);
    cr_assert_str_eq(o.faults[OPTIONS_FAULTS - 1], "f line 20: unknown key \"zzzzzz19\"");
    options_fini(&o);
}
