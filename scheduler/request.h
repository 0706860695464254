/* A request: one prompt, one generated sequence; shared by the HTTP side and the engine.
 *
 * Refcounted with exactly two kinds of owner: the HTTP exchange and the scheduler. Fields above
 * the line are written before sched_submit and read-only afterwards; fields below belong to
 * `lock`. Text arrives as whole UTF-8 characters with stop strings already removed. */
#ifndef RECURD_REQUEST_H
#define RECURD_REQUEST_H

#include <pthread.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/ring.h"
#include "kernels/sample.h"
#include "scheduler/constrain.h"
#include "scheduler/fair.h"
#include "statecache/session.h"

/* Text that no repetition reaches over. */
struct dry_breaker {
    uint8_t n;
    char bytes[LIMIT_DRY_BREAKER_BYTES];
};

/* choice.h says what is done with them, and in which order. */
struct sampling {
    float temperature;        /* 0 = greedy */
    float top_p, min_p;       /* 1 and 0 = off */
    int32_t top_k;            /* 0 = off */
    float repetition_penalty; /* 1 = off; over prompt and output */
    float presence_penalty, frequency_penalty; /* 0 = off; over the output */
    uint64_t seed;
    int32_t n_bias;
    struct sample_edit *bias; /* distinct ids; owned by the request */
    /* Of sampling.def. typical_p: 0 = off too; repeat_last_n, dry_penalty_last_n: below 0 (the
     * first also 0) = all of the text, or as much of it as is looked at. */
#define SAMPLING(type, name, without, least, most) type name;
#include "scheduler/sampling.def"
#undef SAMPLING
    int32_t n_breakers;
    struct dry_breaker breakers[LIMIT_DRY_BREAKERS];
};

enum finish { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_CANCELLED, FINISH_ERROR };

struct top_logprob { int32_t id; float logprob; };

/* One token of the prompt (echo) or of the output, in order. */
struct token_event {
    int32_t id;
    bool prompt;      /* an echoed prompt token */
    bool has_logprob; /* false: not asked for, or the very first prompt token */
    float logprob;    /* natural log of the model's own softmax, before temperature and masks */
    int32_t n_top;
    struct top_logprob top[LIMIT_TOP_LOGPROBS]; /* descending, ties by lower id */
};

struct request {
    int32_t *prompt;         /* [n_prompt] ids, checked against the vocabulary; owned */
    int32_t n_prompt;
    int32_t max_tokens;      /* output tokens; 0 = only the prompt's logprobs */
    int32_t min_tokens;      /* eos and stops do not end it earlier */
    bool ignore_eos;
    int32_t logprobs;        /* top entries per token; -1 = no logprobs at all */
    bool prompt_logprobs;    /* echo: events for the prompt as well */
    bool wants_receipt;      /* receipt.h */
    bool receipt_ids;        /* with the tokens in it */
    struct sampling sampling;
    struct constraint *constraint; /* of the text; NULL = none; owned */
    int32_t n_stops, n_stop_ids;
    char stops[LIMIT_STOPS][LIMIT_STOP_BYTES + 1];
    int32_t stop_ids[LIMIT_STOP_IDS];
    int32_t n_shown;         /* special tokens that are text here: they mark calls, reasoning */
    int32_t shown[LIMIT_SHOWN_IDS];
    uint64_t deadline_ns;    /* clock_now_ns(); 0 = none */
    uint64_t silence_ns;     /* past it a stream may go on while it is never silent for so long */
    struct fair_id client;   /* whose turn it takes: a key, or without keys an address */
    int32_t queue_share;     /* the client's places in the queue; 0 = as everybody */
    int32_t weight;          /* of the client, 1 = as everybody; 0 = 1 */
    int32_t priority;        /* lower runs first, among the client's own */
    int32_t lead;            /* the same among all clients: of one that may have it, or 0 */
    struct tenant_tag tenant; /* whose states it may use and leaves behind */
    bool in_session;         /* continues `session`, claimed with `ticket`; the prompt is what is */
    struct session_id session; /* new */
    uint64_t ticket;
    int32_t *marks;          /* [n_marks] message boundaries, indices into prompt; owned */
    int32_t n_marks;
    uint64_t asked;          /* engine: its question to the shared store; 0 = none yet */
    bool waited;             /* engine: for another's prefix or the disk */
    int32_t flow;            /* scheduler: of `client`, see fair.h */
    int64_t pin_s;           /* keep the prompt's state at least so long; 0 = no */
    /* Called by the engine without `lock` after new events, text or the end, once per time the
     * reader armed `waiting`; when the step is done, so the request may have ended and be gone:
     * wake_arg must outlive an armed wake. Must not block. */
    void (*wake)(void *arg);
    void *wake_arg;
    /* ------------------------------------------------------------------------------ */
    pthread_mutex_t lock;
    int refs;
    struct ring events;      /* struct token_event; full = the engine holds the sequence back */
    struct buf text;         /* generated text not yet taken */
    bool waiting;            /* the reader found nothing and wants one wake */
    bool cancelled;
    enum finish finish;      /* != NONE: no more events or text will come */
    struct err error;        /* with FINISH_ERROR */
    int32_t n_output;        /* tokens generated */
    int32_t stopped_by;      /* with FINISH_STOP: of stops; -1 = by none */
    int64_t n_context;       /* tokens of the session before the prompt; a guess until it runs */
    int64_t n_cached;        /* of n_context and the prompt: taken from the cache */
    int64_t n_matched;       /* of them: known to the cache; >= n_cached. The next one differed */
    const char *why;         /* as statecache_start.why; NULL = there is no cache */
    struct buf said;         /* in a session: all of the text, for a repeated request, … */
    struct buf scores;       /* … and the logprobs of every token, as answer_score has them */
    bool durable;            /* in a session: the turn is on disk */
    struct buf receipt;      /* with wants_receipt, from the end on: a JSON object */
    bool receipt_due;        /* the text is out, and that object is still being made */
    uint64_t t_submit_ns, t_admit_ns, t_first_ns, t_end_ns; /* admit: it left the queue */
};

/* What sampling.def says of a request that names nothing. */
void sampling_without(struct sampling *s);
/* Whether any of these differs from that: older readers of a trace do not know them. */
bool sampling_more(const struct sampling *s);
/* A request with default sampling and one reference; NULL = no memory. */
struct request *request_new(void);
void request_ref(struct request *r);
void request_unref(struct request *r);

#endif
