/* One run of a template: the conversation as its variables, the result with its spans. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/text/chat/chat_int.h"

static int no_memory(struct err *e)
{
    return err_set(e, E_NOMEM, "out of memory for a conversation");
}

void chat_text_free(struct chat_text *t)
{
    buf_free(&t->text);
    mem_free(t->spans);
    t->spans = NULL;
    t->n_spans = 0;
}

static int copy_out(const struct text *t, size_t n, struct chat_text *out, struct err *e)
{
    size_t count = t->marks ? t->n_marks : 1;
    buf_init(&out->text, LIMIT_TEMPLATE_OUTPUT + 1);
    out->spans = mem_array(count, sizeof *out->spans);
    if (!out->spans || buf_add(&out->text, n ? t->p : "", n) || buf_str(&out->text, ""))
        return no_memory(e);
    out->n_spans = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t end = t->marks ? t->marks[i].end : t->n;
        out->spans[out->n_spans++] = (struct chat_span){
            (uint32_t)MIN((size_t)end, n), t->marks ? t->marks[i].origin : t->origin};
        if (end >= n)
            break;
    }
    return 0;
}

/* Behind the last byte of the last message: what is continued. SIZE_MAX = it does not appear. */
static size_t end_of_final(const struct text *t, size_t n_messages)
{
    origin_t last = (origin_t)(CHAT_MESSAGE + n_messages - 1);
    for (uint32_t i = t->n_marks; i-- > 0;)
        if (t->marks[i].origin == last)
            return t->marks[i].end;
    return !t->marks && t->n && t->origin == last ? t->n : SIZE_MAX;
}

static void set_variables(const struct chat *c, struct run *r, const struct chat_request *q,
                          const json_t *messages)
{
    const char *name;
    json_t *v;
    for (size_t i = 0; i < CHAT_TOKENS; i++)
        if (c->tokens[i].text)
            jinja_set_str(r, c->tokens[i].name, c->tokens[i].text, strlen(c->tokens[i].text),
                          CHAT_TEMPLATE);
    jinja_set_list(r, "messages", messages, CHAT_MESSAGE, "role", chat_is_role);
    jinja_set_json(r, "tools", q->tools, CHAT_CLIENT);
    jinja_set_json(r, "documents", q->documents, CHAT_CLIENT);
    jinja_set_bool(r, "add_generation_prompt", q->add_reply && !q->continue_final);
    json_object_foreach((json_t *)(uintptr_t)q->kwargs, name, v) {
        jinja_set_json(r, name, v, CHAT_CLIENT);
    }
}

int chat_run(const struct chat *c, const struct jinja *program, const struct chat_request *q,
             const struct chat_abilities *can, struct chat_text *out, struct err *e)
{
    const struct text *text;
    size_t count = json_array_size(q->messages);
    *out = (struct chat_text){0};
    json_t *messages = chat_adapt(q->messages, can);
    struct run *r = messages ? jinja_run_new(q->bytes, q->bytes / 8, e) : NULL;
    if (!r) {
        json_decref(messages);
        return no_memory(e);
    }
    set_variables(c, r, q, messages);
    int rc = jinja_render(program, r, &text, e);
    size_t n = rc == 0 ? text->n : 0;
    if (rc == 0 && q->continue_final) {
        n = end_of_final(text, count);
        if (n == SIZE_MAX)
            rc = err_field(e, E_RANGE, "messages", "messages: the final message does not appear "
                           "in the rendered prompt, so it cannot be continued");
    }
    if (rc == 0)
        rc = copy_out(text, n, out, e);
    jinja_run_free(r);
    json_decref(messages);
    if (rc < 0)
        chat_text_free(out);
    return rc;
}
