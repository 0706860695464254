/* Tool calls and reasoning of an answer: which dialect, what must be written, and what has been
 * read of it. Thread: HTTP worker or the helper. */
#include <string.h>

#include "base/mem.h"
#include "server/api/gen.h"
#include "server/api/jsonout.h"

static const char think_open[] = THINK_OPEN, think_close[] = THINK_CLOSE;

static int no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for the request"); }

/* Whether the prompt has opened the reasoning. */
static void look_back(struct gen *g)
{
    const struct ids *ids = &g->prompts[0].ids;
    char end[64] = {0};
    size_t len = 0;
    /* The last tokens' text, from its end. */
    for (size_t i = ids->len; i > 0 && len < sizeof end; i--) {
        size_t n;
        const char *p = tokenizer_piece_shown(g->served->tok, ids->p[i - 1], &n);
        while (n > 0 && len < sizeof end) {
            char c = p[--n];
            if (len || !strchr(" \n", c))
                end[len++] = c;
        }
    }
    size_t want = strlen(think_open);
    g->thinking = len >= want;
    for (size_t i = 0; i < want && g->thinking; i++)
        g->thinking = end[i] == think_open[want - 1 - i];
}

/* What calls must be, as a grammar: the one that tool_choice demands, or those of strict functions
 * wherever the model makes them. What is thought comes first. */
static int follow_tools(struct gen *g, struct constrainer *c, struct err *e)
{
    const struct params *p = &g->params;
    bool wish = p->tool_choice < TOOL_REQUIRED, closes = false;
    const char *field = wish ? "tools" : "tool_choice", *open;
    char *text = NULL;
    struct err why = {0};
    if (!g->dialect)
        return wish ? 0 : err_field(e, E_UNSUPPORTED, field, "%s: \"%s\" has no known form of "
                                    "calls", field, g->served->name);
    struct toolcall_demand d = {.dialect = g->dialect, .tools = p->chat.tools,
                                .name = p->tool_name, .wish = wish};
    int rc = toolcall_structure(&text, &d, &why);
    if (rc)
        return rc == E_NOMEM ? no_memory(e) : err_field(e, rc, field, "%s: %s", field, why.text);
    struct grammar_source s = {.kind = GRAMMAR_STRUCTURE, .text = text, .n = strlen(text),
                               .trigger = g->thinking ? think_close : NULL};
    open = toolcall_open(g->dialect, &closes);
    if (wish && *open) {
        s.then = s.trigger ? open : NULL;
        s.trigger = s.trigger ? s.trigger : open;
        s.again = closes;
    }
    rc = constrainer_get(c, &s, field, &g->grammar, e);
    mem_free(text);
    g->follows = rc == 0;
    return rc;
}

/* Nothing demands that calls follow a grammar. But where a marker opens them, a call that masks
 * keep whole can be told while it is written; what cannot be enforced is then read without. Not
 * with a budget for thinking that the answer opens itself: its end would be forced in a call. */
static bool hinted(const struct gen *g)
{
    bool closes;
    return g->api->early && g->dialect && !g->params.constrain.field &&
           (g->thinking || !g->n_close) && *toolcall_open(g->dialect, &closes);
}

/* How the reasoning is ended when it has had its tokens. */
static int budget(struct gen *g, struct constrainer *c, struct err *e)
{
    const char *field = g->params.budget_field;
    int rc = constrainer_spell(c, think_close, field, g->close, FOLLOW_CLOSE, &g->n_close, e);
    return rc || g->n_close ? rc
               : err_field(e, E_UNSUPPORTED, field, "%s: the vocabulary of \"%s\" cannot spell %s",
                           field, g->served->name, think_close);
}

int gen_tools(struct gen *g, struct constrainer *c, struct err *e)
{
    const struct params *p = &g->params;
    const struct chat *chat = g->served->chat;
    if (!chat)
        return 0;
    const char *text = p->chat.template_text ? p->chat.template_text
                                             : chat_template_text(chat, p->chat.tools != NULL);
    bool thinks = text && strstr(text, think_close);
    if (thinks)
        look_back(g);
    g->reasoning = thinks && p->reasoning;
    if (thinks && p->budget >= 0 && budget(g, c, e))
        return e->code;
    if (!p->chat.tools)
        return 0;
    g->dialect = toolcall_detect(text);
    bool must = toolcall_strict(p->chat.tools) && !p->constrain.field;
    must = must || p->tool_choice >= TOOL_REQUIRED;
    if (must || hinted(g)) {
        struct err why = {0};
        int rc = follow_tools(g, c, &why);
        if (rc && (must || rc == E_NOMEM)) {
            *e = why;
            return rc;
        }
    }
    g->tools = g->dialect ? toolset_new(p->chat.tools) : NULL;
    return g->dialect && !g->tools ? no_memory(e) : 0;
}

/* ---- reading ---- */

void gen_text(struct choice *c, const struct toolcall_event *ev)
{
    if (ev->kind == TOOLCALL_TEXT)
        buf_add(&c->text, ev->p, ev->n);
    else if (ev->kind == TOOLCALL_REASONING)
        buf_add(&c->reasoning, ev->p, ev->n);
}

bool gen_calls(const struct choice *c) { return c->n_calls && !c->cut; }

void gen_call_id(struct buf *out, const struct choice *c, const struct toolcall_event *ev,
                 const char *prefix)
{
    const struct gen *g = c->gen;
    if (*ev->id)
        jsonout_str(out, ev->id);
    else
        buf_fmt(out, "\"%s%s_%d_%d\"", prefix, g->id + strlen(g->api->id_prefix), c->index,
                c->n_calls);
}

static void event(void *arg, const struct toolcall_event *ev)
{
    struct choice *c = arg;
    c->cut = ev->kind == TOOLCALL_CUT;
    c->gen->api->piece(c, ev);
    c->n_calls += ev->kind == TOOLCALL_BEGIN;
}

static void show(struct request *r, const struct tokenizer *t, const char *marker)
{
    int32_t id = tokenizer_find(t, marker);
    for (int32_t i = 0; i < r->n_stop_ids; i++)
        if (r->stop_ids[i] == id)
            return; /* it ends the answer */
    if (id >= 0 && r->n_shown < LIMIT_SHOWN_IDS)
        r->shown[r->n_shown++] = id;
}

int gen_reader(struct gen *g, struct choice *c, struct err *e)
{
    if (!g->served->tok || (!g->tools && !g->reasoning))
        return 0;
    struct toolcall_options o = {
        .dialect = g->dialect, .tools = g->tools, .reasoning = g->reasoning,
        .thinking = g->thinking, .single = g->params.single_call,
        .early = g->follows && g->api->early, .emit = event, .arg = c,
    };
    c->reader = toolcall_new(&o);
    if (!c->reader)
        return no_memory(e);
    for (int i = 0; c->r && g->dialect && toolcall_marker(g->dialect, i); i++)
        show(c->r, g->served->tok, toolcall_marker(g->dialect, i));
    if (c->r && g->reasoning) {
        show(c->r, g->served->tok, think_open);
        show(c->r, g->served->tok, think_close);
    }
    return 0;
}

int gen_constrain(struct gen *g, struct choice *c, struct err *e)
{
    bool single = g->params.single_call && g->tools;
    bool thinks = g->n_close && (g->thinking || !g->grammar); /* else the grammar is of all */
    struct follow_setup s = {
        .served = g->served, .budget = thinks ? g->params.budget : -1, .n_close = g->n_close,
        .thinking = g->thinking, .dialect = single ? g->dialect : NULL,
        .tools = single ? g->tools : NULL, .reasoning = g->reasoning, .shown = c->r->shown,
        .n_shown = c->r->n_shown};
    memcpy(s.close, g->close, sizeof s.close);
    s.inner = g->grammar ? constraint_new(g->grammar) : NULL;
    if (g->grammar && !s.inner)
        return no_memory(e);
    c->r->constraint = follow_new(&s);
    bool wanted = g->grammar || single || s.budget >= 0;
    return wanted && !c->r->constraint ? no_memory(e) : 0;
}

int gen_split(struct choice *c, struct err *e)
{
    struct toolcall_event all = {TOOLCALL_TEXT, c->raw.p, "", c->raw.len};
    int rc = c->reader ? toolcall_feed(c->reader, c->raw.p, c->raw.len, e) : 0;
    if (!c->reader && all.n)
        c->gen->api->piece(c, &all);
    bool failed = c->raw.failed;
    buf_clear(&c->raw);
    c->raw.failed = failed;
    if (!rc && c->reader && c->finish != FINISH_NONE)
        rc = toolcall_finish(c->reader, e);
    return rc;
}
