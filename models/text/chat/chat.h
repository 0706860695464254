/* A model's conversations: messages as a client sends them -> prompt.
 *
 * The model's own template is executed (jinja/jinja.h); a model without one has a format of the
 * built-in table (formats.h). What the client gave never becomes a control token, wherever the
 * template puts it: the rendering knows the origin of every byte, and only the template's own
 * bytes are searched for special tokens. Apart from that the text is tokenized as a whole, as the
 * reference tokenizer would.
 *
 * Thread: any, after chat_open. */
#ifndef RECURD_CHAT_H
#define RECURD_CHAT_H

#include "base/buf.h"
#include "models/text/tokenizer.h"

struct json_t; /* jansson's: the trees are only read */
struct chat;
struct config;

/* Where a byte of a rendering comes from. */
enum chat_origin {
    CHAT_TEMPLATE = 0, /* the template's author, and the names of roles */
    CHAT_CLIENT = 1,   /* the client: tools, documents, template arguments */
    CHAT_MESSAGE = 2,  /* the client: message i is CHAT_MESSAGE + i */
};

/* A conversation. Trees are borrowed, and have been through chat_check. */
struct chat_request {
    const struct json_t *messages;  /* array */
    const struct json_t *tools;     /* array, NULL = none: the template sees none */
    const struct json_t *documents; /* array, NULL = none */
    const struct json_t *kwargs;    /* object of further variables, NULL = none */
    const char *template_text;      /* instead of the model's; NULL = the model's own */
    size_t n_template;
    size_t bytes;                   /* of the request: the rendering's limits grow with it */
    bool add_reply;                 /* ends with the opening of the assistant's turn */
    bool continue_final;            /* ends within the last message; then add_reply is false */
};

struct chat_options {
    const char *dir;           /* of the model, or its GGUF file */
    const struct config *config; /* what tokenizer_config.json would say, for a file; or NULL */
    const char *format;        /* a row of the built-in table instead of any template; or NULL */
    const char *template_file; /* instead of the model's templates; or NULL */
};

/* *out = NULL (and 0) when the model has neither a template nor a format. t outlives the chat.
 * A template that does not compile is an error that names file and line. */
int chat_open(struct chat **out, const struct chat_options *o, const struct tokenizer *t,
              struct err *e) MUST_USE;
void chat_close(struct chat *c); /* NULL is fine */

/* "template tokenizer_config.json", "format chatml": for people. */
const char *chat_name(const struct chat *c);
/* Text that ends an assistant's turn besides eos, e.g. "<|im_end|>"; NULL = none. */
const char *chat_stop(const struct chat *c);
/* Source of the template that would be run: with tools or without. NULL = a built-in format. Says
 * in which dialect the model writes tool calls. */
const char *chat_template_text(const struct chat *c, bool tools);

/* Shape of what a client sent: messages are objects with a role, content is a string, null, absent
 * or a list of text parts, tool calls have functions with names. E_FORMAT, E_RANGE, E_UNSUPPORTED,
 * the field and the message's index named. */
int chat_check(const struct json_t *messages, const struct json_t *tools,
               const struct json_t *documents, struct err *e) MUST_USE;

/* The prompt as text, with the spans of its origins. Free with chat_text_free. */
struct chat_span {
    uint32_t end;    /* the span before it ends where it begins */
    uint16_t origin; /* enum chat_origin */
};
struct chat_text {
    struct buf text;
    struct chat_span *spans;
    size_t n_spans;
};
/* E_RANGE, E_FORMAT with field "messages" (or "chat_template"): the template raised an error, or
 * took more than base/limits.h allows; the sentence has its message and line. */
int chat_render(const struct chat *c, const struct chat_request *q, struct chat_text *out,
                struct err *e) MUST_USE;
void chat_text_free(struct chat_text *t);

/* The prompt as tokens. boundaries (may be NULL) gets the token count behind each message, in
 * ascending order: where a state is worth keeping. A message that the template left out has
 * none. */
int chat_encode(const struct chat *c, const struct chat_request *q, struct ids *out,
                struct ids *boundaries, struct err *e) MUST_USE;

#endif
