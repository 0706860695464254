/* Waiting requests. The scheduler's lock. Invariant: keys never change, so order is by ageing
 * without anything to update. */
#include "scheduler/queue.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "scheduler/request.h"

int queue_init(struct queue *q, int32_t max, int32_t share, int32_t slots, struct fair *fair,
               struct err *e)
{
    *q = (struct queue){.fair = fair};
    if (max < 1 || share < 1)
        return err_set(e, E_RANGE, "a queue of %d requests, %d for each client: at least 1 is "
                       "needed", (int)max, (int)share);
    q->entries = mem_array((size_t)max + (size_t)slots, sizeof *q->entries);
    if (!q->entries)
        return err_set(e, E_NOMEM, "no memory for a queue of %d requests", (int)max);
    q->max = max;
    q->slots = slots;
    q->share = MIN(share, max);
    return 0;
}

void queue_fini(struct queue *q)
{
    ASSERT(q->n == 0); /* entries hold references */
    mem_free(q->entries);
    *q = (struct queue){0};
}

int queue_push(struct queue *q, struct request *r, uint64_t now_ns, struct err *e)
{
    static const struct fair_id none;
    /* What the engine is just fetching still counts as waiting, and only then as running. */
    int32_t free = MAX(q->slots - fair_total(q->fair, FAIR_RUNNING), 0);
    if (fair_total(q->fair, FAIR_WAITING) >= q->max + free)
        return err_set(e, E_BUSY, "%d requests are waiting already", (int)q->max);
    struct fair_id session = none;
    if (r->in_session)
        memcpy(session.b, r->session.b, sizeof session.b);
    r->flow = fair_enter(q->fair, &r->client, &session, r->weight);
    int32_t share = r->queue_share > 0 ? r->queue_share : q->share;
    if (fair_count(q->fair, r->flow, FAIR_WAITING) > share + free) {
        fair_leave(q->fair, r->flow, FAIR_WAITING);
        return err_set(e, E_BUSY, "%d requests of this client are waiting already", (int)share);
    }
    int64_t priority = MAX(MIN(r->priority, QUEUE_PRIORITY_MAX), -QUEUE_PRIORITY_MAX);
    q->entries[q->n++] = (struct queue_entry){
        .r = r,
        /* Fits: 1e13 ns for the priority, and 290 years of running. */
        .key = (int64_t)now_ns + priority * QUEUE_AGE_S * (int64_t)NS_PER_S,
        .number = q->next_number++,
        .deadline_ns = r->deadline_ns,
    };
    return 0;
}

static bool before(const struct queue *q, const struct queue_entry *a,
                   const struct queue_entry *b, bool by_slots)
{
    int order = fair_compare(q->fair, a->r->flow, a->r->lead, b->r->flow, b->r->lead, by_slots);
    if (order)
        return order < 0;
    return a->key < b->key || (a->key == b->key && a->number < b->number);
}

static struct request *take_entry(struct queue *q, int32_t i)
{
    struct request *r = q->entries[i].r;
    q->entries[i] = q->entries[--q->n];
    return r;
}

struct request *queue_first(const struct queue *q, bool by_slots)
{
    int32_t best = 0;
    for (int32_t i = 1; i < q->n; i++)
        if (before(q, &q->entries[i], &q->entries[best], by_slots))
            best = i;
    return q->n ? q->entries[best].r : NULL;
}

void queue_remove(struct queue *q, const struct request *r)
{
    int32_t i = 0;
    while (q->entries[i].r != r)
        i++;
    (void)take_entry(q, i);
}

struct request *queue_take(struct queue *q)
{
    struct request *r = queue_first(q, false);
    if (r)
        queue_remove(q, r);
    return r;
}

void queue_cancel(struct queue *q, const struct request *r)
{
    for (int32_t i = 0; i < q->n; i++)
        if (q->entries[i].r == r)
            q->entries[i].cancelled = true;
}

struct request *queue_take_leaver(struct queue *q, uint64_t now_ns, bool *cancelled)
{
    for (int32_t i = 0; i < q->n; i++) {
        const struct queue_entry *x = &q->entries[i];
        *cancelled = x->cancelled;
        if (x->cancelled || (x->deadline_ns && now_ns >= x->deadline_ns))
            return take_entry(q, i);
    }
    return NULL;
}

uint64_t queue_deadline(const struct queue *q)
{
    uint64_t first = 0;
    for (int32_t i = 0; i < q->n; i++) {
        uint64_t at = q->entries[i].deadline_ns;
        if (at && (first == 0 || at < first))
            first = at;
    }
    return first;
}
