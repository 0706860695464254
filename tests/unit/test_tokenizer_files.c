/* Which file of a directory is its tokenizer; the readers of ranks, tekken.json and merges.txt;
 * added tokens and where they stand. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "models/text/tokenizer.h"
#include "tests/unit/test_folder.h"
#include "tests/unit/test_ids.h"

static void make_quiet(void)
{
    make_dir();
    log_set_level(LOG_ERROR);
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

static void drop(const char *name)
{
    unlink(in_dir(name));
}

static struct tokenizer *open_rows(int32_t rows)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    cr_assert_eq(tokenizer_open(&t, dir, rows, &e), 0, "%s", e.text);
    cr_assert_not_null(t);
    return t;
}

static void refused(const char *says)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    cr_assert_lt(tokenizer_open(&t, dir, LIMIT_VOCAB, &e), 0, "accepted; expected: %s", says);
    cr_assert_null(t);
    cr_assert(strstr(e.text, says), "%s", e.text);
}

/* Lines of a tiktoken.model, or entries of a tekken.json: all bytes, then "ab", "abc", "bc". */
static void ranks(struct buf *b, const char *format, const char *more)
{
    static const char *const words[] = {"ab", "abc", "bc"};
    buf_init(b, MIB(1));
    for (int i = 0; i < 259; i++) {
        char byte = (char)i, text[16];
        const char *w = i < 256 ? &byte : words[i - 256];
        sodium_bin2base64(text, sizeof text, (const unsigned char *)w, i < 256 ? 1 : strlen(w),
                          sodium_base64_VARIANT_ORIGINAL);
        buf_fmt(b, format, text, i);
    }
    buf_str(b, more);
}
#define LINE "%s %d\n"

#define GOOD_JSON \
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}," \
    "\"added_tokens\":["

TestSuite(tokenizer_files, .init = make_quiet, .fini = remove_dir);

Test(tokenizer_files, a_broken_file_is_passed_over_for_a_good_one)
{
    static const char *const bad[] = {"tokenizer.json", "tokenizer.model", "tiktoken.model",
                                      "tekken.json", "rwkv_vocab_v20230424.txt"};
    put("vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}");
    put("merges.txt", "#version: 0.2\na b\n");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        put(bad[i], "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
    struct tokenizer *t = open_rows(3);
    cr_assert_str_eq(tokenizer_source(t), "vocab.json");
    cr_assert_str_eq(ids_of(t, "aba", 0), "2 0");
    tokenizer_close(t);
    drop("merges.txt");
    refused("tokenizer.json"); /* the first one's sentence */
    put("tokenizer.json", GOOD_JSON "]}");
    t = open_rows(3);
    cr_assert_str_eq(tokenizer_source(t), "tokenizer.json");
    tokenizer_close(t);
}

Test(tokenizer_files, a_vocabulary_that_does_not_fit_is_passed_over_too)
{
    put("tokenizer.json", GOOD_JSON "]}");
    put("vocab.json", "{\"a\":0,\"b\":1}");
    put("merges.txt", "");
    struct tokenizer *t = open_rows(2);
    cr_assert_str_eq(tokenizer_source(t), "vocab.json");
    tokenizer_close(t);
}

Test(tokenizer_files, every_file_that_counts_is_named)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tiktoken.model",
                                        "tekken.json", "vocab.json", "merges.txt",
                                        "tokenizer.jsonl", "rwkv_vocab_v20230424.txt",
                                        "added_tokens.json"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        cr_assert_str_eq(tokenizer_file(i), names[i]);
    cr_assert_null(tokenizer_file(ARRAY_LEN(names)));
}

Test(tokenizer_files, ranks_merge_the_lowest_pair_first)
{
    static const char *const names[] = {"tiktoken.model", "tokenizer.model"};
    struct buf b;
    ranks(&b, LINE, "");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        put(names[i], b.p);
        struct tokenizer *t = open_rows(300);
        cr_assert_str_eq(tokenizer_source(t), names[i]);
        cr_assert_str_eq(ids_of(t, "abc", 0), "257");
        cr_assert_str_eq(ids_of(t, "abcx", 0), "257 120"); /* ab, then abc */
        cr_assert_str_eq(ids_of(t, "xbc", 0), "120 258");
        cr_assert_str_eq(ids_of(t, "\xc3\xa9", 0), "195 169");
        tokenizer_close(t);
        drop(names[i]);
    }
    buf_free(&b);
}

Test(tokenizer_files, a_class_of_ranks_has_reserved_tokens_and_the_configuration_names_some)
{
    struct buf b;
    ranks(&b, LINE, "");
    put("tiktoken.model", b.p);
    put("tokenizer_config.json",
        "{\"tokenizer_class\":\"TikTokenTokenizer\",\"bos_token\":\"[BOS]\","
        "\"eos_token\":\"[EOS]\","
        "\"added_tokens_decoder\":{\"259\":{\"content\":\"[BOS]\",\"special\":true},"
        "\"261\":{\"content\":\"[EOS]\",\"special\":true}}}");
    struct tokenizer *t = open_rows(259 + 256);
    cr_assert_eq(tokenizer_bos(t), 259);
    cr_assert_eq(tokenizer_eos(t), 261);
    cr_assert_eq(tokenizer_find(t, "<|reserved_token_260|>"), 260);
    cr_assert_eq(tokenizer_find(t, "<|reserved_token_259|>"), -1);
    cr_assert_eq(tokenizer_find(t, "<|reserved_token_514|>"), 514);
    cr_assert_str_eq(ids_of(t, "ab[EOS]", TOKENIZE_SPECIAL), "256 261");
    cr_assert_neq(strcmp(ids_of(t, "ab[EOS]", 0), "256 261"), 0);
    tokenizer_close(t);
    t = open_rows(262); /* what the model has no rows for is left out */
    cr_assert_eq(tokenizer_size(t), 262);
    cr_assert_eq(tokenizer_find(t, "<|reserved_token_262|>"), -1);
    cr_assert_eq(tokenizer_find(t, "[EOS]"), 261);
    tokenizer_close(t);
    buf_free(&b);
}

Test(tokenizer_files, broken_ranks_are_refused_with_their_line)
{
    static const struct { const char *more, *says; } cases[] = {
        {"YQ== 300\n", "the word of rank 300 has rank 97, too"},
        {"ZGVm 97\n", "two words have rank 97"},
        {"ZGVm 2000000\n", "rank 2000000 is outside 0 to 1048575"},
        {"ZGVm 99999999999\n", "line 260 is not base64, a space and a rank below 1048576"},
        {"ZGVm x\n", "line 260"}, {"ZGVm\n", "line 260"}, {" 5\n", "line 260"},
        {"ZGVm 5 6\n", "line 260"}, {"Z*Vm 300\n", "rank 300 is no base64"},
        {"ZGV 300\n", "rank 300 is no base64"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;
        ranks(&b, LINE, cases[i].more);
        put("tiktoken.model", b.p);
        refused(cases[i].says);
        buf_free(&b);
    }
    put("tiktoken.model", "YQ== 97\n");
    refused("no word for byte 0x00");
}

#define TEKKEN(specials) \
    "],\"config\":{\"pattern\":\"[a-z]+|[^a-z]\",\"default_vocab_size\":278," \
    "\"default_num_special_tokens\":20}" specials "}"

static void put_tekken(const char *end)
{
    struct buf b, all;
    ranks(&b, "{\"token_bytes\":\"%s\",\"rank\":%d},", "");
    buf_init(&all, MIB(1));
    buf_str(&all, "{\"vocab\":[");
    buf_add(&all, b.p, b.len - 1);
    buf_str(&all, end);
    put("tekken.json", all.p);
    buf_free(&b);
    buf_free(&all);
}

Test(tokenizer_files, tekken_puts_special_tokens_before_its_words)
{
    put_tekken(TEKKEN(""));
    struct tokenizer *t = open_rows(300);
    cr_assert_eq(tokenizer_size(t), 278, "the last word is beyond the vocabulary's size");
    cr_assert_str_eq(ids_of(t, "abc1", 0), "277 69");
    cr_assert_str_eq(ids_of(t, "xbc", 0), "140 118 119");
    cr_assert_str_eq(ids_of(t, "ab", TOKENIZE_BOS), "1 276");
    cr_assert_eq(tokenizer_eos(t), 2);
    cr_assert_eq(tokenizer_find(t, "[INST]"), 3);
    cr_assert_str_eq(ids_of(t, "[INST]ab", TOKENIZE_SPECIAL), "3 276");
    tokenizer_close(t);
    put_tekken(TEKKEN(",\"special_tokens\":[{\"rank\":1,\"token_str\":\"<s>\"},"
                      "{\"rank\":4,\"token_str\":\"[THINK]\"}]"));
    t = open_rows(300);
    cr_assert_eq(tokenizer_find(t, "[THINK]"), 4);
    cr_assert_eq(tokenizer_find(t, "[INST]"), -1);
    cr_assert_eq(tokenizer_find(t, "<SPECIAL_5>"), 5);
    cr_assert_eq(tokenizer_eos(t), -1);
    tokenizer_close(t);
}

Test(tokenizer_files, a_broken_tekken_file_is_refused_by_name)
{
    static const struct { const char *text, *says; } cases[] = {
        {"{}", "default_vocab_size is not a number of 1 to"},
        {"{\"config\":{\"default_vocab_size\":10,\"default_num_special_tokens\":11}}",
         "default_num_special_tokens is not a number of 0 to 10"},
        {"{\"config\":{\"default_vocab_size\":10,\"default_num_special_tokens\":1}}",
         "no vocab or no pattern"},
        {"{\"config\":{\"default_vocab_size\":10,\"default_num_special_tokens\":1,"
         "\"pattern\":\"\\\\p{N}{1,3}+\"},\"vocab\":[]}", "possessive interval"},
        {"{\"config\":{\"default_vocab_size\":10,\"default_num_special_tokens\":1,"
         "\"pattern\":\"\\\\p{N}+\"},\"vocab\":[{\"rank\":-1}]}", "rank is not a number"},
        {"{\"config\":{\"default_vocab_size\":10,\"default_num_special_tokens\":1,"
         "\"pattern\":\"a\"},\"vocab\":[{\"rank\":0,\"token_bytes\":\"!\"}]}", "no base64"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        put("tekken.json", cases[i].text);
        refused(cases[i].says);
    }
}

Test(tokenizer_files, merges_need_a_class_whose_cuts_are_known)
{
    put("vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3,\"1\":4,\"11\":5}");
    put("merges.txt", "#version: 0.2\r\na b\r\n1 1\r\n\r\n");
    struct tokenizer *t = open_rows(6);
    cr_assert_str_eq(ids_of(t, "ab11<|endoftext|>", TOKENIZE_SPECIAL), "2 5 3");
    cr_assert_eq(tokenizer_eos(t), 3);
    cr_assert(tokenizer_is_special(t, 3));
    tokenizer_close(t);
    put("tokenizer_config.json", "{\"tokenizer_class\":\"Qwen2TokenizerFast\"}");
    t = open_rows(6);
    cr_assert_str_eq(ids_of(t, "ab11", 0), "2 4 4"); /* digit by digit */
    tokenizer_close(t);
    put("tokenizer_config.json", "{\"tokenizer_class\":\"OtherTokenizer\"}");
    refused("how tokenizer_class \"OtherTokenizer\" cuts texts is not known");
    drop("tokenizer_config.json");
    put("merges.txt", "a c\n");
    refused("merge 0, a c, uses a token that the vocabulary lacks");
    put("merges.txt", "a b\n\xff x\n");
    refused("merge 1 of merges.txt is not UTF-8");
}

Test(tokenizer_files, added_tokens_json_counts_where_the_configuration_lists_none)
{
    put("tokenizer.json", GOOD_JSON "{\"id\":3,\"content\":\"<x>\",\"special\":true}]}");
    put("added_tokens.json", "{\"<pad>\":4,\"<x>\":3,\"<y>\":9}");
    put("tokenizer_config.json", "{\"pad_token\":\"<pad>\"}");
    struct tokenizer *t = open_rows(9);
    cr_assert_str_eq(ids_of(t, "a<pad>ab<x>", TOKENIZE_SPECIAL), "0 4 2 3");
    cr_assert(tokenizer_is_special(t, 4) && tokenizer_is_special(t, 3));
    cr_assert_eq(tokenizer_find(t, "<y>"), -1, "the model has no row for it");
    tokenizer_close(t);
    put("tokenizer_config.json", "{\"added_tokens_decoder\":{}}");
    t = open_rows(9);
    cr_assert_eq(tokenizer_find(t, "<pad>"), -1);
    tokenizer_close(t);
    put("tokenizer_config.json", "{}");
    put("added_tokens.json", "{\"<pad>\":-4}");
    refused("added_tokens.json");
}

Test(tokenizer_files, the_configuration_says_the_last_word_on_an_added_token)
{
    put("tokenizer.json", GOOD_JSON "{\"id\":3,\"content\":\"<x>\",\"special\":false}]}");
    put("tokenizer_config.json", "{\"added_tokens_decoder\":{\"3\":{\"content\":\"<x>\","
                                 "\"special\":true,\"rstrip\":true}}}");
    struct tokenizer *t = open_rows(4);
    cr_assert_str_eq(ids_of(t, "a<x> b", TOKENIZE_SPECIAL), "0 3 1");
    cr_assert_str_eq(ids_of(t, "<x>a", 0), "0", "special tokens are text, which vanishes here");
    tokenizer_close(t);
}

/* What these tokens mean was read off the reference; compare.py does so for every character. */
Test(tokenizer_files, added_tokens_stand_where_the_reference_finds_them)
{
    static const struct { const char *text, *ids; } cases[] = {
        {"a<L>b", "0 3 1"},
        {"a \xc2\xa0\xe3\x80\x80<L>b", "0 3 1"},       /* U+00A0 and U+3000 are white space */
        {"a\xe1\xa0\x8e<L>b", "0 3 1"},                /* U+180E is a character, not in the words */
        {"a<R> \xc2\x85\xe2\x80\xa8 b", "0 4 1"},
        {"aing a", "0 0"},                             /* a word is one by itself */
        {"ing a", "6 0"}, {"a ing", "0 6"}, {"-ing-", "6"},
        {"\xc3\xa9ing", ""},                           /* an e with an accent is a letter */
        {"cafe\xcc\x81", "7"},                         /* searched normalised, found decomposed */
        {"caf\xc3\xa9", "7"},
    };
    put("tokenizer.json",
        "{\"normalizer\":{\"type\":\"NFC\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
        "\"b\":1,\"ab\":2},\"merges\":[\"a b\"]},\"added_tokens\":["
        "{\"id\":3,\"content\":\"<L>\",\"lstrip\":true,\"normalized\":false},"
        "{\"id\":4,\"content\":\"<R>\",\"rstrip\":true,\"normalized\":false},"
        "{\"id\":6,\"content\":\"ing\",\"single_word\":true,\"normalized\":true},"
        "{\"id\":7,\"content\":\"cafe\\u0301\",\"normalized\":true}]}");
    struct tokenizer *t = open_rows(8);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_str_eq(ids_of(t, cases[i].text, 0), cases[i].ids, "%s", cases[i].text);
    tokenizer_close(t);
}
