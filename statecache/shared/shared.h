/* The tiers behind the local ones: states in stores that replicas share, a hot one and perhaps a
 * cold one behind it.
 *
 * Two threads for each, with a connection each, one that writes states behind the engine and one
 * that looks for what a waiting request lacks. The engine only appends to their queues, which are
 * bounded: it never waits for the network. While a connection is down nothing is queued, and it is
 * tried again with longer and longer pauses. All functions are called under the cache's lock. */
#ifndef RECURD_SHARED_H
#define RECURD_SHARED_H

#include "statecache/shared/object.h"
#include "statecache/shared/waiting.h"
#include "statecache/value/snapshot.h"

_Static_assert(SHARED_STORES == KV_STORES, "as many as --shared may name");

#define SHARED_QUEUE 16 /* states on their way out, each pinned */
#define SHARED_ASKS 64  /* requests that wait for an answer */

/* What the cache was asked to share. Copied by shared_open. */
struct shared_options {
    struct kv_options store; /* url: of all stores, as kv_list has it; NULL = no such tier */
    int wait_ms;         /* a request waits so long for the store, at most */
    int cold_wait_ms;    /* … and for the second one */
    int64_t cold_after_s; /* what nothing has gone beyond for so long is put there */
    int64_t ttl_s;       /* of what is put there; 0 = as the store likes */
    uint64_t bytes_s;    /* that may be put there a second, on average; 0 = no bound */
};

struct shared_line { /* one connection and the thread that uses it */
    struct writer jobs;
    struct compressor *compressor;
    struct kv *kv;
    int store;           /* which store it leads to */
    bool up, connecting, probing;
    uint64_t retry_ns, pause_ns; /* when to connect again; how long the last pause was */
};

struct shared_store {
    struct shared_line out, in;
    struct allowance left; /* of putting */
    struct link offers;    /* states to be put, the oldest first */
    bool told_up;          /* what the log said last, … */
    uint64_t warned_ns;    /* … and when it warned */
    struct waiting waiting; /* whether requests wait for it */
    uint64_t unwaited_ns;  /* when it was last asked without anybody waiting; … */
    bool unwaited;         /* … such a question is on its way */
};

struct shared {
    struct seal_keys keys, old_keys; /* old: of the key of before, if format.two */
    int wait_ms[SHARED_STORES];
    int64_t ttl_s;
    uint64_t cold_ns;           /* from when a state was taken until it is put into a cold store */
    struct shared_store store[SHARED_STORES];
    int n_stores;
    struct shared_line records; /* of sessions; kv NULL: no store can compare and set */
    unsigned char me[16];       /* this replica, since it was started */
    int held, pushing;          /* sessions claimed; local ones on their way */
    bool renewing;
    uint64_t renewed_ns;        /* its sign of life */
    uint64_t heard_ns;          /* calls of sessions (recall.h): when they were asked for, … */
    bool hearing, knows_epoch;
    unsigned char epoch[16];    /* … the store's, … */
    struct link_name *called, *called_sorted; /* … their names [n_called], … */
    size_t n_called;
    uint64_t called_ns;         /* … when they changed, … */
    uint64_t calls, all_calls;  /* … how often they changed; when all sessions were meant */
    uint64_t patrol_ns;         /* when records were looked for last, … */
    int patrol;                 /* … and from which chain of sessions on the next time */
    int at;                     /* chain of sessions to be looked at next */
    struct errand *arrivals;    /* of sessions that are not here yet */
    struct allowance_limits limits; /* of putting, into each */
    struct ask *asks;    /* on their way */
    uint64_t n_asks;     /* ever made */
    int asking;
    pthread_t watch;     /* thread of watch.c */
    pthread_cond_t look; /* it has something new to look at */
    bool watching, looks;
    uint64_t look_ns;    /* when it looks next */
    uint64_t stop_ns; /* nothing is put after that; 0 = not closing */
};

/* Nothing if the URL is NULL: sc->shared stays NULL. E_FORMAT (the address), E_UNSUPPORTED,
 * E_NOMEM. That the store cannot be reached is no error. The key is in sc->format. */
int shared_open(struct statecache *sc, const struct shared_options *o, struct err *e) MUST_USE;
/* Without the lock. What is queued is put for two seconds at most. */
void shared_close(struct statecache *sc);
/* ENGINE: what is due. True: something is queued. */
bool shared_tick(struct statecache *sc);
void shared_work(struct statecache *sc); /* without threads: does what is queued, see writer_work */

/* offer.c. A state was taken; nothing without a store. */
void shared_offer(struct statecache *sc, struct snapshot *s);
void shared_offers_due(struct statecache *sc, uint64_t now);
void shared_offers_drop(struct statecache *sc); /* of all of them nothing will come */
void shared_offers_rest(struct statecache *sc); /* what waits for a cold store has waited enough */

/* handover.c. ENGINE, before a planned end, until then at most (core_deadline). */
void shared_hand_over(struct statecache *sc, const struct timespec *until);

/* What is looked for: a path (all of base, and tokens [n] behind it), of which the local tiers have
 * `local` tokens; token_ns, before, others: as in struct statecache_query. */
struct shared_query {
    struct tenant *tenant;
    struct node *base;
    const int32_t *tokens;
    int32_t n;
    int64_t local;
    uint64_t token_ns;
    int64_t before;
    int32_t others;
};
/* ask.c. ENGINE. Should the request wait for a store? *ticket: the request's own, 0 at first. */
bool shared_wait(struct statecache *sc, const struct shared_query *q, uint64_t *ticket);
/* Nobody waits longer than it is worth: those whose time is over go on. When the next one's will
 * be; UINT64_MAX: nobody waits. */
uint64_t shared_waits_over(struct statecache *sc, uint64_t now);

/* watch.c: whether stores answer in time, asked when nobody waits, too; and whose wait is over. */
int shared_watch_open(struct statecache *sc, struct err *e) MUST_USE;
void shared_watch_close(struct shared *h); /* without the lock, after stop_ns is set */
void shared_watch(struct statecache *sc, uint64_t now); /* what is due; the thread does so, too */
/* judge.c: after what may have changed whether a store is waited for: then it is told. */
void shared_judge(struct statecache *sc, int store, uint64_t now);

/* line.c: the connections. */
void shared_connect(struct statecache *sc, struct shared_line *l);
/* Asks whether it is there, before all else that waits for the connection; stores of a kind that
 * has no such question are not asked. */
void shared_probe(struct statecache *sc, struct shared_line *l);
/* In a job's done: what became of the connection, and of rc. */
void shared_settle(struct statecache *sc, struct shared_line *l, int rc, const struct err *e);
/* One line a minute about what was found and is not used. */
void shared_warn(struct statecache *sc, int store, const char *what);

#endif
