/* Which store an address means. */
#include "statecache/shared/kv.h"

int kv_open(struct kv **out, const struct kv_options *o, struct err *e)
{
    return kv_redis_open(out, o, e);
}

void kv_close(struct kv *s)
{
    if (s)
        s->ops->close(s);
}
