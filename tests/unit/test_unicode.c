/* Unicode normal forms: known cases, and marks by the hundred thousand. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/limits.h"
#include "models/text/unicode.h"

static void same(enum unicode_form form, const char *text, const char *want)
{
    struct buf out;
    struct err e = {0};
    buf_init(&out, KIB(4));
    cr_assert_eq(unicode_normalize(form, text, strlen(text), &out, &e), 0, "%s", e.text);
    cr_assert_str_eq(out.p ? out.p : "", want, "%s", text);
    buf_free(&out);
}

Test(unicode, forms_of_letters_marks_and_compatibility_characters)
{
    same(UNICODE_NFC, "plain ASCII\n", "plain ASCII\n");
    same(UNICODE_NFC, "", "");
    same(UNICODE_NFC, "e\u0301", "\u00e9");
    same(UNICODE_NFC, "\u212b \u2126", "\u00c5 \u03a9");
    same(UNICODE_NFC, "\u1100\u1161\u11a8", "\uac01");
    same(UNICODE_NFC, "a\u0301\u0323", "\u1ea1\u0301"); /* the mark below goes first */
    same(UNICODE_NFD, "\u1ea1\u0301", "a\u0323\u0301");
    same(UNICODE_NFD, "\uac01", "\u1100\u1161\u11a8");
    same(UNICODE_NFKC, "\ufb01 \u00bd \uff76\uff9e \u2460", "fi 1\u20442 \u30ac 1");
    same(UNICODE_NFKD, "\ufdfa", "\u0635\u0644\u0649 \u0627\u0644\u0644\u0647 "
                                  "\u0639\u0644\u064a\u0647 \u0648\u0633\u0644\u0645");
    same(UNICODE_NFC, "\u0301x", "\u0301x");
}

Test(unicode, marks_are_ordered_stably_however_many)
{
    struct buf text, out;
    struct err e = {0};
    buf_init(&text, MIB(8));
    buf_init(&out, MIB(8));
    buf_ch(&text, 'q');
    for (int i = 0; i < 300000; i++) /* above, below, another above */
        buf_str(&text, i % 3 == 0 ? "\u0301" : i % 3 == 1 ? "\u0323" : "\u0308");
    cr_assert_eq(unicode_normalize(UNICODE_NFD, text.p, text.len, &out, &e), 0, "%s", e.text);
    cr_assert_eq(out.len, text.len);
    for (int i = 0; i < 300000; i++) {
        int k = i - 100000;
        const char *want = k < 0 ? "\u0323" : k % 2 == 0 ? "\u0301" : "\u0308";
        cr_assert_eq(memcmp(out.p + 1 + 2 * i, want, 2), 0, "mark %d", i);
    }
    buf_free(&text);
    buf_free(&out);
}

Test(unicode, a_buffer_that_is_too_small_is_an_error)
{
    struct buf out;
    struct err e = {0};
    buf_init(&out, 2);
    cr_assert_eq(unicode_normalize(UNICODE_NFC, "\u00e9\u00e9", 4, &out, &e), E_NOMEM);
    cr_assert(strstr(e.text, "4 bytes"), "%s", e.text);
    buf_free(&out);
}

Test(unicode, white_space_is_25_characters)
{
    int n = 0;
    for (int32_t c = 0; c < 0x110000; c++)
        n += unicode_is_space(c);
    cr_assert_eq(n, 25);
    cr_assert(unicode_is_space(0x3000) && unicode_is_space(0x85) && !unicode_is_space(0x180e) &&
              !unicode_is_space(0x200b));
}

Test(unicode, words_are_letters_marks_digits_and_what_joins_them)
{
    static const int32_t word[] = {'a', '0', '_', 0xe9, 0x301, 0x4e2d, 0x663, 0x2163, 0x200d,
                                   0x24b6, 0x1f130};
    static const int32_t other[] = {' ', '-', 0xb2, 0x3002, 0x1f600, 0x180e, 0x2028, 0x10ffff};
    for (size_t i = 0; i < ARRAY_LEN(word); i++)
        cr_expect(unicode_is_word(word[i]), "U+%04X", (unsigned)word[i]);
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        cr_expect_not(unicode_is_word(other[i]), "U+%04X", (unsigned)other[i]);
}

Test(unicode, characters_are_found_from_both_ends)
{
    static const char text[] = "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80";
    static const int32_t points[] = {'a', 0xe9, 0x4e2d, 0x1f600};
    int32_t c;
    size_t at = 0, n = strlen(text);
    for (size_t i = 0; i < 4; i++) {
        at += unicode_first(text + at, n - at, &c);
        cr_assert_eq(c, points[i]);
        cr_assert_eq(unicode_last(text, at, &c), i + 1);
        cr_assert_eq(c, points[i]);
    }
    cr_assert_eq(at, n);
}
