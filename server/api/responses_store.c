/* A list in the order of use, looked through from its end: 4,096 comparisons are nothing beside
 * the request that asks. */
#include "server/api/responses.h"

#include <pthread.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

struct kept {
    struct kept *newer, *older;
    struct tenant_tag tenant;
    char id[48];
    size_t n_object, n_messages;
    char bytes[]; /* both */
};

struct responses {
    pthread_mutex_t lock;
    struct kept *newest, *oldest;
    size_t bytes;
    int n;
};

static size_t size_of(const struct kept *k) { return sizeof *k + k->n_object + k->n_messages; }

int responses_open(struct responses **out, struct err *e)
{
    struct responses *s = *out = mem_zalloc(sizeof *s);
    if (!s || pthread_mutex_init(&s->lock, NULL)) {
        mem_free(s);
        *out = NULL;
        return err_set(e, E_NOMEM, "no memory for responses");
    }
    return 0;
}

static void unlink_one(struct responses *s, struct kept *k)
{
    *(k->newer ? &k->newer->older : &s->newest) = k->older;
    *(k->older ? &k->older->newer : &s->oldest) = k->newer;
    s->bytes -= size_of(k);
    s->n--;
}

static void link_newest(struct responses *s, struct kept *k)
{
    k->newer = NULL;
    k->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = k;
    s->newest = k;
    s->bytes += size_of(k);
    s->n++;
}

void responses_close(struct responses *s)
{
    while (s && s->newest) {
        struct kept *k = s->newest;
        unlink_one(s, k);
        mem_free(k);
    }
    if (s)
        pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

static bool same(const struct tenant_tag *a, const struct tenant_tag *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static size_t held_by(const struct responses *s, const struct tenant_tag *tenant)
{
    size_t n = 0;
    for (const struct kept *k = s->newest; k; k = k->older)
        n += same(&k->tenant, tenant) ? size_of(k) : 0;
    return n;
}

/* The oldest of the tenant that has most: of a few of the oldest tenants, which is where a flood
 * is found. */
static void evict(struct responses *s)
{
    struct kept *worst = s->oldest;
    size_t most = held_by(s, &worst->tenant);
    int looked = 1;
    for (struct kept *k = worst->newer; k && looked < 16; k = k->newer) {
        if (same(&k->tenant, &worst->tenant))
            continue;
        size_t n = held_by(s, &k->tenant);
        looked++;
        if (n > most) {
            most = n;
            worst = k;
        }
    }
    unlink_one(s, worst);
    mem_free(worst);
}

static struct kept *find(struct responses *s, const struct tenant_tag *tenant, const char *id)
{
    struct kept *k = s->newest;
    while (k && (strcmp(k->id, id) != 0 || !same(&k->tenant, tenant)))
        k = k->older;
    return k;
}

void responses_put(struct responses *s, const struct tenant_tag *tenant, const char *id,
                   const struct buf *object, const struct buf *messages)
{
    size_t n = sizeof(struct kept) + object->len + messages->len;
    bool fits = n <= LIMIT_RESPONSES_BYTES && strlen(id) < sizeof(((struct kept *)0)->id);
    struct kept *k = fits ? mem_zalloc(n) : NULL;
    if (!k)
        return;
    *k = (struct kept){.tenant = *tenant, .n_object = object->len, .n_messages = messages->len};
    memcpy(k->id, id, strlen(id) + 1);
    memcpy(k->bytes, object->p, object->len);
    memcpy(k->bytes + object->len, messages->p, messages->len);
    pthread_mutex_lock(&s->lock);
    link_newest(s, k);
    while (s->bytes > LIMIT_RESPONSES_BYTES || s->n > LIMIT_RESPONSES)
        evict(s);
    pthread_mutex_unlock(&s->lock);
}

bool responses_get(struct responses *s, const struct tenant_tag *tenant, const char *id,
                   struct buf *object, struct buf *messages)
{
    pthread_mutex_lock(&s->lock);
    struct kept *k = find(s, tenant, id);
    if (k) {
        unlink_one(s, k);
        link_newest(s, k);
        if (object)
            buf_add(object, k->bytes, k->n_object);
        if (messages)
            buf_add(messages, k->bytes + k->n_object, k->n_messages);
    }
    pthread_mutex_unlock(&s->lock);
    return k != NULL;
}

bool responses_delete(struct responses *s, const struct tenant_tag *tenant, const char *id)
{
    pthread_mutex_lock(&s->lock);
    struct kept *k = find(s, tenant, id);
    if (k)
        unlink_one(s, k);
    pthread_mutex_unlock(&s->lock);
    mem_free(k);
    return k != NULL;
}
