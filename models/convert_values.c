/* config.json -> GGUF metadata, by the same rows that read it (gguf_config.c). A key that no row
 * writes and the map does not call unimportant is refused by name. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonread.h"
#include "models/convert_int.h"
#include "models/gguf.h"
#include "models/model.h"

#define KEY_MAX 128

/* ---- the map ---------------------------------------------------------------------------- */

static bool has_experts(const struct convert *c)
{
    for (size_t i = 0; i < checkpoint_count(c->ck); i++)
        if (strstr(checkpoint_at(c->ck, i)->name, ".experts."))
            return true;
    return false;
}

/* Whether the checkpoint's names are those of the map, by the first. */
static bool speaks(struct convert *c, const struct gguf_map *m)
{
    c->map = m;
    return convert_find(c, m->names[0], -1, 0);
}

/* The first map of this model_type with these names; of two, that for experts where the checkpoint
 * has some. */
static void choose_map(struct convert *c)
{
    char type[64];
    bool sparse = has_experts(c);
    snprintf(type, sizeof type, "%s", config_str(c->config, "model_type", "", c->e));
    if (strncmp(type, "qwen3_5", 7) == 0 && !strstr(type, "_text"))
        snprintf(type + strlen(type), sizeof type - strlen(type), "_text");
    if (strcmp(type, "falcon_mamba") == 0)
        snprintf(type, sizeof type, "mamba");
    const struct gguf_map *m, *best = NULL;
    bool fits = false;
    for (size_t i = 0; (m = gguf_map_at(i)); i++)
        if (strcmp(m->model_type, type) == 0 && (!best || (speaks(c, m) && (!fits || sparse)))) {
            fits = speaks(c, m);
            best = m;
        }
    c->map = best;
    if (!c->map)
        err_set(c->e, E_UNSUPPORTED, "config.json: GGUF has no architecture here for model_type "
                "\"%s\"", type);
}

/* ---- reading our side ------------------------------------------------------------------- */

/* The object and the last name of "a.b"; NULL: there is no such object. Older files have what
 * turns a head beside everything else. */
static const struct config *inside(const struct convert *c, const char *key, const char **name)
{
    const char *dot = strchr(key, '.');
    char outer[KEY_MAX];
    *name = dot ? dot + 1 : key;
    if (!dot)
        return c->config;
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - key), key);
    const struct config *o = config_obj(c->config, outer, NULL);
    return !o && strcmp(outer, "rope_parameters") == 0 ? c->config : o;
}

static bool has(const struct convert *c, const char *key)
{
    const char *name;
    const struct config *o = inside(c, key, &name);
    return o && config_has(o, name);
}

static double number(const struct convert *c, const char *key)
{
    const char *name;
    const struct config *o = inside(c, key, &name);
    return config_num(o, name, 0, c->e);
}

/* The value of `gguf`, from the row that has it; 0: none has. */
static double value_of(const struct convert *c, const char *gguf)
{
    if (strcmp(gguf, "embedding_length") == 0)
        return number(c, "hidden_size");
    GGUF_EACH_KEY(c->map, k) {
        if (!k->gguf || strcmp(k->gguf, gguf) || !has(c, k->key))
            continue;
        double x = number(c, k->key);
        return k->kind == KEY_LESS                                 ? x + value_of(c, k->by)
               : k->kind == KEY_QUOTIENT || k->kind == KEY_RATIO ? x * value_of(c, k->by)
               : k->kind == KEY_DIVISOR && x > 0                 ? value_of(c, k->by) / x
                                                                  : x;
    }
    return 0;
}

/* ---- one key ---------------------------------------------------------------------------- */

static const char *full(const struct convert *c, const char *name, char out[KEY_MAX])
{
    snprintf(out, KEY_MAX, "%s.%s", c->map->arch, name);
    return out;
}

/* Whether JSON text and our value are the same; numbers by value. */
static bool is_constant(const struct convert *c, const char *key, const char *text)
{
    const char *name;
    const struct config *o = inside(c, key, &name);
    json_t *want = jsonread(text, strlen(text), JSON_DECODE_ANY, NULL);
    struct err quiet = {0};
    bool same = false;
    if (json_is_boolean(want))
        same = config_bool(o, name, !json_is_true(want), &quiet) == json_is_true(want);
    else if (json_is_string(want))
        same = !strcmp(config_str(o, name, "", &quiet), json_string_value(want));
    else if (json_is_number(want))
        same = config_num(o, name, NAN, &quiet) == json_number_value(want);
    for (size_t i = 0; json_is_array(want) && i < json_array_size(want); i++) {
        same = config_num_at(o, name, (int64_t)i, NAN, &quiet) ==
               json_number_value(json_array_get(want, i));
        if (!same)
            break;
    }
    json_decref(want);
    return same && quiet.code == 0;
}

/* Rows of the tensor `by`, whose name is ours; of each matrix where it is a stack. */
static int64_t tensor_rows(const struct convert *c, const char *name)
{
    const struct tensor *t = checkpoint_find(c->ck, name);
    if (t && t->n_dims > 0)
        return t->shape[MAX(t->n_dims - 2, 0)];
    return 1; /* a file of one layer has no second to look at */
}

static bool ignored(const struct convert *c, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = c->map->ignored; (p = strstr(p, key)); p += n)
        if ((p == c->map->ignored || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0))
            return true;
    return false;
}

/* Keys that rows have written so far: a constant need not hold for those. */
struct done { const char *keys[64]; int n; };

static bool is_done(const struct done *d, const char *key)
{
    for (int i = 0; i < d->n; i++)
        if (strcmp(d->keys[i], key) == 0)
            return true;
    return false;
}

static void write_either(struct convert *c, const struct gguf_key *k)
{
    char name[KEY_MAX], first[32] = "", second[32] = "";
    const char *is = config_str(c->config, k->key, "", c->e);
    sscanf(k->by, "%31s %31s", first, second);
    if (strcmp(is, first) && strcmp(is, second))
        err_set(c->e, E_UNSUPPORTED, "config.json: %s is \"%.40s\", GGUF can say %s or %s", k->key,
                is, first, second);
    gguf_out_bool(c->out, full(c, k->gguf, name), strcmp(is, first) == 0);
}

static void write_word(struct convert *c, const struct gguf_key *k, const char *name)
{
    const char *is = config_str(c->config, k->key, "", c->e);
    char word[32];
    int used, i = 0;
    for (const char *p = k->by; sscanf(p, "%31s%n", word, &used) == 1; p += used, i++)
        if (strcmp(word, is) == 0) {
            gguf_out_int(c->out, name, i);
            return;
        }
    err_set(c->e, E_UNSUPPORTED, "config.json: %s is \"%.40s\", GGUF can say %s", k->key, is,
            k->by);
}

static void check_same(struct convert *c, const struct gguf_key *k)
{
    if (number(c, k->key) != number(c, k->by))
        err_set(c->e, E_UNSUPPORTED, "config.json: %s is %g and %s %g; GGUF's %s has one number "
                "for both", k->key, number(c, k->key), k->by, number(c, k->by), c->map->arch);
}

static void write_key(struct convert *c, const struct gguf_key *k, struct done *d)
{
    char name[KEY_MAX];
    bool there = has(c, k->key);
    bool fixed = k->kind == KEY_CONSTANT || k->kind == KEY_MUST;
    if (fixed && there && !is_done(d, k->key) && !ignored(c, k->key) &&
        !is_constant(c, k->key, k->by))
        err_set(c->e, E_UNSUPPORTED, "config.json: GGUF's %s cannot say %s other than %s",
                c->map->arch, k->key, k->by);
    if (fixed || k->kind == KEY_TENSOR || k->kind == KEY_ABSENT)
        return;
    if (k->kind == KEY_FIXED) {
        gguf_out_int(c->out, full(c, k->gguf, name), strtoll(k->by, NULL, 10));
        return;
    }
    if (k->kind != KEY_ROWS && !there) {
        if (k->need)
            err_set(c->e, E_FORMAT, "config.json: %s is missing, GGUF's %s.%s needs it", k->key,
                    c->map->arch, k->gguf);
        return;
    }
    if (d->n < (int)ARRAY_LEN(d->keys))
        d->keys[d->n++] = k->key;
    full(c, k->gguf, name);
    switch (k->kind) {
    case KEY_INT: gguf_out_int(c->out, name, (int64_t)number(c, k->key)); return;
    case KEY_ALIAS:
        if (number(c, k->by) != 1)
            err_set(c->e, E_UNSUPPORTED, "config.json: with %s, GGUF's %s cannot say %s other than "
                    "1", k->key, c->map->arch, k->by); /* fall through */
    case KEY_NUM: gguf_out_num(c->out, name, number(c, k->key)); return;
    case KEY_BOOL: gguf_out_bool(c->out, name, config_bool(c->config, k->key, false, c->e)); return;
    case KEY_ROWS: gguf_out_int(c->out, name, tensor_rows(c, k->by)); return;
    case KEY_EITHER: write_either(c, k); return;
    case KEY_WORD: write_word(c, k, name); return;
    case KEY_SAME: check_same(c, k); return;
    case KEY_LESS:
    case KEY_DIVISOR:
    case KEY_QUOTIENT:
    case KEY_RATIO: gguf_out_int(c->out, name, llround(value_of(c, k->gguf))); return;
    case KEY_MOST: /* a list where layers differ: write_layers */
        if (!c->map->types_key || strcmp(k->gguf, "attention.head_count") == 0)
            gguf_out_int(c->out, name, (int64_t)number(c, k->key));
        return;
    default: return;
    }
}

/* Two rows may lead to one key of the file, as two spellings of ours: the first that is there. */
static bool again(const struct convert *c, const struct gguf_key *k)
{
    (void)has(c, k->key); /* it is understood */
    GGUF_EACH_KEY(c->map, x) {
        if (x == k)
            return false;
        if (x->gguf && k->gguf && k->kind != KEY_SAME && !strcmp(x->gguf, k->gguf) &&
            has(c, x->key))
            return true;
    }
    return false;
}

/* ---- layers ----------------------------------------------------------------------------- */

/* Which layers attend and which only feed forward: lists with 0 for the others. The tensors
 * decide. */
static void write_layers(struct convert *c)
{
    char name[KEY_MAX];
    int32_t kv[LIMIT_LAYERS], ff[LIMIT_LAYERS];
    bool recurrent[LIMIT_LAYERS], interval = false;
    size_t n = (size_t)c->layers;
    int32_t heads = (int32_t)fmax(1, value_of(c, "attention.head_count_kv"));
    int32_t width = (int32_t)value_of(c, c->experts > 0 ? "expert_feed_forward_length"
                                                        : "feed_forward_length");
    if (!c->map->types_key)
        return;
    for (size_t i = 0; i < n; i++) {
        bool attends = c->map->attends
                           ? convert_has(c, c->map->attends, (int64_t)i)
                           : convert_has(c, ".attn_kv_a_mqa.weight", (int64_t)i) ||
                                 (convert_has(c, ".attn_k.weight", (int64_t)i) &&
                                  !convert_has(c, ".ssm_a", (int64_t)i));
        bool feeds = convert_has(c, ".ffn_up.weight", (int64_t)i) ||
                     convert_has(c, ".ffn_up_exps.weight", (int64_t)i);
        kv[i] = attends ? heads : 0;
        recurrent[i] = !attends;
        ff[i] = feeds && !attends ? width : 0;
    }
    GGUF_EACH_KEY(c->map, k)
        interval |= k->gguf && !strcmp(k->gguf, "full_attention_interval");
    if (interval) {
        gguf_out_bools(c->out, full(c, "attention.recurrent_layers", name), recurrent, n);
        gguf_out_int(c->out, full(c, "attention.head_count_kv", name), heads);
    } else {
        gguf_out_ints(c->out, full(c, "attention.head_count_kv", name), kv, n);
    }
    if (c->map->types[2])
        gguf_out_ints(c->out, full(c, "feed_forward_length", name), ff, n);
    else
        GGUF_EACH_KEY(c->map, k)
            if (k->kind == KEY_MOST && !strcmp(k->gguf, "feed_forward_length") && has(c, k->key))
                gguf_out_int(c->out, full(c, k->gguf, name), (int64_t)number(c, k->key));
}

/* ---- the whole -------------------------------------------------------------------------- */

static void write_rope(struct convert *c)
{
    char name[KEY_MAX];
    const struct config *o = config_obj(c->config, "rope_parameters", NULL);
    bool turns = false;
    GGUF_EACH_KEY(c->map, k)
        turns |= k->gguf && !strcmp(k->gguf, "rope.freq_base");
    if (!o)
        o = config_obj(c->config, "rope_scaling", NULL);
    if (!o || !turns)
        return;
    const char *type = config_str(o, "type", "default", c->e);
    type = config_str(o, "rope_type", type, c->e);
    if (strcmp(type, "default") == 0 || strcmp(type, "mrope") == 0)
        return;
    if (strcmp(type, "yarn") && strcmp(type, "linear")) {
        err_set(c->e, E_UNSUPPORTED, "config.json: rope_type \"%.40s\" cannot be written", type);
        return;
    }
    static const struct { const char *ours, *gguf; } keys[] = {
        {"factor", "rope.scaling.factor"}, {"beta_fast", "rope.scaling.yarn_beta_fast"},
        {"beta_slow", "rope.scaling.yarn_beta_slow"}};
    static const char *const cannot[] = {"mscale", "mscale_all_dim", "attention_factor",
                                         "truncate"};
    gguf_out_text(c->out, full(c, "rope.scaling.type", name), type, strlen(type));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (config_has(o, keys[i].ours))
            gguf_out_num(c->out, full(c, keys[i].gguf, name),
                         config_num(o, keys[i].ours, 0, c->e));
    if (config_has(o, "original_max_position_embeddings"))
        gguf_out_int(c->out, full(c, "rope.scaling.original_context_length", name),
                     config_int(o, "original_max_position_embeddings", 0, 0, INT32_MAX, c->e));
    for (size_t i = 0; i < ARRAY_LEN(cannot); i++)
        if (config_has(o, cannot[i]))
            err_set(c->e, E_UNSUPPORTED, "config.json: rope_parameters.%s cannot be written",
                    cannot[i]);
}

static void write_sizes(struct convert *c)
{
    char name[KEY_MAX];
    struct model_source s = {.path = c->o->dir};
    char model[128];
    source_name(&s, model, sizeof model);
    gguf_out_text(c->out, "general.architecture", c->map->arch, strlen(c->map->arch));
    gguf_out_text(c->out, "general.name", model, strlen(model));
    gguf_out_int(c->out, full(c, "block_count", name), c->layers);
    gguf_out_int(c->out, full(c, "embedding_length", name), (int64_t)number(c, "hidden_size"));
    gguf_out_int(c->out, full(c, "vocab_size", name), (int64_t)number(c, "vocab_size"));
    gguf_out_int(c->out, full(c, "context_length", name),
                 has(c, "max_position_embeddings") ? (int64_t)number(c, "max_position_embeddings")
                                                   : 1 << 20);
}

/* Keys that no row has asked for, and whose loss would change the model. */
static void check_unwritten(struct convert *c)
{
    static const char common[] =
        " architectures auto_map model_type torch_dtype dtype transformers_version use_cache "
        "_name_or_path initializer_range bos_token_id eos_token_id pad_token_id unk_token_id "
        "max_position_embeddings vocab_size hidden_size num_hidden_layers fuse_norm fuse_swiglu "
        "fuse_cross_entropy fuse_linear_cross_entropy use_l2warp attn_mode return_dict "
        "output_attentions output_hidden_states tie_word_embeddings chunk_size_feed_forward "
        "id2label label2id problem_type is_encoder_decoder add_cross_attention attention_dropout "
        "hidden_dropout dropout safe_gate init_std initializer_cfg a_init_range conv_init use_gk "
        "use_gv rope_parameters layer_types layers_block_type ";
    char word[KEY_MAX];
    for (const char *k = NULL; (k = config_next_unread(c->config, k));) {
        snprintf(word, sizeof word, " %s ", k);
        if (!strstr(common, word) && !ignored(c, k))
            err_set(c->e, E_UNSUPPORTED, "config.json: GGUF's %s has no place for %s",
                    c->map->arch, k);
    }
}

/* Where only the list of their kinds tells how many layers there are. */
static int64_t listed_layers(const struct convert *c)
{
    const char *pattern = config_str(c->config, "hybrid_override_pattern", "", c->e);
    int64_t n = config_len(c->config, "layers_block_type");
    return n > 0 ? n : (int64_t)strlen(pattern);
}

/* Bounds on the time step are what no GGUF architecture has. */
static void check_limits(struct convert *c)
{
    static const char *const keys[] = {"time_step_limit", "dt_limit"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (config_len(c->config, keys[i]) > 0 &&
            (config_num_at(c->config, keys[i], 0, 0, c->e) != 0 ||
             isfinite(config_num_at(c->config, keys[i], 1, INFINITY, c->e))))
            err_set(c->e, E_UNSUPPORTED, "config.json: GGUF's %s cannot say %s other than 0 to "
                    "infinity", c->map->arch, keys[i]);
}

void convert_values(struct convert *c)
{
    struct done d = {.n = 0};
    const struct config *text = config_obj(c->config, "text_config", NULL);
    c->config = text ? text : c->config;
    choose_map(c);
    if (c->e->code)
        return;
    c->layers = config_int(c->config, "num_hidden_layers", listed_layers(c), 1, LIMIT_LAYERS, c->e);
    c->experts = (int64_t)value_of(c, "expert_count");
    c->heads = (struct gguf_heads){.q = (int64_t)value_of(c, "attention.head_count"),
                                   .k = (int64_t)value_of(c, "attention.head_count_kv"),
                                   .kh = (int64_t)value_of(c, "ssm.group_count"),
                                   .vh = (int64_t)value_of(c, "ssm.time_step_rank"),
                                   .K = (int64_t)value_of(c, "ssm.state_size"),
                                   .dn = (int64_t)(value_of(c, "attention.key_length_mla") -
                                                   value_of(c, "rope.dimension_count")),
                                   .dv = (int64_t)value_of(c, "attention.value_length_mla")};
    if (c->e->code)
        return;
    write_sizes(c);
    GGUF_EACH_KEY(c->map, k)
        if (c->e->code == 0 && !again(c, k))
            write_key(c, k, &d);
    write_layers(c);
    write_rope(c);
    check_limits(c);
    check_unwritten(c);
    if (c->e->code == 0)
        convert_vocabulary(c);
}
