/* Requests as bytes. Thread: any. */
#include "base/version.h"
#include "programs/recurd-bench/render.h"

#include <stdlib.h>
#include <string.h>

bool render_is_ids(const struct args *a, const struct turn *t)
{
    return t->fixed ? t->fixed->form == ENTRY_IDS : !a->text;
}

int render_http(struct buf *out, const struct args *a, const char *method, const char *path,
                const struct buf *body)
{
    bool v6 = strchr(a->host, ':') != NULL;
    buf_fmt(out, "%s %s%s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: recurd-bench/%s\r\n", method,
            a->base, path, v6 ? "[" : "", a->host, v6 ? "]" : "", a->port,
            version_number());
    if (a->api_key)
        buf_fmt(out, "Authorization: Bearer %s\r\n", a->api_key);
    for (int i = 0; i < a->header.n; i++)
        buf_fmt(out, "%s\r\n", a->header.v[i]);
    if (body)
        buf_fmt(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body->len);
    buf_str(out, "\r\n");
    if (body)
        buf_add(out, body->p, body->len);
    return out->failed ? E_NOMEM : 0;
}

int render_join(struct buf *history, const struct args *a, const char *fragment)
{
    /* Ids and messages are lists; text runs on by itself. */
    bool list = a->chat || (history->len && !a->text);
    if (list && history->len && *fragment)
        buf_ch(history, ',');
    buf_str(history, fragment);
    return history->failed ? E_NOMEM : 0;
}

static void add_members(struct buf *out, json_t *extra)
{
    const char *key;
    json_t *v;
    json_object_foreach(extra, key, v) {
        char *s = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        buf_str(out, ",\"");
        dataset_escape(out, key, strlen(key));
        buf_fmt(out, "\":%s", s ? s : "null");
        free(s);
    }
}

int render_body(struct buf *out, const struct args *a, const char *model, const struct turn *t,
                const char *history, const char *fragment, const char *session)
{
    buf_str(out, "{\"model\":\"");
    dataset_escape(out, model, strlen(model));
    bool ids = render_is_ids(a, t);
    buf_str(out, a->chat ? "\",\"messages\":[" : ids ? "\",\"prompt\":[" : "\",\"prompt\":\"");
    buf_str(out, history);
    if (*history && *fragment && (a->chat || ids))
        buf_ch(out, ',');
    buf_str(out, fragment);
    buf_str(out, a->chat || ids ? "]" : "\"");
    buf_fmt(out, ",\"max_tokens\":%d,\"temperature\":%g", t->n_out, a->temperature);
    if (!a->no_stream)
        buf_str(out, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    if (a->ignore_eos)
        buf_str(out, ",\"ignore_eos\":true");
    if (a->min_tokens > 0)
        buf_fmt(out, ",\"min_tokens\":%lld", (long long)a->min_tokens);
    if (a->logprobs >= 0 && a->chat)
        buf_fmt(out, ",\"logprobs\":true,\"top_logprobs\":%lld", (long long)a->logprobs);
    else if (a->logprobs >= 0)
        buf_fmt(out, ",\"logprobs\":%lld", (long long)a->logprobs);
    if (a->return_token_ids)
        buf_str(out, ",\"return_token_ids\":true");
    if (session)
        buf_fmt(out, ",\"session\":\"%s\"", session);
    if (a->extra)
        add_members(out, a->extra);
    buf_ch(out, '}');
    return out->failed ? E_NOMEM : 0;
}
