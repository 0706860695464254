/* A list in the order of use, looked through from its end: 4,096 comparisons are nothing beside
 * the request that asks. With a state folder each has its file, which is never read again. */
#include "server/api/responses.h"

#include <pthread.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "scheduler/served.h"

struct kept {
    struct kept *newer, *older;
    struct tenant_tag tenant;
    char id[48];
    uint64_t number; /* of its file, in the order of making */
    size_t n_object, n_messages;
    char bytes[]; /* both */
};

struct responses {
    pthread_mutex_t lock;
    struct kept *newest, *oldest;
    size_t bytes;
    int n;
    uint64_t number;              /* of the next one */
    struct response_files *files; /* NULL = memory alone */
};

static size_t size_of(const struct kept *k) { return sizeof *k + k->n_object + k->n_messages; }

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
    if (s)
        response_files_close(s->files);
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
static struct kept *worst(const struct responses *s)
{
    struct kept *found = s->oldest;
    size_t most = held_by(s, &found->tenant);
    int looked = 1;
    for (struct kept *k = found->newer; k && looked < 16; k = k->newer) {
        if (same(&k->tenant, &found->tenant))
            continue;
        size_t n = held_by(s, &k->tenant);
        looked++;
        if (n > most) {
            most = n;
            found = k;
        }
    }
    return found;
}

/* What there is no room for goes. */
static void trim(struct responses *s)
{
    while (s->bytes > LIMIT_RESPONSES_BYTES || s->n > LIMIT_RESPONSES) {
        struct kept *w = worst(s);
        unlink_one(s, w);
        if (s->files)
            (void)response_files_drop(s->files, w->id, false, NULL); /* else the next start's */
        mem_free(w);
    }
}

static struct kept *copy(const struct response_file *f)
{
    size_t n = sizeof(struct kept) + f->n_object + f->n_messages;
    struct kept *k = n <= LIMIT_RESPONSES_BYTES ? mem_zalloc(n) : NULL;
    if (!k)
        return NULL;
    *k = (struct kept){.tenant = f->tenant, .number = f->number, .n_object = f->n_object,
                       .n_messages = f->n_messages};
    memcpy(k->id, f->id, sizeof k->id);
    memcpy(k->bytes, f->object, f->n_object);
    memcpy(k->bytes + f->n_object, f->messages, f->n_messages);
    return k;
}

/* A file that was there at the start: into its place by number. */
static int found(void *arg, const struct response_file *f)
{
    struct responses *s = arg;
    struct kept *k = copy(f), *older = s->newest;
    if (!k)
        return E_NOMEM;
    s->number = MAX(s->number, f->number + 1);
    while (older && older->number > k->number)
        older = older->older;
    k->older = older;
    k->newer = older ? older->newer : s->oldest;
    *(k->newer ? &k->newer->older : &s->newest) = k;
    *(older ? &older->newer : &s->oldest) = k;
    s->bytes += size_of(k);
    s->n++;
    trim(s);
    return 0;
}

int responses_open_in(struct responses **out, const char *state_dir, const unsigned char key[16],
                      const unsigned char *old, const struct fsio *io, struct err *e)
{
    struct responses *s = *out = mem_zalloc(sizeof *s);
    if (!s || pthread_mutex_init(&s->lock, NULL)) {
        mem_free(s);
        *out = NULL;
        return err_set(e, E_NOMEM, "no memory for responses");
    }
    return state_dir ? response_files_open(&s->files, state_dir, key, old, io, found, s, e)
                     : 0;
}

int responses_open(struct responses **out, const struct served *served, struct err *e)
{
    unsigned char key[16] = {0}, old[16];
    bool two = false;
    if (served->state_dir) {
        (void)statecache_secret(served->cache, RESPONSES_KEY_ID, false, key);
        two = statecache_secret(served->cache, RESPONSES_KEY_ID, true, old);
    }
    return responses_open_in(out, served->state_dir, key, two ? old : NULL, NULL, e);
}

static struct kept *find(struct responses *s, const struct tenant_tag *tenant, const char *id)
{
    struct kept *k = s->newest;
    while (k && (strcmp(k->id, id) != 0 || !same(&k->tenant, tenant)))
        k = k->older;
    return k;
}

struct saving *responses_put(struct responses *s, const struct tenant_tag *tenant, const char *id,
                             const struct buf *object, const struct buf *messages,
                             struct waker *w)
{
    struct response_file f = {.tenant = *tenant, .object = object->p, .n_object = object->len,
                              .messages = messages->p, .n_messages = messages->len};
    struct saving *v = NULL;
    size_t n = strlen(id);
    ASSERT(n < sizeof f.id);
    memcpy(f.id, id, n);
    pthread_mutex_lock(&s->lock);
    f.number = s->number++;
    struct kept *k = copy(&f);
    if (k && s->files)
        v = response_files_put(s->files, &f, w);
    if (k) {
        link_newest(s, k);
        trim(s);
    }
    pthread_mutex_unlock(&s->lock);
    return v;
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

bool responses_delete(struct responses *s, const struct tenant_tag *tenant, const char *id,
                      struct err *e)
{
    pthread_mutex_lock(&s->lock);
    struct kept *k = find(s, tenant, id);
    if (k)
        unlink_one(s, k);
    pthread_mutex_unlock(&s->lock);
    if (k && s->files)
        (void)response_files_drop(s->files, k->id, true, e);
    mem_free(k);
    return k != NULL;
}
