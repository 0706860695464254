/* The store, whichever it is: each call goes to its implementation. */
#include "statecache/store/store.h"

void store_close(struct store *s)
{
    if (s->ops && s->impl)
        s->ops->close(s);
    s->ops = NULL;
}

bool store_packs(struct store *s, const struct part part[PARTS])
{
    return s->compress != COMPRESS_NEVER && s->ops->packs(s, part);
}

int store_put(struct store *s, enum store_kind kind, const unsigned char name[16],
              const unsigned char head[CODEC_HEAD], const struct part part[PARTS], bool durable,
              bool *renamed, struct err *e)
{
    return s->ops->put(s, kind, name, head, part, durable, renamed, e);
}

int store_sync(struct store *s, enum store_kind kind, const unsigned char name[16], struct err *e)
{
    return s->ops->sync(s, kind, name, e);
}

int store_remove(struct store *s, enum store_kind kind, const unsigned char name[16],
                 bool durable, struct err *e)
{
    return s->ops->remove(s, kind, name, durable, e);
}

int store_get(struct store *s, enum store_kind kind, const unsigned char name[16], int *handle,
              struct head *h, struct err *e)
{
    return s->ops->get(s, kind, name, handle, h, e);
}

int store_part(struct store *s, int handle, const struct head *h, enum codec_part i,
               const struct part *p, struct err *e)
{
    return s->ops->part(s, handle, h, i, p, e);
}

void store_done(struct store *s, int handle) { s->ops->done(s, handle); }

void store_quarantine(struct store *s, enum store_kind kind, const unsigned char name[16],
                      const char *why)
{
    s->ops->quarantine(s, kind, name, why);
}

int store_list(struct store *s, enum store_kind kind,
               void (*each)(void *arg, const unsigned char name[16]), void *arg, struct err *e)
{
    return s->ops->list(s, kind, each, arg, e);
}
