/* Split patterns: the same meaning for PCRE2, or a refusal that names the place. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/text/bpe_pattern.h"

#define SPACE "\\p{White_Space}"
#define OTHER "\\P{White_Space}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

Test(bpe_pattern, what_means_the_same_stays_and_the_rest_is_rewritten)
{
    static const struct { const char *from, *to; } cases[] = {
        {"\\s+(?!\\S)|\\s+", SPACE "+(?!" OTHER ")|" SPACE "+"},
        {"(?i:'s|'t)| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*",
         "(?i:'s|'t)| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*"},
        {"[\\S]\\w[\\w]\\W", "[" OTHER "][" WORD "][" WORD "][^" WORD "]"},
        {"a\\b[\\b]", "a(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))[\\b]"},
        {"\\p{Han}\\P{^Hiragana}[\\p{Katakana}]",
         "\\p{sc:Han}\\P{^sc:Hiragana}[\\p{sc:Katakana}]"},
        {"\\p{Letter}\\p{Lu}\\p{^L}\\p{Alpha}", "\\p{L}\\p{Lu}\\p{^L}\\p{Alphabetic}"},
        {"\\p{N}{1,3}", "\\p{N}{1,3}"},
        {"\\p{N}{1,3}?", "\\p{N}{1,3}?"},
        {"\\p{N}{1,3}+", "(?:\\p{N}{1,3})+"},
        {"a{2}+b", "(?:a{2})+b"},
        {"x[0-9a]{2,}+", "x(?:[0-9a]{2,})+"},
        {"(?:a|(b)){1,2}+c", "(?:(?:a|(b)){1,2})+c"},
        {"é{1,2}+", "(?:é{1,2})+"},
        {"\\p{L}++[\\r\\n]*+a?+", "\\p{L}++[\\r\\n]*+a?+"},
        {"[\\u4e00-\\u9fa5]", "[\\x{4e00}-\\x{9fa5}]"},
        {"[一-龥]+", "[一-龥]+"},
        {"[\\p{Lu}\\p{M}&&[^\\p{Han}]]*", "(?:(?![\\p{sc:Han}])[\\p{Lu}\\p{M}])*"},
        {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+",
         "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"},
        {"a{b", "a{b"},
        {"{}", "{}"},
        {"(?<=a)(?<!b)(?>c)(?=d)$", "(?<=a)(?<!b)(?>c)(?=d)$"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        struct err e = {0};
        buf_init(&out, KIB(1));
        cr_assert_eq(bpe_pattern_translate(cases[i].from, &out, "f", &e), 0, "%s", e.text);
        cr_assert_str_eq(out.p, cases[i].to);
        buf_free(&out);
    }
}

Test(bpe_pattern, what_differs_is_refused_with_its_place)
{
    static const struct { const char *pattern, *says; } cases[] = {
        {"\\p{N}\\h", "this escape at byte 5"},
        {"\\R", "this escape at byte 0"},
        {"\\", "this escape at byte 0"},
        {"\\u12g4", "this escape"},
        {"\\pL", "this escape"},
        {"\\1", "this escape"},
        {"[\\W]", "this escape at byte 1"},
        {"\\p{}", "this escape"},
        {"\\p{a:b}", "this escape"},
        {"[a[bc]]", "a class in a class at byte 2"},
        {"[[:alpha:]]", "a class in a class"},
        {"[a&&b]", "an intersection of classes at byte 2"},
        {"[a&&[b]]", "an intersection of classes"},
        {"[a&&[^b]c]", "an intersection of classes"},
        {"[a&&[^b", "an intersection of classes"},
        {"[]a]", "begins with ]"},
        {"[ab", "a class without end at byte 3"},
        {"(?m:a.b)", "this kind of group at byte 0"},
        {"(?<name>a)", "this kind of group"},
        {"(?i)a", "this kind of group"},
        {"a)", "a closing parenthesis at byte 1"},
        {"a{,3}", "without a lower bound"},
        {"a{3}?", "a question mark behind {n}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        struct err e = {0};
        buf_init(&out, KIB(1));
        cr_assert_eq(bpe_pattern_translate(cases[i].pattern, &out, "f", &e), E_UNSUPPORTED, "%s",
                     cases[i].pattern);
        cr_assert(strstr(e.text, cases[i].says), "%s: %s", cases[i].pattern, e.text);
        buf_free(&out);
    }
}

Test(bpe_pattern, size_and_nesting_are_bounded)
{
    struct buf out, pattern;
    struct err e = {0};
    buf_init(&out, 100);
    buf_init(&pattern, KIB(1));
    for (int i = 0; i < 33; i++)
        buf_ch(&pattern, '(');
    cr_assert_eq(bpe_pattern_translate(pattern.p, &out, "f", &e), E_UNSUPPORTED);
    cr_assert(strstr(e.text, "deeper nesting at byte 32"), "%s", e.text);
    err_clear(&e);
    buf_clear(&pattern);
    buf_clear(&out);
    for (int i = 0; i < 101; i++)
        buf_ch(&pattern, 'a');
    cr_assert_eq(bpe_pattern_translate(pattern.p, &out, "f", &e), E_NOMEM);
    cr_assert(strstr(e.text, "pattern of 101 bytes"), "%s", e.text);
    buf_free(&out);
    buf_free(&pattern);
}
