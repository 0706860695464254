/* What a server says: one JSON event of a stream, or a whole reply. Thread: one. */
#include "programs/recurd-bench/reply.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "programs/recurd-bench/dataset.h"

/* A replayed reply with 20 top logprobs a token takes about 1 KiB a token. */
#define CAPTURE_BYTES MIB(64)

void capture_init(struct capture *c)
{
    buf_init(&c->text, CAPTURE_BYTES);
    buf_init(&c->ids, CAPTURE_BYTES);
    buf_init(&c->tokens, CAPTURE_BYTES);
    c->n_lines = 0;
}

void capture_free(struct capture *c)
{
    buf_free(&c->text);
    buf_free(&c->ids);
    buf_free(&c->tokens);
}

void capture_clear(struct capture *c)
{
    buf_clear(&c->text);
    buf_clear(&c->ids);
    buf_clear(&c->tokens);
    c->n_lines = 0;
}

static int32_t count(json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n < 0 ? 0 : n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

static void take_usage(json_t *u, struct reply *out)
{
    if (!json_is_object(u))
        return;
    out->has_usage = true;
    out->prompt_tokens = count(u, "prompt_tokens");
    out->completion_tokens = count(u, "completion_tokens");
    out->cached_tokens = count(json_object_get(u, "prompt_tokens_details"), "cached_tokens");
}

/* 17 digits name a double exactly, so equal lines mean equal numbers: servers print at most 17. */
static void add_pair(struct capture *c, char before, const char *token, size_t n, json_t *logprob)
{
    buf_ch(&c->tokens, before);
    buf_ch(&c->tokens, '"');
    dataset_escape(&c->tokens, token, n);
    if (json_is_number(logprob))
        buf_fmt(&c->tokens, "\" %.17g", json_number_value(logprob));
    else
        buf_str(&c->tokens, "\" null");
}

static void end_line(struct capture *c)
{
    buf_ch(&c->tokens, '\n');
    c->n_lines++;
}

/* Completions: {"tokens": [], "token_logprobs": [], "top_logprobs": [{token: logprob}]} */
static int32_t completion_logprobs(json_t *lp, struct capture *c)
{
    json_t *tokens = json_object_get(lp, "tokens"), *values = json_object_get(lp, "token_logprobs");
    json_t *tops = json_object_get(lp, "top_logprobs"), *t, *v;
    size_t i;
    json_array_foreach(tokens, i, t) {
        if (!c)
            continue;
        const char *key;
        add_pair(c, ' ', json_is_string(t) ? json_string_value(t) : "", json_string_length(t),
                 json_array_get(values, i));
        json_object_foreach(json_array_get(tops, i), key, v)
            add_pair(c, '|', key, strlen(key), v);
        end_line(c);
    }
    return (int32_t)json_array_size(tokens);
}

/* Chat: {"content": [{"token":, "logprob":, "top_logprobs": [{"token":, "logprob":}]}]} */
static int32_t chat_logprobs(json_t *lp, struct capture *c)
{
    json_t *content = json_object_get(lp, "content"), *t, *top;
    size_t i, k;
    json_array_foreach(content, i, t) {
        json_t *name = json_object_get(t, "token");
        if (!c)
            continue;
        add_pair(c, ' ', json_is_string(name) ? json_string_value(name) : "",
                 json_string_length(name), json_object_get(t, "logprob"));
        json_array_foreach(json_object_get(t, "top_logprobs"), k, top) {
            json_t *s = json_object_get(top, "token");
            add_pair(c, '|', json_is_string(s) ? json_string_value(s) : "", json_string_length(s),
                     json_object_get(top, "logprob"));
        }
        end_line(c);
    }
    return (int32_t)json_array_size(content);
}

static bool take_text(json_t *s, struct capture *c)
{
    if (!json_is_string(s) || !json_string_length(s))
        return false;
    if (c)
        buf_add(&c->text, json_string_value(s), json_string_length(s));
    return true;
}

static void take_choice(json_t *choice, struct reply *out, struct capture *c)
{
    json_t *said = json_object_get(choice, "delta");
    if (!said)
        said = json_object_get(choice, "message");
    out->output |= take_text(json_object_get(choice, "text"), c);
    out->output |= take_text(json_object_get(said, "content"), c);
    out->output |= take_text(json_object_get(said, "reasoning_content"), c);
    out->output |= json_array_size(json_object_get(said, "tool_calls")) > 0;
    json_t *lp = json_object_get(choice, "logprobs"), *ids = json_object_get(choice, "token_ids");
    json_t *id;
    int32_t named = completion_logprobs(lp, c) + chat_logprobs(lp, c); /* one of them has none */
    size_t i;
    json_array_foreach(ids, i, id)
        if (c)
            buf_fmt(&c->ids, "%s%lld", c->ids.len ? "," : "", (long long)json_integer_value(id));
    if (!named)
        named = (int32_t)json_array_size(ids);
    out->n_tokens += named;
    out->output |= named > 0;
    json_t *finish = json_object_get(choice, "finish_reason");
    if (json_is_string(finish))
        snprintf(out->finish, sizeof out->finish, "%s", json_string_value(finish));
}

static void take_error(json_t *err, struct reply *out)
{
    json_t *message = json_is_string(err) ? err : json_object_get(err, "message");
    if (json_is_false(err) || json_is_null(err))
        return;
    out->is_error = true;
    snprintf(out->error, sizeof out->error, "%s",
             json_is_string(message) ? json_string_value(message) : "an error without a message");
}

int reply_parse(const char *data, size_t n, struct reply *out, struct capture *cap)
{
    *out = (struct reply){0};
    json_t *o = json_loadb(data, n, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(o)) {
        json_decref(o);
        return E_FORMAT;
    }
    json_t *error = json_object_get(o, "error"), *choices = json_object_get(o, "choices"), *choice;
    if (error)
        take_error(error, out);
    size_t i;
    json_array_foreach(choices, i, choice)
        take_choice(choice, out, cap);
    take_usage(json_object_get(o, "usage"), out);
    bool known = out->is_error || json_is_array(choices) || out->has_usage;
    json_decref(o);
    return known ? 0 : E_FORMAT;
}
