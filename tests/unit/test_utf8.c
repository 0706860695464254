/* UTF-8 against a second definition: encode every code point, and compare with a decoder that
 * works by value ranges instead of byte ranges. */
#include "base/utf8.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"

#define FFFD "\xEF\xBF\xBD"

static size_t encode(uint32_t c, unsigned char *s)
{
    if (c < 0x80) {
        s[0] = (unsigned char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        s[i] = (unsigned char)(0x80 | (c & 0x3F));
    static const unsigned char mark[] = {0, 0, 0xC0, 0xE0, 0xF0};
    s[0] = (unsigned char)(mark[n] | c);
    return n;
}

/* Decodes by values: the code point of the first n bytes as a whole, or -1. */
static int32_t decode_whole(const unsigned char *s, size_t n)
{
    uint32_t c = n == 1   ? s[0]
                 : n == 2 ? s[0] & 0x1Fu
                 : n == 3 ? s[0] & 0x0Fu
                          : s[0] & 0x07u;
    static const unsigned char mark[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    static const unsigned char mask[] = {0, 0x80, 0xE0, 0xF0, 0xF8};
    if ((s[0] & mask[n]) != mark[n])
        return -1;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return -1;
        c = c << 6 | (s[i] & 0x3Fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    return c < least[n] || c > 0x10FFFF || surrogate ? -1 : (int32_t)c;
}

Test(utf8, accepts_every_character_and_no_prefix_of_one)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        unsigned char s[4];
        size_t n = encode(c, s);
        bool surrogate = c >= 0xD800 && c <= 0xDFFF;
        cr_assert_eq(utf8_valid((char *)s, n), !surrogate, "U+%04X", (unsigned)c);
        for (size_t cut = 1; cut < n; cut++) {
            cr_assert_not(utf8_valid((char *)s, cut));
            if (!surrogate)
                cr_assert_eq(utf8_complete((char *)s, cut), 0, "U+%04X", (unsigned)c);
        }
        if (!surrogate)
            cr_assert_eq(utf8_complete((char *)s, n), n);
    }
}

Test(utf8, agrees_with_decoding_by_value_on_every_short_sequence)
{
    unsigned char s[3];
    for (uint32_t v = 0; v < 1u << 16; v++) {
        s[0] = (unsigned char)(v >> 8);
        s[1] = (unsigned char)v;
        bool two = decode_whole(s, 2) >= 0;
        bool ones = s[0] < 0x80 && s[1] < 0x80;
        cr_assert_eq(utf8_valid((char *)s, 2), two || ones, "%02X %02X", s[0], s[1]);
    }
    for (uint32_t v = 0; v < 1u << 24; v++) {
        s[0] = (unsigned char)(v >> 16);
        if (s[0] < 0xE0)
            continue; /* shorter characters: covered above */
        s[1] = (unsigned char)(v >> 8);
        s[2] = (unsigned char)v;
        if (utf8_valid((char *)s, 3) != (decode_whole(s, 3) >= 0))
            cr_assert_fail("%02X %02X %02X", s[0], s[1], s[2]);
    }
}

Test(utf8, agrees_with_decoding_by_value_on_four_byte_borders)
{
    /* The third and fourth byte only ever decide by being continuations. */
    static const unsigned char edge[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0xBF, 0xC0, 0xFF};
    unsigned char s[4];
    for (uint32_t v = 0; v < 1u << 16; v++) {
        s[0] = (unsigned char)(v >> 8);
        s[1] = (unsigned char)v;
        if (s[0] < 0xF0)
            continue;
        for (size_t i = 0; i < ARRAY_LEN(edge) * ARRAY_LEN(edge); i++) {
            s[2] = edge[i / ARRAY_LEN(edge)];
            s[3] = edge[i % ARRAY_LEN(edge)];
            cr_assert_eq(utf8_valid((char *)s, 4), decode_whole(s, 4) >= 0,
                         "%02X %02X %02X %02X", s[0], s[1], s[2], s[3]);
        }
    }
}

static const struct {
    const char *name, *in, *out;
    size_t n;
} classes[] = {
#define ROW(name, in, out) {name, in, out, sizeof in - 1}
    ROW("nothing", "", ""),
    ROW("text", "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"),
    ROW("lonely continuation", "a\x80" "b", "a" FFFD "b"),
    ROW("overlong slash, 2 bytes", "\xC0\xAF", FFFD FFFD),
    ROW("overlong slash, 3 bytes", "\xE0\x80\xAF", FFFD FFFD FFFD),
    ROW("overlong slash, 4 bytes", "\xF0\x80\x80\xAF", FFFD FFFD FFFD FFFD),
    ROW("overlong border, 2 bytes", "\xC1\xBF", FFFD FFFD),
    ROW("overlong border, 3 bytes", "\xE0\x9F\xBF", FFFD FFFD FFFD),
    ROW("overlong border, 4 bytes", "\xF0\x8F\xBF\xBF", FFFD FFFD FFFD FFFD),
    ROW("surrogate D800", "\xED\xA0\x80", FFFD FFFD FFFD),
    ROW("surrogate DFFF", "\xED\xBF\xBF", FFFD FFFD FFFD),
    ROW("last before surrogates", "\xED\x9F\xBF", "\xED\x9F\xBF"),
    ROW("U+10FFFF", "\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"),
    ROW("U+110000", "\xF4\x90\x80\x80", FFFD FFFD FFFD FFFD),
    ROW("F5", "\xF5\x80\x80\x80", FFFD FFFD FFFD FFFD),
    ROW("FE FF", "\xFE\xFF", FFFD FFFD),
    ROW("5-byte form", "\xF8\x88\x80\x80\x80", FFFD FFFD FFFD FFFD FFFD),
    ROW("cut by a letter", "\xE2\x82" "A", FFFD "A"),
    ROW("cut by a lead", "\xF0\x9F\x98\xC3\xA9", FFFD "\xC3\xA9"),
    ROW("cut by the end", "ok\xF0\x9F\x98", "ok" FFFD),
    /* The example of the Unicode standard, table 3-11. */
    ROW("truncated sequences", "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF" "A",
        FFFD FFFD FFFD FFFD "A"),
    ROW("table 3-8", "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82" "A",
        FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"),
    ROW("NUL", "a\0b", "a"),
#undef ROW
};

Test(utf8, replaces_one_mark_per_maximal_subpart)
{
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        struct buf b;
        buf_init(&b, 1000);
        cr_assert_eq(buf_sanitize(&b, classes[i].in, classes[i].n), 0);
        cr_assert_str_eq(b.p ? b.p : "", classes[i].out, "%s", classes[i].name);
        cr_assert(utf8_valid(b.p, b.len), "%s", classes[i].name);
        bool same = b.len == classes[i].n && (!b.len || !memcmp(b.p, classes[i].in, b.len));
        cr_assert_eq(utf8_valid(classes[i].in, classes[i].n), same, "%s", classes[i].name);
        buf_free(&b);
    }
}

/* Hostile bytes that are often nearly UTF-8. */
static void random_text(struct rng *rng, unsigned char *s, size_t n)
{
    static const unsigned char likely[] = {'a', 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0,
                                           0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1,
                                           0xF4, 0xF5, 0xFF};
    for (size_t i = 0; i < n; i++)
        s[i] = likely[rng_below(rng, ARRAY_LEN(likely))];
}

Test(utf8, a_stream_cut_anywhere_gives_the_same_text)
{
    /* What the server does: append what arrives, send the complete part, keep the rest. */
    struct rng rng = {.seed = 11};
    for (int round = 0; round < 20000; round++) {
        unsigned char s[24];
        size_t n = 1 + rng_below(&rng, sizeof s);
        random_text(&rng, s, n);
        struct buf whole, stream, held;
        buf_init(&whole, 1000);
        buf_init(&stream, 1000);
        buf_init(&held, 1000);
        cr_assert_eq(buf_sanitize(&whole, (char *)s, n), 0);
        for (size_t at = 0; at < n;) {
            size_t step = 1 + rng_below(&rng, 5);
            step = MIN(step, n - at);
            cr_assert_eq(buf_add(&held, s + at, step), 0);
            at += step;
            size_t done = utf8_complete(held.p, held.len);
            cr_assert_leq(held.len - done, 3);
            cr_assert_eq(buf_sanitize(&stream, held.p, done), 0);
            buf_drop_front(&held, done);
        }
        cr_assert_eq(buf_sanitize(&stream, held.p, held.len), 0);
        cr_assert_eq(stream.len, whole.len);
        cr_assert_arr_eq(stream.p, whole.p, whole.len);
        buf_free(&whole);
        buf_free(&stream);
        buf_free(&held);
    }
}

Test(utf8, malformed_ends_are_not_waited_for)
{
    static const struct { const char *s; size_t complete; } rows[] = {
        {"", 0},
        {"abc", 3},
        {"ab\xC3", 2},
        {"a\xE2\x82", 1},
        {"\xF0\x9F\x98", 0},
        {"ab\xC0", 3},              /* C0 opens nothing */
        {"ab\x80", 3},
        {"\x80\x80\x80", 3},
        {"\xE0\x80", 2},            /* overlong already */
        {"\xED\xA0", 2},            /* a surrogate already */
        {"\xF4\x90", 2},            /* past U+10FFFF already */
        {"\xF5", 1},
        {"\xE2\x82\xAC", 3},
        {"\xE2\x82\xAC\xE2", 3},
        {"\xC3\xA9\x80", 3},
        {"\xF0\x9F\x98\x80\x80", 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert_eq(utf8_complete(rows[i].s, strlen(rows[i].s)), rows[i].complete, "row %zu",
                     i);
}

Test(utf8, sanitize_reports_a_full_buffer)
{
    struct buf b;
    buf_init(&b, 4);
    cr_assert_eq(buf_sanitize(&b, "ab\x80", 3), E_NOMEM, "a mark of 3 bytes does not fit");
    cr_assert_str_eq(b.p, "ab");
    buf_free(&b);
    mem_fail_at(1);
    cr_assert_eq(buf_sanitize(&b, "ab", 2), E_NOMEM);
    buf_free(&b);
}
