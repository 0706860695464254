/* Messages as clients send them: their shape, and the shapes that templates can take. */
#include <string.h>

#include "base/limits.h"
#include "models/files/jsontext.h"
#include "models/text/chat/chat_int.h"

/* The roles whose names templates may turn into control tokens. */
bool chat_is_role(const char *role)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool",
                                        "function"};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strcmp(role, roles[i]) == 0)
            return true;
    return false;
}

/* ---- checking --------------------------------------------------------------------------- */

static const char *kind(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",  [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",       [JSON_NULL] = "null",
    };
    return v ? names[json_typeof(v)] : "nothing";
}

static int check_parts(const json_t *parts, size_t i, struct err *e)
{
    for (size_t k = 0; k < json_array_size(parts); k++) {
        const json_t *part = json_array_get(parts, k);
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type)
            return err_field(e, E_FORMAT, "messages", "messages: part %zu of element %zu is %s, an "
                             "object with a \"type\" is expected", k, i, kind(part));
        if (strcmp(type, "text") != 0)
            return err_field(e, E_UNSUPPORTED, "messages", "messages: part %zu of element %zu is "
                             "of type \"%.40s\"; only content parts of type \"text\" are "
                             "supported", k, i, type);
        if (!json_is_string(json_object_get(part, "text")))
            return err_field(e, E_FORMAT, "messages", "messages: part %zu of element %zu has no "
                             "\"text\" string", k, i);
    }
    return 0;
}

static int check_calls(const json_t *calls, size_t i, struct err *e)
{
    if (!calls || json_is_null(calls))
        return 0;
    if (!json_is_array(calls))
        return err_field(e, E_FORMAT, "messages", "messages: the tool_calls of element %zu are %s, "
                         "an array is expected", i, kind(calls));
    for (size_t k = 0; k < json_array_size(calls); k++) {
        const json_t *f = json_object_get(json_array_get(calls, k), "function");
        const json_t *arguments = json_object_get(f, "arguments");
        if (!json_is_string(json_object_get(f, "name")))
            return err_field(e, E_FORMAT, "messages", "messages: tool call %zu of element %zu has "
                             "no function with a name", k, i);
        if (arguments && !json_is_string(arguments) && !json_is_object(arguments))
            return err_field(e, E_FORMAT, "messages", "messages: the arguments of tool call %zu of "
                             "element %zu are %s, a string is expected", k, i, kind(arguments));
    }
    return 0;
}

static int check_message(const json_t *m, size_t i, struct err *e)
{
    static const char *const strings[] = {"name", "reasoning_content", "tool_call_id"};
    const json_t *role = json_object_get(m, "role"), *content = json_object_get(m, "content");
    if (!json_is_object(m))
        return err_field(e, E_FORMAT, "messages", "messages: element %zu is %s, an object is "
                         "expected", i, kind(m));
    if (!json_is_string(role))
        return err_field(e, E_FORMAT, "messages", "messages: element %zu has no \"role\" string",
                         i);
    bool nothing = !content || json_is_null(content);
    if (!json_is_string(content) && !json_is_array(content) && !nothing)
        return err_field(e, E_FORMAT, "messages", "messages: the content of element %zu is %s, a "
                         "string or an array of text parts is expected", i, kind(content));
    for (size_t k = 0; k < ARRAY_LEN(strings); k++) {
        const json_t *v = json_object_get(m, strings[k]);
        if (v && !json_is_string(v) && !json_is_null(v))
            return err_field(e, E_FORMAT, "messages", "messages: %s of element %zu is %s, a string "
                             "is expected", strings[k], i, kind(v));
    }
    int rc = json_is_array(content) ? check_parts(content, i, e) : 0;
    return rc ? rc : check_calls(json_object_get(m, "tool_calls"), i, e);
}

static int check_objects(const json_t *list, const char *field, struct err *e)
{
    if (list && !json_is_array(list))
        return err_field(e, E_FORMAT, field, "%s: %s was sent, an array is expected", field,
                         kind(list));
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_object(json_array_get(list, i)))
            return err_field(e, E_FORMAT, field, "%s: element %zu is %s, an object is expected",
                             field, i, kind(json_array_get(list, i)));
    return 0;
}

static int check_tools(const json_t *tools, struct err *e)
{
    int rc = check_objects(tools, "tools", e);
    for (size_t i = 0; rc == 0 && i < json_array_size(tools); i++) {
        const json_t *f = json_object_get(json_array_get(tools, i), "function");
        if (!json_is_string(json_object_get(f, "name")))
            rc = err_field(e, E_FORMAT, "tools", "tools: element %zu has no function with a name",
                           i);
    }
    return rc;
}

int chat_check(const json_t *messages, const json_t *tools, const json_t *documents,
               struct err *e)
{
    if (!json_is_array(messages))
        return err_field(e, E_FORMAT, "messages", "messages: %s was sent, an array is expected",
                         kind(messages));
    size_t n = json_array_size(messages);
    if (n == 0 || n > LIMIT_MESSAGES)
        return err_field(e, E_RANGE, "messages", "messages: %zu messages, 1 … %d are allowed", n,
                         LIMIT_MESSAGES);
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++)
        rc = check_message(json_array_get(messages, i), i, e);
    if (!rc)
        rc = check_tools(tools, e);
    return rc ? rc : check_objects(documents, "documents", e);
}

/* ---- adapting --------------------------------------------------------------------------- */

void chat_content_text(const json_t *content, struct buf *out)
{
    if (json_is_string(content))
        buf_add(out, json_string_value(content), json_string_length(content));
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *text = json_object_get(json_array_get(content, i), "text");
        buf_add(out, json_string_value(text), json_string_length(text));
    }
}

static json_t *joined(const json_t *content)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 2); /* bounded by the body */
    chat_content_text(content, &b);
    json_t *s = b.failed ? NULL : json_stringn_nocheck(b.p ? b.p : "", b.len);
    buf_free(&b);
    return s;
}

/* One call with its arguments as an object or as text; anything else as it came. */
static json_t *adapt_call(const json_t *call, bool objects)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)call);
    json_t *f = json_copy(json_object_get(call, "function"));
    const json_t *old = json_object_get(f, "arguments");
    json_t *arguments = NULL;
    if (objects && json_is_string(old)) {
        /* What is not an object stays text: the template decides. */
        if (jsontext_parse(&arguments, json_string_value(old), json_string_length(old),
                           LIMIT_JSON_VALUES, "arguments", NULL) != 0)
            arguments = NULL;
    } else if (!objects && json_is_object(old)) {
        char *text = json_dumps(old, 0);
        arguments = text ? json_string_nocheck(text) : NULL;
        void *(*alloc)(size_t);
        void (*release)(void *);
        json_get_alloc_funcs(&alloc, &release);
        release(text);
    }
    if (arguments)
        json_object_set_new_nocheck(f, "arguments", arguments);
    json_object_set_new_nocheck(copy, "function", f);
    return copy;
}

static json_t *adapt_calls(const json_t *calls, bool objects)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(calls); i++)
        json_array_append_new(list, adapt_call(json_array_get(calls, i), objects));
    return list;
}

json_t *chat_adapt(const json_t *messages, const struct chat_abilities *can)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < json_array_size(messages); i++) {
        json_t *m = json_copy(json_array_get(messages, i));
        const json_t *content = json_object_get(m, "content");
        const json_t *calls = json_object_get(m, "tool_calls");
        bool nothing = !content || json_is_null(content);
        if (json_is_array(content) && !can->parts)
            json_object_set_new_nocheck(m, "content", joined(content));
        if (nothing)
            json_object_set_new_nocheck(m, "content", can->null ? json_null() : json_string(""));
        const char *role = json_string_value(json_object_get(m, "role"));
        if (role && strcmp(role, "developer") == 0 && !can->developer)
            json_object_set_new_nocheck(m, "role", json_string("system"));
        if (json_is_array(calls))
            json_object_set_new_nocheck(m, "tool_calls", adapt_calls(calls, can->objects));
        if (json_array_append_new(list, m) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}
