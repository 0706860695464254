/* A directory's tokenizer -> GGUF metadata: tokens by id with their types, and what its kind needs:
 * merges and the name of how texts are cut, scores, or nothing more. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"
#include "models/convert_int.h"
#include "models/files/jsontext.h"
#include "models/text/bpe_export.h"
#include "models/text/chat/chat.h"
#include "models/text/gguf_vocab.h"
#include "models/text/plamo.h"
#include "models/text/spm_proto.h"
#include "models/text/tokenizer.h"

#define VALUES_MAX 4000000 /* as the reader of tokenizer.json */

enum token_type { /* as the format numbers them */
    TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5, TYPE_BYTE = 6,
};

/* One token; text NULL: the id is free. */
struct word { const char *text; size_t n; int32_t type; float score; };

struct vocabulary {
    struct convert *c;
    struct tokenizer *t;
    struct word *words;
    int32_t n;
};

static bool path_of(const struct vocabulary *v, const char *name, char *path, size_t size)
{
    return (size_t)snprintf(path, size, "%s/%s", v->c->dir, name) < size && file_exists(path);
}

static void set_word(struct vocabulary *v, int64_t id, const char *text, size_t n, int32_t type)
{
    if (id < 0 || id >= v->n)
        err_set(v->c->e, E_CONFLICT, "token %.60s has id %" PRId64 ", the model has %d rows", text,
                id, v->n);
    else
        v->words[id] = (struct word){text, n, type, 0};
}

static void write_words(struct vocabulary *v)
{
    struct gguf_out *out = v->c->out;
    int32_t *types = mem_array((size_t)v->n, sizeof *types);
    if (!types) {
        err_set(v->c->e, E_NOMEM, "no memory for %d tokens", v->n);
        return;
    }
    gguf_out_texts(out, "tokenizer.ggml.tokens", (size_t)v->n);
    for (int32_t i = 0; i < v->n; i++) {
        const struct word *w = &v->words[i];
        char none[24];
        int n = snprintf(none, sizeof none, "[PAD%d]", i);
        gguf_out_element(out, w->text ? w->text : none, w->text ? w->n : (size_t)n);
        types[i] = w->text ? w->type : TYPE_UNUSED;
    }
    gguf_out_ints(out, "tokenizer.ggml.token_type", types, (size_t)v->n);
    mem_free(types);
}

/* ---- SentencePiece ---------------------------------------------------------------------- */

static void add_pieces(struct vocabulary *v, const struct spm_proto *p)
{
    size_t n;
    for (size_t i = 0; i < p->n; i++) {
        int32_t type = (int32_t)p->pieces[i].type;
        if (type == TYPE_NORMAL && tokenizer_is_special(v->t, (int32_t)i))
            type = TYPE_CONTROL;
        set_word(v, (int64_t)i, p->pieces[i].text, p->pieces[i].n, type);
        if (v->c->e->code == 0)
            v->words[i].score = p->pieces[i].score;
    }
    for (int32_t i = (int32_t)p->n; i < tokenizer_size(v->t); i++) { /* the configuration's */
        const char *text = tokenizer_piece_shown(v->t, i, &n);
        if (n)
            set_word(v, i, text, n, tokenizer_is_special(v->t, i) ? TYPE_CONTROL
                                                                  : TYPE_USER_DEFINED);
    }
}

static void write_spm(struct vocabulary *v, const char *path)
{
    struct buf file;
    struct spm_proto p = {0};
    float *scores = mem_array((size_t)v->n, sizeof *scores);
    buf_init(&file, LIMIT_TOKENIZER_BYTES);
    if (!scores)
        err_set(v->c->e, E_NOMEM, "no memory for %d scores", v->n);
    else if (file_read(path, &file, v->c->e) == 0 &&
             spm_proto_read(&p, (const unsigned char *)file.p, file.len, "tokenizer.model",
                            v->c->e) == 0) {
        if (p.algorithm != SPM_BPE || !p.keeps_text)
            err_set(v->c->e, E_UNSUPPORTED, "tokenizer.model: only byte pairs that leave the text "
                    "as it is can be written");
        add_pieces(v, &p);
        for (int32_t i = 0; i < v->n; i++)
            scores[i] = v->words[i].score;
        gguf_out_text(v->c->out, "tokenizer.ggml.model", "llama", 5);
        gguf_out_bool(v->c->out, "tokenizer.ggml.add_space_prefix", p.dummy_prefix);
        write_words(v);
        gguf_out_nums(v->c->out, "tokenizer.ggml.scores", scores, (size_t)v->n);
        if (p.unk >= 0)
            gguf_out_int(v->c->out, "tokenizer.ggml.unknown_token_id", p.unk);
    }
    spm_proto_free(&p);
    buf_free(&file);
    mem_free(scores);
}

/* ---- byte pairs ------------------------------------------------------------------------- */

static const char *str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* The patterns of a pre_tokenizer in turn; false for a step that has none. */
static bool add_pattern(const json_t *step, const char **patterns, size_t *n)
{
    const struct gguf_pre *gpt2 = gguf_pre_find((struct gguf_string){"gpt-2", 5});
    const char *type = str(step, "type"), *pattern = NULL;
    if (strcmp(type, "Split") == 0)
        pattern = str(json_object_get(step, "pattern"), "Regex");
    else if (strcmp(type, "Digits") == 0)
        pattern = json_is_true(json_object_get(step, "individual_digits")) ? "\\p{N}" : "";
    else if (strcmp(type, "ByteLevel") == 0)
        pattern = json_is_false(json_object_get(step, "use_regex")) ? NULL : gpt2->patterns[0];
    else
        pattern = "";
    if (strcmp(type, "ByteLevel") == 0 && json_is_true(json_object_get(step, "add_prefix_space")))
        return false;
    if (pattern && (!pattern[0] || *n == ARRAY_LEN(gpt2->patterns)))
        return false;
    if (pattern)
        patterns[(*n)++] = pattern;
    return true;
}

/* The name GGUF has for this way of cutting; also what goes with the name must agree. */
static void write_pre(struct vocabulary *v, const json_t *root)
{
    const json_t *o = json_object_get(root, "pre_tokenizer");
    const json_t *model = json_object_get(root, "model");
    const json_t *steps = json_object_get(o, "pretokenizers");
    const char *patterns[3] = {NULL}, *form = str(json_object_get(root, "normalizer"), "type");
    bool ignore = json_is_true(json_object_get(model, "ignore_merges")), fine = true;
    const struct gguf_pre *pre;
    size_t n = 0;
    if (json_is_array(steps))
        for (size_t i = 0; i < json_array_size(steps); i++)
            fine = fine && add_pattern(json_array_get(steps, i), patterns, &n);
    else
        fine = add_pattern(o, patterns, &n);
    bool nfc = strcmp(form, "NFC") == 0;
    pre = fine && (nfc || !form[0]) ? gguf_pre_like(patterns, n, ignore, nfc) : NULL;
    if (pre)
        gguf_out_text(v->c->out, "tokenizer.ggml.pre", pre->names, strcspn(pre->names, " "));
    else
        err_set(v->c->e, E_UNSUPPORTED, "tokenizer.json: GGUF has no name for how it cuts texts");
}

static void write_merges(struct vocabulary *v, const json_t *model)
{
    const json_t *merges = json_object_get(model, "merges");
    gguf_out_texts(v->c->out, "tokenizer.ggml.merges", json_array_size(merges));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *m = json_array_get(merges, i);
        char pair[4 * LIMIT_TOKEN_BYTES + 2];
        const char *whole = json_string_value(m);
        if (!whole) {
            const char *a = json_string_value(json_array_get(m, 0));
            const char *b = json_string_value(json_array_get(m, 1));
            snprintf(pair, sizeof pair, "%s %s", a ? a : "", b ? b : "");
            whole = pair;
        }
        gguf_out_element(v->c->out, whole, strlen(whole));
    }
}

/* Ids of added tokens that swallow the white space beside them: a list of our own. */
static void write_strips(struct vocabulary *v, const json_t *added, const char *side,
                         const char *key)
{
    size_t n = 0;
    int32_t *ids = mem_array(json_array_size(added) + 1, sizeof *ids);
    for (size_t i = 0; ids && i < json_array_size(added); i++) {
        const json_t *o = json_array_get(added, i);
        if (json_is_true(json_object_get(o, side)))
            ids[n++] = (int32_t)json_integer_value(json_object_get(o, "id"));
    }
    if (n)
        gguf_out_ints(v->c->out, key, ids, n);
    mem_free(ids);
}

/* tokenizer_open has checked the file: every id and text is there and in range. */
static void write_bpe(struct vocabulary *v, const char *path)
{
    json_t *root, *id;
    const char *text;
    if (jsontext_read(&root, path, LIMIT_TOKENIZER_BYTES, VALUES_MAX, v->c->e) < 0)
        return;
    json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    if (json_is_true(json_object_get(model, "byte_fallback"))) {
        char spm[4096];
        if (path_of(v, "tokenizer.model", spm, sizeof spm))
            write_spm(v, spm);
        else
            err_set(v->c->e, E_UNSUPPORTED, "tokenizer.json: byte pairs that fall back to bytes "
                    "are written from a tokenizer.model, which is not there");
        json_decref(root);
        return;
    }
    json_t *vocab = json_object_get(model, "vocab");
    json_object_foreach(vocab, text, id) {
        set_word(v, json_integer_value(id), text, strlen(text), TYPE_NORMAL);
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *o = json_array_get(added, i);
        int64_t at = json_integer_value(json_object_get(o, "id"));
        text = str(o, "content");
        set_word(v, at, text, strlen(text),
                 tokenizer_is_special(v->t, (int32_t)at) ? TYPE_CONTROL : TYPE_USER_DEFINED);
    }
    gguf_out_text(v->c->out, "tokenizer.ggml.model", "gpt2", 4);
    write_pre(v, root);
    if (v->c->e->code == 0) {
        write_words(v);
        write_merges(v, model);
        write_strips(v, added, "lstrip", "recurd.tokenizer.lstrip");
        write_strips(v, added, "rstrip", "recurd.tokenizer.rstrip");
    }
    json_decref(root);
}

/* ---- byte pairs of other files ---------------------------------------------------------- */

static void write_sides(struct vocabulary *v, const struct bpe_export *x)
{
    static const char *const keys[] = {"recurd.tokenizer.lstrip", "recurd.tokenizer.rstrip"};
    int32_t *ids = mem_array((size_t)v->n, sizeof *ids);
    for (int side = 0; ids && side < 2; side++) {
        size_t n = 0;
        for (int32_t i = 0; i < v->n; i++)
            if (bpe_export_strips(x, i, side))
                ids[n++] = i;
        if (n)
            gguf_out_ints(v->c->out, keys[side], ids, n);
    }
    if (!ids)
        err_set(v->c->e, E_NOMEM, "no memory for %d tokens", v->n);
    mem_free(ids);
}

/* Whatever file the tokenizer was read from. False: it is none of byte pairs. */
static bool write_named(struct vocabulary *v)
{
    static const int32_t types[] = {[BPE_WORD] = TYPE_NORMAL, [BPE_SPECIAL] = TYPE_CONTROL,
                                    [BPE_ADDED] = TYPE_USER_DEFINED};
    struct gguf_out *out = v->c->out;
    struct bpe_export *x = NULL;
    struct arena texts;
    const char *text;
    size_t n;
    if (bpe_export_open(&x, v->t, v->c->e) < 0 || !x)
        return v->c->e->code != 0;
    arena_init(&texts, 4 * (size_t)LIMIT_TOKENIZER_BYTES);
    for (int32_t i = 0; i < v->n && v->c->e->code == 0; i++) {
        enum bpe_kind kind = bpe_export_token(x, i, &text, &n);
        char *copy = kind == BPE_NONE ? NULL : arena_copy(&texts, text, n);
        if (copy)
            set_word(v, i, copy, n, types[kind]);
        else if (kind != BPE_NONE)
            err_set(v->c->e, E_NOMEM, "no memory for %d tokens", v->n);
    }
    const char *names = bpe_export_pre(x)->names;
    gguf_out_text(out, "tokenizer.ggml.model", "gpt2", 4);
    gguf_out_text(out, "tokenizer.ggml.pre", names, strcspn(names, " "));
    write_words(v);
    gguf_out_texts(out, "tokenizer.ggml.merges", bpe_export_merges(x));
    for (size_t i = 0; i < bpe_export_merges(x); i++) {
        text = bpe_export_merge(x, i, &n);
        gguf_out_element(out, text, n);
    }
    write_sides(v, x);
    arena_free(&texts);
    bpe_export_close(x);
    return true;
}

/* ---- RWKV ------------------------------------------------------------------------------- */

/* Bytes as a Python literal has them between its quotes. */
static size_t escape(const char *p, size_t n, char *out)
{
    static const char plain[] = "\\'\n\r\t", after[] = "\\'nrt";
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        const char *at = c ? strchr(plain, c) : NULL;
        if (at) {
            out[k++] = '\\';
            out[k++] = after[at - plain];
        } else if (c < 0x20 || c >= 0x7f) {
            k += (size_t)snprintf(out + k, 5, "\\x%02x", c);
        } else {
            out[k++] = (char)c;
        }
    }
    return k;
}

static void write_rwkv(struct vocabulary *v, const char *path)
{
    (void)path;
    struct buf all;
    size_t n, at = 0;
    char text[4 * LIMIT_TOKEN_BYTES + 1];
    buf_init(&all, 4 * LIMIT_TOKENIZER_BYTES);
    for (int pass = 0; pass < 2; pass++) /* the buffer moves as it grows: texts are set last */
        for (int32_t i = 1; i < tokenizer_size(v->t); i++) {
            const char *p = tokenizer_piece_shown(v->t, i, &n);
            size_t k = escape(p, n, text);
            if (n && pass == 0)
                buf_add(&all, text, k);
            else if (n)
                set_word(v, i, all.p + at, k, TYPE_NORMAL);
            at += pass ? k : 0;
        }
    set_word(v, 0, "<s>", 3, TYPE_CONTROL);
    gguf_out_text(v->c->out, "tokenizer.ggml.model", "rwkv", 4);
    if (all.failed)
        err_set(v->c->e, E_NOMEM, "no memory for %d tokens", v->n);
    else
        write_words(v);
    buf_free(&all);
}

/* ---- PLaMo ------------------------------------------------------------------------------ */

static void write_plamo(struct vocabulary *v, const char *path)
{
    static const int32_t types[] = {
        [PLAMO_WORD] = TYPE_NORMAL, [PLAMO_BYTE] = TYPE_BYTE, [PLAMO_SPECIAL] = TYPE_CONTROL,
        [PLAMO_ADDED] = TYPE_USER_DEFINED};
    float *scores = mem_array((size_t)v->n, sizeof *scores);
    char (*bytes)[8] = mem_array(256, sizeof *bytes);
    struct plamo_word w;
    (void)path;
    if (!scores || !bytes)
        err_set(v->c->e, E_NOMEM, "no memory for %d scores", v->n);
    for (int32_t i = 0; v->c->e->code == 0 && i < v->n && plamo_export(v->t, i, &w); i++) {
        char *byte = w.kind == PLAMO_BYTE ? bytes[(unsigned char)w.text[0]] : NULL;
        scores[i] = (float)w.score;
        if (byte)
            set_word(v, i, byte, (size_t)snprintf(byte, sizeof *bytes, "<0x%02X>",
                                                  (unsigned)(unsigned char)w.text[0]), TYPE_BYTE);
        else if (w.kind != PLAMO_NONE)
            set_word(v, i, w.text, w.n, types[w.kind]);
    }
    gguf_out_text(v->c->out, "tokenizer.ggml.model", "plamo2", 6);
    if (v->c->e->code == 0) {
        write_words(v);
        gguf_out_nums(v->c->out, "tokenizer.ggml.scores", scores, (size_t)v->n);
    }
    mem_free(scores);
    mem_free(bytes);
}

/* ---- the whole -------------------------------------------------------------------------- */

static void write_ids(const struct vocabulary *v)
{
    struct gguf_out *out = v->c->out;
    const struct chat_options co = {.dir = v->c->dir};
    struct chat *chat = NULL;
    if (chat_open(&chat, &co, v->t, v->c->e) < 0)
        return;
    const char *text = chat ? chat_template_text(chat, false) : NULL;
    if (tokenizer_bos(v->t) >= 0)
        gguf_out_int(out, "tokenizer.ggml.bos_token_id", tokenizer_bos(v->t));
    if (tokenizer_eos(v->t) >= 0)
        gguf_out_int(out, "tokenizer.ggml.eos_token_id", tokenizer_eos(v->t));
    gguf_out_bool(out, "tokenizer.ggml.add_bos_token", tokenizer_adds_bos(v->t));
    if (text)
        gguf_out_text(out, "tokenizer.chat_template", text, strlen(text));
    chat_close(chat);
}

static void write_source(struct vocabulary *v)
{
    static const struct {
        const char *file;
        void (*write)(struct vocabulary *v, const char *path);
    } sources[] = {{"tokenizer.json", write_bpe}, {"tokenizer.model", write_spm},
                   {"rwkv_vocab_v20230424.txt", write_rwkv},
                   {"tokenizer.jsonl", write_plamo}};
    const char *source = tokenizer_source(v->t);
    char path[4096];
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        if (strcmp(source, sources[i].file) == 0 && path_of(v, source, path, sizeof path)) {
            if (i > 0 && write_named(v)) /* a tokenizer.model may hold words by rank */
                return;
            sources[i].write(v, path);
            return;
        }
    if (!write_named(v))
        err_set(v->c->e, E_UNSUPPORTED, "%s cannot be written as GGUF; a tokenizer.json can",
                source);
}

void convert_vocabulary(struct convert *c)
{
    int64_t rows = config_int(c->config, "vocab_size", 0, 0, LIMIT_VOCAB, c->e);
    struct vocabulary v = {.c = c, .n = (int32_t)rows};
    int64_t bos = config_int(c->config, "bos_token_id", -1, -1, INT32_MAX, NULL);
    if (tokenizer_open(&v.t, c->dir, v.n, c->e) < 0)
        return;
    if (!v.t) { /* ids alone */
        gguf_out_text(c->out, "tokenizer.ggml.model", "none", 4);
        if (bos >= 0)
            gguf_out_int(c->out, "tokenizer.ggml.bos_token_id", bos);
        return;
    }
    v.words = mem_array((size_t)v.n, sizeof *v.words);
    if (!v.words) {
        err_set(c->e, E_NOMEM, "no memory for %d tokens", v.n);
    } else {
        memset(v.words, 0, (size_t)v.n * sizeof *v.words);
        write_source(&v);
        if (c->e->code == 0)
            write_ids(&v);
    }
    mem_free(v.words);
    tokenizer_close(v.t);
}
