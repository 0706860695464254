/* Slots, pages and the context that follows from them.
 *
 * On a host everything comes from one memory, so the choice looks at what is free and takes what it
 * needs. A device with a memory of its own has nothing else to do: there auto takes all of it, up
 * to AUTO_SLOTS slots. Where nothing is known the fixed defaults hold. */
#include "scheduler/capacity.h"

#include <stdio.h>

#include "base/freemem.h"
#include "base/limits.h"
#include "base/log.h"
#include "kernels/backend.h"
#include "models/model.h"

/* What an attention model gets when neither file nor flag says how long a sequence may be. */
#define DEFAULT_CONTEXT 8192
/* Of free memory that stays: activations, requests, the rest of the machine. */
#define RESERVE_SHARE 10
#define RESERVE_LEAST MIB(256)
/* Pages that auto takes of a host's memory; more only for one sequence of full length. */
#define PAGES_BYTES GIB(1)
/* Slots that auto takes of a device's own memory: more streams than this hardly write more. */
#define AUTO_SLOTS 256

static int64_t page_bytes(const struct plan *p)
{
    return p->page_token_floats * PAGE_TOKENS * (int64_t)sizeof(float);
}

/* Memory for states and pages. */
struct room {
    int64_t bytes; /* INT64_MAX = it is not known */
    int64_t one;   /* the most that a section of all slots or pages may take */
    bool own;      /* of a device that has nothing else in it */
};

/* What a step's rows take. */
static uint64_t activation_bytes(const struct served *s, const struct served_options *o)
{
    int32_t slots = o->slots > 0 ? o->slots : AUTO_SLOTS;
    struct capacity c = {.tokens = o->step_tokens, .logits = MAX(o->logit_rows, slots),
                         .seqs = slots, .slots = slots};
    int64_t floats = plan_layout(&s->model->plan, &c); /* again when it is loaded */
    return (uint64_t)MAX(floats, 0) * sizeof(float);
}

static struct room room_for(const struct served *s, const struct served_options *o)
{
    const struct backend *b = s->device->backend;
    int64_t one = INT64_MAX, left = b->memory_left ? b->memory_left(s->device, &one) : -1;
    uint64_t free = left >= 0 ? (uint64_t)left : b->host_memory ? freemem() : UINT64_MAX;
    if (free == UINT64_MAX)
        return (struct room){INT64_MAX, INT64_MAX, false};
    uint64_t taken = (uint64_t)s->model->weight_bytes +
                     (left >= 0 ? activation_bytes(s, o) : o->state_ram_bytes) +
                     MAX(free / RESERVE_SHARE, (uint64_t)RESERVE_LEAST);
    return (struct room){(int64_t)MIN(free - MIN(free, taken), (uint64_t)INT64_MAX), one,
                         left >= 0};
}

/* How many slots or pages of `each` bytes fit. */
static int64_t fitting(const struct plan *p, enum section_kind kind, int64_t each,
                       const struct room *room, int64_t bytes)
{
    int64_t rows = kind == SECTION_PAGED ? PAGE_TOKENS : 1, n = bytes / MAX(each, 1);
    for (int32_t i = 0; i < p->n_sections; i++)
        if (p->sections[i].kind == kind) {
            int64_t one = section_floats(&p->sections[i]) * rows * (int64_t)sizeof(float);
            n = MIN(n, room->one / MAX(one, 1));
        }
    return n;
}

/* Auto: what fits, and of which a step has a row each. */
static int32_t choose_slots(const struct plan *p, const struct served_options *o,
                            const struct room *room)
{
    int64_t each = p->slot_floats * (int64_t)sizeof(float);
    if (o->slots > 0)
        return (int32_t)o->slots;
    int64_t bytes = p->page_token_floats ? room->bytes / 2 : room->bytes; /* half is for pages */
    int64_t n = MIN(fitting(p, SECTION_FIXED, each, room, bytes), o->step_tokens);
    return (int32_t)MAX(MIN(room->own ? AUTO_SLOTS : DEFAULT_SLOTS, n), 1);
}

/* Positions that a sequence of a model with attention should have. */
static int64_t wanted_context(const struct model *m, int64_t asked)
{
    int64_t made = m->context_max > 0    ? m->context_max
                   : m->context_made > 0 ? m->context_made
                                         : DEFAULT_CONTEXT;
    return asked <= 0 ? made : m->context_max > 0 ? MIN(asked, m->context_max) : asked;
}

void capacity_choose(struct served *s, const struct served_options *o)
{
    const struct plan *p = &s->model->plan;
    struct room room = room_for(s, o);
    int64_t each = page_bytes(p);
    int32_t slots = choose_slots(p, o, &room);
    s->cap = (struct capacity){.tokens = o->step_tokens, .logits = MAX(o->logit_rows, slots),
                               .seqs = slots, .slots = slots};
    s->context_max = s->model->context_max;
    if (each == 0)
        return;
    int64_t context = wanted_context(s->model, o->context);
    int64_t per_seq = (context + PAGE_TOKENS - 1) / PAGE_TOKENS;
    int64_t left = room.bytes == INT64_MAX
                       ? room.bytes
                       : room.bytes - slots * p->slot_floats * (int64_t)sizeof(float);
    int64_t n = (int64_t)o->kv_bytes / each;
    if (o->kv_bytes == 0)
        n = fitting(p, SECTION_PAGED, each, &room,
                    room.own ? left : MIN(MAX((int64_t)PAGES_BYTES, per_seq * each), left));
    int64_t pages = MAX(MIN(per_seq * slots, n), 1);
    s->cap.pages = (int32_t)MIN(pages, INT32_MAX / PAGE_TOKENS);
    s->cap.pages_per_seq = (int32_t)MIN(per_seq, s->cap.pages);
    s->context_max = MIN(context, (int64_t)s->cap.pages_per_seq * PAGE_TOKENS);
}

/* ---- telling ---- */

static double mib(int64_t bytes) { return (double)bytes / 0x1p20; }

static void log_context(const struct served *s, const struct served_options *o)
{
    int64_t wanted = wanted_context(s->model, o->context);
    int64_t need = (wanted + PAGE_TOKENS - 1) / PAGE_TOKENS * page_bytes(&s->model->plan);
    if (s->context_max < wanted)
        log_warn("a sequence may have %lld tokens and not %lld: that would take kv-memory %.0f",
                 (long long)s->context_max, (long long)wanted, mib(need) + 1);
    else if (!o->context && !s->model->context_max && !s->model->context_made)
        log_info("the model does not say for how long a sequence it was made: %d tokens; context "
                 "changes that", DEFAULT_CONTEXT);
}

/* Settings of attention rows, of which there are none. */
static void log_without_pages(const struct served *s, const struct served_options *o)
{
    static const char why[] = "changes nothing: it bounds rows of attention, and there are none in";
    if (o->context > 0)
        log_warn("context %lld %s %s", (long long)o->context, why, s->name);
    if (o->kv_bytes)
        log_warn("kv-memory %.0f %s %s", mib((int64_t)o->kv_bytes), why, s->name);
}

void capacity_log(const struct served *s, const struct served_options *o)
{
    const struct plan *p = &s->model->plan;
    int64_t states = s->state_bytes * s->cap.slots;
    uint64_t free = freemem();
    log_info("memory: weights    %9.1f MiB", mib(s->weight_bytes));
    log_info("memory: states     %9.1f MiB, %d slots of %.2f MiB%s; twice as many would take %.1f "
             "MiB more", mib(states), s->cap.slots, mib(s->state_bytes),
             o->slots > 0 ? "" : " (auto)", mib(states));
    if (page_bytes(p)) {
        log_info("memory: attention  %9.1f MiB%s, %lld tokens of %lld bytes; %lld at most in one "
                 "sequence", mib(s->cap.pages * page_bytes(p)), o->kv_bytes ? "" : " (auto)",
                 (long long)s->cap.pages * PAGE_TOKENS,
                 (long long)(p->page_token_floats * (int64_t)sizeof(float)),
                 (long long)s->context_max);
        log_context(s, o);
    } else {
        log_without_pages(s, o);
    }
    log_info("memory: state cache%9.1f MiB at most", mib((int64_t)o->state_ram_bytes));
    if (free == UINT64_MAX)
        return;
    /* States and attention rows take memory as they are used. */
    uint64_t due = s->device->backend->host_memory
                       ? (uint64_t)(states + s->cap.pages * page_bytes(p)) : 0;
    uint64_t left = MIN(free - MIN(free, due), (uint64_t)INT64_MAX);
    log_info("memory: left       %9.1f MiB of the machine, or of the control group, when all "
             "states and attention rows are in use", mib((int64_t)left));
}
