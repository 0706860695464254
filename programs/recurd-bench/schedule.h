/* When requests start, fixed before the first one is sent.
 *
 * Arrivals of rate r(t) come from a process of rate 1 by stretching time: the i-th arrival is
 * where the area under r reaches the i-th sum of gaps. One formula serves constant rates and all
 * ramps; the same seed gives the same moments. Thread: any. */
#ifndef RECURD_LOAD_SCHEDULE_H
#define RECURD_LOAD_SCHEDULE_H

#include "base/err.h"

enum ramp_kind { RAMP_NONE, RAMP_LINEAR, RAMP_EXP, RAMP_STEP };

/* "linear:FROM:TO:SECONDS", "exp:FROM:TO:SECONDS", then constant at TO;
 * "step:FROM:STEP:SECONDS[:TO]" adds STEP every SECONDS. */
struct ramp {
    enum ramp_kind kind;
    double from, to, seconds, step;
};

int ramp_parse(const char *text, struct ramp *out, struct err *e) MUST_USE;
/* The moment in seconds at which the area under the ramp (constant: under rate) reaches u. */
double ramp_when(const struct ramp *r, double rate, double u);
/* The value of the ramp at a moment. */
double ramp_at(const struct ramp *r, double rate, double seconds);

enum arrival { ARRIVAL_POISSON, ARRIVAL_GAMMA, ARRIVAL_CONSTANT };

struct schedule {
    uint64_t *at_ns; /* since the start of the run, ascending */
    size_t n;
};

/* count = 0: until duration_s; duration_s = 0: until count; both: whichever comes first.
 * rate = INFINITY: all at once. burstiness: the gamma shape; 1 is Poisson. */
int schedule_build(struct schedule *s, enum arrival a, double burstiness, double rate,
                   const struct ramp *ramp, size_t count, double duration_s, uint64_t seed,
                   struct err *e) MUST_USE;
void schedule_free(struct schedule *s);

#endif
