/* Pieces of translated requests. */
#include "server/api/translate.h"

#include <string.h>

#include "server/api/jsonin.h"

int translate_no_memory(struct err *e)
{
    return err_set(e, E_NOMEM, "no memory for the request");
}

int translate_set(json_t *out, const char *key, json_t *v, struct err *e)
{
    jsonin_watch_set(key);
    return json_object_set_new(out, key, v) ? translate_no_memory(e) : 0;
}

static bool is_text(const char *type)
{
    static const char *const types[] = {"text", "input_text", "output_text"};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(types[i], type) == 0)
            return true;
    return false;
}

int translate_text(struct buf *out, const json_t *v, const char *field, const char *where,
                   struct err *e)
{
    if (json_is_string(v))
        buf_add(out, json_string_value(v), json_string_length(v));
    else if (!json_is_array(v))
        return err_field(e, E_FORMAT, field, "%s: %s is %s, a string or an array of text blocks is "
                         "expected", field, where, jsonin_kind(v));
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *block = json_array_get(v, i), *text = json_object_get(block, "text");
        const char *type = json_string_value(json_object_get(block, "type"));
        if (!type)
            return err_field(e, E_FORMAT, field, "%s: block %zu of %s is %s, an object with a "
                             "\"type\" is expected", field, i, where, jsonin_kind(block));
        if (!is_text(type))
            return err_field(e, E_UNSUPPORTED, field, "%s: block %zu of %s is of type \"%.40s\"; "
                             "only text is supported there", field, i, where, type);
        if (!json_is_string(text))
            return err_field(e, E_FORMAT, field, "%s: block %zu of %s has no \"text\" string",
                             field, i, where);
        buf_add(out, json_string_value(text), json_string_length(text));
    }
    return out->failed ? translate_no_memory(e) : 0;
}

void gather_init(struct gather *g)
{
    *g = (struct gather){.messages = json_array()};
    buf_init(&g->text, SIZE_MAX / 2); /* bounded by the body */
    buf_init(&g->reasoning, SIZE_MAX / 2);
}

void gather_free(struct gather *g)
{
    json_decref(g->messages);
    json_decref(g->calls);
    buf_free(&g->text);
    buf_free(&g->reasoning);
}

bool gather_any(const struct gather *g) { return g->text.len || g->reasoning.len || g->calls; }

static json_t *string(const struct buf *b) { return json_stringn(b->len ? b->p : "", b->len); }

int gather_flush(struct gather *g, const char *role, struct err *e)
{
    json_t *m = json_pack("{s:s}", "role", role);
    bool rc = g->text.failed || g->reasoning.failed || !m;
    if (!rc && (g->text.len || !g->calls))
        rc = json_object_set_new(m, "content", string(&g->text));
    if (!rc && g->reasoning.len)
        rc = json_object_set_new(m, "reasoning_content", string(&g->reasoning));
    if (!rc && g->calls)
        rc = json_object_set(m, "tool_calls", g->calls);
    json_decref(g->calls);
    g->calls = NULL;
    buf_clear(&g->text);
    buf_clear(&g->reasoning);
    if (rc)
        json_decref(m);
    return rc || json_array_append_new(g->messages, m) ? translate_no_memory(e) : 0;
}

int gather_call(struct gather *g, const json_t *id, const json_t *name, const json_t *arguments,
                struct err *e)
{
    if (!g->calls)
        g->calls = json_array();
    json_t *call = json_pack("{s:O*, s:s, s:{s:O, s:O}}", "id", id, "type", "function", "function",
                             "name", name, "arguments", arguments);
    return json_array_append_new(g->calls, call) ? translate_no_memory(e) : 0;
}

json_t *translate_tool(const json_t *tool, size_t i, const char *schema, struct err *e)
{
    const char *field = "tools";
    const json_t *name = json_object_get(tool, "name"), *parameters = jsonin_get(tool, schema);
    if (!json_is_string(name)) {
        err_field(e, E_FORMAT, field, "%s: element %zu has no \"name\" string", field, i);
        return NULL;
    }
    if (parameters && !json_is_object(parameters)) {
        err_field(e, E_FORMAT, field, "%s: %s of element %zu is %s, an object is expected", field,
                  schema, i, jsonin_kind(parameters));
        return NULL;
    }
    json_t *out = json_pack("{s:s, s:{s:O, s:O*, s:O*, s:O*}}", "type", "function", "function",
                            "name", name, "description", jsonin_get(tool, "description"),
                            "parameters", parameters, "strict", jsonin_get(tool, "strict"));
    if (!out)
        translate_no_memory(e);
    return out;
}

json_t *translate_format(const json_t *format, const char *field, struct err *e)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    const json_t *schema = jsonin_get(format, "schema");
    json_t *out = NULL;
    if (!type) {
        err_field(e, E_FORMAT, field, "%s: a format with a \"type\" is expected", field);
        return NULL;
    }
    if (strcmp(type, "json_schema") != 0) {
        out = json_pack("{s:s}", "type", type);
    } else if (schema) {
        out = json_pack("{s:s, s:{s:O}}", "type", type, "json_schema", "schema", schema);
    } else {
        err_field(e, E_FORMAT, field, "%s: json_schema has no \"schema\"", field);
        return NULL;
    }
    if (!out)
        translate_no_memory(e);
    return out;
}

void translate_stream_options(const json_t *options)
{
    jsonin_watch_also(options, "stream_options.");
    if (json_is_false(json_object_get(options, "include_obfuscation")))
        (void)jsonin_get(options, "include_obfuscation");
}

int translate_refuse(const json_t *request, struct err *e)
{
    static const char *const fields[] = {"n",    "best_of",        "logprobs", "top_logprobs",
                                         "echo", "stream_options", "return_token_ids"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const json_t *v = jsonin_get(request, fields[i]);
        bool counts = i < 2; /* choices: one is what there is */
        bool nothing = !v || json_is_false(v) ||
                       (json_is_integer(v) && json_integer_value(v) < (counts ? 2 : 1));
        if (!nothing)
            return err_field(e, E_UNSUPPORTED, fields[i], "%s: replies of this API have no place "
                             "for it", fields[i]);
    }
    return 0;
}
