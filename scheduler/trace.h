/* What one request did, kept for --trace and for the replay of it: with it any answer can be
 * computed again to the bit.
 *
 * A record belongs to its sequence while that runs (engine thread), then to whoever `done` gives
 * it to. Without a sink nothing is kept. */
#ifndef RECURD_TRACE_H
#define RECURD_TRACE_H

#include "scheduler/request.h"

#define TRACE_CUTS 64 /* positions that are kept; further ones are counted */

struct trace_record {
    struct trace_record *next;
    struct request *r;       /* one reference: prompt, sampling, marks */
    int32_t *context;        /* [n_context] what the session said before; NULL = it was too long */
    int64_t n_context, n_prompt; /* n_prompt: of the request alone */
    int64_t cached, matched; /* tokens of the state found; tokens that the index knew */
    const char *why;         /* why it was not found deeper (statecache_start.why) */
    int32_t slot, steps;     /* -1 = never had one; steps it was in */
    int64_t cuts[TRACE_CUTS];
    int32_t n_cuts;          /* where states were taken */
    int32_t *output;         /* [n_output] drawn, the one that ends the text included */
    uint32_t *bits;          /* [n_output] of their logprobs; 0 where none was asked for */
    int32_t n_output, cap;
    uint32_t *prompt_bits;   /* [n_prompt_bits] of the prompt's logprobs, if asked for */
    int64_t n_prompt_bits, cap_prompt;
    enum finish finish;
    int code;                /* of the error */
    uint64_t submit_ns, admit_ns, first_ns, end_ns;
    bool broken;             /* no memory for all of it: told, and not replayed */
};

struct trace_sink {
    void (*done)(void *arg, struct trace_record *x); /* must not block; takes the record over */
    void *arg;
};

/* Each may be given NULL. Engine thread. */
struct trace_record *trace_begin(struct request *r);
void trace_free(struct trace_record *x);
void trace_drawn(struct trace_record *x, int32_t id, const struct token_event *ev);
void trace_scored(struct trace_record *x, const struct token_event *ev); /* of the prompt */
void trace_cut(struct trace_record *x, int64_t pos);
/* Bytes of the record that are its own. */
size_t trace_bytes(const struct trace_record *x);

#endif
