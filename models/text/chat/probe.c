/* What a template can be given, and what ends an answer in it: small conversations are rendered
 * once, when the model is opened, and looked at. Templates differ in whether they take lists of
 * parts, arguments as objects, or a content of null; a client may send any of these. */
#include <string.h>

#include "base/jsonread.h"
#include "base/mem.h"
#include "models/text/chat/chat_int.h"

#define PART "recurdpart"
#define ANSWER "recurdanswer"
#define KEY "recurdkey"

/* The rendering of a conversation in JSON; text.p = NULL when the template fails. */
static struct chat_text try(const struct chat *c, const char *json, const char *tools,
                            bool objects)
{
    struct chat_text out = {0};
    struct err e = {0};
    /* Everything as it is written below. */
    const struct chat_abilities as_is = {.parts = true, .null = true, .objects = objects,
                                         .developer = true};
    json_t *messages = jsonread(json, strlen(json), 0, NULL);
    json_t *list = tools ? jsonread(tools, strlen(tools), 0, NULL) : NULL;
    struct chat_request q = {.messages = messages, .tools = list, .bytes = 1024};
    const struct chat_source *s = chat_pick(c, tools != NULL);
    if (!messages || chat_run(c, s->program, &q, &as_is, &out, &e) < 0)
        chat_text_free(&out);
    json_decref(messages);
    json_decref(list);
    return out;
}

static bool has(const struct chat_text *t, const char *s)
{
    return t->text.p && strstr(t->text.p, s);
}

static void probe_parts(struct chat *c)
{
    struct chat_text t = try(c, "[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                                "\"text\":\"" PART "\"}]}]", NULL, true);
    /* Printed as a list, it is not understood. */
    c->can.parts = has(&t, PART) && !has(&t, "'" PART "'") && !has(&t, "\"" PART "\"");
    chat_text_free(&t);
}

static const char one_tool[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\","
    "\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]";

#define CALLS(content, arguments) \
    "[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":" content "," \
    "\"tool_calls\":[{\"id\":\"abcdefghi\",\"type\":\"function\",\"function\":{\"name\":\"f\"," \
    "\"arguments\":" arguments "}}]},{\"role\":\"tool\",\"tool_call_id\":\"abcdefghi\"," \
    "\"name\":\"f\",\"content\":\"r\"}]"

static void probe_calls(struct chat *c)
{
    struct chat_text null = try(c, CALLS("null", "{\"" KEY "\":\"v\"}"), one_tool, true);
    struct chat_text empty = try(c, CALLS("\"\"", "{\"" KEY "\":\"v\"}"), one_tool, true);
    struct chat_text text = try(c, CALLS("\"\"", "\"{\\\"" KEY "\\\": \\\"v\\\"}\""), one_tool,
                                false);
    bool printed = has(&empty, "{'" KEY "'"); /* as Python prints a dict: text was expected */
    bool object = has(&empty, KEY) && !printed, string = has(&text, KEY);
    c->can.objects = object || !string;
    c->can.null = null.text.p && !has(&null, "None") && has(&null, KEY) == has(&empty, KEY);
    chat_text_free(&null);
    chat_text_free(&empty);
    chat_text_free(&text);
}

/* The first special token behind an answer ends it. */
static void probe_stop(struct chat *c)
{
    struct chat_text t = try(c, "[{\"role\":\"user\",\"content\":\"u\"},"
                                "{\"role\":\"assistant\",\"content\":\"" ANSWER "\"}]", NULL, true);
    const char *hit = t.text.p ? strstr(t.text.p, ANSWER) : NULL;
    struct ids ids;
    struct err e = {0};
    ids_init(&ids, 1000);
    const char *p = hit ? hit + strlen(ANSWER) : "";
    if (hit && tokenizer_encode(c->t, p, strlen(p), TOKENIZE_SPECIAL | TOKENIZE_CONTINUE, &ids,
                                &e) == 0) {
        for (size_t i = 0; i < ids.len && !c->stop; i++) {
            size_t n;
            const char *name = tokenizer_piece_shown(c->t, ids.p[i], &n);
            bool ends = tokenizer_is_special(c->t, ids.p[i]) && ids.p[i] != tokenizer_bos(c->t);
            if (ends && (c->stop = mem_zalloc(n + 1)))
                memcpy(c->stop, name, n);
        }
    }
    ids_free(&ids);
    chat_text_free(&t);
}

void chat_probe(struct chat *c)
{
    probe_parts(c);
    probe_calls(c);
    probe_stop(c);
    const struct chat_source *s = chat_pick(c, false);
    const struct chat_format *f = chat_format_detect(s->text);
    c->can.developer = strstr(s->text, "developer") != NULL;
    if (!c->stop && f && chat_format_stop(f))
        c->stop = mem_strdup(chat_format_stop(f));
}
