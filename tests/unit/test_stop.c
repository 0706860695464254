/* Hold-back: the text must not depend on where tokens end, and a stop string never leaks. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "scheduler/stop.h"

typedef char stop_string[LIMIT_STOP_BYTES + 1];

/* Feeds `bytes` in pieces that end where a bit of `cuts` is set (all = one byte each for ~0).
 * The text that came out; true if it stopped. flush: the text ends there. */
static bool run(stop_string *stops, int32_t n_stops, const char *bytes, size_t n,
                uint64_t cuts, bool flush, struct buf *out)
{
    struct stop s;
    cr_assert_eq(stop_init(&s, (const stop_string *)stops, n_stops, NULL), 0);
    buf_clear(out);
    bool stopped = false;
    for (size_t from = 0; from < n && !stopped;) {
        size_t to = from + 1;
        while (to < n && !(cuts >> to % 64 & 1))
            to++;
        size_t ready;
        stopped = stop_feed(&s, bytes + from, to - from, true, &ready);
        cr_assert_eq(buf_add(out, s.held.p, ready), 0);
        cr_assert(utf8_valid(s.held.p, ready));
        stop_take(&s, ready);
        from = to;
    }
    if (flush && !stopped) {
        size_t ready = stop_flush(&s);
        cr_assert_eq(buf_add(out, s.held.p, ready), 0);
    }
    stop_fini(&s);
    return stopped;
}

static void check(stop_string *stops, int32_t n_stops, const char *text, uint64_t cuts,
                  bool stops_there, const char *expected)
{
    struct buf out;
    buf_init(&out, 10000);
    bool stopped = run(stops, n_stops, text, strlen(text), cuts, true, &out);
    cr_assert_eq(stopped, stops_there, "'%s'", text);
    cr_assert_str_eq(out.p ? out.p : "", expected);
    buf_free(&out);
}

#define WHOLE UINT64_C(0)
#define BYTES (~UINT64_C(0))

Test(stop, a_stop_string_is_found_across_tokens_and_never_emitted)
{
    stop_string stops[] = {"<|end|>"};
    check(stops, 1, "Hello<|end|>junk", WHOLE, true, "Hello");
    check(stops, 1, "Hello<|end|>junk", BYTES, true, "Hello");
    check(stops, 1, "Hello<|end|", BYTES, false, "Hello<|end|"); /* not complete: text */
    check(stops, 1, "<|end|>", BYTES, true, "");
}

Test(stop, only_what_may_become_a_stop_string_is_held_back)
{
    stop_string stops[] = {"aaab", "\n\nUser"};
    struct buf out;
    buf_init(&out, 1000);
    cr_assert_not(run(stops, 2, "xyaa", 4, BYTES, false, &out));
    cr_assert_str_eq(out.p, "xy");
    cr_assert_not(run(stops, 2, "xyaaa", 5, WHOLE, false, &out));
    cr_assert_str_eq(out.p, "xy");
    cr_assert_not(run(stops, 2, "aaaaaa", 6, BYTES, false, &out));
    cr_assert_str_eq(out.p, "aaa"); /* the last three may be the beginning of aaab */
    cr_assert_not(run(stops, 2, "line\n\nUs ", 9, BYTES, false, &out));
    cr_assert_str_eq(out.p, "line\n\nUs ");
    buf_free(&out);
}

Test(stop, the_string_complete_first_wins_and_of_two_the_longer)
{
    stop_string stops[] = {"abcdef", "cd", "bcd"};
    check(stops, 3, "xxabcdef", WHOLE, true, "xxa"); /* bcd and cd end together */
    check(stops, 3, "xxabcdef", BYTES, true, "xxa");
    stop_string nested[] = {"abab", "b"};
    check(nested, 2, "zabab", WHOLE, true, "za");
}

Test(stop, a_character_waits_for_its_last_byte)
{
    struct buf out;
    buf_init(&out, 1000);
    cr_assert_not(run(NULL, 0, "na\xC3", 3, BYTES, false, &out));
    cr_assert_str_eq(out.p, "na");
    cr_assert_not(run(NULL, 0, "\xF0\x9F\x98", 3, BYTES, false, &out));
    cr_assert_eq(out.len, 0);
    check(NULL, 0, "\xF0\x9F\x98\x80!", BYTES, false, "\xF0\x9F\x98\x80!");
    buf_free(&out);
}

Test(stop, malformed_bytes_become_replacement_characters)
{
    check(NULL, 0, "a\xFFz", BYTES, false, "a\xEF\xBF\xBDz");
    check(NULL, 0, "a\xE2\x82", BYTES, false, "a\xEF\xBF\xBD"); /* the text ends inside */
    check(NULL, 0, "a\xE2\x82z", BYTES, false, "a\xEF\xBF\xBDz");
}

Test(stop, unarmed_text_passes_and_is_no_part_of_a_later_stop)
{
    stop_string stops[] = {"END"};
    struct stop s;
    size_t ready;
    cr_assert_eq(stop_init(&s, (const stop_string *)stops, 1, NULL), 0);
    cr_assert_not(stop_feed(&s, "xENDyEN", 7, false, &ready));
    cr_assert_eq(ready, 7);
    stop_take(&s, ready);
    cr_assert_not(stop_feed(&s, "D", 1, true, &ready));
    cr_assert_eq(ready, 1);
    stop_take(&s, ready);
    cr_assert(stop_feed(&s, ".END", 4, true, &ready));
    cr_assert_eq(ready, 1);
    stop_fini(&s);
}

Test(stop, the_longest_token_of_malformed_bytes_fits)
{
    stop_string stops[1];
    memset(stops[0], 'a', LIMIT_STOP_BYTES);
    stops[0][LIMIT_STOP_BYTES] = 0;
    char bad[LIMIT_TOKEN_BYTES], held[LIMIT_STOP_BYTES - 1];
    memset(bad, 0xFF, sizeof bad);
    memset(held, 'a', sizeof held);
    struct stop s;
    size_t ready;
    cr_assert_eq(stop_init(&s, (const stop_string *)stops, 1, NULL), 0);
    cr_assert_not(stop_feed(&s, held, sizeof held, true, &ready));
    cr_assert_eq(ready, 0);
    cr_assert_not(stop_feed(&s, "\xF0\x9F\x98", 3, true, &ready));
    cr_assert_not(stop_feed(&s, bad, sizeof bad, true, &ready));
    cr_assert_eq(ready, sizeof held + 3 + 3 * sizeof bad); /* F0 9F 98 is one maximal subpart */
    stop_fini(&s);
}

/* The definition, by brute force over the whole text. */
static size_t first_stop(stop_string *stops, int32_t n, const char *text, size_t len)
{
    for (size_t end = 1; end <= len; end++)
        for (size_t from = 0; from < end; from++)
            for (int32_t i = 0; i < n; i++)
                if (strlen(stops[i]) == end - from && !memcmp(text + from, stops[i], end - from))
                    return from;
    return SIZE_MAX;
}

Test(stop, no_split_into_tokens_changes_the_text)
{
    static const char *const alphabet[] = {"a", "b", "ab", "\xC3\xA9", "\xE2\x82\xAC",
                                           "\xC3", "\xA9", "\xF0\x9F\x98\x80", "\xFF"};
    struct rng r = {.seed = 7};
    struct buf raw, clean, out;
    buf_init(&raw, 1000);
    buf_init(&clean, 4000);
    buf_init(&out, 4000);
    int n_stopped = 0;
    for (int round = 0; round < 20000; round++) {
        stop_string stops[3];
        int32_t n = (int32_t)rng_below(&r, 4);
        for (int32_t i = 0; i < n; i++) {
            size_t len = 0;
            for (uint64_t k = 1 + rng_below(&r, 4); k-- > 0;) { /* the valid ones only */
                const char *part = alphabet[rng_below(&r, 5)];
                memcpy(stops[i] + len, part, strlen(part) + 1);
                len += strlen(part);
            }
        }
        buf_clear(&raw);
        for (uint64_t k = rng_below(&r, 24); k-- > 0;)
            cr_assert_eq(buf_str(&raw, alphabet[rng_below(&r, ARRAY_LEN(alphabet))]), 0);
        buf_clear(&clean);
        cr_assert_eq(buf_sanitize(&clean, raw.p, raw.len), 0);
        size_t at = first_stop(stops, n, clean.p, clean.len);
        bool stopped = run(stops, n, raw.p, raw.len, rng_next(&r), true, &out);
        cr_assert_eq(stopped, at != SIZE_MAX, "round %d", round);
        cr_assert_eq(out.len, stopped ? at : clean.len, "round %d", round);
        cr_assert(out.len == 0 || !memcmp(out.p, clean.p, out.len), "round %d", round);
        n_stopped += stopped;
    }
    cr_assert_gt(n_stopped, 2000); /* the test does meet stop strings */
    buf_free(&raw);
    buf_free(&clean);
    buf_free(&out);
}
