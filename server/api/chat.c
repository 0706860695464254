/* POST /v1/chat/completions. */
#include "server/api/api.h"
#include "server/api/jsonout.h"
#include "server/api/openai.h"
#include "server/api/reply.h"
#include "server/api/serve.h"

/* "token":…,"logprob":…,"bytes":[…] */
static void token(struct buf *out, const struct served *m, int32_t id, float logprob)
{
    size_t n;
    const char *p = tokenizer_piece_shown(m->tok, id, &n);
    buf_str(out, "{\"token\":");
    reply_token(out, m, id);
    buf_str(out, ",\"logprob\":");
    jsonout_float(out, logprob);
    buf_str(out, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++)
        buf_fmt(out, i ? ",%u" : "%u", (unsigned char)p[i]);
    buf_ch(out, ']');
}

static void event(struct choice *c, const struct token_event *ev)
{
    const struct served *m = c->gen->served;
    struct buf *out = &c->part[0];
    if (c->gen->params.logprobs < 0)
        return;
    if (out->len)
        buf_ch(out, ',');
    token(out, m, ev->id, ev->logprob);
    buf_str(out, ",\"top_logprobs\":[");
    for (int32_t i = 0; i < ev->n_top; i++) {
        if (i)
            buf_ch(out, ',');
        token(out, m, ev->top[i].id, ev->top[i].logprob);
        buf_ch(out, '}');
    }
    buf_str(out, "]}");
}

static void logprobs(struct buf *out, struct choice *c)
{
    if (c->gen->params.logprobs < 0) {
        buf_str(out, ",\"logprobs\":null");
        return;
    }
    buf_str(out, ",\"logprobs\":{\"content\":[");
    buf_add(out, c->part[0].p, c->part[0].len);
    buf_str(out, "],\"refusal\":null}");
    buf_clear(&c->part[0]);
}

static void token_ids(struct buf *out, struct choice *c)
{
    if (!c->gen->params.return_ids)
        return;
    buf_str(out, ",\"token_ids\":");
    jsonout_ids(out, c->ids.p, c->ids.len);
    c->ids.len = 0;
}

static void content(struct buf *out, struct choice *c)
{
    buf_str(out, "\"content\":");
    jsonout_strn(out, c->text.p, c->text.len);
    buf_clear(&c->text);
}

/* "reasoning_content":…,"tool_calls":[…], where there are any, each with a comma behind it. */
static void split(struct buf *out, struct choice *c)
{
    if (c->reasoning.len) {
        buf_str(out, "\"reasoning_content\":");
        jsonout_strn(out, c->reasoning.p, c->reasoning.len);
        buf_ch(out, ',');
    }
    if (c->calls.len) {
        buf_str(out, "\"tool_calls\":[");
        openai_calls(out, c);
        buf_str(out, "],");
    }
    buf_clear(&c->reasoning);
}

/* A turn that ends with calls waits for their results. */
static const char *finish(const struct choice *c)
{
    return gen_calls(c) && c->finish == FINISH_STOP ? "\"tool_calls\"" : reply_finish(c->finish);
}

static void first(struct buf *out, struct choice *c)
{
    buf_fmt(out,
            "{\"index\":%d,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
            "\"logprobs\":null,\"finish_reason\":null}",
            c->index);
}

static void delta(struct buf *out, struct choice *c)
{
    buf_fmt(out, "{\"index\":%d,\"delta\":{", c->index);
    if (c->text.len || !(c->reasoning.len || c->calls.len)) {
        content(out, c);
        buf_ch(out, ',');
    }
    split(out, c);
    out->len--; /* the last comma */
    buf_ch(out, '}');
    logprobs(out, c);
    token_ids(out, c);
    buf_str(out, ",\"finish_reason\":null}");
}

static void last(struct buf *out, struct choice *c)
{
    buf_fmt(out, "{\"index\":%d,\"delta\":{},\"logprobs\":null,\"finish_reason\":%s", c->index,
            finish(c));
    reply_receipt(out, c);
    buf_ch(out, '}');
}

static void whole(struct buf *out, struct choice *c)
{
    buf_fmt(out, "{\"index\":%d,\"message\":{\"role\":\"assistant\",", c->index);
    split(out, c);
    if (c->n_calls && !c->text.len)
        buf_str(out, "\"content\":null");
    else
        content(out, c);
    buf_str(out, ",\"refusal\":null}");
    logprobs(out, c);
    token_ids(out, c);
    buf_fmt(out, ",\"finish_reason\":%s", finish(c));
    reply_receipt(out, c);
    buf_ch(out, '}');
}

static const struct openai_api chat = {
    .api = {.id_prefix = "chatcmpl-", .token = event, OPENAI_HOOKS},
    .object = "chat.completion",
    .chunk_object = "chat.completion.chunk",
    .open = first,
    .delta = delta,
    .close = last,
    .whole = whole,
    .open_at_once = true,
};

void api_chat(struct exchange *x) { serve(x, PARAMS_CHAT, &chat.api); }
