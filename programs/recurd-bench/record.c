/* One request's record and the measures derived from it. Thread: one. */
#include "programs/recurd-bench/record.h"

#include <string.h>

#include "base/mem.h"
#include "programs/recurd-bench/reply.h"

#define MS(ns) ((double)(ns) / 1e6)

size_t record_new(struct records *rs)
{
    if (rs->n == rs->cap) {
        size_t cap = rs->cap ? rs->cap * 2 : 256;
        struct record *p = mem_realloc(rs->p, cap * sizeof *p);
        if (!p)
            return SIZE_MAX;
        rs->p = p;
        rs->cap = cap;
    }
    memset(&rs->p[rs->n], 0, sizeof *rs->p);
    return rs->n++;
}

bool record_output(struct record *r, uint64_t t)
{
    if (!r->n_outputs) {
        r->t_first = r->t_last = t;
        r->n_outputs = 1;
        return true;
    }
    if (r->n_outputs > r->cap) {
        uint32_t cap = r->cap ? r->cap * 2 : 32;
        uint32_t *p = mem_realloc(r->gaps_us, cap * sizeof *p);
        if (!p)
            return false;
        r->gaps_us = p;
        r->cap = cap;
    }
    /* Both ends are rounded, not the gap, so that the gaps of a stream add up. */
    uint64_t us = (t - r->t_first + 500) / 1000 - (r->t_last - r->t_first + 500) / 1000;
    r->gaps_us[r->n_outputs - 1] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    r->t_last = t;
    r->n_outputs++;
    return true;
}

void record_free_all(struct records *rs)
{
    for (size_t i = 0; i < rs->n; i++) {
        mem_free(rs->p[i].gaps_us);
        mem_free(rs->p[i].error);
        if (rs->p[i].cap_text)
            capture_free(rs->p[i].cap_text);
        mem_free(rs->p[i].cap_text);
    }
    mem_free(rs->p);
    *rs = (struct records){0};
}

const char *record_tag_name(enum tag t)
{
    static const char *const names[TAGS] = {"first", "turn", "fork", "resume"};
    return names[t];
}

int32_t record_tokens(const struct record *r)
{
    return r->has_usage ? r->completion_tokens
           : r->named_tokens ? r->named_tokens : (int32_t)r->n_outputs;
}

double record_ttft(const struct record *r)
{
    return r->n_outputs ? MS(r->t_first - r->t_send) : -1;
}

double record_ttst(const struct record *r)
{
    return r->n_outputs > 1 ? r->gaps_us[0] / 1e3 : -1;
}

double record_e2e(const struct record *r)
{
    if (r->n_outputs)
        return MS(r->t_last - r->t_send);
    return r->t_end ? MS(r->t_end - r->t_send) : -1;
}

double record_tpot(const struct record *r)
{
    int32_t n = record_tokens(r);
    return r->n_outputs && n > 1 ? MS(r->t_last - r->t_first) / (n - 1) : -1;
}

double record_late(const struct record *r)
{
    return r->t_send > r->t_sched ? MS(r->t_send - r->t_sched) : 0;
}
