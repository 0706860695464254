/* tool_choice, parallel_tool_calls, reasoning_format and budgets of a chat request. Thread: any. */
#include <string.h>

#include "server/api/params_int.h"

static int read_name(struct params *p, const json_t *choice, struct err *e)
{
    const char *field = "tool_choice";
    const json_t *f = json_object_get(choice, "function");
    const char *type = json_string_value(json_object_get(choice, "type"));
    const char *name = json_string_value(json_object_get(f ? f : choice, "name"));
    bool offered = false;
    if (!type || strcmp(type, "function") != 0 || !name)
        return err_field(e, E_FORMAT, field, "%s: \"none\", \"auto\", \"required\" or {\"type\": "
                         "\"function\", \"function\": {\"name\": …}} is expected", field);
    for (size_t i = 0; i < json_array_size(p->chat.tools) && !offered; i++) {
        const json_t *tool = json_array_get(p->chat.tools, i);
        const char *one =
            json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        offered = one && strcmp(one, name) == 0;
    }
    if (!offered)
        return err_field(e, E_RANGE, field, "%s: \"%.64s\" is none of the %zu tools", field, name,
                         json_array_size(p->chat.tools));
    p->tool_choice = TOOL_NAMED;
    p->tool_name = arena_strdup(&p->arena, name);
    return p->tool_name ? 0 : err_set(e, E_NOMEM, "no memory for the request");
}

static int read_choice(struct params *p, const json_t *v, struct err *e)
{
    static const char *const names[] = {[TOOL_AUTO] = "auto", [TOOL_NONE] = "none",
                                        [TOOL_REQUIRED] = "required"};
    if (!json_is_string(v))
        return v ? read_name(p, v, e) : 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], json_string_value(v)) == 0) {
            p->tool_choice = (enum tool_choice)i;
            if (i == TOOL_REQUIRED && !p->chat.tools)
                return err_field(e, E_CONFLICT, "tool_choice", "tool_choice: \"required\", but "
                                 "there are no tools");
            return 0;
        }
    return err_field(e, E_RANGE, "tool_choice", "tool_choice: \"%.40s\" is neither none, auto nor "
                     "required", json_string_value(v));
}

/* The names that servers have for it; the last wins nothing: two are a conflict. */
static int read_budget(struct params *p, const json_t *o, struct err *e)
{
    static const char *const names[] = {"thinking_budget", "reasoning_budget",
                                        "thinking_token_budget", "thinking_budget_tokens"};
    const json_t *nested = jsonin_get(o, "reasoning");
    int64_t n;
    p->budget = -1;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!jsonin_int(o, names[i], -1, INT32_MAX, &n, e))
            continue;
        if (p->budget_field)
            return err_field(e, E_CONFLICT, names[i], "%s: %s says it already", names[i],
                             p->budget_field);
        p->budget_field = names[i];
        p->budget = n;
    }
    if (json_is_object(nested) && jsonin_int(nested, "max_tokens", 0, INT32_MAX, &n, e)) {
        if (p->budget_field)
            return err_field(e, E_CONFLICT, "reasoning", "reasoning: %s says it already",
                             p->budget_field);
        p->budget_field = "reasoning";
        p->budget = n;
    }
    return e->code;
}

int params_tools(struct params *p, const json_t *o, struct err *e)
{
    const char *format = NULL;
    bool parallel = true;
    p->reasoning = true;
    jsonin_bool(o, "parallel_tool_calls", &parallel, e);
    p->single_call = !parallel;
    if (jsonin_str(o, "reasoning_format", &format, NULL, e)) {
        p->reasoning = strcmp(format, "none") != 0;
        if (p->reasoning && strcmp(format, "auto") != 0 && strcmp(format, "deepseek") != 0)
            err_field(e, E_RANGE, "reasoning_format", "reasoning_format: \"%.40s\" is neither "
                      "none, auto nor deepseek", format);
    }
    int rc = e->code ? e->code : read_budget(p, o, e);
    if (!rc)
        rc = read_choice(p, jsonin_get(o, "tool_choice"), e);
    if (!rc && p->tool_choice >= TOOL_REQUIRED && p->constrain.field)
        rc = err_field(e, E_CONFLICT, "tool_choice", "tool_choice: %s constrains the answer "
                       "already", p->constrain.field);
    if (!rc && p->tool_choice == TOOL_NONE)
        p->chat.tools = NULL; /* the template shows none */
    return rc;
}
