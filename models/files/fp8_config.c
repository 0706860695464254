/* What config.json says of FP8 matrices, in the words of the three tools that publish them. The
 * tensors themselves tell which matrices they are and where scales lie; here only what would make
 * their values mean something else is looked for. Activations stay float32 whatever is said. */
#include <stdio.h>
#include <string.h>

#include "models/files/fp8.h"

#define SECTION "quantization_config"

enum rule {
    ANY,     /* says nothing about the values */
    TEXT,    /* one of the words of `want` */
    NUMBER,  /* the number that `want` begins with */
    BLOCKS,  /* [128, 128] */
    GROUPS,  /* an object of objects: each has a `weights` of the rules below */
    WEIGHTS, /* such an object itself */
};

struct known {
    const char *key;
    enum rule rule;
    const char *want;
};

static const struct known fp8[] = { /* DeepSeek, Qwen, Kimi, transformers */
    {"fmt", TEXT, "e4m3 float8_e4m3fn"}, {"weight_block_size", BLOCKS, NULL},
    {"activation_scheme", ANY, NULL}, {"modules_to_not_convert", ANY, NULL},
    {"ignored_layers", ANY, NULL}, {"scale_fmt", ANY, NULL}, {"dequantize", ANY, NULL}, {0}};
static const struct known modelopt[] = { /* NVIDIA */
    {"quant_algo", TEXT, "FP8"}, {"ignore", ANY, NULL}, {"exclude_modules", ANY, NULL},
    {"producer", ANY, NULL}, {"config_groups", GROUPS, NULL}, {0}};
static const struct known compressed[] = { /* llm-compressor */
    {"format", TEXT, "float-quantized"}, {"config_groups", GROUPS, NULL}, {"ignore", ANY, NULL},
    {"quantization_status", TEXT, "compressed frozen"}, {"version", ANY, NULL},
    {"global_compression_ratio", ANY, NULL}, {0}};
static const struct known group[] = {
    {"weights", WEIGHTS, NULL}, {"input_activations", ANY, NULL}, {"targets", ANY, NULL},
    {"format", TEXT, "float-quantized"}, {0}};
static const struct known weights[] = {
    {"num_bits", NUMBER, "8"}, {"type", TEXT, "float"}, {"strategy", TEXT, "tensor channel block"},
    {"block_structure", BLOCKS, NULL}, {"observer", ANY, NULL}, {"observer_kwargs", ANY, NULL},
    {"symmetric", ANY, NULL}, {0}};

static const struct { const char *method; const struct known *keys; } methods[] = {
    {"fp8", fp8}, {"modelopt", modelopt}, {"compressed-tensors", compressed}};

static void check_keys(const struct config *c, const char *where, const struct known *keys,
                       struct err *e);

static bool is_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; n && (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0))
            return true;
    return false;
}

static void check_blocks(const struct config *c, const char *key, const char *where, struct err *e)
{
    struct err quiet = {0};
    for (int i = 0; i < 2; i++)
        if (config_len(c, key) != 2 || config_int_at(c, key, i, 0, &quiet) != 128)
            err_set(e, E_UNSUPPORTED, "config.json: " SECTION ".%s%s is not [128, 128], which is "
                    "what is supported", where, key);
}

static void check_groups(const struct config *c, const char *key, struct err *e)
{
    const struct config *groups = config_obj(c, key, e);
    char where[160];
    for (const char *k = NULL; groups && (k = config_next_key(groups, k));) {
        snprintf(where, sizeof where, "%s.%.60s.", key, k);
        const struct config *one = config_obj(groups, k, e);
        if (one)
            check_keys(one, where, group, e);
    }
}

static void check_key(const struct config *c, const char *where, const struct known *k,
                      struct err *e)
{
    char inner[200];
    double x;
    switch (k->rule) {
    case ANY: break;
    case TEXT:
        if (!is_word(k->want, config_str(c, k->key, "", e)))
            err_set(e, E_UNSUPPORTED, "config.json: " SECTION ".%s%s is \"%.40s\"; %s is supported",
                    where, k->key, config_str(c, k->key, "", NULL), k->want);
        break;
    case NUMBER:
        x = config_num(c, k->key, 0, e);
        if (x != k->want[0] - '0')
            err_set(e, E_UNSUPPORTED, "config.json: " SECTION ".%s%s is %g; %s is supported", where,
                    k->key, x, k->want);
        break;
    case BLOCKS: check_blocks(c, k->key, where, e); break;
    case GROUPS: check_groups(c, k->key, e); break;
    case WEIGHTS:
        snprintf(inner, sizeof inner, "%s%s.", where, k->key);
        if (config_obj(c, k->key, e))
            check_keys(config_obj(c, k->key, e), inner, weights, e);
        break;
    }
}

static void check_keys(const struct config *c, const char *where, const struct known *keys,
                       struct err *e)
{
    for (const char *key = NULL; e->code == 0 && (key = config_next_key(c, key));) {
        const struct known *k = keys;
        while (k->key && strcmp(k->key, key))
            k++;
        if (config_is_nothing(c, key) || strcmp(key, "quant_method") == 0)
            continue; /* null, false, 0 and empty say nothing */
        if (k->key)
            check_key(c, where, k, e);
        else
            err_set(e, E_UNSUPPORTED, "config.json: " SECTION ".%s%.60s is not supported", where,
                    key);
    }
}

static void check_section(const struct config *c, struct err *e)
{
    const struct config *q = config_obj(c, SECTION, e);
    if (!q)
        return;
    const char *method = config_str(q, "quant_method", "", e);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(methods[i].method, method) == 0) {
            check_keys(q, "", methods[i].keys, e);
            return;
        }
    err_set(e, E_UNSUPPORTED, "config.json: " SECTION ".quant_method is \"%.40s\"; FP8 of fp8, "
            "modelopt and compressed-tensors is read", method);
}

int fp8_check_config(const struct config *c, struct err *e)
{
    struct err mine = {0}, *to = e ? e : &mine, quiet = {0};
    const struct config *text = config_obj(c, "text_config", &quiet);
    check_section(c, to);
    if (text)
        check_section(text, to);
    return to->code;
}
