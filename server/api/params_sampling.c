/* How tokens are chosen and where the text ends. Thread: any. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
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

static int read_bias(struct params *p, const json_t *o, int32_t vocab, struct err *e)
{
    const json_t *map = jsonin_get(o, "logit_bias");
    if (!map)
        return 0;
    if (!json_is_object(map))
        return err_field(e, E_FORMAT, "logit_bias", "logit_bias: %s was sent, an object is "
                         "expected", jsonin_kind(map));
    size_t n = json_object_size(map);
    if (n > LIMIT_LOGIT_BIAS)
        return err_field(e, E_RANGE, "logit_bias", "logit_bias: %zu entries, at most %d", n,
                         LIMIT_LOGIT_BIAS);
    struct sampling *s = &p->sampling;
    s->bias = arena_array(&p->arena, n, sizeof *s->bias);
    if (!s->bias)
        return err_set(e, E_NOMEM, "no memory for the request");
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)map, key, v) {
        char *end;
        long id = strtol(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end || id < 0 || id >= vocab)
            return err_field(e, E_RANGE, "logit_bias", "logit_bias: \"%.*s\" is not a token id "
                             "below %d", (int)utf8_complete(key, strnlen(key, 20)), key, vocab);
        double d = json_number_value(v);
        if (!json_is_number(v) || !(d >= -100 && d <= 100))
            return err_field(e, E_RANGE, "logit_bias", "logit_bias: the value of %ld is not a "
                             "number in -100 … 100", id);
        s->bias[s->n_bias].id = (int32_t)id;
        s->bias[s->n_bias++].x = (float)d;
    }
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
    if (!read_bias(p, o, m->vocab, e))
        read_sampling(p, o, m->vocab, e);
}
