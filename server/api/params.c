/* Request fields. Thread: any. The order of checks does not matter to a client: the first fault
 * found is the one told. */
#include "server/api/params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "server/api/jsonin.h"
#include "server/api/params_int.h"

/* A body of 4 MiB becomes at most 2 Mi ids of 4 bytes, besides its text. */
#define ARENA_BYTES MIB(32)
/* max_tokens above this is a mistake: weeks of decoding. */
#define MAX_TOKENS (1 << 24)

enum harmless { EMPTY, AUTO, ONE, ON, TEXT_ONLY, NEVER };

static bool is_harmless(const json_t *v, enum harmless h)
{
    const char *s = json_is_string(v) ? json_string_value(v) : NULL;
    const char *type;
    switch (h) {
    case EMPTY:
        return json_is_false(v) || (s && !*s) || (json_is_array(v) && !json_array_size(v)) ||
               (json_is_object(v) && !json_object_size(v));
    case AUTO: return s && (strcmp(s, "auto") == 0 || strcmp(s, "none") == 0);
    case ONE: return json_is_number(v) && json_number_value(v) == 1.0;
    case ON: return json_is_true(v);
    case TEXT_ONLY:
        type = json_string_value(json_array_get(v, 0));
        return json_array_size(v) == 1 && type && strcmp(type, "text") == 0;
    case NEVER: return false;
    }
    return false;
}

static int refuse_unsupported(const json_t *o, struct err *e)
{
    static const struct { const char *key; enum harmless h; const char *why; } fields[] = {
#define FIELD(key, harmless, why) {#key, harmless, why},
#include "server/api/fields.def"
#undef FIELD
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const json_t *v = jsonin_get(o, fields[i].key);
        if (v && !is_harmless(v, fields[i].h))
            return err_field(e, E_UNSUPPORTED, fields[i].key, "%s: %s", fields[i].key,
                             fields[i].why);
    }
    return 0;
}

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
}

static void read_sampling(struct params *p, const json_t *o, int32_t vocab, struct err *e)
{
    struct sampling *s = &p->sampling;
    int64_t seed = 0, top_k = s->top_k;
    jsonin_float(o, "temperature", 0, 2, &s->temperature, e);
    if (jsonin_float(o, "top_p", 0, 1, &s->top_p, e) && s->top_p <= 0)
        s->top_p = 1e-6F; /* 0 means: the likeliest token alone */
    jsonin_float(o, "min_p", 0, 1, &s->min_p, e);
    jsonin_float(o, "repetition_penalty", 0.01, 100, &s->repetition_penalty, e);
    jsonin_float(o, "presence_penalty", -2, 2, &s->presence_penalty, e);
    jsonin_float(o, "frequency_penalty", -2, 2, &s->frequency_penalty, e);
    if (jsonin_int(o, "top_k", -1, LIMIT_VOCAB, &top_k, e))
        s->top_k = (int32_t)MAX(MIN(top_k, vocab), 0); /* -1 is how others write "off" */
    p->has_seed = jsonin_int(o, "seed", INT64_MIN, INT64_MAX, &seed, e);
    s->seed = (uint64_t)seed;
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
    if (!json_is_string(v) || n == 0 || n > LIMIT_STOP_BYTES)
        return err_field(e, E_RANGE, "stop", "stop: each is a string of 1 … %d bytes",
                         LIMIT_STOP_BYTES);
    if (p->n_stops == LIMIT_STOPS)
        return err_field(e, E_RANGE, "stop", "stop: more than %d strings", LIMIT_STOPS);
    memcpy(p->stops[p->n_stops++], json_string_value(v), n + 1);
    return 0;
}

static int read_stops(struct params *p, const json_t *o, int32_t vocab, struct err *e)
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

static void read_stream(struct params *p, const json_t *o, struct err *e)
{
    jsonin_bool(o, "stream", &p->stream, e);
    const json_t *v = jsonin_get(o, "stream_options");
    if (!v)
        return;
    if (!json_is_object(v))
        err_field(e, E_FORMAT, "stream_options", "stream_options: an object is expected");
    else if (!p->stream)
        err_field(e, E_CONFLICT, "stream_options", "stream_options: only with stream = true");
    else
        jsonin_bool(v, "include_usage", &p->include_usage, e);
}

static void read_logprobs(struct params *p, const json_t *o, struct err *e)
{
    int64_t top = 0;
    if (p->kind == PARAMS_COMPLETION) {
        if (jsonin_int(o, "logprobs", 0, LIMIT_TOP_LOGPROBS, &top, e))
            p->logprobs = (int32_t)top;
        return;
    }
    bool on = false;
    jsonin_bool(o, "logprobs", &on, e);
    bool named = jsonin_int(o, "top_logprobs", 0, LIMIT_TOP_LOGPROBS, &top, e);
    if (on)
        p->logprobs = (int32_t)top;
    else if (named && top > 0)
        err_field(e, E_CONFLICT, "top_logprobs", "top_logprobs: only with logprobs = true");
}

static void read_lengths(struct params *p, const json_t *o, struct err *e)
{
    int64_t other = -1;
    bool chat = p->kind == PARAMS_CHAT;
    p->max_tokens = chat ? -1 : 16; /* the API's default for completions */
    jsonin_int(o, "max_tokens", chat, MAX_TOKENS, &p->max_tokens, e);
    if (chat && jsonin_int(o, "max_completion_tokens", 1, MAX_TOKENS, &other, e)) {
        if (p->max_tokens >= 0 && p->max_tokens != other)
            err_field(e, E_CONFLICT, "max_completion_tokens",
                      "max_completion_tokens: %lld, but max_tokens is %lld", (long long)other,
                      (long long)p->max_tokens);
        p->max_tokens = other;
    }
    jsonin_int(o, "min_tokens", 0, MAX_TOKENS, &p->min_tokens, e);
    if (p->max_tokens >= 0 && p->min_tokens > p->max_tokens)
        err_field(e, E_CONFLICT, "min_tokens", "min_tokens: %lld, but max_tokens is %lld",
                  (long long)p->min_tokens, (long long)p->max_tokens);
    jsonin_bool(o, "ignore_eos", &p->ignore_eos, e);
}

static void read_counts(struct params *p, const json_t *o, struct err *e)
{
    int64_t n = 1, best_of = 1;
    if (jsonin_int(o, "n", 1, LIMIT_CHOICES, &n, e))
        p->n = (int32_t)n;
    if (jsonin_int(o, "best_of", 0, LIMIT_CHOICES, &best_of, e) && best_of != p->n)
        err_field(e, E_UNSUPPORTED, "best_of", "best_of: only the value of n (%d) is supported",
                  p->n);
    jsonin_bool(o, "echo", &p->echo, e);
    if (p->kind == PARAMS_CHAT && p->echo)
        err_field(e, E_UNSUPPORTED, "echo", "echo: use /v1/completions");
    jsonin_int(o, "priority", -1000, 1000, &p->priority, e);
    jsonin_bool(o, "return_token_ids", &p->return_ids, e);
    int64_t total = (int64_t)p->n * MAX(p->n_prompts, 1);
    if (total > LIMIT_CHOICES)
        err_field(e, E_RANGE, "n", "n: %d choices of %d prompts, at most %d together", p->n,
                  p->n_prompts, LIMIT_CHOICES);
}

/* A name of ours in the arena, or NULL. */
static const char *copy_str(struct params *p, const json_t *o, const char *key, struct err *e)
{
    const char *s = NULL;
    if (!jsonin_str(o, key, &s, NULL, e))
        return NULL;
    char *copy = arena_strdup(&p->arena, s);
    if (!copy)
        err_set(e, E_NOMEM, "no memory for the request");
    return copy;
}

/* How long a client that names a cache key wants its prompt kept at least. */
#define PIN_KEY_S 600           /* it will be back within minutes */
#define PIN_RETENTION_S 86400   /* "24h" is the only long retention there is */

static void read_session(struct params *p, const json_t *o, struct err *e)
{
    const char *retention = NULL;
    p->session = copy_str(p, o, "session", e);
    p->turn_id = copy_str(p, o, "turn_id", e);
    jsonin_int(o, "expected_position", 0, INT64_MAX, &p->expected_position, e);
    if (!p->session && (p->turn_id || p->expected_position >= 0))
        err_field(e, E_CONFLICT, "session", "turn_id and expected_position need a session");
    if (p->session && (p->n > 1 || p->n_prompts > 1 || p->echo))
        err_field(e, E_CONFLICT, "session", "session: one prompt, one choice, no echo");
    if (jsonin_get(o, "prompt_cache_key"))
        p->pin_s = PIN_KEY_S;
    if (jsonin_str(o, "prompt_cache_retention", &retention, NULL, e)) {
        if (strcmp(retention, "24h") == 0)
            p->pin_s = PIN_RETENTION_S;
        else if (strcmp(retention, "in_memory") != 0 && strcmp(retention, "in-memory") != 0)
            err_field(e, E_RANGE, "prompt_cache_retention",
                      "prompt_cache_retention: \"%.20s\" is neither in_memory nor 24h", retention);
    }
}

static int check_model(struct params *p, const struct served *m, const json_t *o, struct err *e)
{
    size_t n = 0;
    if (jsonin_str(o, "model", &p->model, &n, e) && !served_is_named(m, p->model))
        return err_field(e, E_NOENT, "model", "model: \"%.*s\" is not served here; \"%s\" is",
                         (int)utf8_complete(p->model, MIN(n, 100)), p->model, m->name);
    p->model = NULL; /* it belongs to the tree, which goes; from here on it is m->name */
    return e->code;
}

static int read_all(struct params *p, const struct served *m, const json_t *o, struct err *e)
{
    int32_t vocab = m->vocab;
    int rc = check_model(p, m, o, e);
    if (!rc)
        rc = params_input(p, o, vocab, e);
    if (rc || (p->kind != PARAMS_COMPLETION && p->kind != PARAMS_CHAT))
        return rc;
    rc = refuse_unsupported(o, e);
    if (!rc)
        rc = read_bias(p, o, vocab, e);
    if (!rc)
        rc = params_constrain(p, o, e);
    if (!rc && p->kind == PARAMS_CHAT)
        rc = params_tools(p, o, e);
    if (!rc)
        rc = read_stops(p, o, vocab, e);
    if (rc)
        return rc;
    sampling_defaults(&p->sampling, &m->defaults);
    read_sampling(p, o, vocab, e);
    read_stream(p, o, e);
    read_logprobs(p, o, e);
    read_lengths(p, o, e);
    read_counts(p, o, e);
    read_session(p, o, e);
    return e->code;
}

static void init(struct params *p, enum params_kind kind, const struct served *m, size_t n)
{
    memset(p, 0, sizeof *p);
    arena_init(&p->arena, ARENA_BYTES);
    p->kind = kind;
    p->n = 1;
    p->logprobs = -1;
    p->expected_position = -1;
    p->add_special = true;
    p->chat.bytes = n;
    p->request_templates = m->request_templates;
}

int params_read(struct params *p, enum params_kind kind, const struct served *m,
                const struct json_t *body, size_t n, struct err *e)
{
    init(p, kind, m, n);
    return read_all(p, m, body, e);
}

int params_parse(struct params *p, enum params_kind kind, const struct served *m,
                 const char *body, size_t n, struct err *e)
{
    json_t *o;
    init(p, kind, m, n);
    int rc = jsonin_parse(&o, body, n, e);
    if (rc)
        return rc;
    rc = read_all(p, m, o, e);
    json_decref(o);
    return rc;
}

void params_drop_chat(struct params *p)
{
    json_decref(p->chat_tree);
    p->chat_tree = NULL;
    p->chat = (struct chat_request){0};
}

void params_fini(struct params *p)
{
    params_drop_chat(p);
    arena_free(&p->arena);
}
