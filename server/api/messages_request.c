/* Anthropic's messages -> our own chat request. Content blocks become messages: a tool's results
 * are messages of their own, calls and thinking are fields of the assistant's. */
#include <string.h>

#include "server/api/jsonin.h"
#include "server/api/messages.h"
#include "server/api/translate.h"

struct talk {
    struct gather g;      /* our messages, so far */
    int32_t cached;       /* of them: the last with cache_control, -1 = none */
    bool long_lived;      /* one of the cache points is to last an hour */
    size_t i;             /* element of the client's messages */
    struct err *e;
};

static int bad(struct talk *t, enum err_code code, size_t k, const char *what)
{
    return err_field(t->e, code, "messages", "messages: block %zu of element %zu %s", k, t->i,
                     what);
}

/* cache_control of a block, a tool or the request: the prompt up to here is worth keeping. Where a
 * message ends there is a cache point anyway; it lasts longer. at: the message it is in. */
static int cache_point(struct talk *t, const json_t *holder, int32_t at)
{
    const json_t *c = jsonin_get(holder, "cache_control");
    const char *type = json_string_value(json_object_get(c, "type"));
    const char *ttl = json_string_value(json_object_get(c, "ttl"));
    if (!c)
        return 0;
    if (!type || strcmp(type, "ephemeral") != 0)
        return err_field(t->e, E_RANGE, "cache_control", "cache_control: an object of the type "
                         "\"ephemeral\" is expected");
    if (json_object_get(c, "ttl") && (!ttl || (strcmp(ttl, "5m") && strcmp(ttl, "1h"))))
        return err_field(t->e, E_RANGE, "cache_control", "cache_control: the ttl is neither \"5m\" "
                         "nor \"1h\"");
    t->long_lived |= ttl && strcmp(ttl, "1h") == 0;
    t->cached = MAX(t->cached, at);
    return 0;
}

static int32_t next(const struct talk *t) { return (int32_t)json_array_size(t->g.messages); }

static int string_block(struct talk *t, const json_t *block, size_t k, const char *key,
                        struct buf *out)
{
    const json_t *s = json_object_get(block, key);
    char what[64];
    snprintf(what, sizeof what, "has no \"%s\" string", key);
    if (!json_is_string(s))
        return bad(t, E_FORMAT, k, what);
    return buf_add(out, json_string_value(s), json_string_length(s)) ? translate_no_memory(t->e)
                                                                     : 0;
}

static int tool_use(struct talk *t, const json_t *block, size_t k)
{
    const json_t *id = json_object_get(block, "id"), *name = json_object_get(block, "name");
    const json_t *input = json_object_get(block, "input");
    if (!json_is_string(id) || !json_is_string(name))
        return bad(t, E_FORMAT, k, "has no \"id\" and \"name\" strings");
    if (!json_is_object(input))
        return bad(t, E_FORMAT, k, "has no \"input\" object");
    return gather_call(&t->g, id, name, input, t->e);
}

/* A result is a message; what the user said before it is one, too. */
static int tool_result(struct talk *t, const json_t *block, size_t k)
{
    json_t *id = json_object_get(block, "tool_use_id"), *m;
    const json_t *content = jsonin_get(block, "content");
    char where[80];
    if (!json_is_string(id))
        return bad(t, E_FORMAT, k, "has no \"tool_use_id\" string");
    if (t->g.text.len && gather_flush(&t->g, "user", t->e))
        return t->e->code;
    snprintf(where, sizeof where, "the content of block %zu of element %zu", k, t->i);
    if (content && translate_text(&t->g.text, content, "messages", where, t->e))
        return t->e->code;
    if (gather_flush(&t->g, "tool", t->e))
        return t->e->code;
    m = json_array_get(t->g.messages, json_array_size(t->g.messages) - 1);
    return json_object_set(m, "tool_call_id", id) ? translate_no_memory(t->e) : 0;
}

static int ignore(struct talk *t, const json_t *block, size_t k)
{
    (void)t;
    (void)block;
    (void)k;
    return 0;
}

static int text(struct talk *t, const json_t *block, size_t k)
{
    return string_block(t, block, k, "text", &t->g.text);
}

static int thinking(struct talk *t, const json_t *block, size_t k)
{
    return string_block(t, block, k, "thinking", &t->g.reasoning);
}

/* Blocks of a message, each in the roles that may have it. */
static const struct block {
    const char *type;
    bool user, assistant;
    int (*read)(struct talk *t, const json_t *block, size_t k);
} blocks[] = {
    {"text", true, true, text},
    {"thinking", false, true, thinking},
    {"redacted_thinking", false, true, ignore}, /* nobody here could read it */
    {"tool_use", false, true, tool_use},
    {"tool_result", true, false, tool_result},
};

static int read_block(struct talk *t, const json_t *block, size_t k, bool user)
{
    const char *type = json_string_value(json_object_get(block, "type"));
    char what[128];
    if (!type)
        return bad(t, E_FORMAT, k, "is no object with a \"type\"");
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        if (strcmp(blocks[i].type, type) != 0 || !(user ? blocks[i].user : blocks[i].assistant))
            continue;
        int rc = blocks[i].read(t, block, k);
        /* A result has become a message, and anything else is in one that is still to come. */
        int32_t at = next(t) - (blocks[i].read == tool_result);
        return rc ? rc : cache_point(t, block, at);
    }
    snprintf(what, sizeof what, "is of type \"%.40s\", which is not supported in a message of the "
             "%s", type, user ? "user" : "assistant");
    return bad(t, E_UNSUPPORTED, k, what);
}

static int read_message(struct talk *t, const json_t *m)
{
    const char *role = json_string_value(json_object_get(m, "role"));
    const json_t *content = json_object_get(m, "content");
    int32_t before = next(t);
    if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0))
        return err_field(t->e, E_FORMAT, "messages", "messages: the role of element %zu is neither "
                         "\"user\" nor \"assistant\"", t->i);
    bool user = strcmp(role, "user") == 0;
    if (json_is_string(content))
        buf_add(&t->g.text, json_string_value(content), json_string_length(content));
    else if (!json_is_array(content))
        return err_field(t->e, E_FORMAT, "messages", "messages: the content of element %zu is %s, "
                         "a string or an array of blocks is expected", t->i, jsonin_kind(content));
    for (size_t k = 0; k < json_array_size(content); k++)
        if (read_block(t, json_array_get(content, k), k, user))
            return t->e->code;
    bool left = gather_any(&t->g) || next(t) == before;
    return left ? gather_flush(&t->g, role, t->e) : 0;
}

static int read_system(struct talk *t, const json_t *v)
{
    if (!v)
        return 0;
    if (translate_text(&t->g.text, v, "system", "it", t->e))
        return t->e->code;
    for (size_t k = 0; k < json_array_size(v); k++)
        if (cache_point(t, json_array_get(v, k), 0))
            return t->e->code;
    return t->g.text.len ? gather_flush(&t->g, "system", t->e) : 0;
}

static int read_messages(struct talk *t, const json_t *in)
{
    const json_t *list = jsonin_get(in, "messages");
    if (!json_is_array(list) || !json_array_size(list))
        return err_field(t->e, E_FORMAT, "messages", "messages: %s was sent, an array of messages "
                         "is expected", json_is_array(list) ? "an empty array" : jsonin_kind(list));
    int rc = read_system(t, jsonin_get(in, "system"));
    for (t->i = 0; t->i < json_array_size(list) && !rc; t->i++)
        rc = read_message(t, json_array_get(list, t->i));
    return rc ? rc : cache_point(t, in, next(t) - 1);
}

/* An assistant's message at the end is the beginning of the answer. */
static int read_prefill(struct talk *t, json_t *out)
{
    const json_t *last = json_array_get(t->g.messages, json_array_size(t->g.messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (strcmp(role, "assistant") != 0 || json_object_get(last, "tool_calls"))
        return 0;
    return translate_set(out, "continue_final_message", json_true(), t->e);
}

static int read_tools(struct talk *t, const json_t *in, json_t *out)
{
    const json_t *tools = jsonin_get(in, "tools");
    json_t *list = json_array();
    if (tools && !json_is_array(tools))
        err_field(t->e, E_FORMAT, "tools", "tools: %s was sent, an array is expected",
                  jsonin_kind(tools));
    for (size_t i = 0; i < json_array_size(tools) && !t->e->code; i++) {
        const json_t *tool = json_array_get(tools, i);
        const char *type = json_string_value(jsonin_get(tool, "type"));
        if (type && strcmp(type, "custom") != 0)
            err_field(t->e, E_UNSUPPORTED, "tools", "tools: element %zu is of type \"%.40s\"; only "
                      "tools of the client (\"custom\") are supported", i, type);
        else if (json_array_append_new(list, translate_tool(tool, i, "input_schema", t->e)))
            translate_no_memory(t->e); /* where no other failure was told */
        else
            (void)cache_point(t, tool, 0);
    }
    if (t->e->code)
        json_decref(list);
    return t->e->code ? t->e->code : translate_set(out, "tools", list, t->e);
}

static int read_choice(const json_t *in, json_t *out, struct err *e)
{
    static const struct { const char *theirs, *ours; } rows[] = {
        {"auto", "auto"}, {"any", "required"}, {"none", "none"},
    };
    const json_t *v = jsonin_get(in, "tool_choice");
    const char *type = json_string_value(json_object_get(v, "type")), *ours = NULL;
    bool single = false;
    if (!v)
        return 0;
    for (size_t i = 0; type && i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].theirs, type) == 0)
            ours = rows[i].ours;
    if (!ours && (!type || strcmp(type, "tool") != 0))
        return err_field(e, E_FORMAT, "tool_choice", "tool_choice: an object of the type \"auto\", "
                         "\"any\", \"tool\" or \"none\" is expected");
    if (!ours && !json_is_string(json_object_get(v, "name")))
        return err_field(e, E_FORMAT, "tool_choice", "tool_choice: the type \"tool\" needs a "
                         "\"name\"");
    jsonin_bool(v, "disable_parallel_tool_use", &single, e);
    json_t *choice = ours ? json_string(ours)
                          : json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name",
                                      json_object_get(v, "name"));
    int rc = translate_set(out, "tool_choice", choice, e);
    return rc ? rc : translate_set(out, "parallel_tool_calls", json_boolean(!single), e);
}

/* Thinking is off unless it is asked for. */
static int read_thinking(const json_t *in, json_t *out, int64_t max_tokens, struct err *e)
{
    const json_t *v = jsonin_get(in, "thinking");
    const char *type = v ? json_string_value(json_object_get(v, "type")) : "disabled";
    int64_t budget = 0;
    if (!type || (strcmp(type, "enabled") && strcmp(type, "disabled") && strcmp(type, "adaptive")))
        return err_field(e, E_FORMAT, "thinking", "thinking: an object of the type \"enabled\", "
                         "\"disabled\" or \"adaptive\" is expected");
    if (jsonin_int(v, "budget_tokens", 1, INT32_MAX, &budget, e) && max_tokens > 0 &&
        budget >= max_tokens)
        err_field(e, E_CONFLICT, "thinking", "thinking: a budget of %lld tokens, but max_tokens is "
                  "%lld", (long long)budget, (long long)max_tokens);
    if (!e->code && budget && strcmp(type, "enabled") == 0)
        (void)translate_set(out, "thinking_budget", json_integer(budget), e);
    if (e->code || strcmp(type, "adaptive") == 0)
        return e->code;
    return translate_set(out, "enable_thinking", json_boolean(strcmp(type, "enabled") == 0), e);
}

static int read_output(const json_t *in, json_t *out, struct err *e)
{
    const json_t *config = jsonin_get(in, "output_config");
    const json_t *format = jsonin_get(config, "format"), *old = jsonin_get(in, "output_format");
    json_t *effort = json_object_get(config, "effort");
    json_t *ours = format || old ? translate_format(format ? format : old, "output_config", e)
                                 : NULL;
    if (ours && translate_set(out, "response_format", ours, e))
        return e->code;
    return json_is_string(effort)
               ? translate_set(out, "reasoning_effort", json_incref(effort), e) : e->code;
}

/* Of what runs on the API's own servers. Edits of old thinking are the template's affair here. */
static int refuse_theirs(const json_t *in, struct err *e)
{
    static const char *const fields[] = {"mcp_servers", "container"};
    const json_t *edits = json_object_get(jsonin_get(in, "context_management"), "edits");
    (void)jsonin_get(in, "metadata"); /* an id of its user: no answer depends on it */
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const json_t *v = jsonin_get(in, fields[i]);
        if (v && !(json_is_array(v) && !json_array_size(v)))
            return err_field(e, E_UNSUPPORTED, fields[i], "%s: this server has none", fields[i]);
    }
    for (size_t i = 0; i < json_array_size(edits); i++) {
        const char *type = json_string_value(json_object_get(json_array_get(edits, i), "type"));
        if (!type || strncmp(type, "clear_thinking_", 15) != 0)
            return err_field(e, E_UNSUPPORTED, "context_management", "context_management: edits of "
                             "the type \"%.40s\" are not supported", type ? type : "");
    }
    return 0;
}

static int fill(struct talk *t, const json_t *in, bool counting, json_t *out)
{
    int64_t max_tokens = -1;
    int rc = translate_refuse(in, t->e);
    if (!rc)
        rc = refuse_theirs(in, t->e);
    if (!rc && !jsonin_int(in, "max_tokens", 1, INT32_MAX, &max_tokens, t->e) && !counting &&
        !t->e->code)
        err_field(t->e, E_FORMAT, "max_tokens", "max_tokens: missing");
    rc = t->e->code;
    if (!rc)
        rc = read_tools(t, in, out);
    if (!rc)
        rc = read_messages(t, in);
    if (!rc && json_object_set(out, "messages", t->g.messages))
        rc = translate_no_memory(t->e);
    if (!rc)
        rc = read_prefill(t, out);
    if (!rc)
        rc = read_choice(in, out, t->e);
    if (!rc)
        rc = read_thinking(in, out, max_tokens, t->e);
    if (!rc)
        rc = read_output(in, out, t->e);
    if (!rc && jsonin_get(in, "stop_sequences"))
        rc = translate_set(out, "stop", json_incref(json_object_get(in, "stop_sequences")), t->e);
    if (!rc && t->cached >= 0) /* as long as they asked for, at least */
        rc = translate_set(out, t->long_lived ? "prompt_cache_retention" : "prompt_cache_key",
                 json_string(t->long_lived ? "24h" : "cache_control"), t->e);
    return rc;
}

json_t *messages_request(const json_t *in, bool counting, json_t **keep, struct err *e)
{
    /* Fields whose name means something else in our own form, or nothing. */
    static const char *const theirs[] = {"tool_choice", "stop", "thinking", "system", "metadata",
                                         "stop_sequences", "context_management", "cache_control"};
    struct talk t = {.cached = -1, .e = e};
    json_t *out = json_copy((json_t *)(uintptr_t)in);
    gather_init(&t.g);
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
        (void)json_object_del(out, theirs[i]);
    int rc = out && t.g.messages ? fill(&t, in, counting, out) : translate_no_memory(e);
    *keep = NULL;
    if (!rc && t.cached >= 0) {
        *keep = json_pack("{s:i}", "cached", (int)t.cached);
        rc = *keep ? 0 : translate_no_memory(e);
    }
    if (rc) {
        json_decref(out);
        out = NULL;
    }
    gather_free(&t.g);
    return out;
}
