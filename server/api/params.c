/* Request fields. Thread: any. The order of checks does not matter to a client: the first fault
 * found is the one told. */
#include "server/api/params.h"

#include <string.h>

#include "base/utf8.h"
#include "server/api/jsonin.h"
#include "server/api/params_int.h"
#include "server/api/translate.h"

/* A body of 4 MiB becomes at most 2 Mi ids of 4 bytes, besides its text. */
#define ARENA_BYTES MIB(32)
/* max_tokens above this is a mistake: weeks of decoding. */
#define MAX_TOKENS (1 << 24)

enum harmless { EMPTY, AUTO, ZERO, ONE, ON, TEXT_ONLY, NEVER, ANY };

static bool is_harmless(const json_t *v, enum harmless h)
{
    const char *s = json_is_string(v) ? json_string_value(v) : NULL;
    const char *type;
    switch (h) {
    case EMPTY:
        return json_is_false(v) || (s && !*s) || (json_is_array(v) && !json_array_size(v)) ||
               (json_is_object(v) && !json_object_size(v));
    case AUTO: return s && (strcmp(s, "auto") == 0 || strcmp(s, "none") == 0);
    case ZERO: return json_is_number(v) && json_number_value(v) == 0.0;
    case ONE: return json_is_number(v) && json_number_value(v) == 1.0;
    case ON: return json_is_true(v);
    case TEXT_ONLY:
        type = json_string_value(json_array_get(v, 0));
        return json_array_size(v) == 1 && type && strcmp(type, "text") == 0;
    case NEVER: return false;
    case ANY: return true;
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

static void read_stream(struct params *p, const json_t *o, struct err *e)
{
    jsonin_bool(o, "stream", &p->stream, e);
    const json_t *v = jsonin_get(o, "stream_options");
    if (!v)
        return;
    if (json_is_object(v))
        translate_stream_options(v);
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

/* -1 is how others write "as much as fits". */
static bool read_length(const json_t *o, const char *key, int64_t least, int64_t *out,
                        struct err *e)
{
    int64_t n = 0;
    if (!jsonin_int(o, key, -1, MAX_TOKENS, &n, e))
        return false;
    if (n >= 0 && n < least) {
        err_field(e, E_RANGE, key, "%s: %lld is outside %lld … %d", key, (long long)n,
                  (long long)least, MAX_TOKENS);
        return false;
    }
    *out = n;
    return true;
}

static void read_lengths(struct params *p, const json_t *o, struct err *e)
{
    int64_t other = -1;
    bool chat = p->kind == PARAMS_CHAT;
    p->max_tokens = chat ? -1 : 16; /* the API's default for completions */
    read_length(o, "max_tokens", chat, &p->max_tokens, e);
    if (chat && read_length(o, "max_completion_tokens", 1, &other, e) && other >= 0) {
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

/* As OpenAI defined it: of so many choices the n whose tokens have the highest mean logprob. */
static void read_best_of(struct params *p, const json_t *o, struct err *e)
{
    int64_t best_of = p->n_best;
    if (jsonin_int(o, "best_of", 1, LIMIT_CHOICES, &best_of, e) && best_of < p->n_best)
        err_field(e, E_CONFLICT, "best_of", "best_of: %lld, but n is %d", (long long)best_of,
                  p->n_best);
    else if (best_of > p->n_best && p->kind == PARAMS_CHAT)
        err_field(e, E_UNSUPPORTED, "best_of", "best_of: use /v1/completions");
    else if (best_of > p->n_best && p->stream)
        err_field(e, E_CONFLICT, "best_of", "best_of: %lld choices of which the reply has %d "
                  "cannot be streamed", (long long)best_of, p->n_best);
    p->n = (int32_t)best_of;
}

static void read_counts(struct params *p, const json_t *o, struct err *e)
{
    int64_t n = 1;
    if (jsonin_int(o, "n", 1, LIMIT_CHOICES, &n, e))
        p->n_best = (int32_t)n;
    read_best_of(p, o, e);
    jsonin_bool(o, "echo", &p->echo, e);
    if (p->kind == PARAMS_CHAT && p->echo)
        err_field(e, E_UNSUPPORTED, "echo", "echo: use /v1/completions");
    jsonin_int(o, "priority", -1000, 1000, &p->priority, e);
    jsonin_bool(o, "return_token_ids", &p->return_ids, e);
    jsonin_bool(o, "return_cache_details", &p->cache_details, e);
    int64_t total = (int64_t)p->n * MAX(p->n_prompts, 1);
    if (total > LIMIT_CHOICES)
        err_field(e, E_RANGE, p->n > p->n_best ? "best_of" : "n", "%s: %d choices of %d prompts, "
                  "at most %d together", p->n > p->n_best ? "best_of" : "n", p->n, p->n_prompts,
                  LIMIT_CHOICES);
}

/* true: with the tokens; "digests": without. */
static void read_receipt(struct params *p, const json_t *o, struct err *e)
{
    const json_t *v = jsonin_get(o, "receipt");
    if (json_is_string(v) && strcmp(json_string_value(v), "digests") == 0)
        p->receipt = true;
    else if (v && !json_is_boolean(v))
        err_field(e, E_FORMAT, "receipt", "receipt: %s was sent, true, false or \"digests\" is "
                  "expected", jsonin_kind(v));
    else
        p->receipt = p->receipt_ids = json_is_true(v);
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
    jsonin_int(o, "expected_generation", 1, INT64_MAX, &p->expected_generation, e);
    if (!p->session && (p->turn_id || p->expected_position >= 0 || p->expected_generation))
        err_field(e, E_CONFLICT, "session", "turn_id, expected_position and expected_generation "
                  "need a session");
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

/* What comes behind the text that shall be written; an empty one is none. */
static void read_suffix(struct params *p, const json_t *o, struct err *e)
{
    const char *s = NULL;
    if (!jsonin_str(o, "suffix", &s, &p->n_suffix, e) || !p->n_suffix)
        return;
    if (p->kind == PARAMS_CHAT)
        err_field(e, E_UNSUPPORTED, "suffix", "suffix: use /v1/completions");
    for (int32_t i = 0; i < p->n_prompts; i++)
        if (!p->prompts[i].text)
            err_field(e, E_CONFLICT, "suffix", "suffix: only with a prompt that is text");
    if (p->echo || jsonin_get(o, "session"))
        err_field(e, E_CONFLICT, "suffix", "suffix: neither with echo nor in a session");
    p->suffix = arena_copy(&p->arena, s, p->n_suffix);
    if (!p->suffix)
        err_set(e, E_NOMEM, "no memory for the request");
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
        rc = params_constrain(p, o, e);
    if (!rc && p->kind == PARAMS_CHAT)
        rc = params_tools(p, o, e);
    if (!rc)
        rc = params_stops(p, o, vocab, e);
    if (rc)
        return rc;
    params_sampling(p, o, m, e);
    read_stream(p, o, e);
    read_logprobs(p, o, e);
    read_lengths(p, o, e);
    read_counts(p, o, e);
    read_receipt(p, o, e);
    read_session(p, o, e);
    read_suffix(p, o, e);
    return e->code;
}

int params_read(struct params *p, enum params_kind kind, const struct served *m,
                const struct json_t *body, size_t n, struct err *e)
{
    memset(p, 0, sizeof *p);
    arena_init(&p->arena, ARENA_BYTES);
    p->kind = kind;
    p->n = p->n_best = 1;
    p->logprobs = -1;
    p->expected_position = -1;
    p->add_special = true;
    p->chat.bytes = n;
    p->request_templates = m->request_templates;
    p->rules = m->rules;
    return read_all(p, m, body, e);
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
