/* A conversation: create or fork a session, turns with rests between them, delete the session.
 *
 * Private to load.c and conv.c. Thread: one. */
#ifndef RECURD_LOAD_CONV_H
#define RECURD_LOAD_CONV_H

#include "programs/recurd-bench/load.h"
#include "programs/recurd-bench/pattern.h"

enum phase { PHASE_CREATE, PHASE_FORK, PHASE_TURN, PHASE_DELETE };

struct load;

/* Owner: the load; freed when its last request has ended. */
struct conv {
    struct load *load;
    uint64_t id;
    uint32_t turn, n_turns;
    enum phase phase;
    uint64_t t_sched;       /* of the next turn; clock_now_ns() */
    uint64_t offset_ns;     /* of its start in the schedule */
    struct exchange x;
    bool running;           /* x is on its way */
    size_t rec;             /* record of the running turn; SIZE_MAX = none */
    struct turn spec;
    char session[80];
    struct buf history, fragment;
    struct capture said;    /* the reply of the running turn */
    struct pattern pattern; /* of its events, where nobody wants the reply itself */
    struct timer rest;      /* before the next turn */
    struct timer cut;       /* --cancel */
    struct conv *parent;    /* of a fork */
    uint32_t forks_open;
    bool failed;
    struct conv *prev, *next; /* all conversations */
    struct conv *next_waiting;
};

/* The running load; the fields conv.c needs. */
struct load {
    struct pool *pool;
    const struct workload *w;
    const struct args *a;
    const struct plan *plan;
    const char *model;
    struct run *run;
    uint64_t t0;
    struct conv *all;
    size_t n_convs, in_flight;
    struct conv *waiting_head, *waiting_tail; /* held back by --max-concurrency */
    struct conv *parked;                      /* wait for the restart */
    size_t n_parked;
    bool stopping, restarted;
    struct buf scratch; /* request bodies */
    /* for the progress line */
    uint64_t n_sent, n_ok, n_failed, n_outputs;
    double ttft_sum_ms;
    uint64_t ttft_n;
};

/* Starts conversation id; E_NOMEM. */
int conv_start(struct load *l, uint64_t id, uint64_t t_sched) MUST_USE;
/* Goes on with the turn that is due: sends it, or queues it behind the cap. */
void conv_go(struct conv *c);
/* Ends everything that is open: requests become unfinished. */
void conv_stop_all(struct load *l);
/* Called by conv.c when a conversation has ended; refused: it could not even connect. */
void load_conv_ended(struct load *l, bool refused);

#endif
