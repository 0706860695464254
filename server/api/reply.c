/* Shared pieces of replies. Thread: HTTP worker. */
#include "base/version.h"
#include "server/api/reply.h"

#include "base/utf8.h"
#include "server/api/jsonout.h"

void reply_token(struct buf *out, const struct served *m, int32_t id)
{
    size_t n = 0;
    const char *p = m->tok ? tokenizer_piece_shown(m->tok, id, &n) : NULL;
    if (!m->tok) {
        buf_fmt(out, "\"token_id:%d\"", id);
    } else if (utf8_valid(p, n)) {
        jsonout_strn(out, p, n);
    } else {
        buf_str(out, "\"bytes:");
        for (size_t i = 0; i < n; i++)
            buf_fmt(out, "\\\\x%02x", (unsigned char)p[i]);
        buf_ch(out, '"');
    }
}

void reply_head(struct buf *out, const struct gen *g, const char *object)
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
            "\"generation\":%llu,\"persist\":\"%s\"}", hex, (long long)s.position,
            (long long)s.turns, (unsigned long long)s.generation, session_persist_name(s.persist));
}

void reply_usage(struct buf *out, const struct gen *g)
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
            "\"prompt_tokens_details\":{\"cached_tokens\":%lld}}",
            (long long)prompt, (long long)output, (long long)(prompt + output),
            (long long)cached);
    if (g->params.session)
        session(out, g);
}

const char *reply_finish(enum finish f)
{
    return f == FINISH_STOP ? "\"stop\"" : f == FINISH_LENGTH ? "\"length\"" : "null";
}

void reply_whole(struct buf *out, struct gen *g)
{
    reply_head(out, g, g->api->object);
    if (g->params.return_ids && g->params.kind == PARAMS_CHAT) {
        buf_str(out, ",\"prompt_token_ids\":");
        jsonout_ids(out, g->prompts[0].ids.p, g->prompts[0].ids.len);
    }
    buf_str(out, ",\"choices\":[");
    for (int32_t i = 0; i < g->n_choices; i++) {
        if (i)
            buf_ch(out, ',');
        g->api->whole(out, &g->choices[i]);
    }
    buf_str(out, "],");
    reply_usage(out, g);
    buf_ch(out, '}');
}

int64_t reply_chars(const char *s, size_t n)
{
    int64_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)s[i] & 0xc0) != 0x80;
    return chars;
}
