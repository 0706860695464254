/* POST /v1/responses, GET and DELETE /v1/responses/{id}: OpenAI's newer API.
 *
 * The answer is a list of items in the order the model wrote them: reasoning, message,
 * function_call. Of the open item choice.reasoning has the contents, choice.calls what names a
 * call; choice.part[0] has the finished items, choice.text a stream's frames. Thread: worker. */
#include "server/api/responses.h"

#include <string.h>

#include "base/jsonread.h"
#include "base/mem.h"
#include "server/api/api.h"
#include "server/api/jsonin.h"
#include "server/api/jsonout.h"
#include "server/api/reply.h"
#include "server/api/serve.h"
#include "server/api/translate.h"

enum item { ITEM_NONE, ITEM_MESSAGE, ITEM_REASONING, ITEM_CALL }; /* choice.block */

static const struct {
    const char *type, *id, *part, *events; /* events: "response.{events}.delta" and ".done" */
} items[] = {
    [ITEM_MESSAGE] = {"message", "msg", "output_text", "output_text"},
    [ITEM_REASONING] = {"reasoning", "rs", "reasoning_text", "reasoning_text"},
    [ITEM_CALL] = {"function_call", "fc", NULL, "function_call_arguments"},
};

/* ---- items ---- */

static const char *bits(const struct gen *g) { return g->id + strlen(g->api->id_prefix); }

static void item_id(struct buf *out, const struct choice *c)
{
    buf_fmt(out, "\"%s_%s_%d\"", items[c->block].id, bits(c->gen), c->n_blocks);
}

/* Of the open item's contents: all there are, or none yet. */
static void part(struct buf *out, const struct choice *c, bool done)
{
    buf_fmt(out, "{\"type\":\"%s\",\"text\":", items[c->block].part);
    jsonout_strn(out, c->reasoning.p, done ? c->reasoning.len : 0);
    buf_str(out, c->block == ITEM_MESSAGE ? ",\"annotations\":[],\"logprobs\":[]}" : "}");
}

static void item(struct buf *out, const struct choice *c, const char *status)
{
    bool done = strcmp(status, "in_progress") != 0;
    buf_str(out, "{\"id\":");
    item_id(out, c);
    buf_fmt(out, ",\"type\":\"%s\",\"status\":\"%s\"", items[c->block].type, status);
    if (c->block == ITEM_CALL) {
        buf_add(out, c->calls.p, c->calls.len);
        buf_str(out, ",\"arguments\":");
        jsonout_strn(out, c->reasoning.p, done ? c->reasoning.len : 0);
    } else {
        buf_str(out, c->block == ITEM_MESSAGE ? ",\"role\":\"assistant\",\"content\":["
                                              : ",\"summary\":[],\"content\":[");
        if (done)
            part(out, c, true);
        buf_ch(out, ']');
    }
    buf_ch(out, '}');
}

/* ---- frames ---- */

/* The frames that open a stream. Pieces may be read, and numbered, before those are written. */
static const char *const opening[] = {"created", "in_progress"};

static void begin_as(struct buf *out, int64_t number, const char *type, const char *more)
{
    char name[64];
    snprintf(name, sizeof name, "response.%s%s", type, more);
    sse_begin_named(out, name);
    buf_fmt(out, "{\"type\":\"%s\",\"sequence_number\":%lld", name, (long long)number);
}

static void begin(struct buf *out, struct gen *g, const char *type, const char *more)
{
    begin_as(out, (int64_t)ARRAY_LEN(opening) + g->n_frames++, type, more);
}

static void end(struct buf *out)
{
    buf_ch(out, '}');
    sse_end(out);
}

/* Of the open item, with its place. */
static void begin_of(struct choice *c, const char *type, const char *more)
{
    struct buf *out = &c->text;
    begin(out, c->gen, type, more);
    buf_str(out, ",\"item_id\":");
    item_id(out, c);
    buf_fmt(out, ",\"output_index\":%d", c->n_blocks);
    if (items[c->block].part)
        buf_str(out, ",\"content_index\":0");
}

static void part_frame(struct choice *c, const char *type, bool done)
{
    if (!items[c->block].part)
        return;
    begin_of(c, type, "");
    buf_str(&c->text, ",\"part\":");
    part(&c->text, c, done);
    end(&c->text);
}

static void item_frame(struct choice *c, const char *type, const char *status)
{
    begin(&c->text, c->gen, type, "");
    buf_fmt(&c->text, ",\"output_index\":%d,\"item\":", c->n_blocks);
    item(&c->text, c, status);
    end(&c->text);
}

/* The item's contents as a whole. */
static void done_frame(struct choice *c)
{
    struct buf *out = &c->text;
    begin_of(c, items[c->block].events, ".done");
    if (c->block == ITEM_CALL)
        buf_add(out, c->calls.p, c->calls.len);
    buf_str(out, c->block == ITEM_CALL ? ",\"arguments\":" : ",\"text\":");
    jsonout_strn(out, c->reasoning.p, c->reasoning.len);
    if (c->block == ITEM_MESSAGE)
        buf_str(out, ",\"logprobs\":[]");
    end(out);
}

/* ---- pieces ---- */

/* cut: the text ended before it did. */
static void end_item(struct choice *c, bool cut)
{
    const char *status = cut ? "incomplete" : "completed";
    if (c->block == ITEM_NONE)
        return;
    if (c->gen->params.stream) {
        done_frame(c);
        part_frame(c, "content_part.done", true);
        item_frame(c, "output_item.done", status);
    }
    if (c->n_blocks)
        buf_ch(&c->part[0], ',');
    item(&c->part[0], c, status);
    buf_clear(&c->reasoning);
    buf_clear(&c->calls);
    c->n_blocks++;
    c->block = ITEM_NONE;
}

static void begin_item(struct choice *c, enum item block, const struct toolcall_event *ev)
{
    end_item(c, false);
    c->block = block;
    if (block == ITEM_CALL) {
        buf_str(&c->calls, ",\"call_id\":");
        gen_call_id(&c->calls, c, ev, "call_");
        buf_str(&c->calls, ",\"name\":");
        jsonout_strn(&c->calls, ev->p, ev->n);
    }
    if (!c->gen->params.stream)
        return;
    item_frame(c, "output_item.added", "in_progress");
    part_frame(c, "content_part.added", false);
}

static void more(struct choice *c, const struct toolcall_event *ev)
{
    buf_add(&c->reasoning, ev->p, ev->n);
    if (!c->gen->params.stream)
        return;
    begin_of(c, items[c->block].events, ".delta");
    buf_str(&c->text, ",\"delta\":");
    jsonout_strn(&c->text, ev->p, ev->n);
    if (c->block == ITEM_MESSAGE)
        buf_str(&c->text, ",\"logprobs\":[]");
    end(&c->text);
}

/* How many tokens the thoughts take: their text, made into tokens again. */
static void count_reasoning(struct choice *c)
{
    struct ids ids;
    ids_init(&ids, LIMIT_PROMPT_TOKENS);
    if (c->block == ITEM_REASONING &&
        tokenizer_encode(c->gen->served->tok, c->reasoning.p, c->reasoning.len, 0, &ids, NULL) == 0)
        c->n_reasoning += (int32_t)ids.len;
    ids_free(&ids);
}

static void piece(struct choice *c, const struct toolcall_event *ev)
{
    static const enum item kinds[] = {
        [TOOLCALL_TEXT] = ITEM_MESSAGE, [TOOLCALL_REASONING] = ITEM_REASONING,
        [TOOLCALL_BEGIN] = ITEM_CALL,   [TOOLCALL_ARGUMENTS] = ITEM_CALL,
        [TOOLCALL_END] = ITEM_NONE,     [TOOLCALL_CUT] = ITEM_NONE,
    };
    enum item kind = kinds[ev->kind];
    if (kind != (enum item)c->block || ev->kind == TOOLCALL_BEGIN) {
        count_reasoning(c);
        kind == ITEM_NONE ? end_item(c, c->cut) : begin_item(c, kind, ev);
    }
    if (kind != ITEM_NONE && ev->kind != TOOLCALL_BEGIN)
        more(c, ev);
}

/* ---- the response ---- */

static void usage(struct buf *out, const struct choice *c)
{
    buf_fmt(out, ",\"usage\":{\"input_tokens\":%lld,"
            "\"input_tokens_details\":{\"cached_tokens\":%lld},\"output_tokens\":%d,"
            "\"output_tokens_details\":{\"reasoning_tokens\":%d},\"total_tokens\":%lld}",
            (long long)c->n_prompt, (long long)c->n_cached, (int)c->n_output,
            (int)MIN(c->n_reasoning, c->n_output), (long long)(c->n_prompt + c->n_output));
}

static void object(struct buf *out, const struct gen *g, bool done)
{
    const struct choice *c = &g->choices[0];
    const json_t *echo = json_object_get(g->keep, "echo");
    bool cut = done && c->finish == FINISH_LENGTH;
    buf_fmt(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%llu,\"status\":\"%s\","
            "\"error\":null,\"incomplete_details\":%s,\"model\":", g->id,
            (unsigned long long)g->created, !done ? "in_progress" : cut ? "incomplete"
                                                                        : "completed",
            cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
    jsonout_str(out, g->served->name);
    buf_str(out, ",\"output\":[");
    if (done)
        buf_add(out, c->part[0].p, c->part[0].len);
    buf_str(out, "],\"temperature\":");
    jsonout_float(out, g->params.sampling.temperature);
    buf_str(out, ",\"top_p\":");
    jsonout_float(out, g->params.sampling.top_p);
    if (done)
        usage(out, c);
    else
        buf_str(out, ",\"usage\":null");
    if (done)
        reply_receipt(out, c);
    buf_ch(out, ',');
    buf_add(out, json_string_value(echo) + 1, json_string_length(echo) - 1); /* with its brace */
    out->failed |= c->part[0].failed;
}

/* The conversation with this answer, as text. */
static int conversation(struct buf *out, const struct gen *g, struct err *e)
{
    const json_t *before = json_object_get(g->keep, "messages");
    struct gather all;
    struct buf text;
    gather_init(&all);
    buf_init(&text, out->max);
    buf_ch(&text, '[');
    buf_add(&text, g->choices[0].part[0].p, g->choices[0].part[0].len);
    buf_ch(&text, ']');
    json_t *answer = text.failed ? NULL : jsonread(text.p, text.len, JSON_ALLOW_NUL, NULL);
    json_t *talk = jsonread(json_string_value(before), json_string_length(before),
                              JSON_ALLOW_NUL, NULL);
    int rc = answer && talk && all.messages ? responses_items(&all, answer, e)
                                            : translate_no_memory(e);
    char *made = rc || json_array_extend(talk, all.messages) ? NULL
                                                             : json_dumps(talk, JSON_COMPACT);
    if (made)
        buf_str(out, made);
    mem_free(made);
    json_decref(answer);
    json_decref(talk);
    buf_free(&text);
    gather_free(&all);
    return made && !out->failed ? 0 : translate_no_memory(e);
}

/* Kept, with a state folder on the medium, before the client hears of its end. */
static bool save(struct gen *g)
{
    struct buf messages, text;
    struct err e = {0};
    if (g->saving)
        return saving_done(g->saving);
    count_reasoning(&g->choices[0]);
    end_item(&g->choices[0], g->choices[0].finish == FINISH_LENGTH);
    if (!json_object_get(g->keep, "messages"))
        return true;
    buf_init(&messages, LIMIT_RESPONSES_BYTES);
    buf_init(&text, LIMIT_RESPONSES_BYTES);
    object(&text, g, true);
    if (!text.failed && !conversation(&messages, g, &e))
        g->saving = responses_put(g->state->responses, &g->tenant, g->id, &text, &messages,
                                  g->waker);
    buf_free(&messages);
    buf_free(&text);
    return !g->saving || saving_done(g->saving);
}

static void whole(struct buf *out, struct gen *g) { object(out, g, true); }

static void first(struct buf *out, struct gen *g)
{
    for (size_t i = 0; i < ARRAY_LEN(opening); i++) {
        begin_as(out, (int64_t)i, opening[i], "");
        buf_str(out, ",\"response\":");
        object(out, g, false);
        end(out);
    }
}

static void news(struct buf *out, struct choice *c)
{
    buf_add(out, c->text.p, c->text.len);
    out->failed |= c->text.failed;
    buf_clear(&c->text);
}

static void last(struct buf *out, struct gen *g)
{
    begin(out, g, g->choices[0].finish == FINISH_LENGTH ? "incomplete" : "completed", "");
    buf_str(out, ",\"response\":");
    object(out, g, true);
    end(out);
}

static void fail(struct buf *out, const struct failure *f)
{
    sse_begin_named(out, "error");
    buf_fmt(out, "{\"type\":\"error\",\"code\":\"%s\",\"message\":", apierr_code(f->what));
    jsonout_str(out, f->message);
    buf_str(out, ",\"param\":");
    if (f->param)
        jsonout_str(out, f->param);
    else
        buf_str(out, "null");
    end(out);
}

static const struct api_name names[] = {
    {"max_tokens", "max_output_tokens"}, {"messages", "input"}, {"response_format", "text"},
    {"thinking_budget", "reasoning"},
    {NULL, NULL},
};

static const struct api responses = {
    .id_prefix = "resp_",
    .stream_type = "text/event-stream; charset=utf-8",
    .names = names,
    .early = true,
    .receipts = true,
    .copies = true,
    .piece = piece,
    .save = save,
    .whole = whole,
    .open = first,
    .news = news,
    .close = last,
    .ping = sse_ping,
    .fail = fail,
};

/* ---- handlers ---- */

/* The conversation of the response that the request goes on with; NULL: there is none to go on
 * with, or (e) it is not here any more. */
static json_t *previous(struct exchange *x, const json_t *in, enum apierr *why, struct err *e)
{
    const char *field = "previous_response_id", *id = NULL;
    struct buf text;
    json_t *talk = NULL;
    if (!jsonin_str(in, field, &id, NULL, e))
        return NULL;
    buf_init(&text, LIMIT_RESPONSES_BYTES);
    if (!responses_get(serve_state(x)->responses, &x->tenant, id, NULL, &text)) {
        *why = APIERR_NO_PREVIOUS;
        err_field(e, E_NOENT, field, "%s: there is no response \"%.64s\"; responses are kept while "
                  "there is room", field, id);
    } else {
        talk = text.failed ? NULL : jsonread(text.p, text.len, JSON_ALLOW_NUL, NULL);
        if (!talk)
            translate_no_memory(e);
    }
    buf_free(&text);
    return talk;
}

void api_responses(struct exchange *x)
{
    struct err e = {0};
    enum apierr why = APIERR_NONE;
    json_t *keep = NULL, *request = NULL, *in = serve_body(x);
    if (!in)
        return;
    json_t *before = previous(x, in, &why, &e);
    if (!e.code)
        request = responses_request(in, before, &keep, &e);
    json_decref(before);
    if (request) {
        serve_request(x, PARAMS_CHAT, &responses, in, request, keep);
        return;
    }
    serve_fail(x, &responses, why == APIERR_NONE ? apierr_of(&e) : why, &e);
    json_decref(in);
}

void api_response(struct exchange *x)
{
    struct responses *s = serve_state(x)->responses;
    struct err e = {0};
    bool found;
    if (strcmp(x->method, "DELETE") == 0) {
        found = responses_delete(s, &x->tenant, x->rest, &e);
        if (e.code) {
            exchange_error(x, apierr_of_run(&e), "response_id", e.text);
            return;
        }
        buf_str(&x->reply, "{\"id\":");
        jsonout_str(&x->reply, x->rest);
        buf_str(&x->reply, ",\"object\":\"response\",\"deleted\":true}");
    } else {
        found = responses_get(s, &x->tenant, x->rest, &x->reply, NULL);
    }
    if (found)
        exchange_answer(x, 200, "application/json");
    else
        exchange_error(x, APIERR_NO_RESPONSE, "response_id", "there is no such response");
}
