/* config.json: what published files hold, and what must be refused by name. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "models/files/config.h"

static struct config *parse(const char *text)
{
    struct config *c = NULL;
    struct err e = {0};
    cr_assert_eq(config_parse(&c, text, strlen(text), "config.json", &e), 0, "%s", e.text);
    return c;
}

static struct err refuse(const char *text, size_t n)
{
    struct config *c = NULL;
    struct err e = {0};
    cr_assert_lt(config_parse(&c, text, n, "config.json", &e), 0, "%.60s was accepted", text);
    cr_assert_null(c);
    return e;
}

Test(config, reads_every_type_and_defaults)
{
    struct err e = {0};
    struct config *c =
        parse("{\"i\":3,\"r\":2.0,\"x\":1e-6,\"b\":true,\"s\":\"swish\",\"z\":null}");
    cr_assert_eq(config_int(c, "i", 9, 0, 10, &e), 3);
    cr_assert_eq(config_int(c, "r", 9, 0, 10, &e), 2);
    cr_assert_eq(config_int(c, "z", 9, 0, 10, &e), 9);
    cr_assert_eq(config_int(c, "none", 7, 0, 10, &e), 7);
    cr_assert_eq(config_num(c, "x", 0, &e), 1e-6);
    cr_assert_eq(config_num(c, "i", 0, &e), 3.0);
    cr_assert(config_bool(c, "b", false, &e));
    cr_assert_str_eq(config_str(c, "s", "", &e), "swish");
    cr_assert_not(config_has(c, "z"));
    cr_assert(config_has(c, "b"));
    cr_assert_eq(e.code, 0, "%s", e.text);
    config_free(c);
}

Test(config, reads_infinity_and_nan_as_hub_files_write_them)
{
    struct err e = {0};
    struct config *c = parse("{\"a\":[0.0,Infinity],\"b\":-Infinity,\"c\":NaN,"
                             "\"d\":{\"__float__\":\"Infinity\"},\"s\":\"Infinity NaN\"}");
    cr_assert_eq(config_num_at(c, "a", 1, 0, &e), INFINITY);
    cr_assert_eq(config_num(c, "b", 0, &e), -INFINITY);
    cr_assert(isnan(config_num(c, "c", 0, &e)));
    cr_assert_eq(config_num(c, "d", 0, &e), INFINITY);
    cr_assert_str_eq(config_str(c, "s", "", &e), "Infinity NaN");
    cr_assert_eq(e.code, 0, "%s", e.text);
    config_free(c);
}

Test(config, reads_integers_beyond_64_bits_as_numbers)
{
    struct err e = {0};
    struct config *c = parse("{\"m\":1000000000000000019884624838656,\"n\":9223372036854775807}");
    cr_assert_float_eq(config_num(c, "m", 0, &e), 1e30, 1e20);
    cr_assert_eq(config_int(c, "n", 0, 0, INT64_MAX, &e), INT64_MAX);
    cr_assert_eq(e.code, 0);
    config_int(c, "m", 1, 0, 1 << 20, &e);
    cr_assert_eq(e.code, E_FORMAT);
    cr_assert(strstr(e.text, "m is 1e+30"), "%s", e.text);
    config_free(c);
}

Test(config, a_wrong_value_is_named_with_its_bounds_and_the_first_one_stays)
{
    struct err e = {0};
    struct config *c = parse("{\"heads\":0,\"act\":5,\"attn\":{\"window\":\"wide\"}}");
    cr_assert_eq(config_int(c, "heads", 4, 1, 4096, &e), 4);
    cr_assert_eq(e.code, E_RANGE);
    cr_assert_str_eq(e.text, "config.json: heads is 0, must be between 1 and 4096");
    config_str(c, "act", "", &e);
    cr_assert(strstr(e.text, "heads"), "%s", e.text);
    err_clear(&e);
    config_str(c, "act", "", &e);
    cr_assert_str_eq(e.text, "config.json: act is 5, expected a string");
    err_clear(&e);
    config_int(config_obj(c, "attn", &e), "window", 0, 0, 9, &e);
    cr_assert_str_eq(e.text, "config.json: attn.window is \"wide\", expected an integer");
    config_free(c);
}

Test(config, arrays_and_nested_objects)
{
    struct err e = {0};
    struct config *c = parse("{\"l\":[1,null,3],\"o\":[{\"k\":1},{\"k\":2}],\"one\":{\"k\":5},"
                             "\"names\":[\"a\",7]}");
    cr_assert_eq(config_len(c, "l"), 3);
    cr_assert_eq(config_len(c, "one"), -1);
    cr_assert_eq(config_int_at(c, "l", 1, 8, &e), 8);
    cr_assert_eq(config_int_at(c, "l", 2, 8, &e), 3);
    cr_assert_eq(config_int_at(c, "l", 3, 8, &e), 8);
    cr_assert_eq(config_int(config_obj_at(c, "o", 1, &e), "k", 0, 0, 9, &e), 2);
    cr_assert_null(config_obj_at(c, "o", 2, &e));
    cr_assert_eq(config_int(config_obj_at(c, "one", 0, &e), "k", 0, 0, 9, &e), 5);
    cr_assert_eq(e.code, 0, "%s", e.text);
    cr_assert_null(config_str_at(c, "names", 1, &e));
    cr_assert_str_eq(e.text, "config.json: names[1] is 7, expected a string");
    config_free(c);
}

Test(config, unread_keys_are_listed_and_nulls_are_not)
{
    struct err e = {0};
    struct config *c = parse("{\"a\":1,\"b\":null,\"c\":2,\"d\":{\"x\":1}}");
    config_int(c, "a", 0, 0, 9, &e);
    const char *first = config_next_unread(c, NULL);
    cr_assert_str_eq(first, "c");
    cr_assert_str_eq(config_next_unread(c, first), "d");
    config_obj(c, "d", &e);
    cr_assert_null(config_next_unread(c, "c"));
    cr_assert_str_eq(config_next_unread(config_obj(c, "d", &e), NULL), "x");
    int n = 0;
    for (const char *k = config_next_key(c, NULL); k; k = config_next_key(c, k))
        n++;
    cr_assert_eq(n, 4);
    config_free(c);
}

Test(config, malformed_text_is_refused_with_its_place)
{
    static const struct { const char *text; int code; const char *says; } cases[] = {
        {"", E_FORMAT, "too early"},
        {"{\"a\":1,\"a\":2}", E_FORMAT, "a key appears twice"},
        {"{\"a\":1", E_FORMAT, "too early"},
        {"{\"a\":1}x", E_FORMAT, "not valid JSON"},
        {"{\"a\":Infinit}", E_FORMAT, "not valid JSON"},
        {"{\"a\":\"\\u0000\"}", E_FORMAT, "not valid JSON"},
        {"{\"a\":\"\xff\"}", E_FORMAT, "not valid JSON"},
        {"{\"a\":1e999}", E_FORMAT, "not valid JSON"},
        {"[1]", E_FORMAT, "not an object"},
        {"{\n\"a\":\n@}", E_FORMAT, "line 3"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = refuse(cases[i].text, strlen(cases[i].text));
        cr_assert_eq(e.code, cases[i].code, "case %zu: %s", i, e.text);
        cr_assert(strstr(e.text, cases[i].says), "case %zu: %s", i, e.text);
    }
}

Test(config, depth_and_number_of_values_are_bounded)
{
    struct buf deep;
    buf_init(&deep, 1000);
    for (int i = 0; i < LIMIT_JSON_DEPTH; i++)
        buf_str(&deep, "{\"a\":");
    buf_str(&deep, "1");
    for (int i = 0; i < LIMIT_JSON_DEPTH; i++)
        buf_ch(&deep, '}');
    config_free(parse(deep.p));
    buf_free(&deep);
    char brackets[LIMIT_JSON_DEPTH + 3], want[80];
    memset(brackets, '[', sizeof brackets - 1);
    brackets[sizeof brackets - 1] = '\0';
    struct err e = refuse(brackets, sizeof brackets - 1);
    snprintf(want, sizeof want, "config.json: JSON is nested deeper than %d levels",
             LIMIT_JSON_DEPTH);
    cr_assert_str_eq(e.text, want);

    size_t n = 2 * (LIMIT_JSON_VALUES + 2);
    char *wide = mem_zalloc(n + 8);
    memcpy(wide, "{\"a\":[", 6);
    for (size_t i = 6; i < n; i += 2)
        memcpy(wide + i, "1,", 2);
    e = refuse(wide, n);
    cr_assert_eq(e.code, E_RANGE);
    cr_assert_str_eq(e.text, "config.json: JSON holds more than 1000000 values");
    mem_free(wide);
}

Test(config, every_allocation_may_fail)
{
    const char *text = "{\"a\":{\"b\":Infinity},\"c\":[{\"d\":1}]}";
    for (uint64_t at = 1; at < 40; at++) {
        struct config *c = NULL;
        struct err e = {0};
        mem_fail_at(at);
        int rc = config_parse(&c, text, strlen(text), "config.json", &e);
        if (rc == 0) {
            const struct config *a = config_obj(c, "a", &e);
            if (a)
                config_num(a, "b", 0, &e);
            config_obj_at(c, "c", 0, &e);
        }
        mem_fail_at(0);
        cr_assert(rc == 0 || e.code == E_NOMEM, "at %d: %s", (int)at, e.text);
        config_free(c);
    }
}

Test(config, the_configs_of_every_golden_model_are_read)
{
    static const char *paths[] = {
        "models/demo/gated-deltanet/config.json",
        "models/demo/gated-deltanet/tokenizer_config.json",
        "models/demo/rwkv7/config.json", "tests/golden/hf/hf_mamba2/config.json",
        "tests/golden/hf/hf_nemotron_h/config.json", "tests/golden/public/kda/config.json"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct config *c = NULL;
        struct err e = {0};
        cr_assert_eq(config_read(&c, paths[i], &e), 0, "%s", e.text);
        if (strstr(paths[i], "mamba2"))
            cr_assert_eq(config_num_at(c, "time_step_limit", 1, 0, &e), INFINITY);
        config_free(c);
    }
}

Test(config, a_missing_file_is_named)
{
    struct config *c = NULL;
    struct err e = {0};
    cr_assert_eq(config_read(&c, "tests/no/config.json", &e), E_NOENT);
    cr_assert(strstr(e.text, "tests/no/config.json"), "%s", e.text);
}
