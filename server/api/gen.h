/* A generation: one HTTP request that became one or several scheduler requests ("choices"), and
 * what has been read from them so far.
 *
 * Owner: refcounted; the exchange, and each choice whose wake-up is armed (the engine may call it
 * after the exchange has ended). Thread: the connection's HTTP worker; the wake-up runs on the
 * engine's. */
#ifndef RECURD_GEN_H
#define RECURD_GEN_H

#include <jansson.h>

#include "models/text/toolcall/toolcall.h"
#include "scheduler/sched.h"
#include "server/api/chars.h"
#include "server/api/constrain.h"
#include "server/api/follow.h"
#include "server/process/keys.h"
#include "server/api/params.h"
#include "server/process/stats.h"
#include "server/http/apierr.h"
#include "server/http/pending.h"
#include "server/http/waker.h"

struct gen;
struct api_state;
struct saving;

/* Fragments of a choice's logprobs, in the order of an API's object; theirs. */
#define GEN_PARTS 4

struct choice {
    struct gen *gen;
    struct request *r;      /* NULL until made */
    int32_t index, prompt;  /* index in the reply; prompt it continues */
    struct toolcall *reader; /* NULL: all of the text is the answer's */
    struct buf raw;         /* what it reads next */
    int32_t n_calls;        /* so far */
    bool cut;               /* the last of them was not written to its end */
    /* What the API's hooks made of it, read and not yet sent. */
    struct buf text, reasoning, calls, part[GEN_PARTS];
    int32_t n_blocks, block; /* theirs: of what is written in blocks, which kind is open */
    int32_t n_reasoning;     /* theirs: tokens of what was thought */
    struct ids ids;         /* of the output, read and not yet sent */
    struct buf receipt;     /* at the end, if one was asked for: a JSON object */
    struct chars chars;     /* of the text so far: text_offset */
    int32_t n_output;
    double logprob;         /* with best_of: of n_scored output tokens, their sum */
    int32_t n_scored;
    int32_t stopped_by;     /* the stop string of the request that ended it; -1 = none */
    int64_t n_prompt, n_cached; /* with a session's tokens; known at the end */
    int64_t n_matched;      /* as in struct request; likewise */
    const char *why;        /* likewise; NULL = nothing to say */
    enum finish finish;     /* NONE until everything has been read */
    bool opened, closed;    /* streaming: first and last chunk written */
};

struct gen_prompt {
    struct ids ids, marks; /* marks: where its messages end */
    const char *text; /* as sent, in params' arena; NULL when ids were sent */
    size_t n_text;
};

/* A field of ours by the name that a client of this API knows. Both are literals. */
struct api_name { const char *ours, *theirs; };

/* How an API writes a generation: with a handler, all there is to an API. Thread: the connection's
 * HTTP worker. */
struct api {
    const char *id_prefix;
    const char *stream_type; /* Content-Type of a stream */
    bool early; /* a call's arguments may come before it is complete */
    bool receipts; /* its replies have a place for them */
    bool copies; /* its requests are made of copies of bodies: fields of ours are taken as well */
    const struct api_name *names; /* for errors; ends with {NULL, NULL}. NULL = as ours */
    /* A token was read: for logprobs. NULL = they are not told. */
    void (*token)(struct choice *c, const struct token_event *ev);
    /* A piece of the answer, in the order the model wrote it; how the text is cut means nothing.
     * gen_text keeps text and reasoning apart and drops calls. */
    void (*piece)(struct choice *c, const struct toolcall_event *ev);
    /* Everything of a reply that is not streamed. */
    void (*whole)(struct buf *out, struct gen *g);
    /* Everything was read: what must be kept before the reply may end. False: it is not yet, and
     * the exchange's waker will be signalled. NULL = nothing. */
    bool (*save)(struct gen *g);
    /* A stream. open: before anything was read; NULL = nothing. news: what a choice has got since;
     * with c->finish its end. close: every choice has had its end. ping: NULL = none is possible.
     * fail: instead of everything else. */
    void (*open)(struct buf *out, struct gen *g);
    void (*news)(struct buf *out, struct choice *c);
    void (*close)(struct buf *out, struct gen *g);
    void (*ping)(struct buf *out);
    void (*fail)(struct buf *out, const struct failure *f);
};

struct gen {
    struct pending pending; /* as the exchange sees it */
    int refs; /* atomic */
    const struct api *api;
    json_t *keep; /* of the request, for the API's reply; owned, NULL = nothing */
    struct api_state *state;
    bool opened;  /* streaming: the API's open was called */
    bool saved;   /* the API's save said so */
    struct saving *saving; /* theirs; a reference, NULL = none */
    struct buf chunk_head; /* theirs: what all chunks of a stream begin with */
    int64_t n_frames; /* theirs: of a stream whose frames are numbered */
    const char *request_id; /* the exchange's */
    struct params params;
    const struct served *served;
    struct stats *stats;
    struct waker *waker;
    char id[48];
    uint64_t created;
    int32_t n_prompts, n_choices, n_messages;
    struct gen_prompt *prompts;
    struct choice *choices;
    struct err error; /* of the first choice that failed */
    struct grammar *grammar; /* that all answers follow; NULL = none */
    int32_t n_close, close[FOLLOW_CLOSE]; /* the end of the reasoning in tokens, with a budget */
    struct toolset *tools;   /* whose calls are looked for; NULL = none */
    const struct toolcall_dialect *dialect; /* likewise */
    bool follows;            /* masks let no call be written that is none */
    bool reasoning, thinking; /* it is told apart; the prompt has opened it */
    struct request_facts *facts; /* the exchange's; filled by gen_end */
    struct key *key;      /* NULL = without keys */
    int32_t taken;        /* of its sequences, until gen_done */
    struct tenant_tag tenant;
    struct session_id session; /* with params.session */
    uint64_t ticket;
};

struct gen_setup {
    const struct api *api;
    const struct served *served;
    struct stats *stats;
    struct waker *waker;
    struct request_facts *facts; /* outlives the exchange's reference */
    struct api_state *state;
    const char *request_id;
    struct key *key;          /* NULL = without keys */
    struct tenant_tag tenant;
    struct fair_id client;    /* whose turn it takes */
    int32_t *retry_s;         /* becomes when to try again, if that is known */
    uint64_t timeout_ns;
    int64_t max_tokens; /* of a chat request that names none */
};

/* Takes p and keep over (also when it fails), makes the prompts' ids, submits every choice. *why =
 * what the failure is to a client. */
int gen_start(struct gen **out, struct params *p, json_t *keep, const struct gen_setup *s,
              enum apierr *why, struct err *e) MUST_USE;

/* Reads what there is, a stream some events of it. True: something was. What had nothing is armed,
 * and will wake. */
bool gen_read(struct gen *g);
/* Gives memory back that nothing is in. */
void gen_shrink(struct gen *g);
/* Bytes of memory that what was read takes. */
size_t gen_bytes(const struct gen *g);
/* Every choice has been read to its end; or one failed. */
bool gen_done(const struct gen *g);
bool gen_failed(const struct gen *g);

/* Cancels what still runs, notes the facts, disarms, drops the exchange's reference. g may be
 * NULL. */
void gen_end(struct gen *g);

/* The wake function of every choice's request. Engine thread. */
void gen_wake(void *choice);

/* ---- gen_tools.c ---- */

/* With the prompt's ids and the conversation: which calls and reasoning are looked for, and what
 * the answer must follow for tool_choice. */
int gen_tools(struct gen *g, struct constrainer *c, struct err *e) MUST_USE;
/* A choice's reader, and the special tokens that it must see. */
int gen_reader(struct gen *g, struct choice *c, struct err *e) MUST_USE;
/* What a choice's text must follow, behind gen_reader. */
int gen_constrain(struct gen *g, struct choice *c, struct err *e) MUST_USE;
/* What has come, to the API as pieces. */
int gen_split(struct choice *c, struct err *e) MUST_USE;
/* A hook for pieces: into c->text and c->reasoning. */
void gen_text(struct choice *c, const struct toolcall_event *ev);
/* The answer ends with calls that wait for their results. */
bool gen_calls(const struct choice *c);
/* The id of the call that ev begins, the choice's nth: the model's own, or one of the reply's bits,
 * so that no two calls share one. prefix: of those. */
void gen_call_id(struct buf *out, const struct choice *c, const struct toolcall_event *ev,
                 const char *prefix);

/* A prompt's ids, in the way both APIs and /tokenize make them. marks (may be NULL): where the
 * messages of a chat end. */
int gen_tokenize(const struct served *m, const struct params *p, int32_t prompt,
                 struct ids *out, struct ids *marks, struct err *e) MUST_USE;

#endif
