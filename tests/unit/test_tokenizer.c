/* Tokenizers: equal to the reference on golden texts, round trips, and damage refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "models/files/config.h"
#include "models/text/tokenizer.h"
#include "tests/unit/test_folder.h"

#define DEMO "models/demo/gated-deltanet"
#define GOLDEN "tests/golden/tokenizers/"

static void write_bytes(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(in_dir(name), "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void read_bytes(const char *path, struct buf *b)
{
    struct err e = {0};
    buf_init(b, MIB(16));
    cr_assert_eq(file_read(path, b, &e), 0, "%s", e.text);
}

static struct tokenizer *open_dir(const char *path)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    cr_assert_eq(tokenizer_open(&t, path, LIMIT_VOCAB, &e), 0, "%s", e.text);
    cr_assert_not_null(t, "%s has no tokenizer", path);
    return t;
}

static struct ids encode(const struct tokenizer *t, const char *text, int flags)
{
    struct ids ids;
    struct err e = {0};
    ids_init(&ids, 100000);
    cr_assert_eq(tokenizer_encode(t, text, strlen(text), flags, &ids, &e), 0, "%s", e.text);
    return ids;
}

static void same_ids(const struct ids *got, const struct config *c, const char *key,
                     const char *where, const char *text)
{
    int64_t n = config_len(c, key);
    cr_assert_eq((int64_t)got->len, n, "%s: %.60s: %zu ids, expected %d", where, text, got->len,
                 (int)n);
    for (size_t i = 0; i < got->len; i++)
        cr_assert_eq(got->p[i], config_int_at(c, key, (int64_t)i, -1, NULL), "%s: %.60s: id %zu",
                     where, text, i);
}

static struct config *load_json(const char *path)
{
    struct config *c = NULL;
    struct err e = {0};
    cr_assert_eq(config_read(&c, path, &e), 0, "%s", e.text);
    return c;
}

/* What the pieces of ids add up to. */
static void text_of(const struct tokenizer *t, const struct ids *ids, struct buf *out)
{
    buf_init(out, MIB(1));
    for (size_t i = 0; i < ids->len; i++) {
        size_t n;
        const char *p = tokenizer_piece(t, ids->p[i], &n);
        buf_add(out, p, n);
    }
}

TestSuite(tokenizer, .init = make_dir, .fini = remove_dir);

Test(tokenizer, demo_prompts_become_the_expected_ids)
{
    static const char *dirs[] = {"models/demo/gated-deltanet", "models/demo/rwkv7"};
    for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
        char path[64];
        snprintf(path, sizeof path, "%s/expected.json", dirs[d]);
        struct tokenizer *t = open_dir(dirs[d]);
        struct config *root = load_json(path);
        cr_assert_eq(config_len(root, "prompts"), 5);
        for (int i = 0; i < 5; i++) {
            const struct config *p = config_obj_at(root, "prompts", i, NULL);
            const char *text = config_str(p, "prompt", "", NULL);
            struct ids ids = encode(t, text, TOKENIZE_BOS | TOKENIZE_SPECIAL);
            same_ids(&ids, p, "token_ids", dirs[d], text);
            ids_free(&ids);
            /* And back: the pieces of the greedy ids are the greedy text. */
            struct buf out;
            ids_init(&ids, 1000);
            for (int64_t k = 0; k < config_len(p, "greedy_ids"); k++)
                cr_assert_eq(
                    ids_add(&ids, (int32_t)config_int_at(p, "greedy_ids", k, -1, NULL)), 0);
            text_of(t, &ids, &out);
            if (!strstr(config_str(p, "greedy_text", "", NULL), "<|"))
                cr_assert_str_eq(out.p, config_str(p, "greedy_text", "", NULL));
            ids_free(&ids);
            buf_free(&out);
        }
        config_free(root);
        tokenizer_close(t);
    }
}

Test(tokenizer, golden_texts_become_the_ids_of_the_reference)
{
    static const char *names[] = {
        "gpt2", "gpt2_prefix", "neox", "llama3", "qwen2", "cl100k", "o200k", "han", "digits",
        "falcon", "llama2", "metaspace", "metaspace_split", "gemma", "spm_unigram", "spm_bpe"};
    for (size_t d = 0; d < ARRAY_LEN(names); d++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN "%s", names[d]);
        struct tokenizer *t = open_dir(path);
        snprintf(path, sizeof path, GOLDEN "%s/cases.json", names[d]);
        struct config *root = load_json(path);
        cr_assert_gt(config_len(root, "cases"), 100);
        for (int i = 0; i < config_len(root, "cases"); i++) {
            const struct config *c = config_obj_at(root, "cases", i, NULL);
            const char *text = config_str(c, "text", "", NULL);
            struct ids plain = encode(t, text, 0), special = encode(t, text, TOKENIZE_SPECIAL);
            same_ids(&plain, c, "plain", names[d], text);
            if (config_has(c, "special"))
                same_ids(&special, c, "special", names[d], text);
            ids_free(&plain);
            ids_free(&special);
        }
        config_free(root);
        tokenizer_close(t);
    }
}

Test(tokenizer, special_text_is_special_only_where_asked)
{
    static const char *dirs[] = {DEMO, GOLDEN "qwen2", GOLDEN "llama2"};
    const char *text = "a<|user|>\nb<|end|>\n";
    for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
        struct tokenizer *t = open_dir(dirs[d]);
        int32_t user = tokenizer_find(t, "<|user|>"), end = tokenizer_find(t, "<|end|>");
        cr_assert(user >= 0 && end >= 0 && tokenizer_is_special(t, user));
        struct ids plain = encode(t, text, 0), special = encode(t, text, TOKENIZE_SPECIAL);
        int seen = 0;
        for (size_t i = 0; i < special.len; i++)
            seen += special.p[i] == user || special.p[i] == end;
        cr_assert_eq(seen, 2, "%s", dirs[d]);
        for (size_t i = 0; i < plain.len; i++)
            cr_assert_not(tokenizer_is_special(t, plain.p[i]), "%s: forged", dirs[d]);
        struct buf out;
        text_of(t, &plain, &out);
        /* A dummy prefix shows as a space. */
        cr_assert_str_eq(out.p + (out.p[0] == ' '), text);
        buf_free(&out);
        ids_free(&plain);
        ids_free(&special);
        tokenizer_close(t);
    }
}

Test(tokenizer, pieces_are_bytes_spaces_and_nothing_for_specials)
{
    struct tokenizer *t = open_dir(DEMO);
    size_t n;
    cr_assert_eq(tokenizer_bos(t), 1);
    cr_assert_eq(tokenizer_eos(t), 2);
    cr_assert(tokenizer_adds_bos(t));
    cr_assert_eq(tokenizer_size(t), 4096);
    cr_assert_eq(*tokenizer_piece(t, 17, &n), '\n'); /* <0x0A> */
    cr_assert_eq(n, 1);
    cr_assert_eq(*tokenizer_piece(t, 7, &n), 0);     /* <0x00> is a byte, not an end */
    cr_assert_eq(n, 1);
    tokenizer_piece(t, 6, &n);
    cr_assert_eq(n, 0);
    cr_assert_eq(strncmp(tokenizer_piece_shown(t, 6, &n), "<|end|>", 7), 0);
    cr_assert_eq(n, 7);
    tokenizer_piece(t, -1, &n);
    cr_assert_eq(n, 0);
    tokenizer_piece_shown(t, 4096, &n);
    cr_assert_eq(n, 0);
    cr_assert_eq(strncmp(tokenizer_piece(t, 769, &n), " Spot", 5), 0);
    cr_assert_eq(tokenizer_find(t, "<|end|>"), 6);
    cr_assert_eq(tokenizer_find(t, "<|no|>"), -1);
    tokenizer_close(t);
}

Test(tokenizer, any_text_comes_back_from_its_ids)
{
    static const char *dirs[] = {DEMO, GOLDEN "gpt2", GOLDEN "llama3", GOLDEN "gemma"};
    struct rng r = {.seed = 5};
    for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
        struct tokenizer *t = open_dir(dirs[d]);
        for (int k = 0; k < 300; k++) {
            char text[64];
            size_t n = 0;
            while (n < 40) {
                uint32_t c = (uint32_t)rng_below(&r, rng_below(&r, 2) ? 0x80 : 0x800);
                if (c >= 0x80)
                    text[n++] = (char)(0xc0 | c >> 6);
                text[n++] = (char)(c < 0x80 ? (c ? c : 'x') : 0x80 | (c & 0x3f));
            }
            text[n] = 0;
            struct ids ids = encode(t, text, 0);
            struct buf out;
            text_of(t, &ids, &out);
            cr_assert_str_eq(out.p, text, "%s", dirs[d]);
            buf_free(&out);
            ids_free(&ids);
        }
        tokenizer_close(t);
    }
}

Test(tokenizer, malformed_utf8_is_refused_and_limits_hold)
{
    struct tokenizer *t = open_dir(DEMO);
    struct ids ids;
    struct err e = {0};
    ids_init(&ids, 3);
    cr_assert_eq(tokenizer_encode(t, "a\xff", 2, 0, &ids, &e), E_FORMAT);
    cr_assert(strstr(e.text, "2 bytes is not valid UTF-8"), "%s", e.text);
    err_clear(&e);
    cr_assert_eq(tokenizer_encode(t, "one two three four", 18, TOKENIZE_BOS, &ids, &e), E_RANGE);
    cr_assert(strstr(e.text, "3"), "%s", e.text);
    cr_assert_leq(ids.len, 3);
    err_clear(&e);
    ids_free(&ids);
    ids_init(&ids, 3);
    cr_assert_eq(tokenizer_encode(t, "", 0, 0, &ids, &e), 0);
    cr_assert_eq(ids.len, 0);
    cr_assert_eq(tokenizer_encode(t, "", 0, TOKENIZE_BOS, &ids, &e), 0);
    cr_assert_eq(ids.len, 1);
    ids_free(&ids);
    tokenizer_close(t);
}

Test(tokenizer, a_directory_without_one_gives_none)
{
    struct tokenizer *t = (struct tokenizer *)dir;
    struct err e = {0};
    cr_assert_eq(tokenizer_open(&t, "tests/golden/public/gla", 256, &e), 0);
    cr_assert_null(t);
}

Test(tokenizer, a_vocabulary_larger_than_the_model_is_refused_with_both_numbers)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    cr_assert_eq(tokenizer_open(&t, DEMO, 4095, &e), E_CONFLICT);
    cr_assert(strstr(e.text, "id 4095, the model 4095 rows"), "%s", e.text);
    cr_assert_null(t);
}

/* Long texts are cut where no piece can reach across: the ids must not show it. */
Test(tokenizer, a_long_text_is_encoded_like_its_sentences)
{
    static const char *dirs[] = {DEMO, GOLDEN "spm_bpe", GOLDEN "gpt2"};
    static const char *sentences[] = {" The quick brown fox\n", " caf\xc3\xa9  12",
                                      " \xe2\x96\x81 x"};
    for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
        struct tokenizer *t = open_dir(dirs[d]);
        for (size_t s = 0; s < ARRAY_LEN(sentences); s++) {
            struct ids one, two, all;
            struct err e = {0};
            struct buf text;
            size_t n = strlen(sentences[s]);
            ids_init(&one, 1000);
            ids_init(&two, 1000);
            ids_init(&all, 100000);
            buf_init(&text, MIB(1));
            while (text.len < 20000)
                buf_str(&text, sentences[s]);
            cr_assert_eq(tokenizer_encode(t, text.p, n, 0, &one, &e), 0);
            cr_assert_eq(tokenizer_encode(t, text.p, 2 * n, 0, &two, &e), 0);
            cr_assert_eq(tokenizer_encode(t, text.p, text.len, 0, &all, &e), 0);
            /* The first may have an opening space; each further one adds the same. */
            size_t period = two.len - one.len;
            cr_assert_eq(all.len, one.len + period * (text.len / n - 1), "%s", dirs[d]);
            for (size_t i = one.len; i < all.len; i++)
                cr_assert_eq(all.p[i], two.p[one.len + (i - one.len) % period], "%s: id %zu",
                             dirs[d], i);
            ids_free(&two);
            ids_free(&one);
            ids_free(&all);
            buf_free(&text);
        }
        tokenizer_close(t);
    }
}

Test(tokenizer, a_huge_word_costs_little_memory_and_comes_back)
{
    static const char *dirs[] = {DEMO, GOLDEN "llama3", GOLDEN "gemma"};
    for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
        struct tokenizer *t = open_dir(dirs[d]);
        struct buf text, back;
        buf_init(&text, MIB(1));
        while (text.len < 300000)
            buf_str(&text, text.len % 1000 < 500 ? "abcdefghij" : "\xe6\x97\xa5\xe6\x9c\xac");
        struct ids ids;
        struct err e = {0};
        ids_init(&ids, 1000000);
        cr_assert_eq(tokenizer_encode(t, text.p, text.len, 0, &ids, &e), 0, "%s", e.text);
        text_of(t, &ids, &back);
        cr_assert_str_eq(back.p, text.p, "%s", dirs[d]);
        ids_free(&ids);
        buf_free(&text);
        buf_free(&back);
        tokenizer_close(t);
    }
}

/* F5: whatever is done to a model, loading says so or encoding works; nothing crashes later. */
Test(tokenizer, a_damaged_sentencepiece_model_is_refused_or_works)
{
    static const char *sources[] = {DEMO "/tokenizer.model", GOLDEN "spm_unigram/tokenizer.model"};
    struct rng r = {.seed = 9};
    int refused = 0;
    for (size_t s = 0; s < ARRAY_LEN(sources); s++) {
        struct buf good;
        read_bytes(sources[s], &good);
        for (int k = 0; k < 60; k++) {
            char *bad = mem_zalloc(good.len);
            size_t n = k % 10 == 0 ? rng_below(&r, good.len) : good.len;
            memcpy(bad, good.p, good.len);
            for (int i = 0; i < (k % 3 ? 1 : 50); i++)
                bad[rng_below(&r, good.len)] = (char)rng_below(&r, 256);
            write_bytes("tokenizer.model", bad, n);
            mem_free(bad);
            struct tokenizer *t = NULL;
            struct err e = {0};
            if (tokenizer_open(&t, dir, LIMIT_VOCAB, &e) < 0) {
                cr_assert(strstr(e.text, "tokenizer.model"), "%s", e.text);
                refused++;
                continue;
            }
            struct ids ids = encode(t, "ﬁne ½ ｶﾞ e\xcc\x81 한 \xf0\x9f\x98\x80 <|user|> text", 3);
            ids_free(&ids);
            tokenizer_close(t);
        }
        buf_free(&good);
    }
    cr_assert_gt(refused, 20);
}

Test(tokenizer, a_broken_tokenizer_json_is_refused_by_name)
{
#define JSON_MODEL \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
    static const struct { const char *text, *says; } cases[] = {
        {"{}", "model (unnamed) is not supported"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "model Unigram is not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "no vocab or no merges"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
         "merge 0, a b, uses a token that the vocabulary lacks"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"ab\"]}}",
         "merge 0 is not a pair"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
         "id 0 belongs"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}",
         "id -1, outside 0 to 1048575"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1048576},\"merges\":[]}}", "id 1048576"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}",
         "lacks its unknown token u"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],"
         "\"end_of_word_suffix\":\"</w>\"}}", "end_of_word_suffix </w> is not supported"},
        {"{\"normalizer\":{\"type\":\"Precompiled\"}," JSON_MODEL "}",
         "normalizer Precompiled is not supported"},
        {"{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," JSON_MODEL "}",
         "pre_tokenizer BertPreTokenizer is not supported"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
         "\"behavior\":\"Isolated\"}," JSON_MODEL "}", "split pattern: PCRE2 error"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},"
         "\"behavior\":\"Odd\"}," JSON_MODEL "}", "split behavior Odd"},
        {"{\"decoder\":{\"type\":\"WordPiece\"}," JSON_MODEL "}", "decoder WordPiece"},
        {"{\"post_processor\":{\"type\":\"RobertaProcessing\"}," JSON_MODEL "}",
         "post_processor RobertaProcessing"},
        {"{\"added_tokens\":[{\"id\":5,\"content\":\"a\"}]," JSON_MODEL "}",
         "added token a has id 5, the vocabulary gives it 0"},
        {"{\"added_tokens\":[{\"content\":\"z\"}]," JSON_MODEL "}", "added token 0 lacks an id"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tokenizer *t = NULL;
        struct err e = {0};
        write_bytes("tokenizer.json", cases[i].text, strlen(cases[i].text));
        cr_assert_lt(tokenizer_open(&t, dir, LIMIT_VOCAB, &e), 0, "case %zu accepted", i);
        cr_assert_null(t);
        cr_assert(strstr(e.text, cases[i].says), "case %zu: %s", i, e.text);
        cr_assert(strstr(e.text, "tokenizer.json"), "case %zu: %s", i, e.text);
    }
    write_bytes("tokenizer.json", "{" JSON_MODEL "}", strlen("{" JSON_MODEL "}"));
    struct tokenizer *t = open_dir(dir);
    struct ids ids = encode(t, "abba", 0);
    cr_assert_eq(ids.len, 3);
    cr_assert(ids.p[0] == 2 && ids.p[1] == 1 && ids.p[2] == 0);
    ids_free(&ids);
    tokenizer_close(t);
}

static const char *vocab_lines(struct buf *b, const char *more)
{
    buf_clear(b);
    for (int i = 0; i < 256; i++)
        buf_fmt(b, "%d %s'\\x%02x' %d\n", i + 1, i < 128 ? "" : "b", (unsigned)i, 1);
    buf_str(b, more);
    write_bytes("rwkv_vocab_v20230424.txt", b->p, b->len);
    return b->p;
}

Test(tokenizer, the_rwkv_word_list_takes_the_longest_word)
{
    struct buf b;
    buf_init(&b, MIB(1));
    vocab_lines(&b, "257 'ab' 2\n258 \"it's\" 4\n259 'a\\'\\\\\\n' 4\n260 '日' 3\n"
                    "261 '\\u65e5\\u672c' 6\n262 b'\\xe6\\x9c' 2\n263 'abcd' 4\n264 '\\xe9' 2\n"
                    "265 'x\\x00y' 3\n");
    struct tokenizer *t = open_dir(dir);
    static const struct { const char *text; int32_t ids[6]; } cases[] = {
        {"abc", {257, 'c' + 1}}, {"abcd", {263}}, {"it's", {258}}, {"a'\\\n", {259}},
        {"日本", {261}}, {"日", {260}}, {"本", {262, 0xac + 1}}, {"\xc3\xa9", {264}}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ids ids = encode(t, cases[i].text, 0);
        for (size_t k = 0; k < ids.len; k++)
            cr_assert_eq(ids.p[k], cases[i].ids[k], "%s: id %zu is %d", cases[i].text, k, ids.p[k]);
        cr_assert_eq(cases[i].ids[ids.len], 0, "%s", cases[i].text);
        ids_free(&ids);
    }
    size_t len;
    const char *nul = tokenizer_piece(t, 265, &len);
    cr_assert(len == 3 && memcmp(nul, "x\0y", 3) == 0, "a NUL is a byte like any other");
    cr_assert_eq(tokenizer_eos(t), 0);
    cr_assert(tokenizer_is_special(t, 0));
    tokenizer_close(t);
    buf_free(&b);
}

Test(tokenizer, a_broken_rwkv_word_list_is_refused_with_its_line)
{
    static const struct { const char *more, *says; } cases[] = {
        {"257 'ab' 3\n", "line 257: the word has 2 bytes, the line says 3"},
        {"257 'ab\n", "line 257: the word does not end"},
        {"257 ab 2\n", "line 257: expected a quoted word"},
        {"x 'ab' 2\n", "line 257: expected a number"},
        {"257 '\\q' 1\n", "line 257: an unknown escape"},
        {"257 '\\xg0' 1\n", "line 257: an escape lacks digits"},
        {"257 '\\ud800' 3\n", "line 257: an escape is no character"},
        {"256 'ab' 2\n", "line 257: id 256 was given before"},
        {"257 'ab' 2 x\n", "line 257: something follows"},
        {"2000000 'ab' 2\n", "2000000 is outside 0 to 1048575"},
        {"0 'ab' 2\n", "id 0 must be free"},
        {"257 '' 0\n", "line 257: the word has 0 bytes"},
    };
    struct buf b;
    buf_init(&b, MIB(1));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tokenizer *t = NULL;
        struct err e = {0};
        vocab_lines(&b, cases[i].more);
        cr_assert_lt(tokenizer_open(&t, dir, LIMIT_VOCAB, &e), 0, "case %zu accepted", i);
        cr_assert(strstr(e.text, cases[i].says), "case %zu: %s", i, e.text);
    }
    write_bytes("rwkv_vocab_v20230424.txt", "1 'a' 1\n", 8);
    struct tokenizer *t = NULL;
    struct err e = {0};
    cr_assert_lt(tokenizer_open(&t, dir, LIMIT_VOCAB, &e), 0);
    cr_assert(strstr(e.text, "no word for byte 0x00"), "%s", e.text);
    buf_free(&b);
}

Test(tokenizer, every_allocation_may_fail)
{
    static const char *dirs[] = {GOLDEN "llama3", GOLDEN "spm_bpe"};
    for (size_t d = 0; d < ARRAY_LEN(dirs); d++)
        for (uint64_t at = 1; at < 4000; at += at < 40 ? 1 : 97) {
            struct tokenizer *t = NULL;
            struct err e = {0};
            struct ids ids;
            ids_init(&ids, 1000);
            mem_fail_at(at);
            int rc = tokenizer_open(&t, dirs[d], LIMIT_VOCAB, &e);
            if (rc == 0)
                rc = tokenizer_encode(t, "Hello <|end|> 12 x", 18, 3, &ids, &e);
            mem_fail_at(0);
            cr_assert(rc == 0 || rc == E_NOMEM, "%s at %d: %s", dirs[d], (int)at, e.text);
            ids_free(&ids);
            tokenizer_close(t);
        }
}

/* Pieces of text and names of tokens, each of a random origin: only the trusted names are tokens,
 * and where there are no others the ids are those of the whole text. */
Test(tokenizer, origins_change_nothing_but_what_clients_spell)
{
    static const char *dirs[] = {DEMO, GOLDEN "gpt2", GOLDEN "llama3", GOLDEN "qwen2",
                                 GOLDEN "gemma", GOLDEN "metaspace", GOLDEN "spm_bpe"};
    static const char *const pieces[] = {" a", "word", "\n", "  ", "caf\xc3\xa9", "12", "'s", ".",
                                         "\xe2\x96\x81", "<", "|", "end"};
    struct rng r = {.seed = 11};
    for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
        struct tokenizer *t = open_dir(dirs[d]);
        const char *name = NULL;
        size_t n_name = 0;
        for (int32_t i = 0; i < tokenizer_size(t) && !name; i++)
            if (tokenizer_is_special(t, i) && tokenizer_piece_shown(t, i, &n_name) && n_name > 2)
                name = tokenizer_piece_shown(t, i, &n_name);
        for (int round = 0; round < 300; round++) {
            char text[1024];
            struct token_span spans[64];
            size_t n = 0, k = 0, trusted = 0;
            bool forged = false;
            struct ids got, want, starts;
            struct err e = {0};
            for (int i = 0; i < 12; i++) {
                bool token = name && rng_below(&r, 4) == 0, ours = rng_below(&r, 2);
                const char *s = token ? name : pieces[rng_below(&r, ARRAY_LEN(pieces))];
                size_t len = token ? n_name : strlen(s);
                memcpy(text + n, s, len);
                n += len;
                spans[k++] = (struct token_span){(uint32_t)n, ours};
                trusted += token && ours;
                forged |= token && !ours;
            }
            ids_init(&got, 4096);
            ids_init(&want, 4096);
            ids_init(&starts, 4096);
            cr_assert_eq(tokenizer_encode_marked(t, text, n, spans, k, &got, &starts, &e), 0, "%s",
                         e.text);
            cr_assert_eq(tokenizer_encode(t, text, n, TOKENIZE_SPECIAL, &want, &e), 0);
            size_t special = 0;
            for (size_t i = 0; i < got.len; i++)
                special += tokenizer_is_special(t, got.p[i]);
            cr_expect_eq(special, trusted, "%s: %zu special tokens, %zu trusted: %.*s", dirs[d],
                         special, trusted, (int)n, text);
            bool same = got.len == want.len &&
                        memcmp(got.p, want.p, got.len * sizeof *got.p) == 0;
            cr_expect(same == !forged, "%s: %.*s", dirs[d], (int)n, text);
            cr_assert_eq(starts.len, got.len);
            for (size_t i = 1; i < starts.len; i++)
                cr_assert(starts.p[i] >= starts.p[i - 1] && (size_t)starts.p[i] <= n);
            ids_free(&got);
            ids_free(&want);
            ids_free(&starts);
        }
        tokenizer_close(t);
    }
}
