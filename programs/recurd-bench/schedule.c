/* When requests start, fixed before the first one is sent. Thread: any. */
#include "programs/recurd-bench/schedule.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "programs/recurd-bench/dist.h"

#define ARRIVALS_MAX 50000000 /* 400 MB of moments */

int ramp_parse(const char *text, struct ramp *r, struct err *e)
{
    *r = (struct ramp){0};
    int n = 0;
    if (sscanf(text, "linear:%lf:%lf:%lf%n", &r->from, &r->to, &r->seconds, &n) == 3 && n)
        r->kind = RAMP_LINEAR;
    else if (sscanf(text, "exp:%lf:%lf:%lf%n", &r->from, &r->to, &r->seconds, &n) == 3 && n)
        r->kind = RAMP_EXP;
    else if (sscanf(text, "step:%lf:%lf:%lf%n:%lf%n", &r->from, &r->step, &r->seconds, &n, &r->to,
                    &n) >= 3 && n)
        r->kind = RAMP_STEP;
    if (r->kind == RAMP_STEP && r->to == 0)
        r->to = INFINITY;
    bool good = r->kind != RAMP_NONE && !text[n] && r->from >= 0 && r->to > 0 && r->seconds > 0 &&
                isfinite(r->from) && isfinite(r->seconds) && r->step >= 0;
    if (good && r->kind == RAMP_EXP)
        good = r->from > 0;
    if (good && r->kind == RAMP_STEP)
        good = r->step > 0 && r->to >= r->from;
    if (good && r->kind != RAMP_STEP)
        good = isfinite(r->to);
    return good ? 0 : err_set(e, E_FORMAT, "\"%.60s\" is not linear:FROM:TO:SECONDS, "
                              "exp:FROM:TO:SECONDS or step:FROM:STEP:SECONDS[:TO]", text);
}

double ramp_at(const struct ramp *r, double rate, double t)
{
    switch (r->kind) {
    case RAMP_NONE:
        return rate;
    case RAMP_LINEAR:
        return t < r->seconds ? r->from + (r->to - r->from) * t / r->seconds : r->to;
    case RAMP_EXP:
        return t < r->seconds ? r->from * pow(r->to / r->from, t / r->seconds) : r->to;
    case RAMP_STEP:
        break;
    }
    return fmin(r->to, r->from + r->step * floor(t / r->seconds));
}

double ramp_when(const struct ramp *r, double rate, double u)
{
    double T = r->seconds, a = r->from, b = r->to;
    switch (r->kind) {
    case RAMP_NONE:
        return u / rate;
    case RAMP_LINEAR: {
        double whole = (a + b) / 2 * T, k = (b - a) / T;
        if (u >= whole)
            return T + (u - whole) / b;
        /* a t + k t^2 / 2 = u, in the form that does not cancel for small k */
        return u > 0 ? 2 * u / (a + sqrt(a * a + 2 * k * u)) : 0;
    }
    case RAMP_EXP: {
        double ln = log(b / a), whole = ln == 0 ? a * T : (b - a) * T / ln;
        if (u >= whole)
            return T + (u - whole) / b;
        return ln == 0 ? u / a : T / ln * log1p(u * ln / (a * T));
    }
    case RAMP_STEP:
        break;
    }
    for (double t = 0, level = a;; t += T, level = fmin(b, level + r->step)) {
        if (level > 0 && (u <= level * T || level >= b))
            return t + u / level;
        u -= level * T;
    }
}

int schedule_build(struct schedule *s, enum arrival a, double burstiness, double rate,
                   const struct ramp *ramp, size_t count, double duration_s, uint64_t seed,
                   struct err *e)
{
    *s = (struct schedule){0};
    if (isinf(rate) && ramp->kind == RAMP_NONE && !count)
        return err_set(e, E_CONFLICT, "an infinite rate needs a number of requests");
    if (!count && !(duration_s > 0))
        return err_set(e, E_CONFLICT, "neither a number of requests nor a duration");
    struct rng r = {.seed = seed};
    size_t cap = 0, limit = count ? count : ARRIVALS_MAX + 1;
    double u = 0;
    while (s->n < limit) {
        double gap = a == ARRIVAL_CONSTANT ? 1 : a == ARRIVAL_GAMMA ? dist_gamma1(&r, burstiness)
                                                                    : dist_exp1(&r);
        /* Equal gaps start at 0; random ones start after a gap, as any other arrival. */
        double t = ramp_when(ramp, rate, a == ARRIVAL_CONSTANT ? u : u + gap);
        u += gap;
        if (duration_s > 0 && t >= duration_s)
            break;
        if (s->n >= ARRIVALS_MAX || t > 1e9) {
            schedule_free(s);
            return err_set(e, E_RANGE, "more than %d requests in one schedule", ARRIVALS_MAX);
        }
        if (s->n == cap) {
            cap = cap ? cap * 2 : 256;
            uint64_t *p = mem_realloc(s->at_ns, cap * sizeof *p);
            if (!p) {
                schedule_free(s);
                return err_set(e, E_NOMEM, "no memory for %zu arrivals", cap);
            }
            s->at_ns = p;
        }
        s->at_ns[s->n++] = (uint64_t)(t * (double)NS_PER_S);
    }
    return 0;
}

void schedule_free(struct schedule *s)
{
    mem_free(s->at_ns);
    *s = (struct schedule){0};
}
