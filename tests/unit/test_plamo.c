/* PLaMo 2's words with scores: the least cost, ties, bytes, special tokens, what is refused, and
 * the same by a definition that is written down twice, on random vocabularies. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "models/text/tokenizer.h"
#include "tests/unit/test_ids.h"

static char dir[] = "/tmp/recurd-plamo-XXXXXX";

static void make_dir(void)
{
    cr_assert_not_null(mkdtemp(dir));
    log_set_level(LOG_ERROR);
}

static void remove_dir(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(plamo, .init = make_dir, .fini = remove_dir);

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

#define FIRST 260 /* id of the first word behind special tokens and bytes */

/* Four special tokens, the 256 bytes, and these lines. */
static void put_words(const char *lines)
{
    struct buf b;
    buf_init(&b, MIB(1));
    buf_str(&b, "[\"<|plamo:unk|>\", 0.0, \"UNKNOWN\"]\n[\"<|plamo:bos|>\", 0, \"CONTROL\"]\n"
                "[\"<|plamo:eos|>\", 0, \"CONTROL\"]\n[\"<|plamo:pad|>\", 0, \"NORMAL\"]\n");
    for (int i = 0; i < 256; i++)
        buf_fmt(&b, "[\"<0x%02X>\", 0.0, \"BYTE\", 1, 2]\n", (unsigned)i);
    buf_str(&b, lines);
    put("tokenizer.jsonl", b.p);
    buf_free(&b);
}

static struct tokenizer *open_words(const char *lines)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    put_words(lines);
    cr_assert_eq(tokenizer_open(&t, dir, LIMIT_VOCAB, &e), 0, "%s", e.text);
    cr_assert_not_null(t);
    cr_assert_str_eq(tokenizer_source(t), "tokenizer.jsonl");
    return t;
}

#define WORDS "[\"a\", -3]\n[\"b\", -3, \"NORMAL\"]\n[\"ab\", -5.5]\n[\"abc\", -6]\n" \
              "[\"\xe3\x81\x82\xe3\x81\x84\", -4]\n[\"bc\", -2]\n"

Test(plamo, the_way_of_least_cost)
{
    struct tokenizer *t = open_words(WORDS);
    cr_assert_str_eq(ids_of(t, "ab", 0), "262");        /* 5.5 before 3 + 3 */
    cr_assert_str_eq(ids_of(t, "abc", 0), "260 265");   /* 3 + 2 before 6 */
    cr_assert_str_eq(ids_of(t, "bab", 0), "261 262");
    cr_assert_str_eq(ids_of(t, "\xe3\x81\x82\xe3\x81\x84", 0), "264");
    cr_assert_str_eq(ids_of(t, "\xe3\x81\x82", 0), "231 133 134"); /* 4 + its bytes */
    cr_assert_str_eq(ids_of(t, "z\xc3\xa9", 0), "126 199 173");
    cr_assert_str_eq(ids_of(t, "", 0), "");
    tokenizer_close(t);
    t = open_words("[\"a\", -1]\n[\"aa\", -2]\n[\"aaa\", -3]\n[\"q\", -1e6]\n[\"b\", -1]\n"
                   "[\"b\", -2]\n");
    cr_assert_str_eq(ids_of(t, "aaaa", 0), "262 260"); /* of equal ones the longest, at the left */
    cr_assert_str_eq(ids_of(t, "q", 0), "117");        /* dearer than its bytes */
    cr_assert_str_eq(ids_of(t, "b", 0), "265");        /* the last line */
    tokenizer_close(t);
}

Test(plamo, special_tokens_only_where_they_may)
{
    put("tokenizer_config.json",
        "{\"add_bos_token\":true,\"bos_token\":\"<|plamo:bos|>\",\"added_tokens_decoder\":"
        "{\"261\":{\"content\":\"b\",\"special\":true}}}");
    struct tokenizer *t = open_words(WORDS);
    struct err e = {0};
    struct ids ids;
    cr_assert_eq(tokenizer_bos(t), 1);
    cr_assert_eq(tokenizer_eos(t), 2);
    cr_assert(tokenizer_adds_bos(t) && tokenizer_is_special(t, 0) && tokenizer_is_special(t, 3));
    cr_assert_str_eq(ids_of(t, "a<|plamo:eos|>a", TOKENIZE_SPECIAL | TOKENIZE_BOS), "1 260 2 260");
    cr_assert_str_eq(ids_of(t, "ab", TOKENIZE_SPECIAL), "260 261");
    cr_assert_str_eq(ids_of(t, "b", 0), "102"); /* a byte: the word is special now */
    ids_init(&ids, 100);
    cr_assert_eq(tokenizer_encode(t, "<|plamo:bos|>", 13, 0, &ids, &e), 0);
    for (size_t i = 0; i < ids.len; i++)
        cr_assert(!tokenizer_is_special(t, ids.p[i]));
    ids_free(&ids);
    size_t n;
    const char *p = tokenizer_piece(t, 4 + 0xe3, &n);
    cr_assert(n == 1 && p[0] == '\xe3');
    tokenizer_piece(t, 1, &n);
    cr_assert_eq(n, 0);
    tokenizer_close(t);
    unlink("tokenizer_config.json");
}

static void refused(const char *says)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    cr_assert_lt(tokenizer_open(&t, dir, LIMIT_VOCAB, &e), 0, "accepted; expected: %s", says);
    cr_assert_null(t);
    cr_assert(strstr(e.text, says), "%s", e.text);
}

Test(plamo, damage_is_named)
{
    static const struct { const char *lines, *says; } cases[] = {
        {"{\"a\": 1}\n", "line 261: the JSON text is not a list"},
        {"[\"a\", -1]\n\n[\"b\", -1\n", "line 263: the text ends too early"},
        {"[1, 2]\n", "line 261: a word and its score were expected"},
        {"[\"a\"]\n", "line 261: a word and its score were expected"},
        {"[\"a\", \"1\"]\n", "line 261: a word and its score were expected"},
        {"[\"a\", 1e30]\n", "line 261: the score is 1e+30, above 214748"},
        {"[\"<0xZZ>\", 0, \"BYTE\"]\n", "line 261: a byte is not written <0xNN>"},
        {"[\"<0x41>\", 0, \"BYTE\"]\n", "line 261: byte 0x41 has id 69 already"},
        {"[\"<0x0\", 0, \"BYTE\"]\n", "line 261: a byte is not written <0xNN>"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
         "nested deeper than 64"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        put_words(cases[i].lines);
        refused(cases[i].says);
    }
    struct buf b;
    buf_init(&b, MIB(1));
    buf_str(&b, "[\"");
    for (int i = 0; i <= LIMIT_TOKEN_BYTES; i++)
        buf_ch(&b, 'x');
    buf_str(&b, "\", -1]\n");
    put_words(b.p);
    refused("has 513 bytes, at most 512 are allowed");
    buf_free(&b);
    put("tokenizer.jsonl", "[\"a\", -1]\n");
    refused("there is no word for byte 0x00");
}

/* ---- the definition once more ------------------------------------------------------------ */

#define LETTERS 4
#define WORDS_MAX 40

struct word { char text[16]; int score; };

/* The cost of the best way to write text[i, n), found by trying every word at every place. */
static long best_from(const struct word *words, int n_words, const char *text, int *first)
{
    int n = (int)strlen(text);
    long cost[64];
    cost[n] = 0;
    for (int i = n - 1; i >= 0; i--) {
        cost[i] = cost[i + 1] + 10000000;
        first[i] = -1;
        for (int w = 0; w < n_words; w++) {
            int len = (int)strlen(words[w].text);
            if (strncmp(text + i, words[w].text, (size_t)len) != 0)
                continue;
            long c = cost[i + len] - words[w].score;
            int has = first[i] < 0 ? 0 : (int)strlen(words[first[i]].text);
            if (c < cost[i] || (c == cost[i] && len > has)) {
                cost[i] = c;
                first[i] = w;
            }
        }
    }
    return cost[0];
}

static unsigned state = 1;

static int next(int n)
{
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (unsigned)n);
}

static void random_text(char *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = (char)('a' + next(LETTERS));
    out[n] = 0;
}

static int make_words(struct word *words, struct buf *lines)
{
    int n = 0;
    for (int i = 0; i < WORDS_MAX; i++) {
        struct word w;
        random_text(w.text, 1 + next(6));
        w.score = -next(12) * 1000; /* few values: many ties */
        for (int k = 0; k < n; k++)
            if (strcmp(words[k].text, w.text) == 0)
                w.text[0] = 0;
        if (!w.text[0])
            continue;
        words[n++] = w;
        buf_fmt(lines, "[\"%s\", %g, \"NORMAL\"]\n", w.text, w.score / 1e4);
    }
    return n;
}

Test(plamo, random_vocabularies_by_the_definition)
{
    for (int v = 0; v < 60; v++) {
        struct word words[WORDS_MAX];
        struct buf lines;
        buf_init(&lines, KIB(64));
        int n = make_words(words, &lines);
        struct tokenizer *t = open_words(lines.p);
        buf_free(&lines);
        for (int k = 0; k < 50; k++) {
            char text[64], want[512] = "";
            int first[64];
            size_t at = 0;
            random_text(text, next(50));
            best_from(words, n, text, first);
            for (int i = 0; text[i]; i += first[i] < 0 ? 1 : (int)strlen(words[first[i]].text))
                at += (size_t)snprintf(want + at, sizeof want - at, at ? " %d" : "%d",
                                       first[i] < 0 ? 4 + text[i] : FIRST + first[i]);
            cr_assert_str_eq(ids_of(t, text, 0), want, "vocabulary %d, text %s", v, text);
        }
        tokenizer_close(t);
    }
}
