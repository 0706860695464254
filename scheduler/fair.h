/* Who is served next. Owners (a key, or without keys a client's address) share the device by the
 * tokens they used, and the flows of one owner (its sessions, and what belongs to none) share its
 * part in the same way: the virtual token counter of Sheng et al., "Fairness in Serving Large
 * Language Models" (OSDI 2024), on two levels, with weights for owners.
 *
 * A counter only grows. Who was idle comes back at the level of those that are active, so that
 * nobody saves up tokens nor loses a debt by leaving. Every decision is a function of the counters
 * and of the places taken: nothing here looks at a clock.
 *
 * Thread: any; a lock of its own, under which nothing else is taken. */
#ifndef RECURD_FAIR_H
#define RECURD_FAIR_H

#include "base/err.h"

struct fair;

struct fair_id { unsigned char b[16]; };

#define FAIR_WEIGHT_MAX 1000
/* A running flow gives its place to one that has used less by this many tokens (over its weight):
 * a state's way out and back costs a few milliseconds. */
#define FAIR_QUANTUM 128
/* One step of an owner's priority is worth this many tokens, and 100 steps are the most. */
#define FAIR_PRIORITY_TOKENS 64
#define FAIR_PRIORITY_MAX 100

enum fair_place {
    FAIR_WAITING, /* in the queue */
    FAIR_RUNNING, /* with a slot, or next for one */
    FAIR_PARKED,  /* begun, and without a slot */
    FAIR_PLACES
};

/* live: the most requests that are anywhere at once. */
int fair_open(struct fair **out, int32_t live, struct err *e) MUST_USE;
void fair_close(struct fair *f); /* NULL allowed */

/* Gives a request a place in its flow, which is made when it is new; the request must leave by
 * fair_leave. weight (1 … FAIR_WEIGHT_MAX) is the owner's from now on. */
int32_t fair_enter(struct fair *f, const struct fair_id *owner, const struct fair_id *session,
                   int32_t weight);
void fair_move(struct fair *f, int32_t flow, enum fair_place from, enum fair_place to);
void fair_leave(struct fair *f, int32_t flow, enum fair_place from);
/* The flow's owner pays for tokens; negative: for fewer than it was charged. */
void fair_charge(struct fair *f, int32_t flow, int64_t tokens);

/* Requests of the flow's owner at a place; of all owners. */
int32_t fair_count(struct fair *f, int32_t flow, enum fair_place place);
int32_t fair_total(struct fair *f, enum fair_place place);

/* < 0: a is served before b; 0: neither. priority (lower first): of an owner that may have one.
 * by_slots: for a place that somebody must give up, whose share of slots is smaller comes first. */
int fair_compare(struct fair *f, int32_t a, int32_t a_priority, int32_t b, int32_t b_priority,
                 bool by_slots);
/* Whether a sequence of `runs` has to give its slot to `waits`, which has none: its owner (or,
 * within one owner, its flow) would still have as many slots as the other's share, or has used
 * FAIR_QUANTUM tokens more. Giving it back at once is never called for. */
bool fair_yields(struct fair *f, int32_t runs, int32_t waits);

#endif
