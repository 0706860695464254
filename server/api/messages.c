/* POST /v1/messages and /v1/messages/count_tokens: Anthropic's API.
 *
 * The answer is a list of blocks in the order the model wrote them: text, thinking, tool_use. The
 * hook for pieces writes them at once, as elements of the list or as a stream's frames, into
 * c->text. Thread: HTTP worker. */
#include "server/api/messages.h"

#include "server/api/api.h"
#include "server/api/errors.h"
#include "server/api/jsonout.h"
#include "server/api/serve.h"

enum block { BLOCK_NONE, BLOCK_TEXT, BLOCK_THINKING, BLOCK_TOOL }; /* choice.block */

/* ---- blocks ---- */

static void end_block(struct choice *c)
{
    struct buf *out = &c->text;
    if (c->block == BLOCK_NONE)
        return;
    if (c->gen->params.stream) {
        sse_begin_named(out, "content_block_stop");
        buf_fmt(out, "{\"type\":\"content_block_stop\",\"index\":%d}", c->n_blocks);
        sse_end(out);
    } else if (c->block == BLOCK_TOOL) {
        buf_add(out, c->calls.len ? c->calls.p : "{}", c->calls.len ? c->calls.len : 2);
        buf_ch(out, '}');
    } else {
        buf_str(out, c->block == BLOCK_TEXT ? "\"}" : "\",\"signature\":\"\"}");
    }
    buf_clear(&c->calls);
    c->n_blocks++;
    c->block = BLOCK_NONE;
}

/* Up to where its contents begin; ev names the tool. */
static void begin_block(struct choice *c, enum block block, const struct toolcall_event *ev)
{
    struct buf *out = &c->text;
    bool stream = c->gen->params.stream;
    end_block(c);
    c->block = block;
    if (stream) {
        sse_begin_named(out, "content_block_start");
        buf_fmt(out, "{\"type\":\"content_block_start\",\"index\":%d,\"content_block\":",
                c->n_blocks);
    } else if (c->n_blocks) {
        buf_ch(out, ',');
    }
    if (block == BLOCK_TOOL) {
        buf_str(out, "{\"type\":\"tool_use\",\"id\":");
        gen_call_id(out, c, ev, "toolu_");
        buf_str(out, ",\"name\":");
        jsonout_strn(out, ev->p, ev->n);
        buf_str(out, ",\"input\":");
    } else {
        buf_str(out, block == BLOCK_TEXT ? "{\"type\":\"text\",\"text\":\""
                                         : "{\"type\":\"thinking\",\"thinking\":\"");
    }
    if (!stream)
        return;
    buf_str(out, block == BLOCK_TOOL   ? "{}}}"
                 : block == BLOCK_TEXT ? "\"}}"
                                       : "\",\"signature\":\"\"}}");
    sse_end(out);
}

static void more(struct choice *c, const struct toolcall_event *ev)
{
    static const char *const heads[] = {
        [BLOCK_TEXT] = "{\"type\":\"text_delta\",\"text\":",
        [BLOCK_THINKING] = "{\"type\":\"thinking_delta\",\"thinking\":",
        [BLOCK_TOOL] = "{\"type\":\"input_json_delta\",\"partial_json\":",
    };
    struct buf *out = &c->text;
    if (c->gen->params.stream) {
        sse_begin_named(out, "content_block_delta");
        buf_fmt(out, "{\"type\":\"content_block_delta\",\"index\":%d,\"delta\":%s", c->n_blocks,
                heads[c->block]);
        jsonout_strn(out, ev->p, ev->n);
        buf_str(out, "}}");
        sse_end(out);
    } else if (c->block == BLOCK_TOOL) {
        buf_add(&c->calls, ev->p, ev->n);
    } else {
        jsonout_chars(out, ev->p, ev->n);
    }
}

static void piece(struct choice *c, const struct toolcall_event *ev)
{
    static const enum block blocks[] = {
        [TOOLCALL_TEXT] = BLOCK_TEXT,      [TOOLCALL_REASONING] = BLOCK_THINKING,
        [TOOLCALL_BEGIN] = BLOCK_TOOL,     [TOOLCALL_ARGUMENTS] = BLOCK_TOOL,
        [TOOLCALL_END] = BLOCK_NONE,       [TOOLCALL_CUT] = BLOCK_NONE,
    };
    enum block block = blocks[ev->kind];
    if (ev->kind == TOOLCALL_CUT)
        buf_clear(&c->calls); /* an input is an object, and half of one is none: {} */
    if (block != (enum block)c->block || ev->kind == TOOLCALL_BEGIN)
        block == BLOCK_NONE ? end_block(c) : begin_block(c, block, ev);
    if (block != BLOCK_NONE && ev->kind != TOOLCALL_BEGIN)
        more(c, ev);
}

/* ---- around them ---- */

/* What was read from the cache, what the client marked to be kept in it, and what neither is. */
static void usage(struct buf *out, const struct gen *g, bool done)
{
    const struct choice *c = &g->choices[0];
    const struct ids *marks = &g->prompts[0].marks;
    int64_t prompt = done ? c->n_prompt : (int64_t)g->prompts[0].ids.len;
    int64_t cached = done ? c->n_cached : 0, written = 0;
    if (g->keep && done) {
        /* A template may leave messages out; then nobody can tell, and all of it is kept. */
        size_t i = (size_t)json_integer_value(json_object_get(g->keep, "cached"));
        bool all = i + 1 >= marks->len || marks->len != (size_t)g->n_messages;
        int64_t end = all ? prompt : marks->p[i] + prompt - (int64_t)g->prompts[0].ids.len;
        written = MAX(end - cached, 0);
    }
    buf_fmt(out, "\"usage\":{\"input_tokens\":%lld,\"cache_creation_input_tokens\":%lld,"
            "\"cache_read_input_tokens\":%lld,\"output_tokens\":%d}",
            (long long)(prompt - cached - written), (long long)written, (long long)cached,
            (int)c->n_output);
}

/* "stop_reason":…,"stop_sequence":… */
static void stop_reason(struct buf *out, const struct choice *c)
{
    bool sequence = c->finish == FINISH_STOP && c->stopped_by >= 0 && !gen_calls(c);
    buf_fmt(out, "\"stop_reason\":\"%s\",\"stop_sequence\":",
            c->finish == FINISH_LENGTH ? "max_tokens"
            : gen_calls(c)             ? "tool_use"
            : sequence                 ? "stop_sequence"
                                       : "end_turn");
    if (sequence)
        jsonout_str(out, c->gen->params.stops[c->stopped_by]);
    else
        buf_str(out, "null");
}

static void head(struct buf *out, const struct gen *g)
{
    buf_fmt(out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", g->id);
    jsonout_str(out, g->served->name);
    buf_str(out, ",\"content\":[");
}

static void whole(struct buf *out, struct gen *g)
{
    struct choice *c = &g->choices[0];
    end_block(c);
    head(out, g);
    buf_add(out, c->text.p, c->text.len);
    buf_str(out, "],");
    stop_reason(out, c);
    buf_ch(out, ',');
    usage(out, g, true);
    buf_ch(out, '}');
    out->failed |= c->text.failed || c->calls.failed;
}

static void ping(struct buf *out)
{
    sse_begin_named(out, "ping");
    buf_str(out, "{\"type\":\"ping\"}");
    sse_end(out);
}

static void message_start(struct buf *out, struct gen *g)
{
    sse_begin_named(out, "message_start");
    buf_str(out, "{\"type\":\"message_start\",\"message\":");
    head(out, g);
    buf_str(out, "],\"stop_reason\":null,\"stop_sequence\":null,");
    usage(out, g, false);
    buf_str(out, "}}");
    sse_end(out);
    ping(out);
}

static void news(struct buf *out, struct choice *c)
{
    if (c->finish != FINISH_NONE)
        end_block(c);
    buf_add(out, c->text.p, c->text.len);
    out->failed |= c->text.failed;
    buf_clear(&c->text);
}

static void message_stop(struct buf *out, struct gen *g)
{
    sse_begin_named(out, "message_delta");
    buf_str(out, "{\"type\":\"message_delta\",\"delta\":{");
    stop_reason(out, &g->choices[0]);
    buf_str(out, "},");
    usage(out, g, true);
    buf_ch(out, '}');
    sse_end(out);
    sse_begin_named(out, "message_stop");
    buf_str(out, "{\"type\":\"message_stop\"}");
    sse_end(out);
}

static void fail(struct buf *out, const struct failure *f)
{
    sse_begin_named(out, "error");
    errors_ANTHROPIC.write(out, f);
    sse_end(out);
}

static const struct api_name names[] = {
    {"stop", "stop_sequences"}, {"response_format", "output_config"},
    {"thinking_budget", "thinking"}, {NULL, NULL},
};

static const struct api messages = {
    .id_prefix = "msg_",
    .stream_type = "text/event-stream; charset=utf-8",
    .names = names,
    .early = true,
    .copies = true,
    .piece = piece,
    .whole = whole,
    .open = message_start,
    .news = news,
    .close = message_stop,
    .ping = ping,
    .fail = fail,
};

/* ---- handlers ---- */

/* The body and what it is in our own form; NULL: answered. */
static json_t *read_body(struct exchange *x, bool counting, json_t **in, json_t **keep)
{
    struct err e = {0};
    *in = serve_body(x);
    json_t *request = *in ? messages_request(*in, counting, keep, &e) : NULL;
    if (*in && !request) {
        serve_fail(x, &messages, apierr_of(&e), &e);
        json_decref(*in);
    }
    return request;
}

void api_messages(struct exchange *x)
{
    json_t *in, *keep, *request = read_body(x, false, &in, &keep);
    if (request)
        serve_request(x, PARAMS_CHAT, &messages, in, request, keep);
}

void api_count_tokens(struct exchange *x)
{
    const struct served *m = x->http->served;
    struct params p;
    struct ids ids;
    struct err e = {0};
    json_t *in, *keep, *request = read_body(x, true, &in, &keep);
    if (!request)
        return;
    json_decref(keep);
    if (serve_params(x, PARAMS_TOKENIZE, &messages, in, request, &p))
        return;
    ids_init(&ids, LIMIT_PROMPT_TOKENS);
    if (gen_tokenize(m, &p, 0, &ids, NULL, &e)) {
        serve_fail(x, &messages, apierr_of(&e), &e);
    } else {
        buf_fmt(&x->reply, "{\"input_tokens\":%zu}", ids.len);
        exchange_answer(x, 200, "application/json");
    }
    ids_free(&ids);
    params_fini(&p);
}
