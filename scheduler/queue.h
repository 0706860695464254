/* Requests that wait for a place: bounded, each client within a share, in fair turns (fair.h), and
 * within a flow by priority with ageing. Those that free slots are there for do not wait: bound and
 * share are of what is here beyond them, so a burst is judged by what the server can hold and not
 * by how many of it the engine has fetched yet. Not synchronised: the scheduler's lock covers it.
 * Each entry holds one reference to its request. */
#ifndef RECURD_QUEUE_H
#define RECURD_QUEUE_H

#include "base/err.h"

struct fair;
struct request;

/* One step of priority is worth this much waiting: a request is overtaken by more important ones
 * only while they come within that time, so none waits for ever. */
#define QUEUE_AGE_S 10
/* Priorities beyond this are taken as this: nearly three hours ahead of everybody else. */
#define QUEUE_PRIORITY_MAX 1000

struct queue_entry {
    struct request *r;
    int64_t key; /* time of submission, later by QUEUE_AGE_S a step of priority; lowest first */
    uint64_t number; /* equal keys: first come, first served */
    uint64_t deadline_ns;
    bool cancelled;
};

struct queue {
    struct fair *fair;
    struct queue_entry *entries; /* in no order: some hundred, looked through once a step */
    int32_t n, max, share, slots;
    uint64_t next_number;
};

/* max: requests that wait, in all; share: of one client, 1 … max; slots: how many run at once. fair
 * outlives the queue. */
int queue_init(struct queue *q, int32_t max, int32_t share, int32_t slots, struct fair *fair,
               struct err *e) MUST_USE;
void queue_fini(struct queue *q);

/* Takes over the caller's reference and gives the request its flow. E_BUSY: the queue or the
 * client's share of it is full, nothing was taken. */
int queue_push(struct queue *q, struct request *r, uint64_t now_ns, struct err *e) MUST_USE;
/* The next request, which stays; by_slots as in fair_compare. NULL = empty. */
struct request *queue_first(const struct queue *q, bool by_slots);
/* Hands the request and its reference over. It keeps its place in its flow. */
void queue_remove(struct queue *q, const struct request *r);
/* Both, in fair turns. */
struct request *queue_take(struct queue *q);
/* Notes that r, if it waits here, is to leave. */
void queue_cancel(struct queue *q, const struct request *r);
/* As queue_take, but one that is cancelled or past its deadline; *cancelled says which. */
struct request *queue_take_leaver(struct queue *q, uint64_t now_ns, bool *cancelled);
uint64_t queue_deadline(const struct queue *q); /* the earliest, 0 = none */

#endif
