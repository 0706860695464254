/* The JSON reader: it accepts and makes what jansson's does, and any allocation may fail. */
#include "base/jsonread.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

static const char *const texts[] = {
    "{}", "[]", " [ ] ", "{\"a\":1}",
    "[1,2.5,-0,0,-1e3,1E+2,0.0,true,false,null]", "\"a\"", "5",
    "[\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\n\\\"\\\\\\/\\b\\f\\r\\t\"]",
    "[\"\xc3\xa9\xe2\x82\xac\"]",
    "{\"a\":{\"b\":[{\"c\":[]}]},\"d\":\"\"}", "[9223372036854775807,-9223372036854775808]",
    "[1e308,4.9e-324,1e-400,123456789012345678.5]", "[[[[[[[[1]]]]]]]]", "{\"\":0}",
    /* refused */
    "", " ", "[", "]", "{", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
    "{a:1}", "{\"a\" 1}", "[1 2]", "[01]", "[-]", "[1.]", "[.5]", "[1e]", "[1e+]", "[+1]", "[tru]",
    "[True]", "[truex]", "[nul", "[\"a]", "[\"a\\\"]", "[\"\\x\"]", "[\"\\u12\"]", "[\"\\u12g4\"]",
    "[\"\\ud800\"]", "[\"\\ud800\\u0041\"]", "[\"\\udc00\"]", "[\"a\nb\"]", "[\"\xff\"]",
    "[\"\xc3\"]", "[\"\xed\xa0\x80\"]", "[9223372036854775808]", "[1e309]", "[-1e309]", "[1] x",
    "[1]]", "\xef\xbb\xbf[]", "[\"\\u0000\"]", "{\"\\u0000\":1}", "{\"a\":1,\"a\":2}", "[\"a\"b]",
    "[NaN]", "[Infinity]", "[0x10]", "/**/[]", "[1]\f", "['a']",
};

static const size_t flags[] = {0, JSON_DECODE_ANY, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                               JSON_DECODE_ANY | JSON_ALLOW_NUL};

static void compare(const char *s, size_t n, size_t f, bool codes)
{
    json_error_t mine, theirs;
    json_t *a = jsonread(s, n, f, &mine), *b = json_loadb(s, n, f, &theirs);
    cr_assert_eq(!a, !b, "%.*s: %s here, %s there (%s)", (int)n, s, a ? "accepted" : "refused",
                 b ? "accepted" : "refused", theirs.text);
    if (a) {
        char *x = json_dumps(a, JSON_ENCODE_ANY), *y = json_dumps(b, JSON_ENCODE_ANY);
        cr_assert(json_equal(a, b) && strcmp(x, y) == 0, "%.*s: %s is not %s", (int)n, s, x, y);
        free(x);
        free(y);
    } else if (codes) {
        cr_assert_eq(json_error_code(&mine), json_error_code(&theirs), "%.*s: %d is not %d (%s)",
                     (int)n, s, json_error_code(&mine), json_error_code(&theirs), theirs.text);
    }
    json_decref(a);
    json_decref(b);
}

Test(jsonread, reads_and_refuses_what_jansson_does)
{
    for (size_t f = 0; f < ARRAY_LEN(flags); f++)
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
            compare(texts[i], strlen(texts[i]), flags[f], true);
    for (size_t f = 0; f < ARRAY_LEN(flags); f++)
        compare("[\"a\0b\",\0]", 9, flags[f], false);
}

Test(jsonread, any_change_of_a_text_is_judged_alike)
{
    static const char bytes[] = "{}[],:\"\\ \n019.-+eEutfn/a\xc3\xa9\xed\xa0\xf0\x9f\x98\x80";
    struct rng r = {.seed = 5};
    char s[256];
    for (int round = 0; round < 40000; round++) {
        const char *from = texts[rng_below(&r, ARRAY_LEN(texts))];
        size_t n = strlen(from);
        memcpy(s, from, n);
        for (uint64_t k = 1 + rng_below(&r, 4); k > 0; k--) {
            size_t at = (size_t)rng_below(&r, n + 1);
            char c = bytes[rng_below(&r, sizeof(bytes) - 1)]; /* jansson overlooks a zero byte */
            if (rng_below(&r, 3) == 0 && n < sizeof(s)) {
                memmove(s + at + 1, s + at, n - at);
                s[at] = c;
                n++;
            } else if (rng_below(&r, 2) && at < n) {
                memmove(s + at, s + at + 1, n - at - 1);
                n--;
            } else if (at < n) {
                s[at] = c;
            }
        }
        compare(s, n, flags[rng_below(&r, ARRAY_LEN(flags))], false);
    }
}

Test(jsonread, depth_is_bounded)
{
    for (size_t depth = JSONREAD_DEPTH - 1; depth <= JSONREAD_DEPTH + 1; depth++) {
        char *s = mem_zalloc(2 * depth);
        memset(s, '[', depth);
        memset(s + depth, ']', depth);
        compare(s, 2 * depth, 0, true);
        mem_free(s);
    }
}

static void *zalloc(size_t n) { return mem_zalloc(n); }

/* In jansson's own reader the closing quote was lost with the 16th byte, and the next 32nd … */
Test(jsonread, any_allocation_may_fail_wherever_a_token_ends)
{
    json_set_alloc_funcs(zalloc, mem_free);
    char s[400];
    for (int length = 1; length < 140; length++)
        for (int kind = 0; kind < 3; kind++) {
            int n = kind == 0   ? snprintf(s, sizeof s, "{\"k\":\"%0*d\"}", length, 1)
                    : kind == 1 ? snprintf(s, sizeof s, "[0.%0*d,1]", length, 1)
                                : snprintf(s, sizeof s, "{\"%0*d\\n\":[\"\",true]}", length, 1);
            json_t *v = NULL;
            uint64_t fail = 1;
            for (; !v; fail++) {
                json_error_t e;
                cr_assert_lt(fail, 100);
                mem_fail_at(fail);
                v = jsonread(s, (size_t)n, 0, &e);
                mem_fail_at(0);
                cr_assert(v || json_error_code(&e) == json_error_out_of_memory, "%s", s);
            }
            cr_assert_gt(fail, 3);
            json_decref(v);
        }
    json_set_alloc_funcs(malloc, free);
}
