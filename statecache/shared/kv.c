/* Which store an address means. */
#include "statecache/shared/kv.h"

#include <string.h>

#include "base/mem.h"

static bool is_s3(const char *url) { return strncmp(url, "s3://", 5) == 0; }

/* The comma behind the first URL of text, or NULL. */
static char *url_end(char *text)
{
    static const char *const schemes[] = {"redis://", "rediss://", "redis+unix://", "s3://"};
    for (char *comma = strchr(text, ','); comma; comma = strchr(comma + 1, ','))
        for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
            if (strncmp(comma + 1, schemes[i], strlen(schemes[i])) == 0)
                return comma;
    return NULL;
}

static int add_store(const struct kv_options *all, const char *url, struct kv_options *out, int *n,
                     struct err *e)
{
    if (*n == KV_STORES)
        return err_set(e, E_RANGE, "shared: more than %d stores, at most a hot and a cold one are "
                       "possible", KV_STORES);
    for (int i = 0; i < *n; i++)
        if (strcmp(out[i].url, url) == 0)
            return err_set(e, E_CONFLICT, "shared: store %d is store %d once more", *n + 1, i + 1);
    out[*n] = *all;
    out[(*n)++].url = url;
    return 0;
}

int kv_list(const struct kv_options *all, struct kv_options out[KV_STORES], int *n, char **copy,
            struct err *e)
{
    bool any = false;
    int rc = 0;
    *n = 0;
    *copy = mem_strdup(all->url);
    if (!*copy)
        return err_set(e, E_NOMEM, "no memory for the addresses of shared stores");
    for (char *url = *copy, *end; url && !rc; url = end ? end + 1 : NULL) {
        end = url_end(url);
        if (end)
            *end = '\0';
        any |= is_s3(url);
        rc = add_store(all, url, out, n, e);
    }
    for (int i = 0; i < *n && any; i++)
        if (!is_s3(out[i].url))
            out[i].endpoint = out[i].region = out[i].credentials = NULL;
    return rc;
}

int kv_open(struct kv **out, const struct kv_options *o, struct err *e)
{
    *out = NULL;
    if (is_s3(o->url))
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
