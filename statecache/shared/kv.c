/* Which store an address means. */
#include "statecache/shared/kv.h"

#include <string.h>

int kv_open(struct kv **out, const struct kv_options *o, struct err *e)
{
    *out = NULL;
    if (strncmp(o->url, "s3://", 5) == 0)
        return kv_s3_open(out, o, e);
    const char *other = o->endpoint      ? "shared-endpoint"
                        : o->region      ? "shared-region"
                        : o->credentials ? "shared-credentials"
                                         : NULL;
    if (other)
        return err_set(e, E_CONFLICT, "%s: it is for s3:// only, and shared is another store",
                       other);
    return kv_redis_open(out, o, e);
}

void kv_close(struct kv *s)
{
    if (s)
        s->ops->close(s);
}
