/* POST /api/chat and /api/generate: Ollama's API. A stream is one JSON object a line.
 * Thread: HTTP worker. */
#include "server/api/ollama.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "server/api/api.h"
#include "server/api/errors.h"
#include "server/api/jsonout.h"
#include "server/api/serve.h"

/* Into the elements of tool_calls: a call's events come when it is complete, and its arguments are
 * an object here, where others have its text. */
static void piece(struct choice *c, const struct toolcall_event *ev)
{
    struct buf *out = &c->calls;
    switch (ev->kind) {
    case TOOLCALL_TEXT:
    case TOOLCALL_REASONING: gen_text(c, ev); break;
    case TOOLCALL_BEGIN:
        buf_str(out, out->len ? ",{" : "{");
        buf_str(out, "\"function\":{\"name\":");
        jsonout_strn(out, ev->p, ev->n);
        buf_str(out, ",\"arguments\":");
        break;
    case TOOLCALL_ARGUMENTS: buf_add(out, ev->p, ev->n); break;
    case TOOLCALL_END: buf_str(out, "}}"); break;
    case TOOLCALL_CUT: break; /* calls come when they are complete: struct api says so */
    }
}

/* ---- replies ---- */

/* {"model":…,"created_at":…, */
static void head(struct buf *out, const struct gen *g)
{
    char at[32];
    time_t now = (time_t)clock_unix_s();
    struct tm t;
    gmtime_r(&now, &t);
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &t);
    buf_str(out, "{\"model\":");
    jsonout_str(out, g->served->name);
    buf_fmt(out, ",\"created_at\":\"%s\",", at);
}

static void take(struct buf *out, struct buf *b)
{
    jsonout_strn(out, b->p, b->len);
    out->failed |= b->failed;
    buf_clear(b);
}

/* What has been read, as a message or as a response. */
static void answer(struct buf *out, struct choice *c, bool message)
{
    buf_str(out, message ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"response\":");
    take(out, &c->text);
    if (c->reasoning.len) {
        buf_str(out, ",\"thinking\":");
        take(out, &c->reasoning);
    }
    if (message && c->calls.len) {
        buf_str(out, ",\"tool_calls\":[");
        buf_add(out, c->calls.p, c->calls.len);
        buf_ch(out, ']');
    }
    out->failed |= c->calls.failed;
    buf_clear(&c->calls);
    buf_str(out, message ? "}," : ",");
}

/* "done":true and the figures; durations in nanoseconds. */
static void figures(struct buf *out, const struct choice *c)
{
    const struct request *r = c->r; /* finished: nobody writes it any more */
    uint64_t first = r->t_first_ns ? r->t_first_ns : r->t_end_ns;
    buf_fmt(out, "\"done\":true,\"done_reason\":\"%s\",\"total_duration\":%llu,"
            "\"load_duration\":0,\"prompt_eval_count\":%lld,\"prompt_eval_duration\":%llu,"
            "\"eval_count\":%d,\"eval_duration\":%llu}",
            c->finish == FINISH_LENGTH ? "length" : "stop",
            (unsigned long long)(r->t_end_ns - r->t_submit_ns), (long long)c->n_prompt,
            (unsigned long long)(first - r->t_submit_ns), (int)c->n_output,
            (unsigned long long)(r->t_end_ns - first));
}

static void whole_as(struct buf *out, struct gen *g, bool message)
{
    head(out, g);
    answer(out, &g->choices[0], message);
    figures(out, &g->choices[0]);
}

static void news_as(struct buf *out, struct choice *c, bool message)
{
    if (!c->text.len && !c->reasoning.len && !c->calls.len)
        return;
    head(out, c->gen);
    answer(out, c, message);
    buf_str(out, "\"done\":false}\n");
}

static void close_as(struct buf *out, struct gen *g, bool message)
{
    whole_as(out, g, message);
    buf_ch(out, '\n');
}

static void message_whole(struct buf *out, struct gen *g) { whole_as(out, g, true); }
static void message_news(struct buf *out, struct choice *c) { news_as(out, c, true); }
static void message_close(struct buf *out, struct gen *g) { close_as(out, g, true); }
static void response_whole(struct buf *out, struct gen *g) { whole_as(out, g, false); }
static void response_news(struct buf *out, struct choice *c) { news_as(out, c, false); }
static void response_close(struct buf *out, struct gen *g) { close_as(out, g, false); }

static void fail(struct buf *out, const struct failure *f)
{
    errors_OLLAMA.write(out, f);
    buf_ch(out, '\n');
}

static const struct api_name names[] = {
    {"max_tokens", "num_predict"}, {"repetition_penalty", "repeat_penalty"},
    {"response_format", "format"}, {NULL, NULL},
};

#define HOOKS \
    .id_prefix = "ollama-", .stream_type = "application/x-ndjson", .names = names, \
    .piece = piece, .fail = fail

static const struct api chat = {HOOKS, .whole = message_whole, .news = message_news,
                                .close = message_close};
static const struct api text = {HOOKS, .whole = response_whole, .news = response_news,
                                .close = response_close};

/* ---- handlers ---- */

/* Nothing is asked: the model is there, and that is said. */
static void loaded(struct exchange *x, const struct api *api, const json_t *request)
{
    struct gen g = {.served = x->http->served};
    struct err e = {0};
    const char *name = json_string_value(json_object_get(request, "model"));
    if (name && !served_is_named(g.served, name)) {
        exchange_error(x, APIERR_NO_MODEL, "model", "model: it is not served here");
        return;
    }
    if (serve_known(x, &e)) {
        exchange_fail(x, &e);
        return;
    }
    head(&x->reply, &g);
    buf_str(&x->reply, api == &chat ? "\"message\":{\"role\":\"assistant\",\"content\":\"\"},"
                                    : "\"response\":\"\",");
    buf_str(&x->reply, "\"done\":true,\"done_reason\":\"load\"}");
    exchange_answer(x, 200, "application/json");
}

static void handle(struct exchange *x, bool generate)
{
    const struct api *api = generate ? &text : &chat;
    struct err e = {0};
    enum params_kind kind;
    bool load;
    json_t *in = serve_body(x);
    json_t *request = in ? ollama_request(in, generate, x->http->o->max_tokens, &kind, &load, &e)
                         : NULL;
    if (in && !request)
        serve_fail(x, api, apierr_of(&e), &e);
    if (request && !load) {
        serve_request(x, kind, api, in, request, NULL);
        return;
    }
    if (request)
        loaded(x, api, request);
    json_decref(request);
    json_decref(in);
}

void api_ollama_chat(struct exchange *x) { handle(x, false); }
void api_ollama_generate(struct exchange *x) { handle(x, true); }
