/* vocab.json, {"text": id}, and merges.txt beside it, lines `left right`. How texts are cut is in
 * neither: the class that tokenizer_config.json names knows it. Thread: the loading one. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "models/files/jsontext.h"
#include "models/text/bpe_load.h"
#include "models/text/gguf_vocab.h"

#define VALUES_MAX 1100000
#define PATH_BYTES 4096

/* Classes of such tokenizers; the second is a name of gguf_pre.c. No class at all: the first. */
static const struct { const char *class, *cuts; } classes[] = {
    {"GPT2Tokenizer", "gpt-2"}, {"CodeGenTokenizer", "gpt-2"}, {"GPTNeoXTokenizer", "olmo"},
    {"Qwen2Tokenizer", "qwen2"}, {"Qwen3_5Tokenizer", "qwen35"}, {"CohereTokenizer", "command-r"},
};

static const struct gguf_pre *cuts_of(const struct tokenizer *t, const struct config *cfg,
                                      struct err *e)
{
    struct err none = {0};
    const char *name = config_str(cfg, "tokenizer_class", classes[0].class, &none);
    size_t n = strlen(name), fast = strlen("Fast");
    if (n > fast && strcmp(name + n - fast, "Fast") == 0)
        n -= fast;
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (strlen(classes[i].class) == n && memcmp(classes[i].class, name, n) == 0)
            return gguf_pre_find((struct gguf_string){classes[i].cuts, strlen(classes[i].cuts)});
    err_set(e, E_UNSUPPORTED, "%s: how tokenizer_class \"%.60s\" cuts texts is not known", t->path,
            name);
    return NULL;
}

static int no_memory(const struct tokenizer *t, struct err *e)
{
    return err_set(e, E_NOMEM, "%s: out of memory", t->path);
}

static int add_lines(const struct tokenizer *t, json_t *merges, const struct buf *file,
                     struct err *e)
{
    static const char version[] = "#version";
    for (size_t at = 0, len; at < file->len; at += len + 1) {
        const char *p = file->p + at, *newline = memchr(p, '\n', file->len - at);
        len = newline ? (size_t)(newline - p) : file->len - at;
        size_t n = len && p[len - 1] == '\r' ? len - 1 : len;
        if (n == 0 || (n >= strlen(version) && memcmp(p, version, strlen(version)) == 0))
            continue;
        json_t *line = memchr(p, 0, n) ? NULL : json_stringn(p, n);
        if (!line)
            return err_set(e, E_FORMAT, "%s: merge %zu of merges.txt is not UTF-8 text", t->path,
                           json_array_size(merges));
        if (json_array_append_new(merges, line) < 0)
            return no_memory(t, e);
    }
    return 0;
}

static int read_merges(const struct tokenizer *t, json_t *merges, const char *vocab_path,
                       struct err *e)
{
    char path[PATH_BYTES];
    const char *slash = strrchr(vocab_path, '/');
    int dir = slash ? (int)(slash - vocab_path) + 1 : 0;
    struct buf file;
    if ((size_t)snprintf(path, sizeof path, "%.*smerges.txt", dir, vocab_path) >= sizeof path)
        return err_set(e, E_RANGE, "%s: the path is longer than %d bytes", t->path, PATH_BYTES);
    buf_init(&file, LIMIT_TOKENIZER_BYTES);
    int rc = file_read(path, &file, e);
    if (rc == 0 && file.len)
        rc = add_lines(t, merges, &file, e);
    buf_free(&file);
    return rc;
}

/* The tokens of the vocabulary that nobody may spell: its end of text, and what the configuration
 * names. */
static int add_named(json_t *added, const json_t *words, const struct config *cfg)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token", NULL};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *text = keys[i] ? tokenizer_token_text(cfg, keys[i]) : "<|endoftext|>";
        json_t *id = text ? json_object_get(words, text) : NULL;
        if (id && json_array_append_new(added, json_pack("{s:O, s:s, s:b}", "id", id, "content",
                                                         text, "special", 1)) < 0)
            return -1;
    }
    return 0;
}

json_t *bpe_named(json_t *words, json_t *merges, json_t *added, const struct gguf_pre *pre)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < ARRAY_LEN(pre->patterns) && pre->patterns[i]; i++)
        json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split",
                                               "pattern", "Regex", pre->patterns[i], "behavior",
                                               "Isolated", "invert", 0));
    json_array_append_new(steps, json_pack("{s:s, s:b, s:b}", "type", "ByteLevel",
                                           "add_prefix_space", 0, "use_regex", 0));
    return json_pack("{s:{s:s, s:O, s:O, s:b}, s:o, s:{s:s, s:o}, s:{s:s}, s:O}", "model",
                     "type", "BPE", "vocab", words, "merges", merges, "ignore_merges",
                     pre->ignore_merges, "normalizer",
                     pre->nfc ? json_pack("{s:s}", "type", "NFC") : json_null(),
                     "pre_tokenizer", "type", "Sequence", "pretokenizers", steps,
                     "decoder", "type", "ByteLevel", "added_tokens", added);
}

int bpe_build_named(struct tokenizer *t, json_t *root, const struct gguf_pre *pre,
                    const struct config *cfg, struct err *e)
{
    int rc = root ? bpe_build(t, root, cfg, e) : no_memory(t, e);
    json_decref(root);
    if (rc == 0)
        ((struct bpe *)t->impl)->pre = pre;
    return rc;
}

int merges_open(struct tokenizer *t, const char *path, const struct config *cfg, struct err *e)
{
    const struct gguf_pre *pre = cuts_of(t, cfg, e);
    json_t *words = NULL, *merges = json_array(), *added = json_array();
    int rc = !pre ? e->code : merges && added ? 0 : no_memory(t, e);
    if (rc == 0)
        rc = jsontext_read(&words, path, LIMIT_TOKENIZER_BYTES, VALUES_MAX, e);
    if (rc == 0)
        rc = read_merges(t, merges, path, e);
    if (rc == 0 && add_named(added, words, cfg) < 0)
        rc = no_memory(t, e);
    if (rc == 0)
        rc = bpe_build_named(t, bpe_named(words, merges, added, pre), pre, cfg, e);
    if (rc == 0)
        t->bos = t->eos = tokenizer_find(t, "<|endoftext|>");
    json_decref(words);
    json_decref(merges);
    json_decref(added);
    return rc;
}
