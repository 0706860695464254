/* The envelope of OpenAI's completions and chats. Thread: HTTP worker. */
#include "server/api/openai.h"

#include "base/version.h"
#include "server/api/errors.h"
#include "server/api/jsonout.h"
#include "server/api/reply.h"
#include "server/api/serve.h"

static const struct openai_api *openai(const struct gen *g)
{
    return (const struct openai_api *)(const void *)((const char *)g->api -
                                                     offsetof(struct openai_api, api));
}

static void head(struct buf *out, const struct gen *g, const char *object)
{
    buf_str(out, "{\"id\":");
    jsonout_str(out, g->id);
    buf_fmt(out, ",\"object\":\"%s\",\"created\":%llu,\"model\":", object,
            (unsigned long long)g->created);
    jsonout_str(out, g->served->name);
    buf_fmt(out, ",\"system_fingerprint\":\"recurd-%s-%02x%02x%02x%02x\"", version_number(),
            g->served->fingerprint[0], g->served->fingerprint[1], g->served->fingerprint[2],
            g->served->fingerprint[3]);
}

static void session(struct buf *out, const struct gen *g)
{
    struct session_info s;
    char hex[33];
    if (session_get(g->served->cache, &g->tenant, &g->session, &s, NULL))
        return; /* deleted meanwhile */
    session_id_hex(&g->session, hex);
    buf_fmt(out, ",\"session\":{\"id\":\"%s\",\"position\":%lld,\"turns\":%lld,"
            "\"generation\":%llu,\"shared\":%s,\"persist\":\"%s\"}", hex, (long long)s.position,
            (long long)s.turns, (unsigned long long)s.generation, s.shared ? "true" : "false",
            session_persist_name(s.persist));
}

/* Of each prompt: the tokens that came from a state, those that the cache knew (the next one is
 * the first that differed, if there is one), and why no deeper state was found. */
static void cache_details(struct buf *out, const struct gen *g)
{
    buf_str(out, ",\"cache_details\":[");
    for (int32_t i = 0; i < g->n_choices; i += g->params.n) {
        const struct choice *c = &g->choices[i];
        buf_fmt(out, "%s{\"cached_tokens\":%lld,\"matched_tokens\":%lld,\"reason\":\"%s\"}",
                i ? "," : "", (long long)c->n_cached, (long long)c->n_matched,
                c->why ? c->why : "no_cache");
    }
    buf_ch(out, ']');
}

void openai_usage(struct buf *out, const struct gen *g)
{
    int64_t prompt = 0, output = 0, cached = 0;
    for (int32_t i = 0; i < g->n_choices; i++) {
        output += g->choices[i].n_output;
        if (i % g->params.n == 0) { /* each prompt counts once, whatever n */
            prompt += g->choices[i].n_prompt;
            cached += g->choices[i].n_cached;
        }
    }
    buf_fmt(out,
            "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
            "\"prompt_tokens_details\":{\"cached_tokens\":%lld",
            (long long)prompt, (long long)output, (long long)(prompt + output),
            (long long)cached);
    if (g->params.cache_details)
        cache_details(out, g);
    buf_str(out, "}}");
    if (g->params.session)
        session(out, g);
}

/* Whether a is likelier than b by the mean of its tokens' logprobs; one without tokens is last. */
static bool likelier(const struct choice *a, const struct choice *b)
{
    if (!a->n_scored || !b->n_scored)
        return a->n_scored > 0 && !b->n_scored;
    return a->logprob / a->n_scored > b->logprob / b->n_scored;
}

/* Of a prompt's choices the n_best likeliest, in that order, the first of those that are as likely;
 * all of them as they are. first: the index of the first in the reply. */
static void best(struct buf *out, struct gen *g, struct choice *c, int32_t first)
{
    bool told[LIMIT_CHOICES] = {0}, all = g->params.n == g->params.n_best;
    for (int32_t k = 0; k < g->params.n_best; k++) {
        int32_t next = all ? k : -1;
        for (int32_t i = 0; i < g->params.n && !all; i++)
            if (!told[i] && (next < 0 || likelier(&c[i], &c[next])))
                next = i;
        told[next] = true;
        c[next].index = first + k;
        if (first + k)
            buf_ch(out, ',');
        openai(g)->whole(out, &c[next]);
    }
}

void openai_whole(struct buf *out, struct gen *g)
{
    head(out, g, openai(g)->object);
    if (g->params.return_ids && g->params.kind == PARAMS_CHAT) {
        buf_str(out, ",\"prompt_token_ids\":");
        jsonout_ids(out, g->prompts[0].ids.p, g->prompts[0].ids.len);
    }
    buf_str(out, ",\"choices\":[");
    for (int32_t i = 0; i < g->n_choices; i += g->params.n)
        best(out, g, &g->choices[i], i / g->params.n * g->params.n_best);
    buf_str(out, "],");
    openai_usage(out, g);
    buf_ch(out, '}');
}

enum { ELEMENT_NONE, ELEMENT_OPEN, ELEMENT_LATER }; /* choice.block: of the call that is written */

/* Of a stream, the call that an earlier chunk began. */
static void go_on(struct buf *out, struct choice *c)
{
    if (c->block == ELEMENT_LATER)
        buf_fmt(out, "{\"index\":%d,\"function\":{\"arguments\":\"", c->n_calls - 1);
    c->block = ELEMENT_OPEN;
}

void openai_calls(struct buf *out, struct choice *c)
{
    buf_add(out, c->calls.p, c->calls.len);
    if (c->block == ELEMENT_OPEN) {
        buf_str(out, "\"}}");
        c->block = ELEMENT_LATER;
    }
    out->failed |= c->calls.failed;
    buf_clear(&c->calls);
}

void openai_piece(struct choice *c, const struct toolcall_event *ev)
{
    struct buf *out = &c->calls;
    switch (ev->kind) {
    case TOOLCALL_TEXT:
    case TOOLCALL_REASONING: gen_text(c, ev); break;
    case TOOLCALL_BEGIN:
        buf_str(out, out->len ? ",{" : "{");
        if (c->gen->params.stream)
            buf_fmt(out, "\"index\":%d,", c->n_calls);
        buf_str(out, "\"id\":");
        gen_call_id(out, c, ev, "call_");
        buf_str(out, ",\"type\":\"function\",\"function\":{\"name\":");
        jsonout_strn(out, ev->p, ev->n);
        buf_str(out, ",\"arguments\":\"");
        c->block = ELEMENT_OPEN;
        break;
    case TOOLCALL_ARGUMENTS:
        go_on(out, c);
        jsonout_chars(out, ev->p, ev->n);
        break;
    case TOOLCALL_END:
    case TOOLCALL_CUT:
        if (c->block == ELEMENT_OPEN)
            buf_str(out, "\"}}");
        c->block = ELEMENT_NONE;
        break;
    }
}

/* ---- a stream ---- */

/* The beginning of every chunk, which is the same for all of a reply. */
static void chunk_head(struct buf *out, struct gen *g)
{
    struct buf *h = &g->chunk_head;
    if (!h->len) {
        sse_begin(h);
        head(h, g, openai(g)->chunk_object);
        buf_str(h, ",\"choices\":[");
    }
    buf_add(out, h->p, h->len);
    out->failed |= h->failed;
}

static void chunk(struct buf *out, struct choice *c, void (*write)(struct buf *, struct choice *))
{
    struct gen *g = c->gen;
    chunk_head(out, g);
    write(out, c);
    buf_str(out, g->params.include_usage ? "],\"usage\":null}" : "]}");
    sse_end(out);
}

static bool has_news(const struct choice *c)
{
    return c->text.len || c->reasoning.len || c->calls.len || c->part[0].len || c->ids.len;
}

void openai_news(struct buf *out, struct choice *c)
{
    const struct openai_api *api = openai(c->gen);
    bool news = has_news(c), done = c->finish != FINISH_NONE;
    if (!news && !done && (c->opened || !api->open_at_once))
        return;
    if (!c->opened) {
        c->opened = true;
        if (api->open)
            chunk(out, c, api->open);
    }
    if (has_news(c)) /* the first chunk of completions has taken it already */
        chunk(out, c, api->delta);
    if (done)
        chunk(out, c, api->close);
}

void openai_close(struct buf *out, struct gen *g)
{
    if (g->params.include_usage) {
        chunk_head(out, g);
        buf_str(out, "],");
        openai_usage(out, g);
        buf_ch(out, '}');
        sse_end(out);
    }
    buf_str(out, "data: [DONE]\n\n");
}

void openai_fail(struct buf *out, const struct failure *f)
{
    sse_begin(out);
    errors_OPENAI.write(out, f);
    sse_end(out);
}
