/* JSON in: what is refused, by whom, and that the field is named. */
#include "server/api/jsonin.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

static int scan(const char *s)
{
    return jsonin_scan(s, strlen(s), NULL, NULL);
}

Test(jsonin, the_scan_allows_exactly_the_depth_limit)
{
    char s[2 * LIMIT_JSON_DEPTH + 8];
    for (int depth = LIMIT_JSON_DEPTH - 1; depth <= LIMIT_JSON_DEPTH + 1; depth++) {
        memset(s, '[', (size_t)depth);
        memset(s + depth, ']', (size_t)depth);
        s[2 * depth] = '\0';
        cr_assert_eq(scan(s), depth > LIMIT_JSON_DEPTH ? E_RANGE : 0, "depth %d", depth);
    }
}

Test(jsonin, the_scan_counts_values_and_not_what_is_in_strings)
{
    cr_assert_eq(scan("{\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\":1}"), 0);
    size_t n = 2 * (size_t)LIMIT_JSON_VALUES + 16;
    char *s = mem_zalloc(n);
    s[0] = '[';
    for (size_t i = 0; i < LIMIT_JSON_VALUES; i++)
        memcpy(s + 1 + 2 * i, "1,", 2);
    cr_assert_eq(scan(s), E_RANGE); /* the array is a value, too */
    s[1 + 2 * (LIMIT_JSON_VALUES - 1)] = '\0';
    cr_assert_eq(scan(s), 0);
    mem_free(s);
}

/* ---- what parsing takes ---- */

static size_t in_use, most;

static void *counted_malloc(size_t n)
{
    void *p = malloc(n);
    in_use += malloc_usable_size(p) + sizeof(size_t);
    most = MAX(most, in_use);
    return p;
}

static void counted_free(void *p)
{
    in_use -= p ? malloc_usable_size(p) + sizeof(size_t) : 0;
    free(p);
}

Test(jsonin, what_parsing_takes_is_never_more_than_the_scan_says)
{
    /* A document is head, n times one of these, tail; %d is counted. */
    static const char *const unit[] = {
        "{}", "[]", "1", "-1234567890123", "0.5", "true", "\"\"", "\"abc\"", "[[[[1]]]]",
        "\"a text of some eighty bytes, as a message of a chat may have, or its name, or what\"",
        "{\"a\":1}", "{\"a\":{\"b\":{\"c\":[1,2,3]}}}", "{\"role\":\"user\",\"content\":\"x\"}",
    };
    json_set_alloc_funcs(counted_malloc, counted_free);
    for (size_t u = 0; u < 2 * ARRAY_LEN(unit); u++)
        for (int n = 1; n <= 40000; n = n * 3 + 1) {
            bool keys = u >= ARRAY_LEN(unit);
            const char *what = unit[u % ARRAY_LEN(unit)];
            size_t size = (size_t)n * (strlen(what) + 16) + 32, len;
            char *s = malloc(size);
            len = (size_t)snprintf(s, size, keys ? "{\"a\":{" : "{\"a\":[");
            for (int i = 0; i < n; i++)
                len += keys ? (size_t)snprintf(s + len, size - len, "%s\"k%d\":%s", i ? "," : "",
                                               i, what)
                            : (size_t)snprintf(s + len, size - len, "%s%s", i ? "," : "", what);
            len += (size_t)snprintf(s + len, size - len, keys ? "}}" : "]}");
            size_t said = 0;
            json_t *v;
            struct err e = {0};
            in_use = most = 0;
            cr_assert_eq(jsonin_scan(s, len, &said, &e), 0);
            cr_assert_eq(jsonin_parse(&v, s, len, &e), 0, "%s", e.text);
            cr_assert_leq(most, said, "%d times %s: %zu bytes, %zu said", n, what, most, said);
            if (n > 1000) /* nor is it far from the truth */
                cr_assert_leq(said, 8 * most,
                              "%d times %s: %zu bytes, %zu said", n, what, most, said);
            json_decref(v);
            free(s);
        }
}

Test(jsonin, refuses_what_two_readers_could_read_in_two_ways)
{
    static const char *const bad[] = {
        "", " ", "[]", "5", "{} {}", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}", "{\"a\":NaN}",
        "{\"\\u0000\":1}", "{\"prompt\":\"\\u0000\",\"stop\":[\"a\",\"b\\u0000\"]}",
        "{\"a\":\"\xff\"}", "{\"a\":1e999}", "{\"a\":99999999999999999999}", "{\"a\":01}",
        "{'a':1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *v;
        struct err e = {0};
        cr_assert_eq(jsonin_parse(&v, bad[i], strlen(bad[i]), &e), E_FORMAT, "%s", bad[i]);
        cr_assert_null(v);
        cr_assert(e.text[0] && !e.param);
    }
}

Test(jsonin, reads_leave_absent_and_null_alone_and_name_the_field)
{
    static const char text[] = "{\"i\":7,\"f\":0.5,\"b\":true,\"s\":\"x\",\"n\":null}";
    json_t *o;
    struct err e = {0};
    int64_t i = -1;
    float f = -1;
    bool b = false;
    const char *s = NULL;
    cr_assert_eq(jsonin_parse(&o, text, sizeof text - 1, &e), 0);
    cr_assert(jsonin_int(o, "i", 0, 7, &i, &e) && i == 7);
    cr_assert(jsonin_float(o, "f", 0, 1, &f, &e) && f == 0.5F);
    cr_assert(jsonin_float(o, "i", 0, 10, &f, &e) && f == 7.0F);
    cr_assert(jsonin_bool(o, "b", &b, &e) && b);
    cr_assert(jsonin_str(o, "s", &s, NULL, &e) && strcmp(s, "x") == 0);
    cr_assert(!jsonin_int(o, "n", 0, 9, &i, &e) && !jsonin_int(o, "none", 0, 9, &i, &e));
    cr_assert_eq(i, 7);
    cr_assert_eq(e.code, 0);
    cr_assert(!jsonin_int(o, "i", 0, 6, &i, &e));
    cr_assert_str_eq(e.param, "i");
    cr_assert_eq(e.code, E_RANGE);
    err_clear(&e);
    cr_assert(!jsonin_int(o, "f", 0, 9, &i, &e) && e.code == E_FORMAT);
    err_clear(&e);
    cr_assert(!jsonin_bool(o, "i", &b, &e) && strcmp(e.param, "i") == 0);
    json_decref(o);
}

static bool was_read(const struct jsonin_watch *w, const json_t *o, const char *key)
{
    for (int i = 0; i < w->n; i++)
        if (w->reads[i].o == o && strcmp(w->reads[i].key, key) == 0)
            return true;
    return false;
}

Test(jsonin, a_read_of_a_copy_counts_where_it_has_the_body_s_own_value)
{
    static struct jsonin_watch w;
    json_t *body = json_pack("{s:i, s:i, s:s}", "kept", 1, "replaced", 2, "taken", "x");
    json_t *copy = json_copy(body);
    json_object_set_new(copy, "replaced", json_integer(2)); /* equal is not the same */
    json_object_del(copy, "taken");
    json_object_set_new(copy, "added", json_integer(3));
    jsonin_watch(&w, body);
    jsonin_watch_twin(copy);
    static const char *const keys[] = {"kept", "replaced", "taken", "added", "nowhere"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        (void)jsonin_get(copy, keys[i]);
        cr_assert_eq(was_read(&w, body, keys[i]), i == 0 || i == 4, "%s", keys[i]);
    }
    (void)jsonin_get(body, "taken");
    cr_assert(was_read(&w, body, "taken"));
    jsonin_unwatch();
    json_decref(copy);
    json_decref(body);
}

/* There is but one true: a pointer does not tell whose it is. */
Test(jsonin, what_a_copy_was_given_is_not_the_body_s_though_it_is_the_same)
{
    static struct jsonin_watch w;
    json_t *body = json_pack("{s:b, s:b, s:b}", "kept", 1, "set", 1, "other", 0);
    json_t *copy = json_copy(body);
    jsonin_watch(&w, body);
    jsonin_watch_set("set");
    jsonin_watch_set("other");
    json_object_set_new(copy, "set", json_true());
    json_object_set_new(copy, "other", json_false());
    jsonin_watch_twin(copy);
    static const char *const keys[] = {"kept", "set", "other"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        (void)jsonin_get(copy, keys[i]);
        cr_assert_eq(was_read(&w, body, keys[i]), i == 0, "%s", keys[i]);
    }
    jsonin_watch(&w, body); /* another request */
    jsonin_watch_twin(copy);
    (void)jsonin_get(copy, "set");
    cr_assert(was_read(&w, body, "set"));
    jsonin_unwatch();
    json_decref(copy);
    json_decref(body);
}

Test(jsonin, a_field_may_be_read_any_number_of_times)
{
    static struct jsonin_watch w;
    json_t *body = json_pack("{s:i}", "a", 1);
    jsonin_watch(&w, body);
    for (int i = 0; i < 10 * JSONIN_READS; i++)
        (void)jsonin_get(body, "a");
    (void)jsonin_get(body, "b");
    cr_assert(was_read(&w, body, "a") && was_read(&w, body, "b"));
    cr_assert_leq(w.n, JSONIN_READS / 2 + 2);
    jsonin_unwatch();
    json_decref(body);
}
