/* What a server says: one JSON event of a stream, or a whole reply. Thread: one. */
#ifndef RECURD_LOAD_REPLY_H
#define RECURD_LOAD_REPLY_H

#include "base/buf.h"

/* One parsed event or reply. */
struct reply {
    bool output;      /* it carries generated text, a token or a tool call */
    int32_t n_tokens; /* tokens it names by id or logprob; 0 when it names none */
    bool has_usage;
    int32_t prompt_tokens, completion_tokens, cached_tokens;
    char finish[16];  /* "" until a reason is given */
    bool is_error;
    char error[160];
};

/* The generated output itself, for the next turn's history or for --verify. */
struct capture {
    struct buf text;   /* UTF-8 */
    struct buf ids;    /* joined by commas; empty when the server gives none */
    struct buf tokens; /* a line for each token: text, logprob, top logprobs, all digits */
    int32_t n_lines;
};

void capture_init(struct capture *c);
void capture_free(struct capture *c);
void capture_clear(struct capture *c);

/* Fills *out; appends to cap when it is not NULL. E_FORMAT when data is not a JSON object of this
 * API. */
int reply_parse(const char *data, size_t n, struct reply *out, struct capture *cap) MUST_USE;

#endif
