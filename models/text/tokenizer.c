/* What all tokenizers share: the vocabulary table, the tokens searched in text, the settings of
 * tokenizer_config.json. Filled while loading, read-only afterwards, so any thread may encode.
 *
 * Invariant: a special token's id leaves tokenizer_encode only where TOKENIZE_SPECIAL was given
 * (or as bos): formats never produce one from text, the search below alone does. */
#include "models/text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "models/files/jsontext.h"
#include "models/text/tokenizer_int.h"

/* Vocabulary texts and added tokens: 262,144 tokens of ~10 bytes, each padded to 16. */
#define ARENA_BYTES MIB(256)

/* ---- encoding --------------------------------------------------------------------------- */

static int add_id(struct ids *out, int32_t id, struct err *e)
{
    int rc = ids_add(out, id);
    if (rc == E_RANGE)
        return err_set(e, rc, "the text has more than the %zu tokens allowed", out->max);
    return rc == 0 ? 0 : err_set(e, rc, "out of memory for %zu tokens", out->len);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void tokenizer_widen(const struct tokenizer *t, int32_t found, const char *text, size_t at,
                     size_t n, size_t *begin, size_t *end)
{
    while (t->added[found].lstrip && *begin > at && is_space(text[*begin - 1]))
        --*begin;
    while (t->added[found].rstrip && *end < n && is_space(text[*end]))
        ++*end;
}

/* The first added token in text from `at` on, the longest of those that begin there; its extent
 * includes the white space it swallows. -1 = none. */
static int32_t find_added(const struct tokenizer *t, const struct trie *search, const char *text,
                          size_t at, size_t n, size_t *begin, size_t *end)
{
    if (!search->cap)
        return -1;
    for (size_t i = at; i < n; i++) {
        size_t len;
        int32_t found = trie_longest(search, text + i, n - i, &len);
        if (found < 0)
            continue;
        *begin = i;
        *end = i + len;
        tokenizer_widen(t, found, text, at, n, begin, end);
        return found;
    }
    return -1;
}

struct pass {
    const struct tokenizer *t;
    int flags;
    struct ids *out;
    bool start; /* nothing was encoded yet */
    struct err *e;
};

static int encode_plain(struct pass *p, const char *text, size_t n);
static int encode_normalized(struct pass *p, const char *text, size_t n);

/* Text with the added tokens of one kind cut out; what lies between goes to `next`. */
static int encode_split(struct pass *p, const char *text, size_t n, bool normalized,
                        int (*next)(struct pass *, const char *, size_t))
{
    const struct trie *search = &p->t->search[normalized][(p->flags & TOKENIZE_SPECIAL) != 0];
    size_t at = 0, begin = 0, end = 0;
    while (at < n) {
        int32_t found = find_added(p->t, search, text, at, n, &begin, &end);
        if (found < 0)
            begin = end = n;
        int rc = begin > at ? next(p, text + at, begin - at) : 0;
        if (rc == 0 && found >= 0)
            rc = add_id(p->out, p->t->added[found].id, p->e);
        if (rc < 0)
            return rc;
        p->start = false;
        at = end;
    }
    return 0;
}

static int encode_plain(struct pass *p, const char *text, size_t n)
{
    return p->t->format->encode(p->t->impl, text, n, p->start || p->t->every_start, p->out, p->e);
}

static int encode_normalized(struct pass *p, const char *text, size_t n)
{
    const struct tokenizer *t = p->t;
    if (!t->format->normalize)
        return encode_split(p, text, n, true, encode_plain);
    struct buf b;
    buf_init(&b, n < SIZE_MAX / 32 ? 32 * n + 64 : n); /* NFC and NFKC grow a text up to 18 fold */
    int rc = t->format->normalize(t->impl, text, n, p->start || t->every_start, &b, p->e);
    if (rc == 0 && b.len)
        rc = encode_split(p, b.p, b.len, true, encode_plain);
    buf_free(&b);
    return rc;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int flags,
                     struct ids *out, struct err *e)
{
    struct pass p = {
        .t = t, .flags = flags, .out = out, .start = !(flags & TOKENIZE_CONTINUE), .e = e};
    if (!utf8_valid(text, n))
        return err_set(e, E_FORMAT, "the text of %zu bytes is not valid UTF-8", n);
    if ((flags & TOKENIZE_BOS) && t->adds_bos && t->bos >= 0) {
        int rc = add_id(out, t->bos, e);
        if (rc < 0)
            return rc;
    }
    return encode_split(&p, text, n, false, encode_normalized);
}

int tokenizer_encode_between(const struct tokenizer *t, const char *text, size_t n, int flags,
                             struct ids *out, struct err *e)
{
    struct pass p = {
        .t = t, .flags = flags, .out = out, .start = !(flags & TOKENIZE_CONTINUE), .e = e};
    return encode_normalized(&p, text, n);
}

/* ---- loading ---------------------------------------------------------------------------- */

static int add_from_config(struct tokenizer *t, const struct config *cfg, struct err *e)
{
    const struct config *list = config_obj(cfg, "added_tokens_decoder", e);
    for (const char *k = NULL; list && (k = config_next_key(list, k));) {
        const struct config *o = config_obj(list, k, e);
        char *end;
        long id = strtol(k, &end, 10);
        if (!o || *end || end == k || id < 0 || id >= LIMIT_VOCAB)
            return err_set(e, E_FORMAT, "%s: added_tokens_decoder has the entry %.40s", t->path, k);
        const char *text = config_str(o, "content", "", e);
        struct added a = {.text = text, .n = strlen(text), .id = (int32_t)id};
        a.special = config_bool(o, "special", false, e) || tokenizer_named(cfg, text);
        a.lstrip = config_bool(o, "lstrip", false, e);
        a.rstrip = config_bool(o, "rstrip", false, e);
        a.normalized = config_bool(o, "normalized", !a.special, e);
        bool known = id < t->n && (t->tokens[id].flags & TOKEN_KNOWN);
        bool same = known && t->tokens[id].n == a.n &&
                    memcmp(t->tokens[id].text, a.text, a.n) == 0;
        /* A plain piece that the format already finds by itself needs no search. */
        if (same && (!a.special || t->format->keeps_words) &&
            !(t->tokens[id].flags & TOKEN_SPECIAL))
            continue;
        if (tokenizer_add(t, &a, e) < 0)
            return e->code;
    }
    return e->code;
}

/* Id of a token by its text, or -1: an added token, else any of that name. */
static int32_t id_of(const struct tokenizer *t, const char *text)
{
    int32_t id = text ? tokenizer_find(t, text) : -1;
    for (int32_t i = 0; text && id < 0 && i < t->n; i++)
        if ((t->tokens[i].flags & TOKEN_KNOWN) && t->tokens[i].n == strlen(text) &&
            memcmp(t->tokens[i].text, text, t->tokens[i].n) == 0)
            id = i;
    return id;
}

static void name_token(const struct tokenizer *t, const struct config *cfg, const char *key,
                       int32_t *id)
{
    if (config_has(cfg, key))
        *id = id_of(t, tokenizer_token_text(cfg, key));
}

static int apply_config(struct tokenizer *t, const struct config *cfg, struct err *e)
{
    int rc = add_from_config(t, cfg, e);
    if (rc < 0)
        return rc;
    name_token(t, cfg, "bos_token", &t->bos);
    name_token(t, cfg, "eos_token", &t->eos);
    t->adds_bos = config_bool(cfg, "add_bos_token", t->adds_bos, e);
    return e->code;
}

static int check_vocab(const struct tokenizer *t, int32_t vocab, struct err *e)
{
    int32_t last = t->n - 1;
    while (last >= 0 && !(t->tokens[last].flags & TOKEN_KNOWN))
        last--;
    if (last < 0)
        return err_set(e, E_FORMAT, "%s: the vocabulary is empty", t->path);
    if (last >= vocab)
        return err_set(e, E_CONFLICT, "%s: the tokenizer has id %d, the model %d rows", t->path,
                       last, vocab);
    return 0;
}

enum kind { KIND_NONE, KIND_SPM, KIND_BPE, KIND_RWKV };
static const struct {
    const char *name;
    enum kind kind;
} files[] = {{"tokenizer.model", KIND_SPM},
             {"tokenizer.json", KIND_BPE},
             {"rwkv_vocab_v20230424.txt", KIND_RWKV}};

const char *tokenizer_file(size_t i) { return i < ARRAY_LEN(files) ? files[i].name : NULL; }

/* The first of the known vocabulary files in dir. */
static enum kind find_vocabulary(const char *dir, char *path, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if ((size_t)snprintf(path, size, "%s/%s", dir, files[i].name) < size && file_exists(path))
            return files[i].kind;
    return KIND_NONE;
}

static int read_config(struct config **cfg, const char *dir, struct err *e)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/tokenizer_config.json", dir) >= sizeof path)
        return err_set(e, E_RANGE, "%s: the path is longer than %zu bytes", jsontext_tail(dir),
                       sizeof path);
    return file_exists(path) ? config_read(cfg, path, e) : config_parse(cfg, "{}", 2, path, e);
}

int tokenizer_assemble(struct tokenizer **out, const struct tokenizer_parts *p, struct err *e)
{
    struct tokenizer *t = mem_zalloc(sizeof *t);
    *out = NULL;
    if (!t)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(p->path));
    arena_init(&t->arena, ARENA_BYTES);
    t->bos = t->eos = -1;
    t->path = mem_strdup(jsontext_tail(p->path));
    int rc = t->path ? p->fill(t, p->cfg, p->arg, e)
                     : err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(p->path));
    if (rc == 0)
        rc = apply_config(t, p->cfg, e);
    if (rc == 0)
        rc = check_vocab(t, p->vocab, e);
    if (rc == 0 && t->format->seal)
        t->format->seal(t->impl, t);
    if (rc < 0)
        tokenizer_close(t);
    else
        *out = t;
    return rc;
}

/* A vocabulary file of a directory. */
struct vocabulary { enum kind kind; const char *path; };

static int fill_from_file(struct tokenizer *t, const struct config *cfg, const void *arg,
                          struct err *e)
{
    const struct vocabulary *v = arg;
    switch (v->kind) {
    case KIND_SPM: return spm_open(t, v->path, cfg, e);
    case KIND_BPE: return bpe_open(t, v->path, cfg, e);
    default: return rwkv_vocab_open(t, v->path, e);
    }
}

int tokenizer_open(struct tokenizer **out, const char *dir, int32_t vocab, struct err *e)
{
    char path[4096];
    struct err mine = {0};
    struct config *cfg = NULL;
    struct vocabulary v = {find_vocabulary(dir, path, sizeof path), path};
    *out = NULL;
    if (v.kind == KIND_NONE)
        return 0;
    e = e ? e : &mine;
    int rc = read_config(&cfg, dir, e);
    if (rc == 0)
        rc = tokenizer_assemble(out, &(struct tokenizer_parts){
            .path = path, .cfg = cfg, .fill = fill_from_file, .arg = &v,
            .vocab = vocab}, e);
    config_free(cfg);
    return rc;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    if (t->format && t->impl)
        t->format->close(t->impl);
    for (int i = 0; i < 4; i++)
        trie_free(&t->search[i / 2][i % 2]);
    arena_free(&t->arena);
    mem_free(t->tokens);
    mem_free(t->added);
    mem_free(t->path);
    mem_free(t);
}

/* ---- reading ---------------------------------------------------------------------------- */

const char *tokenizer_piece_shown(const struct tokenizer *t, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || id >= t->n || !t->tokens[id].text)
        return "";
    *len = t->tokens[id].n;
    return t->tokens[id].text;
}

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len)
{
    *len = 0;
    return tokenizer_is_special(t, id) ? "" : tokenizer_piece_shown(t, id, len);
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->adds_bos && t->bos >= 0;
}

int32_t tokenizer_size(const struct tokenizer *t)
{
    return t->n;
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n && (t->tokens[id].flags & TOKEN_SPECIAL);
}
