/* GGUF metadata as the vocabularies that the tokenizers read: tokens, types, scores and merges are
 * put into the form of the file they once came from, so that one reader checks them. */
#include "models/text/gguf_vocab.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "models/text/bpe_load.h"

#define LISTED_MAX 1024 /* added tokens of a tokenizer that swallow white space: a handful */

enum token_type { /* as the format numbers them */
    TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE,
};

struct vocab {
    const struct gguf *g;
    const struct gguf_value *tokens, *types, *scores;
    const struct gguf_pre *pre; /* of "gpt2" */
};

static const struct gguf_value *get(const struct gguf *g, const char *name)
{
    char key[96];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    return gguf_get(g, key);
}

static enum token_type type_of(const struct vocab *v, uint64_t i)
{
    int64_t type = TYPE_NORMAL;
    (void)!gguf_int(v->types, i, &type);
    return type >= TYPE_NORMAL && type <= TYPE_BYTE ? (enum token_type)type : TYPE_NORMAL;
}

static int no_memory(const struct vocab *v, struct err *e)
{
    return err_set(e, E_NOMEM, "%s: out of memory for %" PRIu64 " tokens", gguf_path(v->g),
                   v->tokens->n);
}

/* ---- byte pairs: a tokenizer.json ------------------------------------------------------- */

/* A token as JSON text; NULL where it is no UTF-8 or holds a NUL. */
static json_t *text_of(const struct vocab *v, struct gguf_string s, uint64_t i, const char *what,
                       struct err *e)
{
    json_t *text = memchr(s.p, 0, s.n) ? NULL : json_stringn(s.p, s.n);
    if (!text)
        err_set(e, E_FORMAT, "%s: %s %" PRIu64 " is not UTF-8 text", gguf_path(v->g), what, i);
    return text;
}

/* Whether a list of ids has i: what the format itself cannot say of added tokens. */
static bool lists(const struct vocab *v, const char *key, uint64_t i)
{
    const struct gguf_value *list = gguf_get(v->g, key);
    int64_t id;
    for (uint64_t k = 0; list && k < MIN(list->n, (uint64_t)LISTED_MAX); k++)
        if (gguf_int(list, k, &id) && id >= 0 && (uint64_t)id == i)
            return true;
    return false;
}

static int add_token(const struct vocab *v, struct gguf_string s, uint64_t i, json_t *words,
                     json_t *added, struct err *e)
{
    enum token_type type = type_of(v, i);
    if (type == TYPE_UNUSED || s.n == 0)
        return 0;
    json_t *text = text_of(v, s, i, "token", e);
    if (!text)
        return e->code;
    const char *p = json_string_value(text);
    bool special = type == TYPE_CONTROL || type == TYPE_UNKNOWN;
    int rc = 0;
    if (!special && json_object_get(words, p))
        rc = err_set(e, E_CONFLICT, "%s: token %" PRIu64 ", %.60s, is there twice",
                     gguf_path(v->g), i, p);
    else if (!special && json_object_set_new(words, p, json_integer((json_int_t)i)) < 0)
        rc = no_memory(v, e);
    if (rc == 0 && (special || type == TYPE_USER_DEFINED) &&
        json_array_append_new(added, json_pack("{s:I, s:O, s:b, s:b, s:b, s:b}", "id",
                                               (json_int_t)i, "content", text, "special", special,
                                               "normalized", 0, "lstrip",
                                               lists(v, "recurd.tokenizer.lstrip", i), "rstrip",
                                               lists(v, "recurd.tokenizer.rstrip", i))) < 0)
        rc = no_memory(v, e);
    json_decref(text);
    return rc;
}

static int add_merges(const struct vocab *v, json_t *merges, struct err *e)
{
    struct gguf_walk w = {.v = get(v->g, "merges")};
    struct gguf_string s;
    if (!w.v || w.v->of != GGUF_STRING)
        return err_set(e, E_FORMAT, "%s: tokenizer.ggml.merges is missing or no list of texts",
                       gguf_path(v->g));
    while (gguf_next(&w, &s)) {
        json_t *text = text_of(v, s, w.i - 1, "merge", e);
        if (!text)
            return e->code;
        if (json_array_append_new(merges, text) < 0)
            return no_memory(v, e);
    }
    return 0;
}

/* NULL: e tells. */
static json_t *make_bpe(const struct vocab *v, struct err *e)
{
    json_t *words = json_object(), *merges = json_array(), *added = json_array(), *root = NULL;
    struct gguf_walk w = {.v = v->tokens};
    struct gguf_string s;
    int rc = words && merges && added ? 0 : no_memory(v, e);
    while (rc == 0 && gguf_next(&w, &s))
        rc = add_token(v, s, w.i - 1, words, added, e);
    if (rc == 0)
        rc = add_merges(v, merges, e);
    if (rc == 0 && !(root = bpe_named(words, merges, added, v->pre)))
        rc = no_memory(v, e);
    json_decref(words);
    json_decref(merges);
    json_decref(added);
    return root;
}

static int fill_bpe(struct tokenizer *t, const struct config *cfg, const void *arg, struct err *e)
{
    const struct vocab *v = arg;
    json_t *root = make_bpe(v, e);
    return root ? bpe_build_named(t, root, v->pre, cfg, e) : e->code;
}

static int make_bpe_text(const struct vocab *v, struct buf *out, struct err *e)
{
    json_t *root = make_bpe(v, e);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    if (root && (!text || buf_str(out, text) < 0))
        no_memory(v, e);
    free(text);
    json_decref(root);
    return e->code;
}

/* ---- SentencePiece: a model file -------------------------------------------------------- */

/* Fields of the serialised model: numbers from its published description. */
enum { PIECES = 1, TRAINER = 2, NORMALIZER = 3, MODEL_TYPE = 3, BYTE_FALLBACK = 35, UNK_ID = 40 };
enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FLOAT = 5 };

static void put_varint(struct buf *b, uint64_t x)
{
    for (; x >= 0x80; x >>= 7)
        buf_ch(b, (char)(x | 0x80));
    buf_ch(b, (char)x);
}

static void put_field(struct buf *b, int field, int wire)
{
    put_varint(b, (uint64_t)field << 3 | (uint64_t)wire);
}

static void put_number(struct buf *b, int field, int64_t x)
{
    put_field(b, field, WIRE_VARINT);
    put_varint(b, (uint64_t)x);
}

static void put_message(struct buf *b, int field, const struct buf *inner)
{
    put_field(b, field, WIRE_BYTES);
    put_varint(b, inner->len);
    buf_add(b, inner->p, inner->len);
}

static void put_piece(struct buf *b, struct buf *piece, struct gguf_string s, double score,
                      enum token_type type)
{
    float f = (float)score;
    buf_clear(piece);
    put_field(piece, 1, WIRE_BYTES);
    put_varint(piece, s.n);
    buf_add(piece, s.p, s.n);
    put_field(piece, 2, WIRE_FLOAT);
    buf_add(piece, &f, sizeof f);
    put_number(piece, 3, type);
    put_message(b, PIECES, piece);
}

/* An id of the metadata, or dflt where it says nothing; -1 = none. */
static int64_t id_of(const struct vocab *v, const char *name, int64_t dflt)
{
    int64_t id = dflt;
    (void)!gguf_int(get(v->g, name), 0, &id);
    return id >= 0 && (uint64_t)id < v->tokens->n ? id : -1;
}

static int make_spm(const struct vocab *v, struct buf *model, struct err *e)
{
    struct gguf_walk w = {.v = v->tokens};
    struct gguf_string s;
    struct buf part;
    bool bytes = false;
    static const char *const ids[] = {"unknown_token_id", "bos_token_id", "eos_token_id"};
    buf_init(&part, LIMIT_TOKENIZER_BYTES);
    if (!v->scores || v->scores->n < v->tokens->n)
        err_set(e, E_FORMAT, "%s: tokenizer.ggml.scores has %" PRIu64 " entries for %" PRIu64
                " tokens", gguf_path(v->g), v->scores ? v->scores->n : 0, v->tokens->n);
    while (e->code == 0 && gguf_next(&w, &s)) {
        double score = 0;
        if (!gguf_num(v->scores, w.i - 1, &score))
            err_set(e, E_FORMAT, "%s: the score of token %" PRIu64 " is not a finite number",
                    gguf_path(v->g), w.i - 1);
        bytes |= type_of(v, w.i - 1) == TYPE_BYTE;
        put_piece(model, &part, s, score, type_of(v, w.i - 1));
    }
    buf_clear(&part);
    put_number(&part, MODEL_TYPE, 2); /* byte pairs by score */
    put_number(&part, BYTE_FALLBACK, bytes);
    for (int i = 0; i < 3; i++)
        put_number(&part, UNK_ID + i, id_of(v, ids[i], i));
    put_message(model, TRAINER, &part);
    buf_clear(&part);
    put_number(&part, 3, gguf_bool(get(v->g, "add_space_prefix"), true));
    put_number(&part, 4, gguf_bool(get(v->g, "remove_extra_whitespaces"), false));
    put_number(&part, 5, 1); /* spaces are U+2581 inside pieces */
    put_message(model, NORMALIZER, &part);
    if (e->code == 0 && (model->failed || part.failed))
        no_memory(v, e);
    buf_free(&part);
    return e->code;
}

static int fill_spm(struct tokenizer *t, const struct config *cfg, const void *arg, struct err *e)
{
    struct buf model;
    buf_init(&model, LIMIT_TOKENIZER_BYTES);
    int rc = make_spm(arg, &model, e);
    if (rc == 0)
        rc = spm_build(t, &model, cfg, e);
    buf_free(&model);
    return rc;
}

/* ---- RWKV: a list of words -------------------------------------------------------------- */

/* Bytes of a word written with escapes, and whether it has a bare apostrophe. */
static size_t escaped_bytes(struct gguf_string s, bool *apostrophe)
{
    size_t n = 0;
    *apostrophe = false;
    for (size_t i = 0; i < s.n; n++) {
        *apostrophe |= s.p[i] == '\'';
        i += s.p[i] != '\\' ? 1 : i + 1 < s.n && s.p[i + 1] == 'x' ? 4 : 2;
    }
    return n;
}

static int make_rwkv(const struct vocab *v, struct buf *text, struct err *e)
{
    struct gguf_walk w = {.v = v->tokens};
    struct gguf_string s;
    while (e->code == 0 && gguf_next(&w, &s)) {
        enum token_type type = type_of(v, w.i - 1);
        bool apostrophe;
        size_t n = escaped_bytes(s, &apostrophe);
        if (type == TYPE_UNUSED || type == TYPE_CONTROL)
            continue;
        if (memchr(s.p, '\n', s.n))
            err_set(e, E_FORMAT, "%s: token %" PRIu64 " holds a line feed that is not escaped",
                    gguf_path(v->g), w.i - 1);
        buf_fmt(text, "%" PRIu64 " b%c", w.i - 1, apostrophe ? '"' : '\'');
        buf_add(text, s.p, s.n);
        buf_fmt(text, "%c %zu\n", apostrophe ? '"' : '\'', n);
    }
    if (e->code == 0 && text->failed)
        no_memory(v, e);
    return e->code;
}

static int fill_rwkv(struct tokenizer *t, const struct config *cfg, const void *arg,
                     struct err *e)
{
    struct buf text;
    (void)cfg;
    buf_init(&text, LIMIT_TOKENIZER_BYTES);
    int rc = make_rwkv(arg, &text, e);
    if (rc == 0)
        rc = rwkv_vocab_build(t, text.p ? text.p : "", text.len, e);
    buf_free(&text);
    return rc;
}

/* ---- PLaMo: words with scores, a line each ---------------------------------------------- */

static int make_plamo(const struct vocab *v, struct buf *text, struct err *e)
{
    static const char *const kinds[] = {
        [TYPE_NORMAL] = "NORMAL", [TYPE_UNKNOWN] = "UNKNOWN", [TYPE_CONTROL] = "CONTROL",
        [TYPE_USER_DEFINED] = "USER_DEFINED", [TYPE_UNUSED] = "UNUSED", [TYPE_BYTE] = "BYTE"};
    struct gguf_walk w = {.v = v->tokens};
    struct gguf_string s;
    while (e->code == 0 && gguf_next(&w, &s)) {
        double score = 0;
        json_t *word = json_stringn(s.p, s.n);
        if (!word)
            err_set(e, E_FORMAT, "%s: token %" PRIu64 " is not UTF-8 text", gguf_path(v->g),
                    w.i - 1);
        else if (!gguf_num(v->scores, w.i - 1, &score))
            err_set(e, E_FORMAT, "%s: the score of token %" PRIu64 " is not a finite number",
                    gguf_path(v->g), w.i - 1);
        json_t *row = e->code ? NULL : json_pack("[O, f, s]", word, score,
                                                 kinds[type_of(v, w.i - 1)]);
        char *line = row ? json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
        if (line)
            buf_fmt(text, "%s\n", line);
        else if (e->code == 0)
            no_memory(v, e);
        free(line);
        json_decref(row);
        json_decref(word);
    }
    if (e->code == 0 && text->failed)
        no_memory(v, e);
    return e->code;
}

static int fill_plamo(struct tokenizer *t, const struct config *cfg, const void *arg,
                      struct err *e)
{
    struct buf text;
    (void)cfg;
    buf_init(&text, LIMIT_TOKENIZER_BYTES);
    int rc = make_plamo(arg, &text, e);
    if (rc == 0)
        rc = plamo_build(t, text.p ? text.p : "", text.len, e);
    buf_free(&text);
    return rc;
}

/* ---- opening ---------------------------------------------------------------------------- */

/* The text of the token whose id the metadata has under this name. */
static json_t *named(const struct vocab *v, const char *name)
{
    struct gguf_walk w = {.v = v->tokens};
    struct gguf_string s;
    int64_t id = id_of(v, name, -1);
    while (id >= 0 && gguf_next(&w, &s))
        if (w.i - 1 == (uint64_t)id)
            return json_stringn(s.p, s.n);
    return NULL;
}

/* What the format's writers mean by the name rwkv-world. */
static const char rwkv_world[] =
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ 'User: ' + message['content'] | trim + '\\n\\n' }}"
    "{% elif message['role'] == 'system' %}"
    "{{ 'System: ' + message['content'] | trim + '\\n\\n' }}"
    "{% else %}{{ 'Assistant: ' + message['content'] | trim + '\\n\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/* What a tokenizer_config.json would say. */
static int make_config(const struct vocab *v, bool names, struct config **out, struct err *e)
{
    static const char *const keys[][2] = {{"bos_token", "bos_token_id"},
                                          {"eos_token", "eos_token_id"},
                                          {"unk_token", "unknown_token_id"},
                                          {"pad_token", "padding_token_id"}};
    struct gguf_string chat = gguf_text(gguf_get(v->g, "tokenizer.chat_template"));
    json_t *root = json_object();
    for (size_t i = 0; root && names && i < ARRAY_LEN(keys); i++) {
        json_t *text = named(v, keys[i][1]);
        if (text)
            json_object_set_new(root, keys[i][0], text);
    }
    const struct gguf_value *bos = get(v->g, "add_bos_token");
    if (root && (bos || v->pre))
        json_object_set_new(root, "add_bos_token",
                            json_boolean(gguf_bool(bos, v->pre && v->pre->adds_bos)));
    if (gguf_text_is(gguf_get(v->g, "tokenizer.chat_template"), "rwkv-world"))
        chat = (struct gguf_string){rwkv_world, strlen(rwkv_world)};
    if (root && chat.p)
        json_object_set_new(root, "chat_template", json_stringn(chat.p, chat.n));
    char *text = root ? json_dumps(root, 0) : NULL;
    json_decref(root);
    int rc = text ? config_parse(out, text, strlen(text), gguf_path(v->g), e) : no_memory(v, e);
    free(text);
    return rc;
}

/* tokenizer.ggml.model, and the file that says the same. */
static const struct kind {
    const char *model, *file;
    int (*make)(const struct vocab *v, struct buf *out, struct err *e);
    int (*fill)(struct tokenizer *t, const struct config *cfg, const void *arg, struct err *e);
    bool names; /* special tokens have names of their own */
} kinds[] = {
    {"gpt2", "tokenizer.json", make_bpe_text, fill_bpe, true},
    {"llama", "tokenizer.model", make_spm, fill_spm, true},
    {"rwkv", "rwkv_vocab_v20230424.txt", make_rwkv, fill_rwkv, false},
    {"plamo2", "tokenizer.jsonl", make_plamo, fill_plamo, true},
};

static const struct kind *choose(struct vocab *v, struct err *e)
{
    const struct gguf_value *model = get(v->g, "model"), *pre = get(v->g, "pre");
    struct gguf_string name = gguf_text(model), cut = gguf_text(pre);
    const struct kind *k = kinds;
    while (k < kinds + ARRAY_LEN(kinds) && !gguf_text_is(model, k->model))
        k++;
    if (k == kinds + ARRAY_LEN(kinds)) {
        err_set(e, E_UNSUPPORTED, "%s: tokenizer.ggml.model is \"%.*s\"; gpt2, llama, rwkv and "
                "plamo2 are supported", gguf_path(v->g), (int)MIN(name.n, 40),
                name.p ? name.p : "");
        return NULL;
    }
    if (k > kinds)
        return k;
    v->pre = cut.p ? gguf_pre_find(cut) : NULL;
    if (!v->pre)
        err_set(e, E_UNSUPPORTED, "%s: tokenizer.ggml.pre %s%.*s%s: how texts are cut is not known",
                gguf_path(v->g), cut.p ? "is \"" : "is missing", (int)MIN(cut.n, 40),
                cut.p ? cut.p : "", cut.p ? "\"" : "");
    return v->pre ? k : NULL;
}

/* *kind = NULL (and 0) when the file has no tokenizer. */
static int read_vocab(struct vocab *v, const struct gguf *g, const struct kind **kind,
                      struct err *e)
{
    *v = (struct vocab){.g = g, .tokens = get(g, "tokens"), .types = get(g, "token_type"),
                        .scores = get(g, "scores")};
    const struct gguf_value *model = get(g, "model");
    *kind = NULL;
    if (!model || gguf_text_is(model, "none") || gguf_text_is(model, "no_vocab"))
        return 0;
    if (!v->tokens || v->tokens->of != GGUF_STRING || v->tokens->n > LIMIT_VOCAB)
        return err_set(e, E_FORMAT, "%s: tokenizer.ggml.tokens is no list of 1 to %d texts",
                       gguf_path(g), LIMIT_VOCAB);
    *kind = choose(v, e);
    return e->code;
}

int gguf_tokenizer_config(struct config **out, const struct gguf *g, struct err *e)
{
    struct vocab v;
    const struct kind *kind;
    *out = NULL;
    int rc = read_vocab(&v, g, &kind, e);
    return rc || !kind ? rc : make_config(&v, kind->names, out, e);
}

int gguf_tokenizer_file(const char **name, struct buf *out, const struct gguf *g, struct err *e)
{
    struct vocab v;
    const struct kind *kind;
    *name = NULL;
    int rc = read_vocab(&v, g, &kind, e);
    if (rc == 0 && kind)
        rc = kind->make(&v, out, e);
    if (rc == 0 && kind)
        *name = kind->file;
    return rc;
}

int tokenizer_open_gguf(struct tokenizer **out, const struct gguf *g, int32_t rows, struct err *e)
{
    struct err mine = {0};
    struct config *cfg = NULL;
    struct vocab v;
    const struct kind *kind;
    e = e ? e : &mine;
    *out = NULL;
    int rc = read_vocab(&v, g, &kind, e);
    if (rc || !kind)
        return rc;
    if (make_config(&v, kind->names, &cfg, e) < 0)
        return e->code;
    rc = tokenizer_assemble(out, &(struct tokenizer_parts){
        .path = gguf_path(g), .cfg = cfg, .fill = kind->fill, .arg = &v, .vocab = rows}, e);
    config_free(cfg);
    return rc;
}
