/* SSE frames: "data: {one line of JSON}\n\n". Thread: HTTP worker. */
#include "server/http/sse.h"

#include "server/api/apierr.h"
#include "server/api/jsonout.h"
#include "server/api/reply.h"

/* A frame holds what came in one wake-up: at most the ring's 256 events at ~2 KB each with 20
 * logprobs, times 128 choices; far less in practice. */
#define FRAMES_BYTES MIB(128)

void sse_init(struct sse *s)
{
    *s = (struct sse){0};
    buf_init(&s->out, FRAMES_BYTES);
}

void sse_fini(struct sse *s) { buf_free(&s->out); }

void sse_ping(struct sse *s) { buf_str(&s->out, ": ping\n\n"); }

void sse_error(struct sse *s, const struct err *e)
{
    buf_str(&s->out, "data: ");
    apierr_body(&s->out, apierr_of_run(e), e->param, e->text);
    buf_str(&s->out, "\n\n");
    s->ended = s->failed = true;
}

static void frame(struct sse *s, struct choice *c, void (*write)(struct buf *, struct choice *))
{
    struct gen *g = c->gen;
    buf_str(&s->out, "data: ");
    reply_head(&s->out, g, g->api->chunk_object);
    buf_str(&s->out, ",\"choices\":[");
    write(&s->out, c);
    buf_str(&s->out, g->params.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

static bool has_news(const struct choice *c)
{
    return c->text.len || c->reasoning.len || c->calls.len || c->part[0].len || c->ids.len;
}

static bool choice_frames(struct sse *s, struct choice *c)
{
    struct gen *g = c->gen;
    if (c->closed)
        return false;
    bool news = has_news(c), done = c->finish != FINISH_NONE;
    if (!news && !done && (c->opened || !g->api->open_at_once))
        return false;
    if (!c->opened) {
        c->opened = true;
        if (g->api->open)
            frame(s, c, g->api->open);
    }
    if (has_news(c)) /* the first chunk of completions has taken it already */
        frame(s, c, g->api->delta);
    if (done) {
        c->closed = true;
        frame(s, c, g->api->close);
    }
    return true;
}

static void last_frames(struct sse *s, struct gen *g)
{
    if (g->params.include_usage) {
        buf_str(&s->out, "data: ");
        reply_head(&s->out, g, g->api->chunk_object);
        buf_str(&s->out, ",\"choices\":[],");
        reply_usage(&s->out, g);
        buf_str(&s->out, "}\n\n");
    }
    buf_str(&s->out, "data: [DONE]\n\n");
    s->ended = true;
}

bool sse_frames(struct sse *s, struct gen *g)
{
    bool any = gen_read(g);
    if (gen_failed(g)) {
        sse_error(s, &g->error);
        return true;
    }
    for (int32_t i = 0; i < g->n_choices; i++)
        any |= choice_frames(s, &g->choices[i]);
    if (gen_done(g))
        last_frames(s, g);
    return any || s->ended;
}
