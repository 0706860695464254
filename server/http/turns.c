/* A list in the order of starts. */
#include "server/http/turns.h"

#include <string.h>

void turns_put(struct turns *q, struct turn *t, const struct fair_id *client, uint64_t cost)
{
    struct turn **at = &q->head;
    *t = (struct turn){.client = *client, .cost = cost, .start = q->clock};
    for (const struct turn *o = q->head; o; o = o->next)
        if (memcmp(&o->client, client, sizeof *client) == 0)
            t->start = MAX(t->start, o->start + o->cost);
    while (*at && (*at)->start <= t->start)
        at = &(*at)->next;
    t->next = *at;
    *at = t;
}

struct turn *turns_take(struct turns *q)
{
    struct turn *t = q->head;
    if (!t)
        return NULL;
    q->head = t->next;
    q->clock = t->start;
    return t;
}
