/* OpenAI's responses -> our own chat request. Items become messages: what an assistant thought,
 * said and called in a row is one. */
#include <string.h>

#include "base/jsonread.h"
#include "base/mem.h"
#include "server/api/jsonin.h"
#include "server/api/responses.h"
#include "server/api/translate.h"

static const char input[] = "input";

/* ---- items ---- */

static int flush_assistant(struct gather *g, struct err *e)
{
    return gather_any(g) ? gather_flush(g, "assistant", e) : 0;
}

static int message(struct gather *g, const json_t *item, size_t i, struct err *e)
{
    static const char *const roles[] = {"user", "system", "developer"};
    const char *role = json_string_value(json_object_get(item, "role")), *known = NULL;
    char where[64];
    bool assistant = role && strcmp(role, "assistant") == 0;
    for (size_t k = 0; role && k < ARRAY_LEN(roles); k++)
        if (strcmp(roles[k], role) == 0)
            known = roles[k];
    if (!known && !assistant)
        return err_field(e, E_FORMAT, input, "%s: the role of item %zu is none of user, assistant, "
                         "system and developer", input, i);
    /* Thoughts come before what is said; something said or called before is another message. */
    if ((!assistant || g->text.len || g->calls) && flush_assistant(g, e))
        return e->code;
    snprintf(where, sizeof where, "the content of item %zu", i);
    if (translate_text(&g->text, json_object_get(item, "content"), input, where, e))
        return e->code;
    return assistant ? 0 : gather_flush(g, known, e);
}

static int call(struct gather *g, const json_t *item, size_t i, struct err *e)
{
    const json_t *id = json_object_get(item, "call_id"), *name = json_object_get(item, "name");
    const json_t *arguments = json_object_get(item, "arguments");
    const char *status = json_string_value(json_object_get(item, "status"));
    if (status && strcmp(status, "incomplete") == 0)
        return 0; /* the answer ended within it: nobody can have called that */
    if (!json_is_string(id) || !json_is_string(name) || !json_is_string(arguments))
        return err_field(e, E_FORMAT, input, "%s: item %zu has no \"call_id\", \"name\" and "
                         "\"arguments\" strings", input, i);
    return gather_call(g, id, name, arguments, e);
}

static int call_output(struct gather *g, const json_t *item, size_t i, struct err *e)
{
    json_t *id = json_object_get(item, "call_id"), *m;
    char where[64];
    if (!json_is_string(id))
        return err_field(e, E_FORMAT, input, "%s: item %zu has no \"call_id\" string", input, i);
    snprintf(where, sizeof where, "the output of item %zu", i);
    if (flush_assistant(g, e) ||
        translate_text(&g->text, json_object_get(item, "output"), input, where, e) ||
        gather_flush(g, "tool", e))
        return e->code;
    m = json_array_get(g->messages, json_array_size(g->messages) - 1);
    return json_object_set(m, "tool_call_id", id) ? translate_no_memory(e) : 0;
}

static int reasoning(struct gather *g, const json_t *item, size_t i, struct err *e)
{
    const json_t *content = jsonin_get(item, "content");
    (void)i; /* a summary says less than the text, and what is encrypted nothing here */
    if ((g->text.len || g->calls) && flush_assistant(g, e))
        return e->code;
    for (size_t k = 0; k < json_array_size(content); k++) {
        const json_t *text = json_object_get(json_array_get(content, k), "text");
        buf_add(&g->reasoning, json_string_value(text), json_string_length(text));
    }
    return 0;
}

int responses_items(struct gather *g, const json_t *items, struct err *e)
{
    static const struct {
        const char *type;
        int (*read)(struct gather *g, const json_t *item, size_t i, struct err *e);
    } rows[] = {
        {"message", message},
        {"function_call", call},
        {"function_call_output", call_output},
        {"reasoning", reasoning},
    };
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        const json_t *t = json_object_get(item, "type");
        const char *type = t ? json_string_value(t) : "message"; /* which may leave it out */
        size_t k = 0;
        if (!json_is_object(item) || !type)
            return err_field(e, E_FORMAT, input, "%s: item %zu is %s, an object with a \"type\" is "
                             "expected", input, i, jsonin_kind(item));
        while (k < ARRAY_LEN(rows) && strcmp(rows[k].type, type) != 0)
            k++;
        if (k == ARRAY_LEN(rows))
            return err_field(e, E_UNSUPPORTED, input, "%s: item %zu is of type \"%.40s\", which is "
                             "not supported", input, i, type);
        if (rows[k].read(g, item, i, e))
            return e->code;
    }
    return flush_assistant(g, e);
}

/* ---- the other fields ---- */

/* What an answer here cannot be, by name; the other values of these fields change nothing. */
static int refuse_theirs(const json_t *in, struct err *e)
{
    static const struct { const char *key; const char *harmless[2]; const char *why; } rows[] = {
        {"truncation", {"disabled", NULL}, "prompts are never truncated"},
        {"conversation", {NULL, NULL}, "use previous_response_id"},
        {"prompt", {NULL, NULL}, "this server keeps no prompts"},
    };
    const json_t *stream = jsonin_get(in, "stream_options");
    const json_t *include = jsonin_get(in, "include"), *text = jsonin_get(in, "text");
    const char *verbosity = json_string_value(json_object_get(text, "verbosity"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const json_t *v = jsonin_get(in, rows[i].key);
        const char *s = json_string_value(v);
        if (v && !(s && rows[i].harmless[0] && strcmp(s, rows[i].harmless[0]) == 0))
            return err_field(e, E_UNSUPPORTED, rows[i].key, "%s: %s", rows[i].key, rows[i].why);
    }
    if (json_is_true(json_object_get(in, "background")))
        return err_field(e, E_UNSUPPORTED, "background", "background: answers are made while the "
                         "client waits");
    for (size_t i = 0; i < json_array_size(include); i++) {
        const char *what = json_string_value(json_array_get(include, i));
        if (!what || strcmp(what, "reasoning.encrypted_content") != 0) /* it is told in the clear */
            return err_field(e, E_UNSUPPORTED, "include", "include: \"%.60s\" is not supported",
                             what ? what : "");
    }
    if (stream && !json_is_object(stream))
        return err_field(e, E_FORMAT, "stream_options", "stream_options: an object is expected");
    if (text && !json_is_object(text))
        return err_field(e, E_FORMAT, "text", "text: %s was sent, an object is expected",
                         jsonin_kind(text));
    if (stream)
        translate_stream_options(stream);
    if (verbosity && strcmp(verbosity, "medium") != 0)
        return err_field(e, E_UNSUPPORTED, "text", "text: the verbosity cannot be chosen");
    return 0;
}

static int read_input(struct gather *g, const json_t *in, const json_t *before, struct err *e)
{
    const json_t *v = jsonin_get(in, input), *instructions = jsonin_get(in, "instructions");
    if (instructions && translate_text(&g->text, instructions, "instructions", "it", e))
        return e->code;
    if (instructions && gather_flush(g, "system", e))
        return e->code;
    if (before && json_array_extend(g->messages, (json_t *)(uintptr_t)before))
        return translate_no_memory(e);
    if (json_is_array(v))
        return responses_items(g, v, e);
    if (!json_is_string(v))
        return err_field(e, E_FORMAT, input, "%s: %s was sent, a string or an array of items is "
                         "expected", input, jsonin_kind(v));
    buf_add(&g->text, json_string_value(v), json_string_length(v));
    return gather_flush(g, "user", e);
}

static int read_tools(const json_t *in, json_t *out, struct err *e)
{
    const json_t *tools = jsonin_get(in, "tools"), *choice = jsonin_get(in, "tool_choice");
    json_t *list = json_array();
    if (tools && !json_is_array(tools))
        err_field(e, E_FORMAT, "tools", "tools: %s was sent, an array is expected",
                  jsonin_kind(tools));
    for (size_t i = 0; i < json_array_size(tools) && !e->code; i++) {
        const json_t *tool = json_array_get(tools, i);
        const char *type = json_string_value(json_object_get(tool, "type"));
        if (!type || strcmp(type, "function") != 0)
            err_field(e, E_UNSUPPORTED, "tools", "tools: element %zu is of type \"%.40s\"; only "
                      "functions are supported", i, type ? type : "");
        else if (json_array_append_new(list, translate_tool(tool, i, "parameters", e)))
            translate_no_memory(e); /* where no other failure was told */
    }
    if (e->code)
        json_decref(list);
    else
        (void)translate_set(out, "tools", list, e);
    if (!e->code && choice && json_object_set(out, "tool_choice", (json_t *)(uintptr_t)choice))
        translate_no_memory(e);
    return e->code;
}

static int read_reasoning(const json_t *in, json_t *out, struct err *e)
{
    const json_t *v = jsonin_get(in, "reasoning"), *effort = jsonin_get(v, "effort");
    if (v && !json_is_object(v))
        return err_field(e, E_FORMAT, "reasoning", "reasoning: %s was sent, an object is expected",
                         jsonin_kind(v));
    const json_t *most = jsonin_get(v, "max_tokens");
    if (most && translate_set(out, "thinking_budget", json_incref((json_t *)(uintptr_t)most), e))
        return e->code;
    if (!effort)
        return 0;
    if (!json_is_string(effort))
        return err_field(e, E_FORMAT, "reasoning", "reasoning: the effort is %s, a string is "
                         "expected", jsonin_kind(effort));
    if (strcmp(json_string_value(effort), "none") == 0)
        return translate_set(out, "enable_thinking", json_false(), e);
    return translate_set(out, "reasoning_effort", json_incref((json_t *)(uintptr_t)effort), e);
}

static int read_text(const json_t *in, json_t *out, struct err *e)
{
    const json_t *format = jsonin_get(jsonin_get(in, "text"), "format");
    json_t *ours = format ? translate_format(format, "text", e) : NULL;
    return ours ? translate_set(out, "response_format", ours, e) : e->code;
}

static int read_length(const json_t *in, json_t *out, struct err *e)
{
    json_t *n = json_object_get(in, "max_output_tokens");
    return n ? translate_set(out, "max_tokens", json_incref(n), e) : 0;
}

/* ---- what the reply repeats ---- */

/* A tree as text in the tree *keep; NULL = no memory. */
static int keep_text(json_t *keep, const char *key, const json_t *v, struct err *e)
{
    char *text = json_dumps(v, JSON_COMPACT);
    int rc = text ? json_object_set_new(keep, key, json_string(text)) : -1;
    mem_free(text);
    return rc ? translate_no_memory(e) : 0;
}

static int repeat(const json_t *in, json_t *keep, struct err *e)
{
    static const struct { const char *key, *otherwise; } rows[] = {
        {"background", "false"},        {"instructions", "null"},
        {"max_output_tokens", "null"},  {"max_tool_calls", "null"},
        {"metadata", "{}"},             {"parallel_tool_calls", "true"},
        {"previous_response_id", "null"}, {"prompt_cache_key", "null"},
        {"reasoning", "{\"effort\":null,\"summary\":null}"},
        {"safety_identifier", "null"},  {"service_tier", "\"default\""},
        {"store", "true"},              {"text", "{\"format\":{\"type\":\"text\"}}"},
        {"tool_choice", "\"auto\""},    {"tools", "[]"},
        {"top_logprobs", "0"},          {"truncation", "\"disabled\""},
        {"user", "null"},
    };
    json_t *all = json_object();
    int rc = all ? 0 : translate_no_memory(e);
    for (size_t i = 0; i < ARRAY_LEN(rows) && !rc; i++) {
        json_t *v = json_incref((json_t *)(uintptr_t)jsonin_get(in, rows[i].key));
        if (!v)
            v = jsonread(rows[i].otherwise, strlen(rows[i].otherwise), JSON_DECODE_ANY, NULL);
        rc = json_object_set_new(all, rows[i].key, v) ? translate_no_memory(e) : 0;
    }
    if (!rc)
        rc = keep_text(keep, "echo", all, e);
    json_decref(all);
    return rc;
}

static int fill(struct gather *g, const json_t *in, const json_t *before, json_t *out, json_t *keep,
                struct err *e)
{
    bool store = true;
    jsonin_bool(in, "store", &store, e);
    int rc = e->code ? e->code : refuse_theirs(in, e);
    if (!rc)
        rc = translate_refuse(out, e);
    if (!rc)
        rc = read_input(g, in, before, e);
    if (!rc && json_object_set(out, "messages", g->messages))
        rc = translate_no_memory(e);
    if (!rc)
        rc = read_tools(in, out, e);
    if (!rc)
        rc = read_reasoning(in, out, e);
    if (!rc)
        rc = read_text(in, out, e);
    if (!rc)
        rc = read_length(in, out, e);
    if (!rc)
        rc = repeat(in, keep, e);
    if (!rc && store) {
        json_t *talk = json_copy(g->messages);
        if (jsonin_get(in, "instructions")) /* of this request alone */
            (void)json_array_remove(talk, 0);
        rc = keep_text(keep, "messages", talk, e);
        json_decref(talk);
    }
    return rc;
}

json_t *responses_request(const json_t *in, const json_t *before, json_t **keep, struct err *e)
{
    /* Fields whose name means something else in our own form, or nothing. */
    static const char *const theirs[] = {"input", "text", "reasoning", "max_output_tokens", "store",
                                         "metadata", "prompt", "stream_options", "instructions",
                                         "tool_choice"};
    struct gather g;
    json_t *out = json_copy((json_t *)(uintptr_t)in);
    gather_init(&g);
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
        (void)json_object_del(out, theirs[i]);
    *keep = json_object();
    int rc = out && *keep && g.messages ? fill(&g, in, before, out, *keep, e)
                                        : translate_no_memory(e);
    if (rc) {
        json_decref(out);
        json_decref(*keep);
        out = *keep = NULL;
    }
    gather_free(&g);
    return out;
}
