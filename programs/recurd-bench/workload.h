/* What is asked: a pure function of (seed, conversation, turn), made when it is needed.
 *
 * Lengths, order and think times depend on the seed alone, the content of random prompts on seed
 * and salt: runs with the same seed compare, and do not meet each other's cache. Read-only after
 * workload_open. Thread: any. */
#ifndef RECURD_LOAD_WORKLOAD_H
#define RECURD_LOAD_WORKLOAD_H

#include "base/buf.h"
#include "programs/recurd-bench/args.h"
#include "programs/recurd-bench/dataset.h"
#include "programs/recurd-bench/trace.h"

struct workload {
    const struct args *a;
    struct dataset data; /* n = 0: random prompts */
    struct trace trace;  /* n = 0: no trace */
    uint32_t *order;     /* the shuffled dataset */
};

/* One turn of one conversation. */
struct turn {
    uint64_t conv;
    uint32_t index;
    int32_t n_in;  /* new prompt tokens, prefix included; 0 = unknown (text of a file) */
    int32_t n_out; /* asked */
    double think_s; /* rest before this turn */
    const struct entry_turn *fixed; /* from a file; NULL = random */
};

int workload_open(struct workload *w, const struct args *a, struct err *e) MUST_USE;
void workload_close(struct workload *w);

/* Turns of a conversation; with --fork the first turn and one of each fork. */
uint32_t workload_turns(const struct workload *w, uint64_t conv);
void workload_turn(const struct workload *w, uint64_t conv, uint32_t index, struct turn *out);

/* Appends the prompt of a turn as a fragment: ids joined by commas, escaped text, or message
 * objects joined by commas. E_NOMEM. */
int workload_fragment(const struct workload *w, const struct turn *t, struct buf *out) MUST_USE;
/* A reply that the server gave no ids for, when the history must go on in ids. */
int workload_filler(const struct workload *w, const struct turn *t, int32_t n,
                    struct buf *out) MUST_USE;
/* Whether this client cuts the request off. */
bool workload_cancels(const struct workload *w, uint64_t conv, uint32_t index);

#endif
