/* The RWKV world vocabulary: a text file of lines `id literal length`, where the literal is a
 * Python string or bytes literal. Encoding takes the longest known word, byte for byte; every
 * single byte is a word, so any text can be written. Thread: any, after rwkv_vocab_open. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "models/text/tokenizer_int.h"

/* The end of a text has no line of its own. */
#define END_TEXT "<|endoftext|>"

struct line {
    const char *p, *end; /* what is left of it */
    size_t number;
    const char *name;
    struct err *e;
};

static int bad(const struct line *l, const char *what)
{
    return err_set(l->e, E_FORMAT, "%s: line %zu: %s", l->name, l->number, what);
}

static int number(struct line *l, int64_t *out)
{
    const char *from = l->p;
    *out = 0;
    while (l->p < l->end && *l->p >= '0' && *l->p <= '9' && *out < LIMIT_VOCAB)
        *out = *out * 10 + (*l->p++ - '0');
    return l->p == from ? bad(l, "expected a number") : 0;
}

static int hex(struct line *l, int digits, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++, l->p++) {
        char c = l->p < l->end ? *l->p : 0;
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (d < 0)
            return bad(l, "an escape lacks digits");
        *out = *out << 4 | (uint32_t)d;
    }
    return 0;
}

static int put_char(const struct line *l, char *text, size_t *n, uint32_t c)
{
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return bad(l, "an escape is no character");
    static const struct { uint32_t below; unsigned char lead; int more; } forms[] = {
        {0x80, 0, 0}, {0x800, 0xc0, 1}, {0x10000, 0xe0, 2}, {0x110000, 0xf0, 3}};
    size_t f = 0;
    while (c >= forms[f].below)
        f++;
    text[(*n)++] = (char)(forms[f].lead | c >> 6 * forms[f].more);
    for (int i = forms[f].more; i-- > 0;)
        text[(*n)++] = (char)(0x80 | (c >> 6 * i & 0x3f));
    return 0;
}

/* After a backslash. */
static int escape(struct line *l, bool bytes, char *text, size_t *n)
{
    static const char plain[] = "\\'\"nrt", means[] = "\\'\"\n\r\t";
    char c = l->p < l->end ? *l->p++ : 0;
    const char *at = c ? strchr(plain, c) : NULL;
    uint32_t value;
    if (at) {
        text[(*n)++] = means[at - plain];
        return 0;
    }
    int digits = c == 'x' ? 2 : bytes ? 0 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (!digits)
        return bad(l, "an unknown escape");
    int rc = hex(l, digits, &value);
    if (rc < 0)
        return rc;
    if (!bytes)
        return put_char(l, text, n, value);
    text[(*n)++] = (char)value;
    return 0;
}

static int literal(struct line *l, char *text, size_t *n)
{
    bool bytes = l->p < l->end && *l->p == 'b';
    l->p += bytes;
    char quote = l->p < l->end ? *l->p++ : 0;
    *n = 0;
    if (quote != '\'' && quote != '"')
        return bad(l, "expected a quoted word");
    while (l->p < l->end && *l->p != quote) {
        if (*n + 4 > LIMIT_TOKEN_BYTES)
            return bad(l, "the word is too long");
        if (*l->p != '\\') {
            text[(*n)++] = *l->p++;
            continue;
        }
        l->p++;
        int rc = escape(l, bytes, text, n);
        if (rc < 0)
            return rc;
    }
    if (l->p++ == l->end)
        return bad(l, "the word does not end");
    return 0;
}

static int spaces(struct line *l)
{
    if (l->p == l->end || *l->p != ' ')
        return bad(l, "expected a space");
    while (l->p < l->end && *l->p == ' ')
        l->p++;
    return 0;
}

static int read_line(struct tokenizer *t, struct trie *words, struct line *l)
{
    char text[LIMIT_TOKEN_BYTES];
    int64_t id, length;
    size_t n;
    if (number(l, &id) < 0 || spaces(l) < 0 || literal(l, text, &n) < 0 || spaces(l) < 0 ||
        number(l, &length) < 0)
        return E_FORMAT;
    if (l->p != l->end && *l->p != '\r')
        return bad(l, "something follows the length");
    if (length != (int64_t)n || n == 0)
        return err_set(l->e, E_FORMAT, "%s: line %zu: the word has %zu bytes, the line says %lld",
                       l->name, l->number, n, (long long)length);
    if (id < t->n && (t->tokens[id].flags & TOKEN_KNOWN))
        return err_set(l->e, E_FORMAT, "%s: line %zu: id %lld was given before", l->name,
                       l->number, (long long)id);
    int rc = tokenizer_set(t, id, text, n, 0, l->e);
    if (rc == 0 && trie_add(words, text, n, (int32_t)id) < 0)
        rc = err_set(l->e, E_NOMEM, "%s: line %zu: out of memory", l->name, l->number);
    return rc;
}

static int encode(const void *impl, const char *text, size_t n, bool start, struct ids *out,
                  struct err *e)
{
    (void)start;
    for (size_t at = 0, len; at < n; at += len) {
        int32_t id = trie_longest(impl, text + at, n - at, &len);
        ASSERT(id >= 0 && len > 0); /* every byte is a word: checked at load */
        int rc = ids_add(out, id);
        if (rc < 0)
            return err_set(e, rc, "the text has more than the %zu tokens allowed", out->max);
    }
    return 0;
}

static void close_vocab(void *impl)
{
    trie_free(impl);
    mem_free(impl);
}

static const struct tokenizer_format format = {
    .encode = encode, .close = close_vocab, .keeps_words = true};

static int check_bytes(const struct tokenizer *t, const struct trie *words, struct err *e)
{
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        if (trie_get(words, &byte, 1) < 0)
            return err_set(e, E_FORMAT, "%s: the vocabulary has no word for byte 0x%02x", t->path,
                           (unsigned)b);
    }
    return 0;
}

int rwkv_vocab_build(struct tokenizer *t, const char *text, size_t n, struct err *e)
{
    struct trie *words = mem_zalloc(sizeof *words);
    int rc = 0;
    if (!words)
        return err_set(e, E_NOMEM, "%s: out of memory", t->path);
    t->impl = words;
    t->format = &format;
    struct line l = {.name = t->path, .e = e};
    for (size_t at = 0; rc == 0 && at < n; at = (size_t)(l.end - text) + 1) {
        const char *newline = memchr(text + at, '\n', n - at);
        l.p = text + at;
        l.end = newline ? newline : text + n;
        l.number++;
        if (l.p < l.end)
            rc = read_line(t, words, &l);
    }
    if (rc == 0)
        rc = check_bytes(t, words, e);
    if (rc < 0)
        return rc;
    t->bos = t->eos = 0;
    if (t->n > 0 && (t->tokens[0].flags & TOKEN_KNOWN))
        return err_set(e, E_FORMAT, "%s: id 0 must be free for the end of a text", t->path);
    struct added end = {.text = END_TEXT, .n = strlen(END_TEXT), .id = 0, .special = true};
    return tokenizer_add(t, &end, e);
}

int rwkv_vocab_open(struct tokenizer *t, const char *path, const struct config *cfg,
                    struct err *e)
{
    struct buf file;
    (void)cfg;
    buf_init(&file, LIMIT_TOKENIZER_BYTES);
    int rc = file_read(path, &file, e);
    if (rc == 0)
        rc = rwkv_vocab_build(t, file.p ? file.p : "", file.len, e);
    buf_free(&file);
    return rc;
}
