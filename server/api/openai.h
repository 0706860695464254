/* The envelope that OpenAI's two generation APIs share: whole replies and streams whose elements
 * are choices. An API of this family is an openai_api. Thread: HTTP worker. */
#ifndef RECURD_OPENAI_H
#define RECURD_OPENAI_H

#include "server/api/gen.h"

struct openai_api {
    struct api api; /* with OPENAI_HOOKS */
    const char *object, *chunk_object;
    void (*open)(struct buf *out, struct choice *c);  /* fills choices[] of the first chunk */
    void (*delta)(struct buf *out, struct choice *c); /* … of a chunk with news */
    void (*close)(struct buf *out, struct choice *c); /* … of the last */
    void (*whole)(struct buf *out, struct choice *c); /* one element of a whole reply */
    bool open_at_once;                                /* a first chunk before any token */
};

#define OPENAI_HOOKS \
    .stream_type = "text/event-stream; charset=utf-8", .early = true, .receipts = true, \
    .piece = openai_piece, \
    .whole = openai_whole, .news = openai_news, .close = openai_close, .ping = sse_ping, \
    .fail = openai_fail

/* "usage":{…} */
void openai_usage(struct buf *out, const struct gen *g);

void openai_piece(struct choice *c, const struct toolcall_event *ev);
/* What c->calls has, as elements of tool_calls; a call that goes on is an element of the next, too.
 * Clears it. */
void openai_calls(struct buf *out, struct choice *c);
void openai_whole(struct buf *out, struct gen *g);
void openai_news(struct buf *out, struct choice *c);
void openai_close(struct buf *out, struct gen *g);
void openai_fail(struct buf *out, const struct failure *f);

#endif
