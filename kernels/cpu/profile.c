/* Where the time of steps goes, by kind of op: counters of their own for each part, so that threads
 * never write to one line, and the table made of them.
 *
 * Owner: the device. Thread: the engine's; within a step whoever runs part p has row p. */
#include "kernels/cpu/profile.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t profile_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return now_ns();
#endif
}

struct profile *profile_new(int parts)
{
    struct profile *p = mem_zalloc(sizeof *p);
    if (p && !(p->parts = mem_aligned((size_t)parts * sizeof *p->parts))) {
        mem_free(p);
        return NULL;
    }
    if (p) {
        p->n = parts;
        profile_start(p);
    }
    return p;
}

void profile_free(struct profile *p)
{
    if (p)
        mem_aligned_free(p->parts, (size_t)p->n * sizeof *p->parts);
    mem_free(p);
}

void profile_start(struct profile *p)
{
    memset(p->parts, 0, (size_t)p->n * sizeof *p->parts);
    memset(p->costs, 0, sizeof p->costs);
    p->steps = p->step_ticks = 0;
    p->from_ns = now_ns();
    p->from_ticks = profile_ticks();
}

void profile_count(struct profile *p, const struct op *op, const struct cost *c, bool int16)
{
    struct profile_cost *n = &p->costs[op->kind];
    n->calls++;
    n->bytes += (double)c->bytes;
    n->update += (double)c->update;
    *(int16 ? &n->int16 : &n->flops) += c->flops;
}

/* The least time a device of these rates needs, ns. */
static double at_least(const struct profile_cost *c, const struct device_rates *r)
{
    double memory = (c->bytes - c->update) / r->read + c->update / r->update;
    return MAX(memory, c->flops / r->fma + (c->int16 > 0 ? c->int16 / r->int16 : 0));
}

/* `ns`: of all threads together, what one line took. */
static void line(const char *op, const char *variant, const struct profile_cost *c, double ns,
                 const struct profile *p, double all_ns, const struct device_rates *limit)
{
    char share[16] = "";
    double steps = (double)MAX(p->steps, 1), wall = ns / p->n;
    if (limit && c->bytes > 0)
        snprintf(share, sizeof share, "%5.0f %%", 100 * at_least(c, limit) / wall);
    log_info("%-14s %-18s %8.1f %10.3f %5.1f %% %8.1f %9.1f %9.1f %s", op, variant,
             (double)c->calls / steps, wall / 1e6 / steps, 100 * wall / all_ns,
             c->bytes / 1e6 / steps, wall > 0 ? c->bytes / wall : 0,
             wall > 0 ? (c->flops + c->int16) / wall : 0, share);
}

void profile_print(struct profile *p, const struct device_rates *limit, profile_by *by, void *ctx)
{
    double ns_per_tick = (double)(now_ns() - p->from_ns) /
                         (double)MAX(profile_ticks() - p->from_ticks, 1);
    double all = (double)p->step_ticks * ns_per_tick, waits = all * p->n;
    if (limit)
        log_info("limits: read %.1f GB/s, read and written in place %.1f GB/s, %.0f GFLOP/s, "
                 "int16 %.0f GOP/s", limit->read, limit->update, limit->fma, limit->int16);
    log_info("%-14s %-18s %8s %10s %7s %8s %9s %9s%s", "op, a step", "variant", "calls", "ms",
             "time", "MB", "GB/s", "GFLOP/s", limit ? "  of limit" : "");
    for (int k = 0; k < OP_KINDS; k++) {
        uint64_t ticks = 0;
        char variant[64];
        for (int i = 0; i < p->n; i++)
            ticks += p->parts[i].ticks[k];
        double ns = (double)ticks * ns_per_tick;
        waits -= ns;
        if (!p->costs[k].calls)
            continue;
        by(ctx, (enum op_kind)k, variant, sizeof variant);
        line(op_name((enum op_kind)k), variant, &p->costs[k], ns, p, all, limit);
    }
    line("(waits)", "", &(struct profile_cost){0}, MAX(waits, 0), p, all, NULL);
    profile_start(p);
}
