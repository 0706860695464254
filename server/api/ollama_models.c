/* GET /api/tags, /api/ps, /api/version, POST /api/show: what Ollama's API tells of models; and what
 * is refused here, embeddings. Thread: HTTP worker. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/version.h"
#include "models/text/chat/chat.h"
#include "models/text/toolcall/toolcall.h"
#include "server/api/api.h"
#include "server/api/jsonin.h"
#include "server/api/jsonout.h"
#include "server/api/ollama.h"
#include "server/api/serve.h"

static void details(struct buf *out, const struct served *m)
{
    double n = (double)m->parameters;
    buf_str(out, "\"details\":{\"parent_model\":\"\",\"format\":\"\",\"family\":");
    jsonout_str(out, m->arch);
    buf_str(out, ",\"families\":[");
    jsonout_str(out, m->arch);
    buf_fmt(out, n < 1e9 ? "],\"parameter_size\":\"%.1fM\"" : "],\"parameter_size\":\"%.1fB\"",
            n / (n < 1e9 ? 1e6 : 1e9));
    buf_str(out, ",\"quantization_level\":\"unknown\"}");
}

/* "modified_at":…: the weights are what they were at the start. */
static void modified(struct buf *out, const struct http *h)
{
    char at[32];
    time_t then = (time_t)h->started_unix_s;
    struct tm t;
    gmtime_r(&then, &t);
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &t);
    buf_fmt(out, "\"modified_at\":\"%s\"", at);
}

static void name(struct buf *out, const char *key, const struct served *m)
{
    buf_fmt(out, "\"%s\":\"", key);
    jsonout_chars(out, m->name, strlen(m->name));
    buf_str(out, ":latest\",");
}

/* Without the closing brace. */
static void entry(struct buf *out, const struct http *h)
{
    const struct served *m = h->served;
    buf_ch(out, '{');
    name(out, "name", m);
    name(out, "model", m);
    buf_fmt(out, "\"size\":%lld,\"digest\":\"", (long long)m->weight_bytes);
    for (size_t i = 0; i < sizeof m->fingerprint; i++)
        buf_fmt(out, "%02x", m->fingerprint[i]);
    buf_str(out, "\",");
    details(out, m);
}

void api_ollama_tags(struct exchange *x)
{
    struct buf *out = &x->reply;
    buf_str(out, "{\"models\":[");
    entry(out, x->http);
    buf_ch(out, ',');
    modified(out, x->http);
    buf_str(out, "}]}");
    exchange_answer(x, 200, "application/json");
}

void api_ollama_ps(struct exchange *x)
{
    struct buf *out = &x->reply;
    buf_str(out, "{\"models\":[");
    entry(out, x->http);
    buf_fmt(out, ",\"size_vram\":%lld,\"expires_at\":\"9999-12-31T00:00:00Z\"}]}",
            (long long)x->http->served->weight_bytes);
    exchange_answer(x, 200, "application/json");
}

void api_ollama_version(struct exchange *x)
{
    buf_fmt(&x->reply, "{\"version\":\"%s\"}", version_number());
    exchange_answer(x, 200, "application/json");
}

/* What the model's own files set, one "name value" a line. */
static void parameters(struct buf *out, const struct generation_defaults *d)
{
    const struct { const char *name; float value; } rows[] = {
        {"temperature", d->temperature}, {"top_p", d->top_p}, {"min_p", d->min_p},
        {"repeat_penalty", d->repetition_penalty},
    };
    buf_str(out, "\"parameters\":\"");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!isnan(rows[i].value))
            buf_fmt(out, "%s %g\\n", rows[i].name, (double)rows[i].value);
    buf_str(out, "\",");
}

static void capabilities(struct buf *out, const char *template)
{
    buf_str(out, "\"capabilities\":[\"completion\"");
    if (template && toolcall_detect(template))
        buf_str(out, ",\"tools\"");
    if (template && strstr(template, "</think>"))
        buf_str(out, ",\"thinking\"");
    buf_ch(out, ']');
}

static void show(struct exchange *x)
{
    const struct served *m = x->http->served;
    struct buf *out = &x->reply;
    const char *template = m->chat ? chat_template_text(m->chat, true) : NULL;
    buf_str(out, "{\"modelfile\":\"\",");
    parameters(out, &m->defaults);
    buf_str(out, "\"template\":");
    jsonout_str(out, template ? template : "");
    buf_ch(out, ',');
    details(out, m);
    buf_str(out, ",\"model_info\":{\"general.architecture\":");
    jsonout_str(out, m->arch);
    buf_fmt(out, ",\"general.parameter_count\":%lld", (long long)m->parameters);
    if (m->context_max > 0) {
        buf_str(out, ",\"");
        jsonout_chars(out, m->arch, strlen(m->arch));
        buf_fmt(out, ".context_length\":%lld", (long long)m->context_max);
    }
    buf_str(out, "},");
    capabilities(out, template);
    buf_ch(out, ',');
    modified(out, x->http);
    buf_ch(out, '}');
    exchange_answer(x, 200, "application/json");
}

void api_ollama_show(struct exchange *x)
{
    json_t *in = serve_body(x);
    struct err e = {0};
    if (!in)
        return;
    const json_t *asked = jsonin_get(in, "model");
    json_t *model = ollama_model(asked ? asked : jsonin_get(in, "name"));
    const char *s = json_string_value(model);
    (void)jsonin_get(in, "verbose"); /* what there is is told */
    if (serve_known(x, &e))
        exchange_fail(x, &e);
    else if (!s)
        exchange_error(x, APIERR_BAD_VALUE, "model", "model: a string is expected");
    else if (!served_is_named(x->http->served, s))
        exchange_error(x, APIERR_NO_MODEL, "model", "model: it is not served here");
    else
        show(x);
    json_decref(model);
    json_decref(in);
}

void api_embeddings(struct exchange *x)
{
    char text[320];
    snprintf(text, sizeof text, "model: \"%.120s\" is no embedding model: embeddings are not "
             "supported, since it is trained to continue text and its hidden states are not read "
             "out", x->http->served->name);
    exchange_error(x, APIERR_UNSUPPORTED, "model", text);
}
