/* A conversation of a request: messages, tools, documents, and the template's variables.
 * Thread: any. */
#include <string.h>

#include "models/text/chat/rules.h"
#include "server/api/params_int.h"

/* Variables that the request sets by other fields, or that the model's files set. */
static const char *const reserved[] = {"messages", "tools", "documents", "add_generation_prompt",
                                       "bos_token", "eos_token"};
/* Top-level fields that clients send beside chat_template_kwargs. */
static const char *const direct[] = {"enable_thinking", "reasoning_effort"};

static int no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for the request"); }

/* A field of the request, held by chat_tree; *out = NULL when it is absent, null or an empty
 * list. */
static int hold(struct params *p, const json_t *o, const char *key, const json_t **out,
                struct err *e)
{
    json_t *v = (json_t *)(uintptr_t)jsonin_get(o, key);
    *out = NULL;
    if (!v || (json_is_array(v) && json_array_size(v) == 0))
        return 0;
    *out = v;
    return json_object_set(p->chat_tree, key, v) ? no_memory(e) : 0;
}

static int read_variables(struct params *p, const json_t *o, struct err *e)
{
    const json_t *kwargs = jsonin_get(o, "chat_template_kwargs");
    json_t *all = json_object();
    if (!all || json_object_set_new(p->chat_tree, "variables", all))
        return no_memory(e);
    if (kwargs && !json_is_object(kwargs))
        return err_field(e, E_FORMAT, "chat_template_kwargs", "chat_template_kwargs: %s was sent, "
                         "an object is expected", jsonin_kind(kwargs));
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (json_object_get(kwargs, reserved[i]))
            return err_field(e, E_CONFLICT, "chat_template_kwargs", "chat_template_kwargs: %s is "
                             "set by the request or the model itself", reserved[i]);
    for (size_t i = 0; i < ARRAY_LEN(direct); i++) {
        json_t *v = (json_t *)(uintptr_t)jsonin_get(o, direct[i]);
        if (v && json_object_set(all, direct[i], v))
            return no_memory(e);
    }
    if (kwargs && json_object_update(all, (json_t *)(uintptr_t)kwargs))
        return no_memory(e);
    p->chat.kwargs = all;
    return 0;
}

static int read_template(struct params *p, const json_t *o, struct err *e)
{
    const char *text = NULL;
    if (!jsonin_str(o, "chat_template", &text, &p->chat.n_template, e))
        return e->code;
    if (!p->request_templates)
        return err_field(e, E_UNSUPPORTED, "chat_template", "chat_template: templates of a request "
                         "are run only where the server is started with allow-request-templates");
    p->chat.template_text = arena_copy(&p->arena, text, p->chat.n_template);
    return p->chat.template_text ? 0 : no_memory(e);
}

int params_chat(struct params *p, const json_t *o, struct err *e)
{
    struct chat_request *q = &p->chat;
    bool named = jsonin_get(o, "add_generation_prompt") != NULL;
    q->add_reply = true;
    jsonin_bool(o, "add_generation_prompt", &q->add_reply, e);
    jsonin_bool(o, "continue_final_message", &q->continue_final, e);
    if (q->continue_final && named && q->add_reply)
        err_field(e, E_CONFLICT, "continue_final_message", "continue_final_message: not together "
                  "with add_generation_prompt");
    q->add_reply = q->add_reply && !q->continue_final;
    p->chat_tree = json_object();
    if (e->code || !p->chat_tree)
        return e->code ? e->code : no_memory(e);
    const json_t *messages = jsonin_get(o, "messages");
    int rc = chat_check(messages, jsonin_get(o, "tools"), jsonin_get(o, "documents"), e);
    if (!rc)
        p->rules_applied = chat_rules_apply(p->rules, (json_t *)(uintptr_t)messages);
    if (!rc)
        rc = hold(p, o, "messages", &q->messages, e);
    if (!rc)
        rc = hold(p, o, "tools", &q->tools, e);
    if (!rc)
        rc = hold(p, o, "documents", &q->documents, e);
    if (!rc)
        rc = read_variables(p, o, e);
    if (!rc)
        rc = read_template(p, o, e);
    p->n_messages = rc ? 0 : (int32_t)json_array_size(q->messages);
    return rc;
}

int params_no_chat(const json_t *o, struct err *e)
{
    static const char *const fields[] = {"tools", "documents", "chat_template",
                                         "continue_final_message"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const json_t *v = jsonin_get(o, fields[i]);
        if (v && !json_is_false(v) && !(json_is_array(v) && json_array_size(v) == 0))
            return err_field(e, E_UNSUPPORTED, fields[i], "%s: only with messages", fields[i]);
    }
    return 0;
}
