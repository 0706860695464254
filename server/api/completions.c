/* POST /v1/completions. */
#include <string.h>

#include "server/api/api.h"
#include "server/api/jsonout.h"
#include "server/api/openai.h"
#include "server/api/reply.h"
#include "server/api/serve.h"

/* c->part of the legacy logprobs object. */
enum { TOKENS, LOGPROBS, TOP, OFFSETS };

static void separate(struct buf *b)
{
    if (b->len)
        buf_ch(b, ',');
}

/* {"token": logprob, …}: the token drawn and the likeliest. One text may be several tokens; an
 * object has each key once, and the likeliest of them wins. */
static void top(struct buf *out, const struct served *m, const struct token_event *ev)
{
    struct buf keys;
    buf_init(&keys, KIB(64)); /* 21 keys of at most 256 bytes, escaped */
    size_t starts[LIMIT_TOP_LOGPROBS + 1], ends[LIMIT_TOP_LOGPROBS + 1], n = 0;
    buf_ch(out, '{');
    for (int32_t i = -1; i < ev->n_top; i++) {
        int32_t id = i < 0 ? ev->id : ev->top[i].id;
        size_t start = keys.len;
        reply_token(&keys, m, id);
        bool seen = keys.failed;
        for (size_t k = 0; k < n && !seen; k++)
            seen = ends[k] - starts[k] == keys.len - start &&
                   memcmp(keys.p + starts[k], keys.p + start, keys.len - start) == 0;
        if (seen)
            continue;
        if (n)
            buf_ch(out, ',');
        buf_add(out, keys.p + start, keys.len - start);
        buf_ch(out, ':');
        jsonout_float(out, i < 0 ? ev->logprob : ev->top[i].logprob);
        starts[n] = start;
        ends[n++] = keys.len;
    }
    buf_ch(out, '}');
    buf_free(&keys);
}

static void event(struct choice *c, const struct token_event *ev)
{
    const struct served *m = c->gen->served;
    if (c->gen->params.logprobs < 0)
        return;
    for (int k = 0; k < GEN_PARTS; k++)
        separate(&c->part[k]);
    reply_token(&c->part[TOKENS], m, ev->id);
    if (ev->has_logprob) {
        jsonout_float(&c->part[LOGPROBS], ev->logprob);
        top(&c->part[TOP], m, ev);
    } else {
        buf_str(&c->part[LOGPROBS], "null");
        buf_str(&c->part[TOP], "null");
    }
    size_t n = 0;
    const char *p = m->tok ? tokenizer_piece(m->tok, ev->id, &n) : NULL;
    jsonout_int(&c->part[OFFSETS], chars_next(&c->chars, p, n));
}

static void logprobs(struct buf *out, struct choice *c)
{
    static const char *const names[GEN_PARTS] = {"tokens", "token_logprobs", "top_logprobs",
                                                 "text_offset"};
    buf_str(out, ",\"logprobs\":");
    bool nothing = c->gen->params.stream && c->part[TOKENS].len == 0;
    if (c->gen->params.logprobs < 0 || nothing) {
        buf_str(out, "null");
        return;
    }
    for (int k = 0; k < GEN_PARTS; k++) {
        buf_fmt(out, "%s\"%s\":[", k ? "," : "{", names[k]);
        buf_add(out, c->part[k].p, c->part[k].len);
        buf_ch(out, ']');
        buf_clear(&c->part[k]);
    }
    buf_ch(out, '}');
}

/* The prompt's own text: as sent, or what its ids say. */
static void prompt_text(struct buf *out, const struct choice *c)
{
    const struct gen_prompt *p = &c->gen->prompts[c->prompt];
    const struct tokenizer *tok = c->gen->served->tok;
    if (p->text) {
        jsonout_chars(out, p->text, p->n_text);
        return;
    }
    struct buf text;
    buf_init(&text, MIB(64)); /* 256 Ki tokens of 256 bytes */
    for (size_t i = 0; tok && i < p->ids.len; i++) {
        size_t n;
        const char *piece = tokenizer_piece(tok, p->ids.p[i], &n);
        buf_add(&text, piece, n);
    }
    out->failed |= text.failed;
    jsonout_chars(out, text.p, text.len);
    buf_free(&text);
}

/* prompt: with the echoed prompt before the text, and its ids. end: with what comes at the end. */
static void element(struct buf *out, struct choice *c, bool prompt, bool end)
{
    const struct params *p = &c->gen->params;
    buf_fmt(out, "{\"index\":%d,\"text\":\"", c->index);
    if (prompt && p->echo)
        prompt_text(out, c);
    jsonout_chars(out, c->text.p, c->text.len);
    buf_ch(out, '"');
    buf_clear(&c->text);
    logprobs(out, c);
    if (p->return_ids) {
        if (prompt) {
            const struct ids *ids = &c->gen->prompts[c->prompt].ids;
            buf_str(out, ",\"prompt_token_ids\":");
            jsonout_ids(out, ids->p, ids->len);
        }
        buf_str(out, ",\"token_ids\":");
        jsonout_ids(out, c->ids.p, c->ids.len);
        c->ids.len = 0;
    }
    buf_str(out, ",\"finish_reason\":");
    buf_str(out, end ? reply_finish(c->finish) : "null");
    if (end)
        reply_receipt(out, c);
    buf_ch(out, '}');
}

static void first(struct buf *out, struct choice *c) { element(out, c, true, false); }
static void delta(struct buf *out, struct choice *c) { element(out, c, false, false); }
static void last(struct buf *out, struct choice *c) { element(out, c, false, true); }
static void whole(struct buf *out, struct choice *c) { element(out, c, true, true); }

static const struct openai_api completions = {
    .api = {.id_prefix = "cmpl-", .token = event, OPENAI_HOOKS},
    .object = "text_completion",
    .chunk_object = "text_completion",
    .open = first,
    .delta = delta,
    .close = last,
    .whole = whole,
};

void api_completions(struct exchange *x) { serve(x, PARAMS_COMPLETION, &completions.api); }
