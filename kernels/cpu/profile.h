/* Time, bytes and operations of a device's steps by kind of op, when a profile was asked for. */
#ifndef RECURD_CPU_PROFILE_H
#define RECURD_CPU_PROFILE_H

#include "kernels/backend.h"
#include "kernels/cpu/cpu.h"

struct profile_cost {
    uint64_t calls;
    double bytes, update, flops, int16;
};

struct profile {
    int n; /* parts of a job, which is one for each thread */
    struct profile_part {
        _Alignas(64) uint64_t ticks[OP_KINDS];
    } *parts; /* [n] */
    struct profile_cost costs[OP_KINDS];
    uint64_t steps, step_ticks;   /* ticks of whole steps */
    uint64_t from_ns, from_ticks; /* when counting began */
};

/* A clock that costs little: it is read around every op, hundreds of times a step. */
uint64_t profile_ticks(void);

struct profile *profile_new(int parts); /* NULL: no memory */
void profile_free(struct profile *p);   /* NULL allowed */
void profile_start(struct profile *p);  /* all counters to 0 */
/* One op of this step and what it takes; int16: its multiply-adds are those of 16 bits. */
void profile_count(struct profile *p, const struct op *op, const struct cost *c, bool int16);

/* Prints a line for every kind of op that was counted, then starts again. `by` names the kernels of
 * a kind. */
typedef void profile_by(void *ctx, enum op_kind kind, char *out, size_t size);
void profile_print(struct profile *p, const struct device_rates *limit, profile_by *by, void *ctx);

#endif
