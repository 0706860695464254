/* What an exchange holds of the memory that all share. */
#include "server/http/exchange.h"

/* A reply of less is not counted, nor a change by less: most are, and change with every token. */
#define REPLY_UNIT KIB(16)

bool exchange_hold(struct exchange *x, enum exchange_memory what, size_t bytes)
{
    size_t others = 0;
    for (int i = 0; i < HELD_KINDS; i++)
        others += i == (int)what ? 0 : x->held[i];
    if (bytes == x->held[what])
        return true;
    if (!budget_change(&x->http->budget, others + x->held[what], others + bytes))
        return false;
    x->held[what] = bytes;
    return true;
}

bool exchange_hold_reply(struct exchange *x)
{
    size_t n = x->reply.cap + x->stream.out.cap;
    if (x->pending)
        n += x->pending->ops->bytes(x->pending);
    return exchange_hold(x, HELD_REPLY, n / REPLY_UNIT * REPLY_UNIT);
}
