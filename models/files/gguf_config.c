/* GGUF metadata -> the config.json of the family. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonread.h"
#include "base/mem.h"
#include "models/files/gguf_view.h"

#define KEY_MAX 128

const struct gguf_value *gguf_arch_get(const struct gguf *g, const struct gguf_map *map,
                                       const char *name)
{
    char key[KEY_MAX];
    snprintf(key, sizeof key, "%s.%s", map->arch, name);
    return gguf_get(g, key);
}

int64_t gguf_arch_int(const struct gguf *g, const struct gguf_map *map, const char *name,
                      int64_t dflt)
{
    const struct gguf_value *v = gguf_arch_get(g, map, name);
    int64_t most = dflt, x;
    bool any = false;
    for (uint64_t i = 0; v && i < MIN(v->n, (uint64_t)LIMIT_LAYERS); i++)
        if (gguf_int(v, i, &x)) {
            most = any ? MAX(most, x) : x;
            any = true;
        }
    return most;
}

int64_t gguf_layers(const struct gguf *g, const struct gguf_map *map)
{
    int64_t n = gguf_arch_int(g, map, "block_count", 0);
    int64_t draft = gguf_arch_int(g, map, "nextn_predict_layers", 0);
    return draft > 0 && draft < n ? n - draft : n;
}

bool gguf_attends(const struct gguf *g, const struct gguf_map *map, int64_t layer)
{
    char name[KEY_MAX];
    snprintf(name, sizeof name, "blk.%" PRId64 "%s", layer, map->attends);
    return gguf_find(g, name);
}

struct writer {
    const struct gguf *g;
    const struct gguf_map *map;
    json_t *root;
    struct err *e;
};

/* Sets root[key], or root[a][b] for "a.b", unless it is there; v is taken. */
static void set(struct writer *w, const char *key, json_t *v)
{
    const char *dot = strchr(key, '.');
    json_t *o = w->root;
    if (dot) {
        char outer[KEY_MAX];
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - key), key);
        o = json_object_get(w->root, outer);
        if (!o && json_object_set_new(w->root, outer, o = json_object()) < 0)
            o = NULL;
        key = dot + 1;
    }
    if (json_object_get(o, key))
        json_decref(v);
    else if (!v || json_object_set_new(o, key, v) < 0)
        err_set(w->e, E_NOMEM, "%s: out of memory for its configuration", gguf_path(w->g));
}

static void set_int(struct writer *w, const char *key, int64_t x)
{
    set(w, key, json_integer(x));
}

static json_t *constant(const char *text)
{
    return jsonread(text, strlen(text), JSON_DECODE_ANY, NULL);
}

/* KEY_QUOTIENT and KEY_RATIO. */
static void set_quotient(struct writer *w, const struct gguf_key *k, double x)
{
    double by = 0;
    if (!gguf_num(gguf_arch_get(w->g, w->map, k->by), 0, &by) || by <= 0)
        err_set(w->e, E_FORMAT, "%s: %s.%s is missing or not above 0", gguf_path(w->g),
                w->map->arch, k->by);
    else if (k->kind == KEY_RATIO)
        set(w, k->key, json_real(x / by));
    else if ((int64_t)x % (int64_t)by)
        err_set(w->e, E_CONFLICT, "%s: %s.%s is %g, no multiple of %s.%s, which is %g",
                gguf_path(w->g), w->map->arch, k->gguf, x, w->map->arch, k->by, by);
    else
        set_int(w, k->key, (int64_t)x / (int64_t)by);
}

/* KEY_LESS. */
static void set_less(struct writer *w, const struct gguf_key *k, int64_t n)
{
    int64_t by = 0;
    if (!gguf_int(gguf_arch_get(w->g, w->map, k->by), 0, &by) || by < 0 || by >= n)
        err_set(w->e, E_CONFLICT, "%s: %s.%s is %" PRId64 ", not more than %s.%s, which is %"
                PRId64, gguf_path(w->g), w->map->arch, k->gguf, n, w->map->arch, k->by, by);
    else
        set_int(w, k->key, n - by);
}

/* KEY_DIVISOR. */
static void set_divided(struct writer *w, const struct gguf_key *k, int64_t n)
{
    int64_t by = 0;
    if (!gguf_int(gguf_arch_get(w->g, w->map, k->by), 0, &by) || by < 1 || n < 1 || by % n)
        err_set(w->e, E_CONFLICT, "%s: %s.%s is %" PRId64 ", no multiple of %s.%s, which is %"
                PRId64, gguf_path(w->g), w->map->arch, k->by, by, w->map->arch, k->gguf, n);
    else
        set_int(w, k->key, by / n);
}

static void wrong(struct writer *w, const struct gguf_key *k, const char *expected)
{
    err_set(w->e, E_FORMAT, "%s: %s.%s is not %s", gguf_path(w->g), w->map->arch, k->gguf,
            expected);
}

static void set_either(struct writer *w, const struct gguf_key *k, bool yes)
{
    char first[32] = "", second[32] = "";
    sscanf(k->by, "%31s %31s", first, second);
    set(w, k->key, json_string(yes ? first : second));
}

/* Word n of k->by; "" where it has fewer. */
static void word_at(const struct gguf_key *k, int64_t n, char out[32])
{
    const char *p = k->by;
    int used;
    for (out[0] = 0; n >= 0 && sscanf(p, "%31s%n", out, &used) == 1; n--)
        p += used;
    if (n >= 0)
        out[0] = 0;
}

static void set_word(struct writer *w, const struct gguf_key *k, int64_t n)
{
    char word[32];
    word_at(k, n, word);
    if (word[0])
        set(w, k->key, json_string(word));
    else
        err_set(w->e, E_UNSUPPORTED, "%s: %s.%s is %" PRId64 "; 0 to the last of %s is known",
                gguf_path(w->g), w->map->arch, k->gguf, n, k->by);
}

/* KEY_ABSENT. */
static void refuse(struct writer *w, const struct gguf_key *k, const struct gguf_value *v)
{
    double x;
    for (uint64_t i = 0; i < v->n; i++)
        if (!gguf_num(v, i, &x) || x != 0) {
            err_set(w->e, E_UNSUPPORTED, "%s: %s.%s is not supported", gguf_path(w->g),
                    w->map->arch, k->gguf);
            return;
        }
}

static void read_key(struct writer *w, const struct gguf_key *k)
{
    const struct gguf_value *v = k->gguf ? gguf_arch_get(w->g, w->map, k->gguf) : NULL;
    double x = 0;
    int64_t n;
    switch (k->kind) {
    case KEY_ALIAS:
    case KEY_FIXED:
    case KEY_MUST: return;
    case KEY_CONSTANT: set(w, k->key, constant(k->by)); return;
    case KEY_TENSOR: set(w, k->key, json_boolean(gguf_find(w->g, k->gguf) != NULL)); return;
    default: break;
    }
    if (!v) {
        if (k->need)
            err_set(w->e, E_FORMAT, "%s: %s.%s is missing", gguf_path(w->g), w->map->arch,
                    k->gguf);
        return;
    }
    if (k->kind == KEY_ABSENT) {
        refuse(w, k, v);
    } else if (k->kind == KEY_EITHER) {
        set_either(w, k, gguf_bool(v, false));
    } else if (k->kind == KEY_BOOL) {
        set(w, k->key, json_boolean(gguf_bool(v, false)));
    } else if (k->kind == KEY_MOST || k->kind == KEY_SAME) {
        n = gguf_arch_int(w->g, w->map, k->gguf, -1);
        if (k->kind == KEY_SAME && !gguf_int(v, 0, &n) && gguf_num(v, 0, &x))
            set(w, k->key, json_real(x));
        else if (n < 0 || n > INT32_MAX)
            wrong(w, k, "a count, nor a list of them");
        else if (n > 0)
            set_int(w, k->key, n);
    } else if (!gguf_num(v, 0, &x)) {
        wrong(w, k, "a number");
    } else if (k->kind == KEY_NUM) {
        set(w, k->key, json_real(x));
    } else if (!gguf_int(v, 0, &n) || n < 0 || n > INT32_MAX) {
        wrong(w, k, "a count that fits 31 bits");
    } else if (k->kind == KEY_QUOTIENT || k->kind == KEY_RATIO) {
        set_quotient(w, k, x);
    } else if (k->kind == KEY_LESS) {
        set_less(w, k, n);
    } else if (k->kind == KEY_DIVISOR) {
        set_divided(w, k, n);
    } else if (k->kind == KEY_WORD) {
        set_word(w, k, n);
    } else {
        set_int(w, k->key, n);
    }
}

/* ---- layers ----------------------------------------------------------------------------- */

static int64_t at(const struct gguf_value *v, int64_t i, int64_t dflt)
{
    int64_t x = dflt;
    if (v && v->kind != GGUF_ARRAY)
        (void)!gguf_int(v, 0, &x);
    else if (v)
        (void)!gguf_int(v, (uint64_t)i, &x);
    return x;
}

/* The kind of every layer, from which of them have keys and which have a feed-forward width.
 * Where nothing tells, the family's own rule does. */
static void read_layers(struct writer *w, int64_t layers)
{
    const struct gguf_map *m = w->map;
    const struct gguf_value *kv = gguf_arch_get(w->g, m, "attention.head_count_kv");
    const struct gguf_value *recurrent = gguf_arch_get(w->g, m, "attention.recurrent_layers");
    const struct gguf_value *ff = gguf_arch_get(w->g, m, "feed_forward_length");
    const struct gguf_value *list = recurrent ? recurrent : kv;
    bool told = list && list->kind == GGUF_ARRAY;
    if (!m->types_key || (!told && !m->attends))
        return;
    if (told && list->n < (uint64_t)layers) {
        err_set(w->e, E_FORMAT, "%s: %.*s has %" PRIu64 " entries for %" PRId64 " layers",
                gguf_path(w->g), (int)MIN(list->key.n, 80), list->key.p, list->n, layers);
        return;
    }
    bool experts = gguf_arch_int(w->g, m, "expert_count", 0) > 0;
    json_t *types = json_array();
    for (int64_t i = 0; types && i < layers; i++) {
        bool attends = !told       ? gguf_attends(w->g, m, i)
                       : recurrent ? at(recurrent, i, 0) == 0
                                   : at(kv, i, 0) > 0;
        bool feeds = !attends && m->types[2] && at(ff, i, 0) > 0;
        const char *word = attends ? m->types[1] : feeds ? m->types[2 + experts] : m->types[0];
        if (json_array_append_new(types, json_string(word)) < 0)
            err_set(w->e, E_NOMEM, "%s: out of memory for its layers", gguf_path(w->g));
    }
    set(w, m->types_key, types);
}

/* ---- rotation --------------------------------------------------------------------------- */

/* What stretches the rotation: none, linear or yarn; other ways are refused. */
static void read_rope(struct writer *w)
{
    static const struct gguf_key yarn[] = {
        {"rope_parameters.factor", "rope.scaling.factor", KEY_NUM, true, NULL},
        {"rope_parameters.original_max_position_embeddings",
         "rope.scaling.original_context_length", KEY_INT, false, NULL},
        {"rope_parameters.beta_fast", "rope.scaling.yarn_beta_fast", KEY_NUM, false, NULL},
        {"rope_parameters.beta_slow", "rope.scaling.yarn_beta_slow", KEY_NUM, false, NULL}};
    const struct gguf_value *type = gguf_arch_get(w->g, w->map, "rope.scaling.type");
    struct gguf_string s = gguf_text(type);
    if (!type || gguf_text_is(type, "none"))
        return;
    bool linear = gguf_text_is(type, "linear");
    if (!linear && !gguf_text_is(type, "yarn")) {
        err_set(w->e, E_UNSUPPORTED, "%s: %s.rope.scaling.type is %.*s; none, linear and yarn are "
                "understood", gguf_path(w->g), w->map->arch, (int)MIN(s.n, 40), s.p ? s.p : "");
        return;
    }
    set(w, "rope_parameters.rope_type", json_string(linear ? "linear" : "yarn"));
    for (size_t i = 0; i < (linear ? 1 : ARRAY_LEN(yarn)); i++)
        read_key(w, &yarn[i]);
    static const char *const others[] = {"rope.scaling.yarn_ext_factor",
                                         "rope.scaling.yarn_attn_factor",
                                         "rope.scaling.attn_factor",
                                         "rope.scaling.yarn_log_multiplier"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (gguf_arch_get(w->g, w->map, others[i]))
            err_set(w->e, E_UNSUPPORTED, "%s: %s.%s is not supported", gguf_path(w->g),
                    w->map->arch, others[i]);
}

/* ---- the whole -------------------------------------------------------------------------- */

static void read_ends(struct writer *w)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    /* An RWKV file names the blank line as the end of a turn: true of chats alone. */
    size_t n = gguf_text_is(gguf_get(w->g, "tokenizer.ggml.model"), "rwkv") ? 1 : ARRAY_LEN(keys);
    json_t *ends = json_array();
    int64_t id;
    for (size_t i = 0; ends && i < n; i++)
        if (gguf_int(gguf_get(w->g, keys[i]), 0, &id) && id >= 0 && id < LIMIT_VOCAB)
            json_array_append_new(ends, json_integer(id));
    set(w, "eos_token_id", ends);
    if (gguf_int(gguf_get(w->g, "tokenizer.ggml.bos_token_id"), 0, &id) && id >= 0 &&
        id < LIMIT_VOCAB)
        set_int(w, "bos_token_id", id);
}

static void read_sizes(struct writer *w)
{
    const struct gguf_tensor *embedding = gguf_find(w->g, "token_embd.weight");
    int64_t layers = gguf_layers(w->g, w->map);
    int64_t width = gguf_arch_int(w->g, w->map, "embedding_length", 0);
    int64_t positions = gguf_arch_int(w->g, w->map, "context_length", 0);
    if (layers < 1 || layers > LIMIT_LAYERS)
        err_set(w->e, E_RANGE, "%s: %s.block_count is %" PRId64 ", 1 to %d are supported",
                gguf_path(w->g), w->map->arch, layers, LIMIT_LAYERS);
    if (width < 1 || width > LIMIT_WIDTH)
        err_set(w->e, E_RANGE, "%s: %s.embedding_length is %" PRId64 ", 1 to %d are supported",
                gguf_path(w->g), w->map->arch, width, LIMIT_WIDTH);
    if (!embedding || embedding->n_dims != 2)
        err_set(w->e, E_FORMAT, "%s: tensor token_embd.weight %s", gguf_path(w->g),
                embedding ? "is not a matrix" : "is missing");
    if (w->e->code)
        return;
    set_int(w, "hidden_size", width);
    set_int(w, "num_hidden_layers", layers);
    set_int(w, "vocab_size", embedding->shape[0]);
    if (positions > 0 && positions <= INT32_MAX)
        set_int(w, "max_position_embeddings", positions);
    set(w, "tie_word_embeddings", json_boolean(!gguf_find(w->g, "output.weight")));
    read_layers(w, layers);
}

int gguf_config(struct config **out, const struct gguf *g, const struct gguf_map *map,
                struct err *e)
{
    struct err mine = {0};
    e = e ? e : &mine;
    struct writer w = {g, map, json_object(), e};
    if (!w.root)
        return err_set(e, E_NOMEM, "%s: out of memory", gguf_path(g));
    read_sizes(&w);
    GGUF_EACH_KEY(map, k)
        if (e->code == 0)
            read_key(&w, k);
    set(&w, "model_type", json_string(map->model_type)); /* unless a key said it */
    if (e->code == 0)
        read_rope(&w);
    if (e->code == 0)
        read_ends(&w);
    char *text = e->code ? NULL : json_dumps(w.root, JSON_REAL_PRECISION(17));
    json_decref(w.root);
    if (e->code == 0 && !text)
        return err_set(e, E_NOMEM, "%s: out of memory for its configuration", gguf_path(g));
    if (text)
        (void)!config_parse(out, text, strlen(text), gguf_path(g), e);
    free(text);
    return e->code;
}
