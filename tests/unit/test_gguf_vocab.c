/* Tokenizers through GGUF and back: what the converter writes encodes as the files it came from,
 * and what the metadata gets wrong is named. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "models/convert.h"
#include "models/files/config.h"
#include "models/files/gguf_write.h"
#include "models/text/gguf_vocab.h"
#include "tests/unit/test_folder.h"

#define GOLDEN "tests/golden/tokenizers/"
#define MODEL "tests/golden/hf/hf_mamba"
#define ROWS 2000 /* of the embedding, as the config will say */

TestSuite(gguf_vocab, .init = make_dir, .fini = remove_dir);

static void write_file(const char *name, const char *p, size_t n)
{
    unlink(in_dir(name)); /* it may be a link to a file of the tests */
    FILE *f = fopen(in_dir(name), "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void copy(const char *from, const char *name)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, MIB(16));
    cr_assert_eq(file_read(from, &b, &e), 0, "%s", e.text);
    write_file(name, b.p, b.len);
    buf_free(&b);
}

/* A directory with the model of MODEL, a vocabulary of ROWS, and this tokenizer's file. */
static int convert(const char *tokenizer, struct err *e)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer.model"};
    struct buf b;
    char path[256], *at;
    buf_init(&b, MIB(1));
    cr_assert_eq(file_read(MODEL "/config.json", &b, e), 0);
    cr_assert_not_null(at = strstr(b.p, "\"vocab_size\": 256"));
    memcpy(at, "\"vocab_size\":2000", strlen("\"vocab_size\":2000"));
    write_file("config.json", b.p, b.len);
    buf_free(&b);
    copy(MODEL "/model.safetensors", "model.safetensors");
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", tokenizer, files[i]);
        if (strcmp(tokenizer, "/nowhere") == 0)
            continue; /* the test has its own */
        unlink(in_dir(files[i]));
        if (file_exists(path))
            copy(path, files[i]);
    }
    return convert_to_gguf(&(struct convert_options){.dir = dir, .out = in_dir("m.gguf"),
                                                     .any = true}, e);
}

static struct tokenizer *open_gguf(const char *name)
{
    struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    struct err e = {0};
    cr_assert_eq(gguf_open(&g, in_dir(name), &e), 0, "%s", e.text);
    cr_assert_eq(tokenizer_open_gguf(&t, g, ROWS, &e), 0, "%s", e.text);
    gguf_close(g);
    cr_assert_not_null(t);
    return t;
}

/* m.gguf itself, or the directory that is made of it. */
static struct tokenizer *open_written(bool back)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    char command[96];
    if (!back)
        return open_gguf("m.gguf");
    snprintf(command, sizeof command, "rm -rf '%s/back'", dir);
    cr_assert_eq(system(command), 0);
    const struct convert_options o = {.dir = in_dir("m.gguf"), .out = in_dir("back"), .any = true};
    cr_assert_eq(convert_from_gguf(&o, &e), 0, "%s", e.text);
    cr_assert_eq(tokenizer_open(&t, in_dir("back"), ROWS, &e), 0, "%s", e.text);
    cr_assert_not_null(t);
    return t;
}

static void same(const struct tokenizer *a, const struct tokenizer *b, const char *text,
                 int flags, const char *where)
{
    struct err e = {0};
    struct ids x, y;
    ids_init(&x, 100000);
    ids_init(&y, 100000);
    cr_assert_eq(tokenizer_encode(a, text, strlen(text), flags, &x, &e), 0, "%s", e.text);
    cr_assert_eq(tokenizer_encode(b, text, strlen(text), flags, &y, &e), 0, "%s", e.text);
    cr_assert_eq(x.len, y.len, "%s: %.60s: %zu and %zu ids", where, text, x.len, y.len);
    cr_assert(x.len == 0 || memcmp(x.p, y.p, x.len * sizeof *x.p) == 0, "%s: %.60s", where, text);
    for (size_t i = 0; i < x.len; i++) {
        size_t n, m;
        const char *p = tokenizer_piece(a, x.p[i], &n), *q = tokenizer_piece(b, x.p[i], &m);
        cr_assert(n == m && memcmp(p, q, n) == 0, "%s: token %d", where, x.p[i]);
    }
    ids_free(&x);
    ids_free(&y);
}

Test(gguf_vocab, texts_become_the_same_ids)
{
    static const char *const names[] = {"gpt2", "neox", "llama3", "qwen2", "o200k", "digits",
                                        "spm_bpe"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[256];
        struct err e = {0};
        struct tokenizer *own = NULL;
        struct config *cases = NULL;
        snprintf(path, sizeof path, GOLDEN "%s", names[i]);
        cr_assert_eq(convert(path, &e), 0, "%s: %s", names[i], e.text);
        cr_assert_eq(tokenizer_open(&own, path, ROWS, &e), 0, "%s", e.text);
        struct tokenizer *read = open_written(false), *back = open_written(true);
        cr_assert_eq(tokenizer_bos(own), tokenizer_bos(read), "%s", names[i]);
        cr_assert_eq(tokenizer_bos(own), tokenizer_bos(back), "%s", names[i]);
        cr_assert_eq(tokenizer_adds_bos(own), tokenizer_adds_bos(read), "%s", names[i]);
        cr_assert_eq(tokenizer_adds_bos(own), tokenizer_adds_bos(back), "%s", names[i]);
        snprintf(path, sizeof path, GOLDEN "%s/cases.json", names[i]);
        cr_assert_eq(config_read(&cases, path, &e), 0, "%s", e.text);
        cr_assert_gt(config_len(cases, "cases"), 100);
        for (int k = 0; k < config_len(cases, "cases"); k++) {
            const struct config *c = config_obj_at(cases, "cases", k, &e);
            const char *text = config_str(c, "text", "", &e);
            same(own, read, text, TOKENIZE_BOS, names[i]);
            same(own, read, text, TOKENIZE_SPECIAL | TOKENIZE_CONTINUE, names[i]);
            same(own, back, text, TOKENIZE_BOS, names[i]);
            same(own, back, text, TOKENIZE_SPECIAL | TOKENIZE_CONTINUE, names[i]);
        }
        config_free(cases);
        tokenizer_close(own);
        tokenizer_close(read);
        tokenizer_close(back);
    }
}

Test(gguf_vocab, what_has_no_name_is_not_written)
{
    static const char *const names[] = {"cl100k", "han", "falcon", "gpt2_prefix", "gemma"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[256];
        struct err e = {0};
        snprintf(path, sizeof path, GOLDEN "%s", names[i]);
        cr_assert_eq(convert(path, &e), E_UNSUPPORTED, "%s: %s", names[i], e.text);
        cr_assert(!file_exists(in_dir("m.gguf")) && !file_exists(in_dir("m.gguf.part")));
    }
}

/* ---- files without a tokenizer.json ------------------------------------------------------ */

/* Texts of few letters, in which words overlap in every way. */
static void same_on_few_letters(const struct tokenizer *a, const struct tokenizer *b,
                                const char *where)
{
    static const char letters[] = "aabbchelo xyz 1'sT\n";
    char text[64];
    uint32_t seed = 1;
    for (int i = 0; i < 3000; i++) {
        size_t n = 1 + (size_t)i % 40;
        for (size_t k = 0; k < n; k++) {
            seed = seed * 1664525 + 1013904223;
            text[k] = letters[(seed >> 16) % (sizeof letters - 1)];
        }
        text[n] = 0;
        same(a, b, text, 0, where);
    }
}

/* What the directory's files say and what the GGUF file made of them does are the same. */
static void same_through_gguf(const char *where)
{
    static const char *const texts[] = {
        "hello 123 abcabc\n\n aaaaaaa", "<|endoftext|>ab", "xyz xyzxy",
        "\xe6\x88\x91\xe4\xbb\xac \xc3\xa9", "  <s>[INST] the"};
    struct err e = {0};
    struct tokenizer *own = NULL;
    unlink(in_dir("m.gguf"));
    cr_assert_eq(convert("/nowhere", &e), 0, "%s: %s", where, e.text);
    cr_assert_eq(tokenizer_open(&own, dir, ROWS, &e), 0, "%s", e.text);
    for (int back = 0; back < 2; back++) {
        struct tokenizer *read = open_written(back);
        cr_assert_eq(tokenizer_bos(own), tokenizer_bos(read), "%s", where);
        cr_assert_eq(tokenizer_eos(own), tokenizer_eos(read), "%s", where);
        cr_assert_eq(tokenizer_adds_bos(own), tokenizer_adds_bos(read), "%s", where);
        same_on_few_letters(own, read, where);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            same(own, read, texts[i], TOKENIZE_BOS, where);
            same(own, read, texts[i], TOKENIZE_SPECIAL, where);
        }
        tokenizer_close(read);
    }
    tokenizer_close(own);
}

/* All bytes, then words: some can be cut in several ways, and xyz merges from nothing. */
static void ranks(struct buf *b, const char *format)
{
    static const char *const words[] = {
        "aa", "ab", "bc", "abc", "aaa", "aaaa", "he", "ll", "hell", "lo", "hello", "llo", " h",
        " x", "xyz", "aab", "ba", "cab", "b "};
    buf_init(b, MIB(1));
    for (int i = 0; i < 256 + (int)ARRAY_LEN(words); i++) {
        char byte = (char)i, text[32];
        const char *w = i < 256 ? &byte : words[i - 256];
        sodium_bin2base64(text, sizeof text, (const unsigned char *)w, i < 256 ? 1 : strlen(w),
                          sodium_base64_VARIANT_ORIGINAL);
        buf_fmt(b, format, i ? "," : "", text, i);
    }
}

static void write_config(const char *text)
{
    write_file("tokenizer_config.json", text, strlen(text));
}

static const char kimi[] =
    "{\"tokenizer_class\":\"TikTokenTokenizer\",\"bos_token\":\"[BOS]\",\"eos_token\":\"[EOS]\","
    "\"added_tokens_decoder\":{\"275\":{\"content\":\"[BOS]\",\"special\":true},"
    "\"276\":{\"content\":\"[EOS]\",\"special\":true,\"lstrip\":true}}}";

Test(gguf_vocab, words_by_rank)
{
    static const char *const names[] = {"tiktoken.model", "tokenizer.model"};
    for (size_t i = 0; i < 2 * ARRAY_LEN(names); i++) {
        const char *name = names[i / 2];
        struct buf b;
        ranks(&b, "%.0s%s %d\n");
        write_config(i % 2 ? kimi : "{}");
        write_file(name, b.p, b.len);
        buf_free(&b);
        same_through_gguf(name);
        unlink(in_dir(name));
    }
}

Test(gguf_vocab, tekken_words)
{
    struct buf b, all;
    ranks(&b, "%s{\"token_bytes\":\"%s\",\"rank\":%d}");
    const struct gguf_pre *pre = gguf_pre_find((struct gguf_string){"tekken", 6});
    buf_init(&all, MIB(1));
    buf_fmt(&all, "{\"vocab\":[%s],\"config\":{\"pattern\":\"", b.p);
    for (const char *p = pre->patterns[0]; *p; p++)
        buf_fmt(&all, *p == '\\' ? "\\\\" : "%c", *p);
    buf_fmt(&all, "\",\"default_vocab_size\":%d,\"default_num_special_tokens\":20}}", 275 + 20);
    write_file("tekken.json", all.p, all.len);
    same_through_gguf("tekken.json");
    char *at = strstr(all.p, "\\\\p{N}|");
    cr_assert_not_null(at);
    at[4] = 'L'; /* another pattern, which has no name */
    write_file("tekken.json", all.p, all.len);
    struct err e = {0};
    cr_assert_eq(convert("/nowhere", &e), E_UNSUPPORTED);
    cr_assert(strstr(e.text, "tekken.json: GGUF has no name for how it cuts texts"), "%s", e.text);
    buf_free(&b);
    buf_free(&all);
}

Test(gguf_vocab, words_and_merges_in_two_files)
{
    static const struct { const char *from, *class; } cases[] = {
        {"gpt2", "GPT2Tokenizer"}, {"qwen2", "Qwen2Tokenizer"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[256], config[128];
        struct buf merges;
        snprintf(path, sizeof path, GOLDEN "%s/tokenizer.json", cases[i].from);
        json_t *root = json_load_file(path, 0, NULL), *model = json_object_get(root, "model");
        cr_assert_not_null(model);
        cr_assert_eq(json_dump_file(json_object_get(model, "vocab"), in_dir("vocab.json"), 0), 0);
        json_t *list = json_object_get(model, "merges");
        buf_init(&merges, MIB(1));
        for (size_t k = 0; k < json_array_size(list); k++) {
            json_t *m = json_array_get(list, k);
            if (json_is_string(m))
                buf_fmt(&merges, "%s\n", json_string_value(m));
            else
                buf_fmt(&merges, "%s %s\n", json_string_value(json_array_get(m, 0)),
                        json_string_value(json_array_get(m, 1)));
        }
        write_file("merges.txt", merges.p, merges.len);
        snprintf(config, sizeof config, "{\"tokenizer_class\":\"%s\"}", cases[i].class);
        write_config(config);
        same_through_gguf(cases[i].from);
        buf_free(&merges);
        json_decref(root);
    }
}

/* A word list as RWKV's, through both its forms. */
Test(gguf_vocab, rwkv_words)
{
    static const char words[] = "257 ' the' 4\n258 '\\n\\n' 2\n259 \"it's\" 4\n260 'q\\\\' 2\n"
                                "261 'é' 2\n262 b'\\xe6\\x88' 2\n";
    struct err e = {0};
    struct tokenizer *own = NULL;
    struct buf b;
    buf_init(&b, MIB(1));
    for (int i = 0; i < 256; i++)
        buf_fmt(&b, "%d b'\\x%02x' 1\n", i + 1, i);
    buf_str(&b, words);
    convert("/nowhere", &e);
    cr_assert_eq(e.code, 0, "%s", e.text);
    write_file("rwkv_vocab_v20230424.txt", b.p, b.len);
    buf_free(&b);
    cr_assert_eq(convert("/nowhere", &e), 0, "%s", e.text);
    cr_assert_eq(tokenizer_open(&own, dir, ROWS, &e), 0, "%s", e.text);
    struct tokenizer *read = open_written(false), *back = open_written(true);
    static const char *const texts[] = {" the end\n\n", "it's 'quoted' \"twice\"", "q\\q\\\\",
                                        "éèâ\r\n\t", "我们", "<|endoftext|> the"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        same(own, read, texts[i], 0, "rwkv");
        same(own, read, texts[i], TOKENIZE_SPECIAL, "rwkv");
        same(own, back, texts[i], TOKENIZE_SPECIAL, "rwkv");
    }
    tokenizer_close(own);
    tokenizer_close(read);
    tokenizer_close(back);
}

/* PLaMo's words with scores; a score lies where rounding it to 32 bits would change its step. */
Test(gguf_vocab, plamo_words)
{
    static const char words[] =
        "[\"<|plamo:bos|>\", 0, \"CONTROL\"]\n[\"<|plamo:eos|>\", 0, \"NORMAL\"]\n"
        "[\" the\", -7.12345]\n[\"the\", -6.500049999]\n[\" \", -0.6]\n[\"x\\u0000y\", -1]\n"
        "[\"\\u6211\\u4eec\", -12.00005, \"NORMAL\"]\n[\"t\", -1000]\n[\"n\", -3000]\n";
    struct err e = {0};
    struct tokenizer *own = NULL;
    struct buf b;
    buf_init(&b, MIB(1));
    for (int i = 0; i < 256; i++)
        buf_fmt(&b, "[\"<0x%02X>\", 0, \"BYTE\"]\n", (unsigned)i);
    buf_str(&b, words);
    write_file("tokenizer.jsonl", b.p, b.len);
    buf_free(&b);
    write_config("{\"bos_token\":\"<|plamo:bos|>\",\"add_bos_token\":true,\"added_tokens_decoder\":"
                 "{\"300\":{\"content\":\"<tool>\",\"special\":false}}}");
    cr_assert_eq(convert("/nowhere", &e), 0, "%s", e.text);
    cr_assert_eq(tokenizer_open(&own, dir, ROWS, &e), 0, "%s", e.text);
    static const char *const texts[] = {" the end\n\n", "the the  the", "<|plamo:eos|> the<tool>n",
                                        "\xe6\x88\x91\xe4\xbb\xac", "t n", ""};
    for (int back = 0; back < 2; back++) {
        struct tokenizer *read = open_written(back);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
            for (int flags = 0; flags < 4; flags++)
                same(own, read, texts[i], flags, "plamo");
        cr_assert_eq(tokenizer_bos(read), 256);
        cr_assert_eq(tokenizer_eos(read), 257);
        cr_assert(tokenizer_adds_bos(read) && tokenizer_is_special(read, 257));
        cr_assert_eq(tokenizer_find(read, "<tool>"), 300);
        tokenizer_close(read);
    }
    tokenizer_close(own);
}

/* ---- damage ----------------------------------------------------------------------------- */

static struct err refuse(const char *model, const char *pre, const char *const *tokens, size_t n,
                         const char *merge, bool scores)
{
    struct err e = {0};
    struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    struct gguf_out *o = gguf_out_open(in_dir("d.gguf"), &e);
    float zeros[8] = {0};
    gguf_out_text(o, "tokenizer.ggml.model", model, strlen(model));
    if (pre)
        gguf_out_text(o, "tokenizer.ggml.pre", pre, strlen(pre));
    if (n) {
        gguf_out_texts(o, "tokenizer.ggml.tokens", n);
        for (size_t i = 0; i < n; i++)
            gguf_out_element(o, tokens[i], strlen(tokens[i]));
    }
    if (merge) {
        gguf_out_texts(o, "tokenizer.ggml.merges", 1);
        gguf_out_element(o, merge, strlen(merge));
    }
    if (scores)
        gguf_out_nums(o, "tokenizer.ggml.scores", zeros, MIN(n, 8u));
    cr_assert_eq(gguf_out_finish(o), 0, "%s", e.text);
    gguf_out_close(o);
    cr_assert_eq(gguf_open(&g, in_dir("d.gguf"), &e), 0, "%s", e.text);
    cr_assert_lt(tokenizer_open_gguf(&t, g, ROWS, &e), 0);
    cr_assert_null(t);
    gguf_close(g);
    return e;
}

Test(gguf_vocab, damage_is_named)
{
    static const char *const two[] = {"a", "b"}, *const twins[] = {"a", "a"};
    static const char *const broken[] = {"a\\", "b"}, *const invalid[] = {"\xff\xfe", "b"};
    static const char *const line[] = {"a\nb", "b"};
    const struct { const char *model, *pre; const char *const *tokens; size_t n;
                   const char *merge; bool scores; const char *says; } cases[] = {
        {"bert", NULL, two, 2, NULL, false, "\"bert\"; gpt2, llama, rwkv and plamo2"},
        {"gpt2", NULL, two, 2, "a b", false, "pre is missing"},
        {"gpt2", "strange", two, 2, "a b", false, "\"strange\": how texts are cut"},
        {"gpt2", "gpt-2", two, 2, NULL, false, "merges is missing"},
        {"gpt2", "gpt-2", two, 2, "a b", false, "uses a token that the vocabulary lacks"},
        {"gpt2", "gpt-2", two, 2, "ab", false, "not a pair"},
        {"gpt2", "gpt-2", twins, 2, "a b", false, "is there twice"},
        {"gpt2", "gpt-2", invalid, 2, "a b", false, "is not UTF-8"},
        {"gpt2", "gpt-2", two, 0, "a b", false, "tokens is no list"},
        {"llama", NULL, two, 2, NULL, false, "scores has 0 entries for 2"},
        {"llama", NULL, two, 2, NULL, true, "SentencePiece"},
        {"plamo2", NULL, two, 2, NULL, true, "no word for byte 0x00"},
        {"plamo2", NULL, two, 2, NULL, false, "score of token 0 is not a finite number"},
        {"plamo2", NULL, invalid, 2, NULL, true, "token 0 is not UTF-8"},
        {"rwkv", NULL, two, 2, NULL, false, "id 0"},
        {"rwkv", NULL, broken, 2, NULL, false, "line 1"},
        {"rwkv", NULL, line, 2, NULL, false, "line feed"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = refuse(cases[i].model, cases[i].pre, cases[i].tokens, cases[i].n,
                              cases[i].merge, cases[i].scores);
        cr_assert(strstr(e.text, cases[i].says) || (strcmp(cases[i].model, "rwkv") == 0 &&
                                                    strstr(e.text, "no word for byte")),
                  "case %zu: %s", i, e.text);
    }
}
