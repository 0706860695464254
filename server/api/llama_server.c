/* llama-server's own API: POST /completion and /completions, GET /props and /slots, POST /infill.
 * /tokenize, /detokenize and /apply-template are in files of their own. Thread: HTTP worker. */
#include <string.h>

#include "base/version.h"
#include "models/text/chat/chat.h"
#include "models/text/tokenizer.h"
#include "server/api/api.h"
#include "server/api/infill.h"
#include "server/api/jsonin.h"
#include "server/api/jsonout.h"
#include "server/api/openai.h"
#include "server/api/serve.h"
#include "server/api/translate.h"

/* ---- the request ---- */

/* Fields with other names than ours. */
static const struct api_name names[] = {
    {"max_tokens", "n_predict"}, {"repetition_penalty", "repeat_penalty"},
    {"ignore_eos", "ignore_eos"}, {NULL, NULL},
};

/* Fields whose other values would change the reply or what is computed. */
static const struct { const char *name; double neutral; } fixed[] = {
    {"n_probs", 0}, {"n_indent", 0}, {"t_max_predict_ms", 0}, {"n_keep", 0}, {"id_slot", -1},
    {"n_cmpl", 1},
};

/* 1 and 1.0 are. */
static bool says_the_same(const json_t *a, const json_t *b)
{
    return json_equal(a, b) || (json_is_number(a) && json_is_number(b) &&
                                json_number_value(a) == json_number_value(b));
}

static int rename_fields(json_t *o, struct err *e)
{
    for (const struct api_name *n = names; n->ours; n++) {
        const json_t *ours = jsonin_get(o, n->ours), *theirs = jsonin_get(o, n->theirs);
        if (!theirs || strcmp(n->ours, n->theirs) == 0)
            continue;
        if (ours && !says_the_same(ours, theirs))
            return err_field(e, E_CONFLICT, n->theirs, "%s: %s says something else", n->theirs,
                             n->ours);
        if (json_object_set(o, n->ours, (json_t *)(uintptr_t)theirs) ||
            json_object_del(o, n->theirs))
            return translate_no_memory(e);
    }
    return 0;
}

/* o becomes our own form. Its defaults: an answer ends where the server says, not after 16. */
static int translate(json_t *o, int64_t max_tokens, struct err *e)
{
    int rc = translate_refuse(o, e);
    for (size_t i = 0; i < ARRAY_LEN(fixed) && !rc; i++) {
        const json_t *v = jsonin_get(o, fixed[i].name);
        if (v && !(json_is_number(v) && json_number_value(v) == fixed[i].neutral))
            rc = err_field(e, E_UNSUPPORTED, fixed[i].name, "%s: only %g is supported",
                           fixed[i].name, fixed[i].neutral);
    }
    if (!rc)
        rc = rename_fields(o, e);
    const json_t *n = rc ? NULL : jsonin_get(o, "max_tokens");
    bool endless = !n || (json_is_integer(n) && json_integer_value(n) < 0);
    if (!rc && endless && json_object_set_new(o, "max_tokens", json_integer(max_tokens)))
        rc = translate_no_memory(e);
    return rc;
}

/* ---- the reply ---- */

static void content(struct buf *out, struct choice *c, bool stop)
{
    buf_fmt(out, "{\"index\":%d,\"content\":", c->index);
    jsonout_strn(out, c->text.p, c->text.len);
    out->failed |= c->text.failed;
    buf_clear(&c->text);
    buf_fmt(out, ",\"tokens\":[],\"stop\":%s", stop ? "true" : "false");
}

static double per_second(int64_t n, uint64_t ns)
{
    return ns ? (double)n * 1e9 / (double)ns : 0;
}

static void timings(struct buf *out, const struct choice *c)
{
    const struct request *r = c->r; /* finished: nobody writes it any more */
    uint64_t first = r->t_first_ns ? r->t_first_ns : r->t_end_ns;
    uint64_t prompt = first - r->t_submit_ns, output = r->t_end_ns - first;
    int64_t computed = c->n_prompt - c->n_cached;
    buf_fmt(out, ",\"timings\":{\"cache_n\":%lld,\"prompt_n\":%lld,\"prompt_ms\":%.3f,"
            "\"prompt_per_second\":%.3f,\"predicted_n\":%d,\"predicted_ms\":%.3f,"
            "\"predicted_per_second\":%.3f}", (long long)c->n_cached, (long long)computed,
            (double)prompt / 1e6, per_second(computed, prompt), (int)c->n_output,
            (double)output / 1e6, per_second(c->n_output, output));
}

/* The last of a stream, or the whole reply. */
static void last(struct buf *out, struct choice *c)
{
    const struct gen *g = c->gen;
    bool word = c->finish == FINISH_STOP && c->stopped_by >= 0;
    content(out, c, true);
    buf_str(out, ",\"model\":");
    jsonout_str(out, g->served->name);
    buf_fmt(out, ",\"tokens_predicted\":%d,\"tokens_evaluated\":%lld,\"tokens_cached\":%lld,"
            "\"truncated\":false,\"stop_type\":\"%s\",\"stopping_word\":", (int)c->n_output,
            (long long)c->n_prompt, (long long)c->n_cached,
            c->finish == FINISH_LENGTH ? "limit" : word ? "word" : "eos");
    jsonout_str(out, word ? g->params.stops[c->stopped_by] : "");
    timings(out, c);
    buf_ch(out, '}');
}

/* One prompt: an object. Several: an array of them. */
static void whole(struct buf *out, struct gen *g)
{
    if (g->n_choices > 1)
        buf_ch(out, '[');
    for (int32_t i = 0; i < g->n_choices; i++) {
        if (i)
            buf_ch(out, ',');
        last(out, &g->choices[i]);
    }
    if (g->n_choices > 1)
        buf_ch(out, ']');
}

static void news(struct buf *out, struct choice *c)
{
    bool done = c->finish != FINISH_NONE;
    if (!done && !c->text.len)
        return;
    sse_begin(out);
    if (done)
        last(out, c);
    else
        content(out, c, false);
    if (!done)
        buf_ch(out, '}');
    sse_end(out);
}

static void nothing(struct buf *out, struct gen *g)
{
    (void)out;
    (void)g;
}

static const struct api completion = {
    .id_prefix = "llama-",
    .stream_type = "text/event-stream; charset=utf-8",
    .names = names,
    .piece = gen_text,
    .whole = whole,
    .news = news,
    .close = nothing, /* the choice's last frame has said it all */
    .ping = sse_ping,
    .fail = openai_fail,
};

void api_llama_completion(struct exchange *x)
{
    struct err e = {0};
    json_t *o = serve_body(x);
    if (o && translate(o, x->http->o->max_tokens, &e)) {
        serve_fail(x, &completion, apierr_of(&e), &e);
        json_decref(o);
    } else if (o) {
        serve_request(x, PARAMS_COMPLETION, &completion, o, o, NULL);
    }
}

/* ---- infill ---- */

/* A member of the request that may be missing. */
static const char *text_or_none(const json_t *o, const char *key, size_t *n, struct err *e)
{
    const json_t *v = jsonin_get(o, key);
    *n = json_string_length(v);
    if (v && !json_is_string(v))
        err_field(e, E_FORMAT, key, "%s: %s was sent, a string is expected", key, jsonin_kind(v));
    return json_is_string(v) ? json_string_value(v) : "";
}

/* input_prefix, input_suffix and prompt (what follows the gap's beginning) -> ids. */
static int fill_gap(json_t *o, const struct tokenizer *t, struct err *e)
{
    struct infill in = {.field = "input_suffix"};
    struct ids ids;
    const json_t *extra = jsonin_get(o, "input_extra");
    in.before = text_or_none(o, "input_prefix", &in.n_before, e);
    in.begun = text_or_none(o, "prompt", &in.n_begun, e);
    in.after = text_or_none(o, "input_suffix", &in.n_after, e);
    if (e->code)
        return e->code;
    if (extra && json_array_size(extra) > 0)
        return err_field(e, E_UNSUPPORTED, "input_extra", "input_extra: not supported");
    ids_init(&ids, LIMIT_PROMPT_TOKENS);
    int rc = infill_encode(t, &in, &ids, e);
    json_t *list = rc ? NULL : json_array();
    for (size_t k = 0; k < ids.len && !rc; k++)
        rc = json_array_append_new(list, json_integer(ids.p[k])) ? translate_no_memory(e) : 0;
    if (!rc && json_object_set_new(o, "prompt", list))
        rc = translate_no_memory(e);
    else if (rc)
        json_decref(list);
    ids_free(&ids);
    return rc;
}

void api_infill(struct exchange *x)
{
    struct err e = {0};
    json_t *o = serve_body(x);
    if (!o)
        return;
    if (fill_gap(o, x->http->served->tok, &e) || translate(o, x->http->o->max_tokens, &e)) {
        serve_fail(x, &completion, apierr_of(&e), &e);
        json_decref(o);
        return;
    }
    serve_request(x, PARAMS_COMPLETION, &completion, o, o, NULL);
}

/* ---- what there is ---- */

static void text_of(struct buf *out, const struct tokenizer *t, int32_t id)
{
    size_t n = 0;
    const char *p = t && id >= 0 ? tokenizer_piece_shown(t, id, &n) : NULL;
    jsonout_strn(out, p, n);
}

static const char *template_of(const struct served *m, bool tools)
{
    const char *text = m->chat ? chat_template_text(m->chat, tools) : NULL;
    return text ? text : "";
}

void api_props(struct exchange *x)
{
    const struct served *m = x->http->served;
    struct buf *out = &x->reply;
    buf_fmt(out, "{\"default_generation_settings\":{\"n_ctx\":%lld,\"params\":{\"n_predict\":%lld}"
            "},\"total_slots\":%lld,\"model_alias\":", (long long)m->context_max,
            (long long)x->http->o->max_tokens, (long long)m->cap.slots);
    jsonout_str(out, m->name);
    buf_str(out, ",\"model_path\":");
    jsonout_str(out, m->name); /* where it lies is no client's affair */
    buf_str(out, ",\"modalities\":{\"vision\":false,\"audio\":false},\"chat_template\":");
    jsonout_str(out, template_of(m, false));
    buf_str(out, ",\"bos_token\":");
    text_of(out, m->tok, m->bos);
    buf_str(out, ",\"eos_token\":");
    text_of(out, m->tok, m->tok ? tokenizer_eos(m->tok) : -1);
    buf_fmt(out, ",\"build_info\":\"recurd-%s-%s\"}", version_number(), version_commit());
    exchange_answer(x, 200, "application/json");
}

/* How many sequences are computed, and no more: whose they are is their clients' affair. */
void api_slots(struct exchange *x)
{
    const struct served *m = x->http->served;
    struct sched_stats s;
    sched_stats(m->sched, &s);
    buf_ch(&x->reply, '[');
    for (int32_t i = 0; i < s.slots_total; i++)
        buf_fmt(&x->reply, "%s{\"id\":%d,\"n_ctx\":%lld,\"is_processing\":%s}", i ? "," : "",
                (int)i, (long long)m->context_max, i < s.running ? "true" : "false");
    buf_ch(&x->reply, ']');
    exchange_answer(x, 200, "application/json");
}

/* As vLLM tells it: what lm-evaluation-harness asks before it uses /tokenize. */
void api_tokenizer_info(struct exchange *x)
{
    const struct served *m = x->http->served;
    struct buf *out = &x->reply;
    if (!m->tok) {
        exchange_error(x, APIERR_UNSUPPORTED, NULL, "the model has no tokenizer");
        return;
    }
    buf_fmt(out, "{\"tokenizer_class\":\"recurd\",\"vocab_size\":%d,\"add_bos_token\":%s,"
            "\"bos_token\":", tokenizer_size(m->tok),
            tokenizer_adds_bos(m->tok) ? "true" : "false");
    if (m->bos < 0)
        buf_str(out, "null");
    else
        text_of(out, m->tok, m->bos);
    buf_str(out, ",\"eos_token\":");
    if (tokenizer_eos(m->tok) < 0)
        buf_str(out, "null");
    else
        text_of(out, m->tok, tokenizer_eos(m->tok));
    buf_str(out, ",\"pad_token\":null,\"model_max_length\":");
    if (m->context_max > 0)
        jsonout_int(out, m->context_max);
    else
        buf_str(out, "null");
    buf_str(out, ",\"chat_template\":");
    if (*template_of(m, false))
        jsonout_str(out, template_of(m, false));
    else
        buf_str(out, "null");
    buf_ch(out, '}');
    exchange_answer(x, 200, "application/json");
}
