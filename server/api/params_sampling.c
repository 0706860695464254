/* How tokens are chosen and where the text ends. Thread: any. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "models/text/tokenizer.h"
#include "server/api/params_int.h"

static float or_default(float named, float otherwise)
{
    return isnan(named) ? otherwise : named;
}

/* What the model's own files name, otherwise the API's defaults. */
static void sampling_defaults(struct sampling *s, const struct generation_defaults *d)
{
    s->temperature = or_default(d->temperature, 1);
    s->top_p = or_default(d->top_p, 1);
    s->min_p = or_default(d->min_p, 0);
    s->repetition_penalty = or_default(d->repetition_penalty, 1);
    s->top_k = MAX(d->top_k, 0);
    sampling_without(s);
}

/* llama.cpp's name for it, too. */
static void read_repetition(struct sampling *s, const json_t *o, struct err *e)
{
    float other = 1;
    bool named = jsonin_float(o, "repetition_penalty", 0.01, 100, &s->repetition_penalty, e);
    if (!jsonin_float(o, "repeat_penalty", 0.01, 100, &other, e))
        return;
    if (named && other != s->repetition_penalty)
        err_field(e, E_CONFLICT, "repeat_penalty", "repeat_penalty: %.9g, but repetition_penalty "
                  "is %.9g", (double)other, (double)s->repetition_penalty);
    s->repetition_penalty = other;
}

static bool get_float(const json_t *o, const char *key, double least, double most, float *out,
                      struct err *e)
{
    return jsonin_float(o, key, least, most, out, e);
}

static bool get_int32_t(const json_t *o, const char *key, int64_t least, int64_t most,
                        int32_t *out, struct err *e)
{
    int64_t n = *out;
    bool named = jsonin_int(o, key, least, most, &n, e);
    *out = (int32_t)n;
    return named;
}

/* The rows of sampling.def. */
static void read_more(struct sampling *s, const json_t *o, struct err *e)
{
#define SAMPLING(type, name, without, least, most) \
    get_##type(o, #name, least, most, &s->name, e);
#include "scheduler/sampling.def"
#undef SAMPLING
    if (jsonin_get(o, "typical_p") && s->typical_p <= 0)
        s->typical_p = 1e-6F; /* as top_p */
    if (s->repeat_last_n == 0) { /* of no tokens: no penalties */
        s->repetition_penalty = 1;
        s->presence_penalty = s->frequency_penalty = 0;
    }
}

static void read_breakers(struct sampling *s, const json_t *o, struct err *e)
{
    const char *field = "dry_sequence_breakers";
    const json_t *list = jsonin_get(o, "dry_sequence_breakers");
    if (!list)
        return;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > LIMIT_DRY_BREAKERS) {
        err_field(e, E_RANGE, field, "%s: an array of at most %d strings is expected", field,
                  LIMIT_DRY_BREAKERS);
        return;
    }
    s->n_breakers = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        size_t len = json_string_length(v);
        if (!json_is_string(v) || len == 0 || len > LIMIT_DRY_BREAKER_BYTES) {
            err_field(e, E_RANGE, field, "%s: each is a string of 1 … %d bytes", field,
                      LIMIT_DRY_BREAKER_BYTES);
            return;
        }
        struct dry_breaker *b = &s->breakers[s->n_breakers++];
        b->n = (uint8_t)len;
        memcpy(b->bytes, json_string_value(v), len);
    }
}

static void read_sampling(struct params *p, const json_t *o, int32_t vocab, struct err *e)
{
    struct sampling *s = &p->sampling;
    int64_t seed = 0, top_k = s->top_k;
    jsonin_float(o, "temperature", 0, 2, &s->temperature, e);
    if (jsonin_float(o, "top_p", 0, 1, &s->top_p, e) && s->top_p <= 0)
        s->top_p = 1e-6F; /* 0 means: the likeliest token alone */
    jsonin_float(o, "min_p", 0, 1, &s->min_p, e);
    read_repetition(s, o, e);
    jsonin_float(o, "presence_penalty", -2, 2, &s->presence_penalty, e);
    jsonin_float(o, "frequency_penalty", -2, 2, &s->frequency_penalty, e);
    if (jsonin_int(o, "top_k", -1, LIMIT_VOCAB, &top_k, e))
        s->top_k = (int32_t)MAX(MIN(top_k, vocab), 0); /* -1 is how others write "off" */
    p->has_seed = jsonin_int(o, "seed", INT64_MIN, INT64_MAX, &seed, e) && seed != -1;
    s->seed = (uint64_t)seed;
    read_more(s, o, e);
    read_breakers(s, o, e);
}

#define BIAS_NEVER (-1e6F) /* false: more than any logit can make up for */

/* One token's bias: a number, or false for "never". A token that is named twice has the sum. */
static int add_bias(struct sampling *s, long id, const json_t *v, struct err *e)
{
    double d = json_is_false(v) ? (double)BIAS_NEVER : json_number_value(v);
    if (!json_is_false(v) && (!json_is_number(v) || !(d >= -100 && d <= 100)))
        return err_field(e, E_RANGE, "logit_bias", "logit_bias: the value of %ld is neither a "
                         "number in -100 … 100 nor false", id);
    int32_t i = 0;
    while (i < s->n_bias && s->bias[i].id != id)
        i++;
    if (i == LIMIT_LOGIT_BIAS)
        return err_field(e, E_RANGE, "logit_bias", "logit_bias: more than %d tokens",
                         LIMIT_LOGIT_BIAS);
    if (i == s->n_bias)
        s->bias[s->n_bias++] = (struct sample_edit){.id = (int32_t)id};
    s->bias[i].x += (float)d;
    return 0;
}

/* {"id": bias, …}, OpenAI's form; a text is all of its tokens, as with llama-server. texts: how
 * many those may be together; NULL = there are none. */
static int key_bias(struct sampling *s, const char *key, const json_t *v, const struct served *m,
                    size_t *texts, struct err *e)
{
    char *end;
    long id = strtol(key, &end, 10);
    bool number = key[0] >= '0' && key[0] <= '9' && !*end;
    if (number && !texts && id >= 0 && id < m->vocab)
        return add_bias(s, id, v, e);
    if (!texts || !m->tok || !*key)
        return err_field(e, E_RANGE, "logit_bias", "logit_bias: \"%.*s\" is not a token id "
                         "below %d", (int)utf8_complete(key, strnlen(key, 20)), key, m->vocab);
    struct ids ids;
    struct err why = {0};
    ids_init(&ids, *texts);
    int rc = tokenizer_encode(m->tok, key, strlen(key), 0, &ids, &why);
    if (rc)
        rc = err_field(e, rc, "logit_bias", "logit_bias: texts of more than %d tokens",
                       LIMIT_LOGIT_BIAS);
    *texts -= ids.len;
    for (size_t i = 0; i < ids.len && !rc; i++)
        rc = add_bias(s, ids.p[i], v, e);
    ids_free(&ids);
    return rc;
}

/* [[id or text, bias], …], llama-server's form. */
static int list_bias(struct sampling *s, const json_t *list, const struct served *m, struct err *e)
{
    size_t texts = LIMIT_LOGIT_BIAS;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i), *key = json_array_get(pair, 0);
        const json_t *v = json_array_get(pair, 1);
        int64_t id = json_integer_value(key);
        bool two = json_array_size(pair) == 2;
        if (!two || (!json_is_string(key) && !(json_is_integer(key) && id >= 0 && id < m->vocab)))
            return err_field(e, E_RANGE, "logit_bias", "logit_bias: element %zu is no pair of a "
                             "token id below %d, or a text, and a number", i, m->vocab);
        if (json_is_string(key) ? key_bias(s, json_string_value(key), v, m, &texts, e)
                                : add_bias(s, (long)id, v, e))
            return e->code;
    }
    return 0;
}

static int read_bias(struct params *p, const json_t *o, const struct served *m, struct err *e)
{
    const json_t *map = jsonin_get(o, "logit_bias");
    struct sampling *s = &p->sampling;
    if (!map || json_is_false(map))
        return 0;
    size_t n = json_is_array(map) ? json_array_size(map) : json_object_size(map);
    if (!json_is_object(map) && !json_is_array(map))
        return err_field(e, E_FORMAT, "logit_bias", "logit_bias: %s was sent, an object or an "
                         "array of pairs is expected", jsonin_kind(map));
    if (n > LIMIT_LOGIT_BIAS)
        return err_field(e, E_RANGE, "logit_bias", "logit_bias: %zu entries, at most %d", n,
                         LIMIT_LOGIT_BIAS);
    s->bias = arena_array(&p->arena, n ? LIMIT_LOGIT_BIAS : 0, sizeof *s->bias);
    if (!s->bias)
        return err_set(e, E_NOMEM, "no memory for the request");
    if (json_is_array(map))
        return list_bias(s, map, m, e);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)map, key, v)
        if (key_bias(s, key, v, m, NULL, e))
            return e->code;
    return 0;
}

static int add_stop(struct params *p, const json_t *v, struct err *e)
{
    size_t n = json_string_length(v);
    if (!json_is_string(v) || n > LIMIT_STOP_BYTES)
        return err_field(e, E_RANGE, "stop", "stop: each is a string of at most %d bytes",
                         LIMIT_STOP_BYTES);
    if (n == 0) /* nothing ends by it, as with llama-server */
        return 0;
    if (p->n_stops == LIMIT_CLIENT_STOPS)
        return err_field(e, E_RANGE, "stop", "stop: more than %d strings", LIMIT_CLIENT_STOPS);
    memcpy(p->stops[p->n_stops++], json_string_value(v), n + 1);
    return 0;
}

int params_stops(struct params *p, const json_t *o, int32_t vocab, struct err *e)
{
    const json_t *v = jsonin_get(o, "stop");
    int rc = 0;
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v) && !rc; i++)
            rc = add_stop(p, json_array_get(v, i), e);
    } else if (v) {
        rc = add_stop(p, v, e);
    }
    const json_t *ids = jsonin_get(o, "stop_token_ids");
    if (!rc && ids) {
        struct prompt_in list;
        rc = params_ids(p, ids, "stop_token_ids", vocab, &list, e);
        if (!rc && list.n_ids > LIMIT_STOP_IDS)
            rc = err_field(e, E_RANGE, "stop_token_ids", "stop_token_ids: %d ids, at most %d",
                           list.n_ids, LIMIT_STOP_IDS);
        if (!rc)
            memcpy(p->stop_ids, list.ids, (size_t)list.n_ids * sizeof *list.ids);
        p->n_stop_ids = rc ? 0 : list.n_ids;
    }
    return rc;
}

void params_sampling(struct params *p, const json_t *o, const struct served *m, struct err *e)
{
    sampling_defaults(&p->sampling, &m->defaults);
    if (read_bias(p, o, m, e))
        return;
    read_sampling(p, o, m->vocab, e);
    if (!e->code && params_order(&p->sampling, o, e))
        return; /* e tells */
}
