/* tiktoken.model: lines `base64 rank`. How texts are cut is not in the file: the class that
 * tokenizer_config.json names knows it. Thread: the loading one. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "models/text/bpe_load.h"
#include "models/text/gguf_vocab.h"

#define LINE_MAX 1024 /* base64 of LIMIT_TOKEN_BYTES is 684 */

/* What a class of tokenizers does beyond the file. The last row is for all others, as the
 * reference has it. */
static const struct class {
    const char *name, *cuts;  /* cuts: a name of gguf_pre.c */
    int reserved;             /* special tokens behind the words, named or not */
    const char *reserved_name;
} classes[] = {
    {"TikTokenTokenizer", "kimi-k2", 256, "<|reserved_token_%d|>"},
    {NULL, "chatglm-bpe", 0, NULL},
};

static const struct class *class_of(const struct tokenizer *t, const struct config *cfg)
{
    struct err none = {0};
    const char *name = config_str(cfg, "tokenizer_class", "", &none);
    size_t i = 0;
    while (classes[i].name && strcmp(classes[i].name, name) != 0)
        i++;
    if (!classes[i].name)
        log_warn("%s: tokenizer_class \"%.60s\" is not known: texts are cut as GPT-4's are",
                 t->path, name);
    return &classes[i];
}

static int add_reserved(struct tokenizer *t, const struct class *c, struct err *e)
{
    int32_t first = t->n;
    for (int i = 0; i < c->reserved && first + i < LIMIT_VOCAB; i++) {
        char name[64];
        int n = snprintf(name, sizeof name, c->reserved_name, first + i);
        const struct added a = {.text = name, .n = (size_t)n, .id = first + i, .special = true,
                                .extra = true};
        if (tokenizer_add(t, &a, e) < 0)
            return e->code;
    }
    return 0;
}

static int read_line(struct bpe_ranks *r, const char *p, size_t n, size_t line)
{
    const char *space = memchr(p, ' ', n);
    size_t word = space ? (size_t)(space - p) : n, i = word + 1;
    int64_t rank = 0;
    for (; i < n && p[i] >= '0' && p[i] <= '9' && rank < LIMIT_VOCAB; i++)
        rank = rank * 10 + (p[i] - '0');
    if (n > LINE_MAX || word == 0 || i == word + 1 || i != n)
        return err_set(r->e, E_FORMAT, "%s: line %zu is not base64, a space and a rank below %d",
                       r->t->path, line, LIMIT_VOCAB);
    return bpe_ranks_add(r, rank, p, word);
}

int tiktoken_build(struct tokenizer *t, const char *text, size_t n, const struct config *cfg,
                   struct err *e)
{
    const struct class *c = class_of(t, cfg);
    const struct gguf_pre *pre = gguf_pre_find((struct gguf_string){c->cuts, strlen(c->cuts)});
    struct bpe_ranks r;
    int rc = bpe_ranks_init(&r, t, 0, pre->patterns, ARRAY_LEN(pre->patterns), e);
    for (size_t at = 0, line = 1, len; rc == 0 && at < n; at += len + 1, line++) {
        const char *newline = memchr(text + at, '\n', n - at);
        len = newline ? (size_t)(newline - text) - at : n - at;
        size_t end = len && text[at + len - 1] == '\r' ? len - 1 : len;
        if (end)
            rc = read_line(&r, text + at, end, line);
    }
    if (rc == 0)
        rc = bpe_ranks_finish(&r);
    return rc == 0 ? add_reserved(t, c, e) : rc;
}

bool tiktoken_looks_so(const char *text, size_t n)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "0123456789+/=";
    size_t i = 0;
    while (i < n && text[i] && strchr(base64, text[i]))
        i++;
    return i > 0 && i + 1 < n && text[i] == ' ' && text[i + 1] >= '0' && text[i + 1] <= '9';
}

int tiktoken_open(struct tokenizer *t, const char *path, const struct config *cfg, struct err *e)
{
    struct buf file;
    buf_init(&file, LIMIT_TOKENIZER_BYTES);
    int rc = file_read(path, &file, e);
    if (rc == 0)
        rc = tiktoken_build(t, file.p ? file.p : "", file.len, cfg, e);
    buf_free(&file);
    return rc;
}
