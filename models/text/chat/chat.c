/* Opening a model's templates, rendering and encoding a conversation. */
#include "models/text/chat/chat.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/text/chat/chat_int.h"

static int no_memory(struct err *e)
{
    return err_set(e, E_NOMEM, "out of memory for a conversation");
}

/* ---- opening ---------------------------------------------------------------------------- */

static int use_format(struct chat *c, const char *name, struct err *e)
{
    const struct chat_source *s = chat_pick(c, false);
    c->format = chat_format_find(name);
    if (!c->format)
        return err_set(e, E_NOENT, "chat format \"%.60s\" is not one of the built-in ones", name);
    const char *bos = c->tokens[0].text;
    c->bos = tokenizer_bos(c->t) >= 0 &&
             (s ? strstr(s->text, "bos_token") || (bos && strstr(s->text, bos))
                : tokenizer_adds_bos(c->t));
    const char *stop = chat_format_stop(c->format);
    if (stop && !(c->stop = mem_strdup(stop)))
        return no_memory(e);
    return 0;
}

int chat_open(struct chat **out, const struct chat_options *o, const struct tokenizer *t,
              struct err *e)
{
    struct err mine = {0};
    *out = NULL;
    e = e ? e : &mine;
    struct chat *c = mem_zalloc(sizeof *c);
    if (!c)
        return no_memory(e);
    c->t = t;
    int rc = chat_read_sources(c, o, e);
    if (rc == 0 && o->format)
        rc = use_format(c, o->format, e);
    else if (rc == 0 && c->n_sources)
        chat_probe(c);
    if (rc < 0 || (!c->format && !c->n_sources))
        chat_close(c);
    else
        *out = c;
    return rc;
}

void chat_close(struct chat *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_sources; i++) {
        mem_free(c->sources[i].name);
        mem_free(c->sources[i].text);
        jinja_free(c->sources[i].program);
    }
    for (size_t i = 0; i < CHAT_TOKENS; i++)
        mem_free(c->tokens[i].text);
    mem_free(c->stop);
    mem_free(c);
}

const char *chat_name(const struct chat *c)
{
    return c->format ? chat_format_name(c->format) : c->name;
}

const char *chat_stop(const struct chat *c) { return c->stop; }

const char *chat_template_text(const struct chat *c, bool tools)
{
    const struct chat_source *s = c->format ? NULL : chat_pick(c, tools);
    return s ? s->text : NULL;
}

/* ---- templates -------------------------------------------------------------------------- */

static int render_template(const struct chat *c, const struct chat_request *q,
                           struct chat_text *out, struct err *e)
{
    struct jinja *own = NULL;
    const struct chat_source *s = chat_pick(c, json_array_size(q->tools) > 0);
    const char *field = q->template_text ? "chat_template" : "messages";
    int rc = q->template_text ? jinja_compile(&own, q->template_text, q->n_template, e) : 0;
    if (rc == 0)
        rc = chat_run(c, own ? own : s->program, q, &c->can, out, e);
    jinja_free(own);
    if (rc < 0 && e && !e->param)
        e->param = field;
    return rc;
}

/* ---- built-in formats ------------------------------------------------------------------- */

static int encode_format(const struct chat *c, const struct chat_request *q, struct ids *out,
                         struct ids *boundaries, struct err *e)
{
    size_t n = json_array_size(q->messages);
    struct chat_message *m = mem_array(n, sizeof *m);
    struct buf *texts = mem_array(n, sizeof *texts);
    int rc = m && texts ? 0 : no_memory(e);
    if (json_array_size(q->tools) || json_array_size(q->documents))
        rc = err_field(e, E_UNSUPPORTED, json_array_size(q->tools) ? "tools" : "documents",
                       "the chat format %s has no tools and no documents; only a template has",
                       chat_format_name(c->format));
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *v = json_array_get(q->messages, i);
        buf_init(&texts[i], SIZE_MAX / 2); /* bounded by the body */
        chat_content_text(json_object_get(v, "content"), &texts[i]);
        m[i] = (struct chat_message){json_string_value(json_object_get(v, "role")),
                                     texts[i].p ? texts[i].p : "", texts[i].len};
        if (texts[i].failed)
            rc = no_memory(e);
        else if (json_array_size(json_object_get(v, "tool_calls")))
            rc = err_field(e, E_UNSUPPORTED, "messages", "messages: element %zu has tool_calls, "
                           "which the chat format %s cannot show", i,
                           chat_format_name(c->format));
    }
    if (rc == 0)
        rc = chat_format_render(c->format, c->t, m, n,
                                q->continue_final ? CHAT_CONTINUES
                                : q->add_reply    ? CHAT_REPLIES : CHAT_ENDS,
                                c->bos, out, boundaries, e);
    for (size_t i = 0; texts && i < n; i++)
        buf_free(&texts[i]);
    mem_free(texts);
    mem_free(m);
    return rc;
}

static int render_format(const struct chat *c, const struct chat_request *q,
                         struct chat_text *out, struct err *e)
{
    struct ids ids;
    ids_init(&ids, LIMIT_PROMPT_TOKENS);
    *out = (struct chat_text){0};
    buf_init(&out->text, LIMIT_TEMPLATE_OUTPUT);
    int rc = encode_format(c, q, &ids, NULL, e);
    for (size_t i = 0; i < ids.len && rc == 0; i++) {
        size_t n;
        const char *p = tokenizer_piece_shown(c->t, ids.p[i], &n);
        buf_add(&out->text, p, n);
    }
    if (rc == 0 && (out->text.failed || !(out->spans = mem_zalloc(sizeof *out->spans))))
        rc = no_memory(e);
    if (rc == 0) {
        out->spans[0] = (struct chat_span){(uint32_t)out->text.len, CHAT_TEMPLATE};
        out->n_spans = 1;
    } else {
        chat_text_free(out);
    }
    ids_free(&ids);
    return rc;
}

int chat_render(const struct chat *c, const struct chat_request *q, struct chat_text *out,
                struct err *e)
{
    return c->format && !q->template_text ? render_format(c, q, out, e)
                                          : render_template(c, q, out, e);
}

/* ---- encoding --------------------------------------------------------------------------- */

/* Where a message lies in the text; end = 0: it does not appear. */
struct extent {
    uint32_t begin, end;
};

static void find_extents(const struct chat_text *t, struct extent *out, size_t n)
{
    for (size_t k = 0; k < t->n_spans; k++) {
        uint32_t begin = k ? t->spans[k - 1].end : 0;
        size_t i = (size_t)t->spans[k].origin - CHAT_MESSAGE;
        if (t->spans[k].origin < CHAT_MESSAGE || i >= n)
            continue;
        out[i].begin = out[i].end ? out[i].begin : begin;
        out[i].end = t->spans[k].end;
    }
}

/* A conversation's beginning keeps its tokens, whatever follows, up to the first control token
 * behind a message; where none is, up to the last token that ends within the message. */
static int add_boundaries(const struct chat *c, const struct chat_text *t, size_t n,
                          const struct ids *ids, const struct ids *starts, struct ids *out,
                          struct err *e)
{
    struct extent *m = mem_array(n + 1, sizeof *m);
    size_t at = 0, before = 0;
    if (!m)
        return no_memory(e);
    find_extents(t, m, n);
    m[n].begin = UINT32_MAX;
    for (size_t i = n, next = n; i-- > 0;) { /* a message that is not there ends nowhere */
        m[i].begin = m[i].end ? m[i].begin : m[next].begin;
        next = i;
    }
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (m[i].end == 0)
            continue;
        while (at < ids->len && (uint32_t)starts->p[at] < m[i].end)
            at++;
        size_t mark = at && at < ids->len && (uint32_t)starts->p[at] > m[i].end ? at - 1 : at;
        for (size_t k = at; k < ids->len && (uint32_t)starts->p[k] < m[i + 1].begin; k++)
            if (tokenizer_is_special(c->t, ids->p[k])) {
                mark = k + 1;
                break;
            }
        if (mark > before)
            rc = ids_add(out, (int32_t)mark);
        before = MAX(before, mark);
    }
    mem_free(m);
    return rc < 0 ? no_memory(e) : 0;
}

static int encode_text(const struct chat *c, const struct chat_text *t, size_t n_messages,
                       struct ids *out, struct ids *boundaries, struct err *e)
{
    struct token_span *spans = mem_array(t->n_spans, sizeof *spans);
    struct ids starts;
    ids_init(&starts, out->max);
    for (size_t i = 0; spans && i < t->n_spans; i++)
        spans[i] = (struct token_span){t->spans[i].end, t->spans[i].origin == CHAT_TEMPLATE};
    int rc = !spans ? no_memory(e)
                    : tokenizer_encode_marked(c->t, t->text.p, t->text.len, spans, t->n_spans, out,
                                              boundaries ? &starts : NULL, e);
    if (rc == 0 && boundaries)
        rc = add_boundaries(c, t, n_messages, out, &starts, boundaries, e);
    ids_free(&starts);
    mem_free(spans);
    return rc;
}

int chat_encode(const struct chat *c, const struct chat_request *q, struct ids *out,
                struct ids *boundaries, struct err *e)
{
    struct chat_text text;
    if (c->format && !q->template_text)
        return encode_format(c, q, out, boundaries, e);
    int rc = render_template(c, q, &text, e);
    if (rc < 0)
        return rc;
    rc = encode_text(c, &text, json_array_size(q->messages), out, boundaries, e);
    chat_text_free(&text);
    if (rc < 0 && e && !e->param)
        e->param = "messages";
    return rc;
}
