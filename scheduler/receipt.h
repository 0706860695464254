/* A receipt: what an answer was computed from, and digests of all logits it was drawn from, as a
 * chain. Whoever has the model and the same arithmetic (kernels/numerics.h) computes them again, in
 * steps of any size, and finds the same, or the first position that differs.
 *
 *   head    = B("recurd receipt 1" and what comes before the first draw: struct receipt down to
 *             `tokens`, in its order; see receipt.c for the bytes)
 *   link 0  = head
 *   link i  = B(link i-1, id of output token i (4 bytes), B(row i))
 *   digest  = the last link, all of it; of the others RECEIPT_LINK bytes are told
 *
 * B is BLAKE3 of 32 bytes, integers are little-endian. Row i: the model's own logits [vocab], as
 * float bits, that output token i was drawn from; before bias, penalties and masks, so it is a
 * function of the tokens before i alone. Only positions that were written have a link: those of the
 * prompt may have come from a state, which has no logits of them. A receipt is no signature: it
 * says what to compute again, and is worth what that gives.
 *
 * Owner: the sequence (engine thread), or who reads one. */
#ifndef RECURD_RECEIPT_H
#define RECURD_RECEIPT_H

#include "kernels/numerics.h"
#include "models/model.h"
#include "scheduler/request.h"
#include "statecache/store/blake3.h"

#define RECEIPT_VERSION 1
#define RECEIPT_LINK 8    /* bytes: one in 2^64 changes of a position is named too late */
#define RECEIPT_BUILD 48  /* bytes of its text with the NUL */
#define RECEIPT_ENDS (MODEL_EOS_MAX + LIMIT_STOP_IDS)

/* Which machine computes: the same for all requests. */
struct receipt_origin {
    char build[RECEIPT_BUILD];      /* told; another build with the same arithmetic is as good */
    char numerics[NUMERICS_TEXT];   /* backend.numerics(), as in states */
    unsigned char model[32];        /* model.fingerprint, as in states */
    int32_t vocab;
};

struct receipt {
    struct receipt_origin origin;
    struct sampling sampling;       /* bias owned */
    int32_t min_tokens;             /* before so many, `ends` could not be drawn */
    int32_t n_ends, ends[RECEIPT_ENDS];
    bool constrained;               /* drawn under masks that are not told: no second draw */
    int64_t n_prompt;               /* of tokens; with what a session said before */
    int32_t *tokens;                /* [n_prompt + n_output], owned; NULL in one that was read: */
                                    /* not told */
    int64_t n_output, cap;
    unsigned char head[BLAKE3_OUT], digest[BLAKE3_OUT];
    unsigned char *links;           /* [n_output][RECEIPT_LINK], owned */
    int64_t cap_links;
    bool begun;                     /* head is there */
};

/* For a request: all but its tokens' links. ends [n_ends <= RECEIPT_ENDS]. NULL = no memory. */
struct receipt *receipt_new(const struct receipt_origin *o, const struct request *r,
                            const int32_t *ends, int32_t n_ends);
void receipt_free(struct receipt *x); /* NULL allowed */
/* n tokens of a session come before the prompt; before the first draw. E_NOMEM. */
int receipt_before(struct receipt *x, int64_t n,
                   void (*copy)(void *arg, int64_t from, int64_t to, int32_t *out), void *arg,
                   struct err *e) MUST_USE;
/* The next token was drawn from this row [vocab]. E_NOMEM. */
int receipt_drawn(struct receipt *x, const float *row, int32_t id, struct err *e) MUST_USE;

/* The head of what x says, into out. tokens: its prompt's. */
void receipt_head(const struct receipt *x, const int32_t *tokens, unsigned char out[BLAKE3_OUT]);
/* The link behind `link`, in its place. */
void receipt_link(unsigned char link[BLAKE3_OUT], const float *row, int32_t vocab, int32_t id);

/* The JSON object of an answer that has ended; see README.md. ids: with the tokens. */
void receipt_put(struct buf *out, struct receipt *x, bool ids);

#endif
