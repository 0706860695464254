/* What a finished turn of a session answered, in one piece of bytes: kept with the session, so
 * that a repeated request can be given the same. Pure. */
#ifndef RECURD_ANSWER_H
#define RECURD_ANSWER_H

#include "scheduler/request.h"

struct answer {
    enum finish finish;
    int64_t n_prompt, n_cached; /* the session's tokens included */
    int32_t n_output;
    const unsigned char *ids;   /* [n_ids] int32 in the file's byte order: answer_id */
    int32_t n_ids;
    const char *text;
    size_t n_text;
    const char *receipt;        /* a JSON object; n_receipt 0 = it has none */
    size_t n_receipt;
    const unsigned char *scores; /* [n_scores] bytes of answer_score; 0 = there are none */
    size_t n_scores;
};

/* One more token's logprobs, behind those of the tokens before it; out->failed: too many. */
void answer_score(struct buf *out, const struct token_event *ev);
/* The token at *at of a's scores, which goes on behind it. False: there is none, or no such. */
bool answer_scored(const struct answer *a, size_t *at, struct token_event *ev);

/* E_NOMEM: it is longer than a session keeps; without its scores it may be short enough. */
int answer_pack(struct buf *out, const struct answer *a) MUST_USE;
/* Points into p. E_FORMAT. */
int answer_unpack(const void *p, size_t n, struct answer *a, struct err *e) MUST_USE;
int32_t answer_id(const struct answer *a, int32_t i);

#endif
