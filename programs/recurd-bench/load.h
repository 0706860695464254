/* A load: conversations started by a schedule, each a chain of requests.
 *
 * load_run returns when every conversation has ended, the drain time is over, or the process was
 * asked to stop; what was measured so far is in the run either way. Thread: one. */
#ifndef RECURD_LOAD_LOAD_H
#define RECURD_LOAD_LOAD_H

#include "programs/recurd-bench/conn.h"
#include "programs/recurd-bench/record.h"
#include "programs/recurd-bench/schedule.h"
#include "programs/recurd-bench/workload.h"

/* What differs between the runs of one process (warm-up, sweep levels, replays). */
struct plan {
    bool closed;
    int64_t concurrency;   /* closed */
    double rate;           /* open */
    bool ramped;           /* the ramp of the arguments applies */
    bool traced;           /* the arrivals of the trace apply */
    size_t requests;       /* 0 = until duration_s */
    double duration_s;     /* 0 = until requests */
    double warmup_s;
    uint64_t first_conv;
    const uint32_t *order; /* NULL, or [requests]: conversation first_conv + order[i] is i-th */
    bool capture;          /* keep the generated output in the records */
    bool progress;
};

/* Owner: the caller, which frees it with run_free. */
struct run {
    struct records records;
    uint64_t unix_start;
    uint64_t wall_ns;
    uint64_t planned;          /* conversations the schedule held */
    uint64_t skipped_turns;    /* turns never sent, because one before them failed */
    uint64_t sessions, forks;  /* created on the server */
    uint64_t restart_ns;       /* from the restart command to the first good answer */
    size_t peak_in_flight, peak_conns;
    bool interrupted;
    struct pool_self self;
    double cpu_user_s, cpu_sys_s; /* of this process during the run */
};

/* The plan that the arguments describe. */
struct plan plan_from_args(const struct args *a);

int load_run(struct pool *pool, const struct workload *w, const char *model,
             const struct plan *plan, struct run *out, struct err *e) MUST_USE;
void run_free(struct run *r);

/* From now on SIGINT and SIGTERM end the run that is going on; a second one ends the process. */
void load_catch_signals(void);
bool load_interrupted(void);

#endif
