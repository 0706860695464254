/* See trace.h. */
#include "scheduler/trace.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

struct trace_record *trace_begin(struct request *r)
{
    struct trace_record *x = mem_zalloc(sizeof *x);
    if (!x)
        return NULL; /* that request is not traced */
    request_ref(r);
    x->r = r;
    x->n_prompt = r->n_prompt;
    x->slot = -1;
    x->admit_ns = clock_now_ns();
    return x;
}

void trace_free(struct trace_record *x)
{
    if (!x)
        return;
    request_unref(x->r);
    mem_free(x->context);
    mem_free(x->output);
    mem_free(x->bits);
    mem_free(x->prompt_bits);
    mem_free(x);
}

static uint32_t bits_of(const struct token_event *ev)
{
    uint32_t bits = 0;
    if (ev->has_logprob)
        memcpy(&bits, &ev->logprob, sizeof bits);
    return bits;
}

/* Room for one more of n 32-bit items. */
static bool grow(void *items, int64_t n, int64_t cap)
{
    void **p = items;
    void *more = n < cap ? *p : mem_realloc(*p, (size_t)cap * 2 * sizeof(uint32_t));
    if (more)
        *p = more;
    return more != NULL;
}

void trace_drawn(struct trace_record *x, int32_t id, const struct token_event *ev)
{
    if (!x || x->broken)
        return;
    if (x->n_output == x->cap) {
        int32_t cap = MAX(x->cap, 32);
        x->broken = !grow(&x->output, cap, cap) || !grow(&x->bits, cap, cap);
        if (x->broken)
            return;
        x->cap = 2 * cap;
    }
    x->output[x->n_output] = id;
    x->bits[x->n_output++] = bits_of(ev);
}

void trace_scored(struct trace_record *x, const struct token_event *ev)
{
    if (!x || x->broken)
        return;
    if (x->n_prompt_bits == x->cap_prompt) {
        int64_t cap = MAX(x->cap_prompt, 128);
        if ((x->broken = !grow(&x->prompt_bits, cap, cap)))
            return;
        x->cap_prompt = 2 * cap;
    }
    x->prompt_bits[x->n_prompt_bits++] = bits_of(ev);
}

void trace_cut(struct trace_record *x, int64_t pos)
{
    if (x && x->n_cuts++ < TRACE_CUTS)
        x->cuts[x->n_cuts - 1] = pos;
}

size_t trace_bytes(const struct trace_record *x)
{
    return sizeof *x + (size_t)(x->n_context + x->n_prompt_bits + 2 * (int64_t)x->n_output +
                                x->n_prompt) * sizeof(int32_t);
}
