/* A run's failure, its steps and its memory. */
#include <stdarg.h>
#include <stdio.h>

#include "models/text/chat/jinja/value.h"

struct value run_fail(struct run *r, int code, const char *fmt, ...)
{
    char text[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!r->failed) {
        r->failed = true;
        r->code = code;
        err_set(r->err, code, "chat template, line %d: %s", r->line, text);
    }
    return (struct value){.kind = V_UNDEFINED};
}

bool run_spend(struct run *r, size_t steps)
{
    if (r->failed)
        return false;
    if (steps > r->fuel) {
        run_fail(r, E_RANGE, "more than the %llu steps allowed", (unsigned long long)r->max_fuel);
        return false;
    }
    r->fuel -= steps;
    return true;
}

void *run_take(struct run *r, size_t n)
{
    /* Memory costs time where the system has to find it. */
    bool paid = n < 4096 ? !r->failed : run_spend(r, n / 64);
    void *p = paid ? arena_alloc(&r->arena, n) : NULL;
    if (!p)
        run_fail(r, E_RANGE, "more than the %zu bytes of memory allowed", r->arena.max);
    return p;
}

void *run_array(struct run *r, size_t count, size_t size)
{
    size_t n;
    if (mul_overflows(count, size, &n))
        n = SIZE_MAX / 2;
    return run_take(r, n);
}
