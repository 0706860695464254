/* Files of kept responses, and the thread that writes them. */
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/jsonread.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/api/responses.h"
#include "server/http/waker.h"
#include "statecache/store/fsio.h"

#define MAGIC "RECURDRS"
#define VERSION 1
#define HEAD 128
#define SEAL_AT 96
#define SEAL 32
#define PATH 4400

/* One piece of the writer's work. Its maker and the writer have a reference each. */
struct saving {
    struct saving *next;
    int refs, done;      /* atomic */
    struct waker *waker; /* a reference; NULL = none */
    struct err error;    /* once done */
    char id[48];
    size_t n;            /* of bytes; 0: the file goes */
    char bytes[];
};

/* Owner: the store of responses. lock: of the queue. */
struct response_files {
    const struct fsio *io;
    unsigned char key[16], old[16];
    bool two; /* what old sealed is accepted */
    char dir[PATH - 64];
    pthread_t thread;
    bool started, stopping, sick; /* sick: the last try to write failed; the writer's own */
    pthread_mutex_t lock;
    pthread_cond_t more, less;
    struct saving *first, *last;
};

/* ---- bytes ---- */

static void seal(const unsigned char key[16], const char *p, size_t n, unsigned char out[SEAL])
{
    crypto_generichash_state s;
    crypto_generichash_init(&s, key, 16, SEAL);
    crypto_generichash_update(&s, (const unsigned char *)p, SEAL_AT);
    crypto_generichash_update(&s, (const unsigned char *)p + HEAD, n - HEAD);
    crypto_generichash_final(&s, out, SEAL);
}

static void put_number(char *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (char)(v >> (8 * i));
}

static uint64_t get_number(const char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return v;
}

static void pack(const struct response_files *d, const struct response_file *f, char *p, size_t n)
{
    memcpy(p, MAGIC, 8);
    put_number(p + 8, VERSION, 4);
    memcpy(p + 16, f->tenant.b, 16);
    put_number(p + 32, f->number, 8);
    put_number(p + 40, f->n_object, 4);
    put_number(p + 44, f->n_messages, 4);
    memcpy(p + 48, f->id, sizeof f->id);
    memcpy(p + HEAD, f->object, f->n_object);
    memcpy(p + HEAD + f->n_object, f->messages, f->n_messages);
    seal(d->key, p, n, (unsigned char *)p + SEAL_AT);
}

static bool sealed_with(const unsigned char key[16], const char *p, size_t n)
{
    unsigned char want[SEAL];
    seal(key, p, n, want);
    return sodium_memcmp(want, p + SEAL_AT, SEAL) == 0;
}

/* What is wrong with the file of that name; NULL: nothing, and f points into it. */
static const char *unpack(const struct response_files *d, const char *name, const char *p, size_t n,
                          struct response_file *f)
{
    if (n < HEAD || memcmp(p, MAGIC, 8) != 0)
        return "no response";
    if (get_number(p + 8, 4) != VERSION)
        return "of another version";
    if (!sealed_with(d->key, p, n) && !(d->two && sealed_with(d->old, p, n)))
        return "damaged, or of another key";
    *f = (struct response_file){.number = get_number(p + 32, 8),
                                .n_object = get_number(p + 40, 4),
                                .n_messages = get_number(p + 44, 4), .object = p + HEAD};
    memcpy(f->tenant.b, p + 16, 16);
    memcpy(f->id, p + 48, sizeof f->id);
    f->messages = f->object + f->n_object;
    if (f->n_object + f->n_messages != n - HEAD || f->id[sizeof f->id - 1] ||
        strcmp(f->id, name) != 0)
        return "renamed";
    return NULL;
}

/* ---- files ---- */

static void path_of(const struct response_files *d, char out[PATH], const char *id,
                    const char *more)
{
    snprintf(out, PATH, "%s/%s%s", d->dir, id, more);
}

/* What has that name is replaced when all of the new bytes are on the medium. */
static int put_file(struct response_files *d, const char *id, const char *bytes, size_t n,
                    struct err *e)
{
    const struct fsio *io = d->io;
    char path[PATH], fresh[PATH];
    path_of(d, path, id, "");
    path_of(d, fresh, id, ".new");
    (void)io->unlink(io->ctx, fresh); /* of a run before */
    int fd = io->create(io->ctx, fresh);
    if (fd < 0)
        return fsio_failed(e, fd, "create", fresh);
    int rc = fsio_write_all(io, fd, bytes, n);
    rc = rc ? rc : io->fsync(io->ctx, fd);
    int closed = io->close(io->ctx, fd);
    rc = rc ? rc : closed;
    rc = rc ? rc : io->rename(io->ctx, fresh, path);
    rc = rc ? rc : io->sync_dir(io->ctx, d->dir);
    if (rc)
        (void)io->unlink(io->ctx, fresh);
    return rc ? fsio_failed(e, rc, "write", path) : 0;
}

static int write_file(struct response_files *d, const struct saving *v, struct err *e)
{
    char path[PATH];
    int rc = put_file(d, v->id, v->bytes, v->n, e);
    path_of(d, path, v->id, "");
    if (rc)
        (void)d->io->unlink(d->io->ctx, path); /* it may be there, and nobody was told */
    return rc;
}

static int remove_file(struct response_files *d, const char *id, struct err *e)
{
    char path[PATH];
    path_of(d, path, id, "");
    int rc = d->io->unlink(d->io->ctx, path);
    if (rc && rc != -ENOENT)
        return fsio_failed(e, rc, "remove", path);
    rc = d->io->sync_dir(d->io->ctx, d->dir);
    return rc ? fsio_failed(e, rc, "sync", d->dir) : 0;
}

/* ---- the writer ---- */

void saving_unref(struct saving *v)
{
    if (!v || __atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    waker_unref(v->waker);
    mem_free(v);
}

bool saving_done(const struct saving *v) { return __atomic_load_n(&v->done, __ATOMIC_ACQUIRE); }

static void work(struct response_files *d, struct saving *v)
{
    int rc = v->n ? write_file(d, v, &v->error) : remove_file(d, v->id, &v->error);
    if (rc && !d->sick)
        log_warn("responses are kept in memory alone: %s", v->error.text);
    d->sick = rc != 0;
    pthread_mutex_lock(&d->lock);
    __atomic_store_n(&v->done, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&d->less);
    pthread_mutex_unlock(&d->lock);
    if (v->waker)
        waker_signal(v->waker, 0);
    saving_unref(v);
}

static void *writer(void *arg)
{
    struct response_files *d = arg;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (!d->first && !d->stopping)
            pthread_cond_wait(&d->more, &d->lock);
        struct saving *v = d->first;
        if (!v)
            break;
        d->first = v->next;
        d->last = d->first ? d->last : NULL;
        pthread_mutex_unlock(&d->lock);
        work(d, v);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* The caller has one reference. */
static struct saving *enqueue(struct response_files *d, const char *id, size_t n,
                              const struct response_file *f, struct waker *w)
{
    struct saving *v = mem_zalloc(sizeof *v + n);
    if (!v)
        return NULL;
    v->refs = 2;
    v->n = n;
    memcpy(v->id, id, strlen(id) + 1);
    if (f)
        pack(d, f, v->bytes, n);
    v->waker = w;
    if (w)
        waker_ref(w);
    pthread_mutex_lock(&d->lock);
    *(d->last ? &d->last->next : &d->first) = v;
    d->last = v;
    pthread_cond_signal(&d->more);
    pthread_mutex_unlock(&d->lock);
    return v;
}

struct saving *response_files_put(struct response_files *d, const struct response_file *f,
                                  struct waker *w)
{
    return enqueue(d, f->id, HEAD + f->n_object + f->n_messages, f, w);
}

int response_files_drop(struct response_files *d, const char *id, bool wait, struct err *e)
{
    struct saving *v = enqueue(d, id, 0, NULL, NULL);
    if (!v)
        return err_set(e, E_NOMEM, "no memory to remove a response");
    pthread_mutex_lock(&d->lock);
    while (wait && !saving_done(v))
        pthread_cond_wait(&d->less, &d->lock);
    pthread_mutex_unlock(&d->lock);
    int rc = wait ? v->error.code : 0;
    if (rc && e)
        *e = v->error;
    saving_unref(v);
    return rc;
}

/* ---- start and end ---- */

struct names {
    struct response_files *d;
    char (*name)[48];
    size_t n, cap;
    bool failed, tidy; /* tidy: what was being written when a run ended goes */
};

/* Well-formed names. */
static void note(void *arg, const char *name)
{
    struct names *l = arg;
    char path[PATH];
    size_t n = strlen(name), id = strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789");
    if (l->tidy && n > 4 && id == n - 4 && strcmp(name + id, ".new") == 0 && id < 48) {
        path_of(l->d, path, name, "");
        (void)l->d->io->unlink(l->d->io->ctx, path);
    }
    if (id != n || n >= 48 || strncmp(name, "resp_", 5) != 0)
        return; /* not ours */
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        char (*more)[48] = mem_realloc(l->name, cap * sizeof *more);
        l->failed |= !more;
        if (!more)
            return;
        l->name = more;
        l->cap = cap;
    }
    memcpy(l->name[l->n++], name, n + 1);
}

enum look { LOOK_DONE, LOOK_GONE, LOOK_NO_MEMORY, LOOK_UNREADABLE };

/* One file: *p has its bytes, the caller's; what is wrong with it, or f points into it. */
static enum look read_one(struct response_files *d, const char *name, char **p, uint64_t *size,
                          const char **wrong, struct response_file *f)
{
    char path[PATH];
    path_of(d, path, name, "");
    *p = NULL;
    *size = 0;
    int io = 0, fd = d->io->open(d->io->ctx, path, size);
    if (fd < 0)
        return LOOK_GONE; /* or it is not a file, or nobody may read it: not ours */
    *wrong = *size > LIMIT_RESPONSES_BYTES + HEAD ? "too large" : NULL;
    *p = *wrong ? NULL : mem_zalloc((size_t)*size + 1);
    if (*p)
        io = fsio_read_all(d->io, fd, *p, (size_t)*size, 0);
    (void)d->io->close(d->io->ctx, fd);
    if (*wrong)
        return LOOK_DONE;
    if (!*p)
        return LOOK_NO_MEMORY;
    if (io)
        return LOOK_UNREADABLE;
    *wrong = unpack(d, name, *p, (size_t)*size, f);
    return LOOK_DONE;
}

static int load_one(struct response_files *d, const char *name,
                    int (*each)(void *arg, const struct response_file *f), void *arg,
                    struct err *e)
{
    char path[PATH], *p;
    const char *wrong = NULL;
    struct response_file f;
    uint64_t size;
    path_of(d, path, name, "");
    enum look found = read_one(d, name, &p, &size, &wrong, &f);
    int rc = found == LOOK_NO_MEMORY ? E_NOMEM : 0;
    if (found == LOOK_UNREADABLE)
        log_warn("%s: it cannot be read; it is left alone", path);
    if (found == LOOK_DONE && !wrong)
        rc = each(arg, &f);
    if (wrong) {
        log_warn("%s: %s; it is removed", path, wrong);
        (void)d->io->unlink(d->io->ctx, path);
    }
    mem_free(p);
    return rc ? err_set(e, E_NOMEM, "no memory for the responses in %s", d->dir) : 0;
}

static int load(struct response_files *d, int (*each)(void *arg, const struct response_file *f),
                void *arg, struct err *e)
{
    struct names l = {.d = d, .tidy = true};
    int listed = d->io->list(d->io->ctx, d->dir, note, &l);
    int rc = listed ? fsio_failed(e, listed, "list", d->dir) : 0;
    if (!rc && l.failed)
        rc = err_set(e, E_NOMEM, "no memory for the names in %s", d->dir);
    for (size_t i = 0; i < l.n && !rc; i++)
        rc = load_one(d, l.name[i], each, arg, e);
    mem_free(l.name);
    return rc;
}

static int set_folder(struct response_files *d, const char *state_dir, const unsigned char key[16],
                      const unsigned char *old, const struct fsio *io, struct err *e)
{
    d->io = io ? io : &fsio_real;
    memcpy(d->key, key, sizeof d->key);
    d->two = old != NULL;
    if (old)
        memcpy(d->old, old, sizeof d->old);
    int n = snprintf(d->dir, sizeof d->dir, "%s/responses", state_dir);
    if (n < 0 || (size_t)n >= sizeof d->dir)
        return err_set(e, E_RANGE, "the path of the state folder has %d bytes, and at most %zu "
                       "are possible", n, sizeof d->dir - 1);
    return 0;
}

int response_files_open(struct response_files **out, const char *state_dir,
                        const unsigned char key[16], const unsigned char *old,
                        const struct fsio *io,
                        int (*each)(void *arg, const struct response_file *f), void *arg,
                        struct err *e)
{
    struct response_files *d = *out = mem_zalloc(sizeof *d);
    if (!d || pthread_mutex_init(&d->lock, NULL) || pthread_cond_init(&d->more, NULL) ||
        pthread_cond_init(&d->less, NULL)) {
        mem_free(d);
        *out = NULL;
        return err_set(e, E_NOMEM, "no memory for responses");
    }
    if (set_folder(d, state_dir, key, old, io, e))
        return e->code;
    int made = d->io->mkdir(d->io->ctx, d->dir);
    if (made && made != -EEXIST)
        return fsio_failed(e, made, "make", d->dir);
    int rc = load(d, each, arg, e);
    if (!rc && pthread_create(&d->thread, NULL, writer, d))
        rc = err_set(e, E_NOMEM, "no thread for responses");
    d->started = !rc;
    return rc;
}

void response_files_close(struct response_files *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_signal(&d->more);
    pthread_mutex_unlock(&d->lock);
    if (d->started)
        pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->less);
    pthread_cond_destroy(&d->more);
    pthread_mutex_destroy(&d->lock);
    mem_free(d);
}

/* ---- read only ---- */

/* What is wrong with the texts behind a good seal. */
static const char *check_texts(const struct response_file *f)
{
    json_t *object = jsonread(f->object, f->n_object, JSON_ALLOW_NUL, NULL);
    json_t *messages = jsonread(f->messages, f->n_messages, JSON_ALLOW_NUL, NULL);
    const char *id = json_string_value(json_object_get(object, "id"));
    bool own = id && strcmp(id, f->id) == 0, list = json_is_array(messages);
    json_decref(object);
    json_decref(messages);
    return !own ? "its text is not the response of its name" : !list ? "its conversation is none"
                                                                      : NULL;
}

/* The folder and the names in it, for a look from outside. */
static int open_names(struct response_files **out, const char *state_dir,
                      const unsigned char key[16], const unsigned char *old, const struct fsio *io,
                      struct names *l, struct err *e)
{
    struct response_files *d = *out = mem_zalloc(sizeof *d);
    *l = (struct names){.d = d};
    int rc = d ? set_folder(d, state_dir, key, old, io, e)
               : err_set(e, E_NOMEM, "no memory for responses");
    int listed = rc ? 0 : d->io->list(d->io->ctx, d->dir, note, l);
    if (listed && listed != -ENOENT)
        rc = fsio_failed(e, listed, "list", d->dir);
    if (!rc && l->failed)
        rc = err_set(e, E_NOMEM, "no memory for the names in %s", d->dir);
    return rc;
}

int response_files_check(const char *state_dir, const unsigned char key[16],
                         const unsigned char *old, const struct fsio *io,
                         void (*each)(void *arg, const char *name, uint64_t bytes,
                                      const char *wrong, const struct response_file *f),
                         void *arg, struct err *e)
{
    struct response_files *d;
    struct names l;
    int rc = open_names(&d, state_dir, key, old, io, &l, e);
    for (size_t i = 0; i < l.n && !rc; i++) {
        struct response_file f;
        const char *wrong = NULL;
        uint64_t size;
        char *p;
        enum look found = read_one(d, l.name[i], &p, &size, &wrong, &f);
        if (found == LOOK_NO_MEMORY)
            rc = err_set(e, E_NOMEM, "no memory for %s", l.name[i]);
        else if (found == LOOK_UNREADABLE)
            wrong = "it cannot be read";
        else if (found == LOOK_DONE && !wrong)
            wrong = check_texts(&f);
        if (!rc && found != LOOK_GONE)
            each(arg, l.name[i], size, wrong, &f);
        mem_free(p);
    }
    mem_free(l.name);
    mem_free(d);
    return rc;
}

/* ---- another key ---- */

int response_files_rekey(const char *state_dir, const unsigned char key[16],
                         const unsigned char old[16], const struct fsio *io,
                         void (*each)(void *arg, const char *name, uint64_t bytes,
                                      enum response_rekey what, const char *why),
                         void *arg, struct err *e)
{
    struct response_files *d;
    struct names l;
    int rc = open_names(&d, state_dir, key, old, io, &l, e);
    for (size_t i = 0; i < l.n && !rc; i++) {
        struct response_file f;
        const char *wrong = NULL;
        uint64_t size;
        char *p;
        enum look found = read_one(d, l.name[i], &p, &size, &wrong, &f);
        if (found == LOOK_NO_MEMORY) {
            rc = err_set(e, E_NOMEM, "no memory for %s", l.name[i]);
        } else if (found != LOOK_DONE) {
            each(arg, l.name[i], size, RESPONSE_LEFT, "it cannot be read");
        } else if (wrong) {
            each(arg, l.name[i], size, RESPONSE_BAD, wrong);
        } else if (sealed_with(d->key, p, (size_t)size)) {
            each(arg, l.name[i], size, RESPONSE_ALREADY, NULL);
        } else {
            seal(d->key, p, (size_t)size, (unsigned char *)p + SEAL_AT);
            rc = put_file(d, l.name[i], p, (size_t)size, e);
            if (!rc)
                each(arg, l.name[i], size, RESPONSE_SEALED, NULL);
        }
        mem_free(p);
    }
    mem_free(l.name);
    mem_free(d);
    return rc;
}
