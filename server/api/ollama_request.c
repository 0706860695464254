/* Requests of Ollama's API -> our own. What is not named here is refused by name, except what says
 * only how its own server loads a model. */
#include <string.h>

#include "server/api/jsonin.h"
#include "server/api/ollama.h"
#include "server/api/translate.h"

/* Members of "options". ours NULL: it is about loading or the context window, which is the
 * server's affair, or it tunes what is off (neutral). Refused when it is not `neutral` and there
 * is no field of ours. */
static const struct option {
    const char *name, *ours;
    double neutral; /* with `only`: the only value */
    bool only;
} options[] = {
    {"num_predict", "max_tokens", 0, false},
    {"temperature", "temperature", 0, false},
    {"top_k", "top_k", 0, false},
    {"top_p", "top_p", 0, false},
    {"min_p", "min_p", 0, false},
    {"seed", "seed", 0, false},
    {"stop", "stop", 0, false},
    {"repeat_penalty", "repetition_penalty", 0, false},
    {"presence_penalty", "presence_penalty", 0, false},
    {"frequency_penalty", "frequency_penalty", 0, false},
    {"typical_p", "typical_p", 0, false},
    {"tfs_z", NULL, 1, true},
    {"mirostat", "mirostat", 0, false},
    {"mirostat_tau", "mirostat_tau", 0, false},
    {"mirostat_eta", "mirostat_eta", 0, false},
    {"repeat_last_n", "repeat_last_n", 0, false},
    {"num_ctx", NULL, 0, false},
    {"num_keep", NULL, 0, false},
    {"num_batch", NULL, 0, false},
    {"num_gpu", NULL, 0, false},
    {"main_gpu", NULL, 0, false},
    {"num_thread", NULL, 0, false},
    {"numa", NULL, 0, false},
    {"low_vram", NULL, 0, false},
    {"use_mmap", NULL, 0, false},
    {"use_mlock", NULL, 0, false},
    {"penalize_newline", NULL, 0, false},
};

static int read_option(json_t *out, const char *key, const json_t *v, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        if (strcmp(o->name, key) != 0)
            continue;
        if (o->only && !(json_is_number(v) && json_number_value(v) == o->neutral))
            return err_field(e, E_UNSUPPORTED, "options", "options: %s is not supported, %g apart",
                             o->name, o->neutral);
        bool endless = strcmp(key, "num_predict") == 0 && json_is_integer(v) &&
                       json_integer_value(v) < 0;
        if (!o->ours || endless)
            return 0;
        return json_object_set(out, o->ours, (json_t *)(uintptr_t)v) ? translate_no_memory(e) : 0;
    }
    return err_field(e, E_UNSUPPORTED, "options", "options: \"%.40s\" is not known", key);
}

static int read_options(json_t *out, const json_t *v, struct err *e)
{
    const char *key;
    json_t *one;
    int rc = 0;
    if (v && !json_is_object(v))
        return err_field(e, E_FORMAT, "options", "options: %s was sent, an object is expected",
                         jsonin_kind(v));
    json_object_foreach((json_t *)(uintptr_t)v, key, one)
        rc = rc || json_is_null(one) ? rc : read_option(out, key, one, e);
    return rc;
}

/* "" | "json" | a schema */
static int read_format(json_t *out, const json_t *v, struct err *e)
{
    json_t *format = NULL;
    if (!v || (json_is_string(v) && json_string_length(v) == 0))
        return 0;
    if (json_is_object(v))
        format = json_pack("{s:s, s:{s:O}}", "type", "json_schema", "json_schema", "schema", v);
    else if (json_is_string(v) && strcmp(json_string_value(v), "json") == 0)
        format = json_pack("{s:s}", "type", "json_object");
    else
        return err_field(e, E_FORMAT, "format", "format: \"json\" or a JSON Schema is expected");
    return json_object_set_new(out, "response_format", format) ? translate_no_memory(e) : 0;
}

/* true | false | "low" | "medium" | "high" */
static int read_think(json_t *out, const json_t *v, struct err *e)
{
    bool on = v && !json_is_false(v);
    if (!v)
        return 0;
    if (!json_is_boolean(v) && !json_is_string(v))
        return err_field(e, E_FORMAT, "think", "think: %s was sent, true, false or a level is "
                         "expected", jsonin_kind(v));
    if (json_is_string(v) && json_object_set(out, "reasoning_effort", (json_t *)(uintptr_t)v))
        return translate_no_memory(e);
    return json_object_set_new(out, "enable_thinking", json_boolean(on)) ? translate_no_memory(e)
                                                                        : 0;
}

static int no_images(const json_t *o, struct err *e)
{
    const json_t *v = jsonin_get(o, "images");
    if (v && (!json_is_array(v) || json_array_size(v) > 0))
        return err_field(e, E_UNSUPPORTED, "images", "images: only text is supported");
    return 0;
}

/* Calls without ids, and without the word that there is only one type of them. */
static json_t *read_calls(const json_t *calls, size_t i, struct err *e)
{
    json_t *out = json_array();
    for (size_t k = 0; out && k < json_array_size(calls); k++) {
        const json_t *f = json_object_get(json_array_get(calls, k), "function");
        const json_t *name = json_object_get(f, "name");
        const json_t *arguments = jsonin_get(f, "arguments");
        if (!json_is_string(name) || (arguments && !json_is_object(arguments))) {
            err_field(e, E_FORMAT, "messages", "messages: call %zu of element %zu is no "
                      "{\"function\": {\"name\": a string, \"arguments\": an object}}", k, i);
            json_decref(out);
            return NULL;
        }
        json_t *args = arguments ? json_incref((json_t *)(uintptr_t)arguments) : json_object();
        if (json_array_append_new(out, json_pack("{s:s, s:{s:O, s:o}}", "type", "function",
                                                 "function", "name", name, "arguments", args))) {
            json_decref(out);
            out = NULL;
        }
    }
    if (!out)
        translate_no_memory(e);
    return out;
}

static int read_message(json_t *out, const json_t *m, size_t i, struct err *e)
{
    const json_t *role = json_object_get(m, "role"), *content = jsonin_get(m, "content");
    const json_t *calls = jsonin_get(m, "tool_calls");
    if (!json_is_object(m) || !json_is_string(role))
        return err_field(e, E_FORMAT, "messages", "messages: element %zu is no object with a "
                         "\"role\"", i);
    if (content && !json_is_string(content))
        return err_field(e, E_FORMAT, "messages", "messages: the content of element %zu is %s, a "
                         "string is expected", i, jsonin_kind(content));
    if (calls && !json_is_array(calls))
        return err_field(e, E_FORMAT, "messages", "messages: tool_calls of element %zu is %s, an "
                         "array is expected", i, jsonin_kind(calls));
    int rc = no_images(m, e);
    json_t *made = NULL;
    if (!rc && json_array_size(calls) > 0) {
        made = read_calls(calls, i, e);
        rc = made ? 0 : e->code;
    }
    if (rc)
        return rc;
    json_t *one = json_pack("{s:O, s:O*, s:o*, s:O*, s:O*}", "role", role, "content", content,
                            "tool_calls", made, "reasoning_content", jsonin_get(m, "thinking"),
                            "name", jsonin_get(m, "tool_name"));
    if (one && !content && !made && json_object_set_new(one, "content", json_string("")))
        rc = translate_no_memory(e);
    return json_array_append_new(out, one) || rc ? translate_no_memory(e) : 0;
}

static int read_messages(json_t *out, const json_t *in, struct err *e)
{
    const json_t *v = jsonin_get(in, "messages");
    json_t *messages = json_array();
    int rc = json_object_set_new(out, "messages", messages) ? translate_no_memory(e) : 0;
    if (!rc && !json_is_array(v))
        rc = err_field(e, E_FORMAT, "messages", "messages: %s was sent, an array is expected",
                       jsonin_kind(v));
    for (size_t i = 0; i < json_array_size(v) && !rc; i++)
        rc = read_message(messages, json_array_get(v, i), i, e);
    const json_t *tools = jsonin_get(in, "tools");
    if (!rc && tools && json_object_set(out, "tools", (json_t *)(uintptr_t)tools))
        rc = translate_no_memory(e);
    return rc;
}

/* raw: the prompt is all there is; otherwise it is a user's turn. */
static int read_generate(json_t *out, const json_t *in, bool raw, struct err *e)
{
    static const char *const refused[] = {"template", "context"};
    /* Editors send one beside a suffix, which has no place for it: not read, it is named. */
    bool gap = raw && !json_is_true(json_object_get(in, "raw"));
    const json_t *prompt = jsonin_get(in, "prompt");
    const json_t *system = gap ? NULL : jsonin_get(in, "system");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        const json_t *v = jsonin_get(in, refused[i]);
        if (v && json_array_size(v) + json_string_length(v) > 0)
            return err_field(e, E_UNSUPPORTED, refused[i], "%s: not supported; use raw, or "
                             "/api/chat", refused[i]);
    }
    if (!json_is_string(prompt) || (system && !json_is_string(system)))
        return err_field(e, E_FORMAT, "prompt", "prompt: a string is expected, and system is one");
    if (raw && json_string_length(system) > 0)
        return err_field(e, E_UNSUPPORTED, "system", "system: a raw prompt has no place for it");
    int rc = no_images(in, e);
    if (rc)
        return rc;
    json_t *user = json_pack("{s:s, s:O}", "role", "user", "content", prompt);
    json_t *first = system ? json_pack("{s:s, s:O}", "role", "system", "content", system) : NULL;
    if (raw) {
        json_decref(first);
        json_decref(user);
        return json_object_set(out, "prompt", (json_t *)(uintptr_t)prompt)
                   ? translate_no_memory(e) : 0;
    }
    json_t *messages = first ? json_pack("[o, o]", first, user) : json_pack("[o]", user);
    return json_object_set_new(out, "messages", messages) ? translate_no_memory(e) : 0;
}

json_t *ollama_model(const json_t *v)
{
    static const char latest[] = ":latest";
    size_t n = json_string_length(v), end = sizeof latest - 1;
    const char *s = json_string_value(v);
    if (!s)
        return v ? json_incref((json_t *)(uintptr_t)v) : NULL;
    bool tagged = n > end && strcmp(s + n - end, latest) == 0;
    return json_stringn(s, tagged ? n - end : n);
}

json_t *ollama_request(const json_t *in, bool generate, int64_t max_tokens,
                       enum params_kind *kind, bool *load, struct err *e)
{
    bool stream = true, raw = false;
    const json_t *asked = jsonin_get(in, generate ? "prompt" : "messages");
    (void)jsonin_get(in, "keep_alive"); /* the model stays */
    jsonin_bool(in, "stream", &stream, e);
    jsonin_bool(in, "raw", &raw, e);
    bool list = generate ? json_is_string(asked) : json_is_array(asked);
    *load = !asked || (list && json_array_size(asked) + json_string_length(asked) == 0);
    raw = generate && (raw || json_string_length(jsonin_get(in, "suffix")) > 0);
    *kind = raw ? PARAMS_COMPLETION : PARAMS_CHAT;
    json_t *out = e->code ? NULL : json_pack("{s:b, s:o*, s:O*}", "stream", stream && !*load,
                                             "model", ollama_model(jsonin_get(in, "model")),
                                             "suffix", jsonin_get(in, "suffix"));
    if (!out) {
        if (!e->code)
            translate_no_memory(e);
        return NULL;
    }
    int rc = json_object_set_new(out, "max_tokens", json_integer(max_tokens))
                 ? translate_no_memory(e) : read_options(out, jsonin_get(in, "options"), e);
    if (!rc)
        rc = read_format(out, jsonin_get(in, "format"), e);
    if (!rc && !raw)
        rc = read_think(out, jsonin_get(in, "think"), e);
    if (!rc)
        rc = translate_refuse(in, e);
    if (!rc && *load) /* the model's name is all that is looked at */
        rc = json_object_set_new(out, "messages", json_array()) ? translate_no_memory(e) : 0;
    else if (!rc)
        rc = generate ? read_generate(out, in, raw, e) : read_messages(out, in, e);
    if (rc) {
        json_decref(out);
        return NULL;
    }
    return out;
}
