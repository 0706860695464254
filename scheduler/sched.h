/* The scheduler: requests in, tokens out. Owns the engine thread, the only one that touches the
 * device, the slots and the sequences. */
#ifndef RECURD_SCHED_H
#define RECURD_SCHED_H

#include "models/model.h"
#include "scheduler/receipt.h"
#include "scheduler/request.h"
#include "scheduler/trace.h"
#include "statecache/statecache.h"

struct sched;

/* Where the scheduler gets the bytes of m's tokens. */
struct piece_source sched_pieces(const struct model *m);

struct sched_options {
    int32_t slots;        /* sequences running at once */
    int32_t queue;        /* requests that wait beyond free slots, before E_BUSY */
    int32_t queue_share;  /* of one client; 0 = all of them */
    uint64_t stall_ns;    /* a reader that has no room for so long is cut, see request.h; 0 = no */
    int32_t step_tokens;  /* token budget of one step */
    bool paced;           /* steps are bounded by their time, too (pace.h) */
    uint64_t gap_ns;      /* then: the most a step with streams may take; 0 = pace.h finds it */
    int32_t logit_rows;   /* rows of logits a step may need */
    /* Budgets, directory and fingerprint of the state cache; NULL = none. What belongs to the
     * engine (plan, device, slots, pages, wake) is filled in. */
    const struct statecache_options *cache;
    struct trace_sink trace; /* of every request that had a place; done NULL = none */
    const struct receipt_origin *origin; /* of receipts; copied. NULL = none are made */
    int32_t receipt_threads; /* that digest logits for them; 0 = 1 */
    int32_t receipt_rows;    /* of logits that may wait for it; 0 = as many as 64 MiB hold */
    int32_t pages;        /* KV pages on the device, and the most of one sequence: as in the */
    int32_t pages_per_seq; /* capacity the model was loaded with; 0 without PAGED sections */
};

/* A snapshot of the counters; all monotonic unless said otherwise. */
struct sched_stats {
    uint64_t requests, finished, cancelled, failed, rejected, timeouts;
    uint64_t prompt_tokens, cached_tokens, output_tokens;
    uint64_t steps, step_tokens, step_ns; /* tokens computed and device time of all steps */
    uint64_t gap_ns;       /* what the last step of streams and prompts was allowed; 0 = none was */
    uint64_t parked;       /* times that a sequence gave its slot to another */
    uint64_t receipt_rows, receipt_ns; /* rows digested for receipts; their threads' time */
    uint64_t receipt_copy_ns;          /* the engine's: copying them */
    int32_t running, waiting, slots_used, slots_total; /* now */
    uint64_t service_ns;   /* from a place to the end, of the last requests in the mean */
    uint64_t heartbeat_ns; /* when the engine last finished a loop turn: feeds the watchdog */
};

/* m must be loaded on d with at least these capacities; both outlive the scheduler. */
int sched_open(struct sched **out, struct model *m, struct device *d,
               const struct sched_options *o, struct err *e) MUST_USE;
/* The state cache, for the sessions API; NULL = none. */
struct statecache *sched_cache(struct sched *s);
/* Cancels what still runs, joins the engine thread. */
void sched_close(struct sched *s);

/* Any thread. Takes its own reference. E_BUSY: the queue, or the client's share of it, is full;
 * E_CLOSED: draining; E_RANGE: the prompt cannot fit. */
int sched_submit(struct sched *s, struct request *r, struct err *e) MUST_USE;
/* Any thread. The request finishes with FINISH_CANCELLED within one step. */
void sched_cancel(struct sched *s, struct request *r);
/* Any thread: the reader took events, so a held-back sequence may go on. Only needed when the
 * reader found its events at least half full, or its text above a quarter of the maximum. */
void sched_kick(struct sched *s);

/* On the engine's thread round(arg, true, …) comes before the readers of a step are woken and
 * round(arg, false, ended) behind it, so that who reads for many is woken once; ended: one of them
 * has nothing more to wait for, or one who was woken before. What was set before is not called any
 * more when this returns. NULL = nothing. Any thread but in a round. */
void sched_on_wakes(struct sched *s, void (*round)(void *arg, bool begins, bool ended),
                    void *arg);

/* Stops accepting; returns at once. sched_idle: nothing runs or waits. */
void sched_drain(struct sched *s);
bool sched_idle(struct sched *s);

void sched_stats(struct sched *s, struct sched_stats *out);
/* True after E_DEVICE: the process should exit with its own code. */
bool sched_device_lost(struct sched *s);

#endif
