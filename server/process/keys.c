/* The set of keys. Invariant: `rows` changes only under the lock, all at once; the list of keys
 * only grows, at its head. */
#include "server/process/keys.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/process/options.h"

#define CREDENTIAL "recurd.api-keys"
#define VARIABLE "RECURD_API_KEY"
#define SINGLE_NAME "default" /* whose secret the variable is */

struct row {
    unsigned char tag[KEY_DIGEST]; /* keyed digest of a secret's SHA-256 */
    struct key *key;
};

struct keys {
    char *path; /* NULL = the variable */
    unsigned char pepper[crypto_generichash_KEYBYTES];
    pthread_rwlock_t lock;
    struct row *rows; /* [n_rows] */
    int n_rows, n_keys;
    struct key *head; /* atomic: every key there was, the latest first */
    struct statecache *sc;
};

/* ---- matching ---- */

static void tag_of(const struct keys *k, const unsigned char digest[KEY_DIGEST],
                   unsigned char tag[KEY_DIGEST])
{
    crypto_generichash(tag, KEY_DIGEST, digest, KEY_DIGEST, k->pepper, sizeof k->pepper);
}

/* In words and without a way out before the end: thirty times as fast as byte by byte, and there
 * may be thousands of rows. */
static bool is_same(const unsigned char a[KEY_DIGEST], const unsigned char b[KEY_DIGEST])
{
    uint64_t x[KEY_DIGEST / 8], y[KEY_DIGEST / 8], difference = 0;
    memcpy(x, a, KEY_DIGEST);
    memcpy(y, b, KEY_DIGEST);
    for (size_t i = 0; i < ARRAY_LEN(x); i++)
        difference |= x[i] ^ y[i];
    return difference == 0;
}

struct key *keys_find(struct keys *k, const char *secret, size_t n)
{
    unsigned char digest[KEY_DIGEST], tag[KEY_DIGEST];
    struct key *found = NULL;
    crypto_hash_sha256(digest, (const unsigned char *)secret, n);
    tag_of(k, digest, tag);
    pthread_rwlock_rdlock(&k->lock);
    for (int i = 0; i < k->n_rows; i++) /* to the end, wherever it is */
        if (is_same(k->rows[i].tag, tag))
            found = k->rows[i].key;
    pthread_rwlock_unlock(&k->lock);
    sodium_memzero(digest, sizeof digest);
    return found;
}

struct key *keys_next(struct keys *k, const struct key *after)
{
    return after ? after->next : __atomic_load_n(&k->head, __ATOMIC_ACQUIRE);
}

int keys_count(struct keys *k)
{
    pthread_rwlock_rdlock(&k->lock);
    int n = k->n_keys;
    pthread_rwlock_unlock(&k->lock);
    return n;
}

const char *keys_source(const struct keys *k) { return k->path ? k->path : "$" VARIABLE; }

/* ---- taking a file over ---- */

static struct key *by_name(struct keys *k, const char *name)
{
    struct key *key = keys_next(k, NULL);
    while (key && strcmp(key->name, name) != 0)
        key = key->next;
    return key;
}

/* Makes the key a tenant of the cache, without limits. */
static int enter(struct keys *k, struct key *key, struct err *e)
{
    static const struct tenant_limits none = {INT64_MAX, UINT64_MAX, UINT64_MAX};
    if (!k->sc)
        return 0;
    statecache_tenant(k->sc, key->name, &key->tenant);
    return statecache_limit(k->sc, &key->tenant, &none, e);
}

static uint64_t bytes_of(int64_t mib) { return mib < 0 ? UINT64_MAX : (uint64_t)mib << 20; }

static void limit(struct keys *k, const struct key *key)
{
    int64_t sessions = key->limit[KEY_SESSIONS];
    struct tenant_limits l = {
        .sessions = sessions < 0 ? INT64_MAX : sessions,
        .ram_bytes = bytes_of(key->limit[KEY_STATE_MEMORY]),
        .disk_bytes = bytes_of(key->limit[KEY_STATE_DISK]),
    };
    if (k->sc && key->in_force)
        (void)!statecache_limit(k->sc, &key->tenant, &l, NULL); /* it is a tenant: cannot fail */
}

/* The key of a line, made when its name is new; in force it is not yet. NULL = no memory. */
static struct key *key_of(struct keys *k, const struct keyfile_key *in, struct err *e)
{
    struct key *key = by_name(k, in->name);
    if (key)
        return key;
    key = mem_zalloc(sizeof *key);
    if (!key) {
        err_set(e, E_NOMEM, "%s: no memory for a key", keys_source(k));
        return NULL;
    }
    memcpy(key->name, in->name, sizeof key->name);
    pthread_mutex_init(&key->rate_lock, NULL);
    if (enter(k, key, e)) {
        mem_free(key);
        return NULL;
    }
    key->next = k->head;
    __atomic_store_n(&k->head, key, __ATOMIC_RELEASE);
    return key;
}

static void enforce(struct keys *k, const struct keyfile *f)
{
    int added = 0, removed = 0;
    for (struct key *key = k->head; key; key = key->next) {
        const struct keyfile_key *in = NULL;
        for (int i = 0; i < f->n && !in; i++)
            if (strcmp(f->keys[i].name, key->name) == 0)
                in = &f->keys[i];
        added += in && !key->in_force;
        removed += !in && key->in_force;
        __atomic_store_n(&key->in_force, in != NULL, __ATOMIC_RELAXED);
        __atomic_store_n(&key->metrics, in && in->metrics, __ATOMIC_RELAXED);
        __atomic_store_n(&key->priority, in && in->priority, __ATOMIC_RELAXED);
        for (int i = 0; in && i < KEY_LIMITS; i++)
            __atomic_store_n(&key->limit[i], in->limit[i], __ATOMIC_RELAXED);
        limit(k, key);
    }
    if (k->sc)
        statecache_expect(k->sc, f->n);
    log_info("%d API keys in force from %s: %d added, %d removed", f->n, keys_source(k), added,
             removed);
}

/* Everything that can fail comes before the step that puts the file in force. */
static int take_over(struct keys *k, const struct keyfile *f, struct err *e)
{
    int n = 0;
    struct row *rows = mem_array((size_t)f->n * KEY_SECRETS, sizeof *rows);
    if (!rows)
        return err_set(e, E_NOMEM, "%s: no memory for %d keys", keys_source(k), f->n);
    for (int i = 0; i < f->n; i++) {
        struct key *key = key_of(k, &f->keys[i], e);
        if (!key) {
            mem_free(rows);
            return E_NOMEM;
        }
        for (int j = 0; j < f->keys[i].n_secrets; j++, n++) {
            tag_of(k, f->keys[i].secret[j], rows[n].tag);
            rows[n].key = key;
        }
    }
    pthread_rwlock_wrlock(&k->lock);
    struct row *old = k->rows;
    k->rows = rows;
    k->n_rows = n;
    k->n_keys = f->n;
    pthread_rwlock_unlock(&k->lock);
    mem_free(old);
    enforce(k, f);
    return 0;
}

/* ---- where they come from ---- */

static int find_source(struct keys *k, const char *path, struct err *e)
{
    char credential[4096];
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    if (!path && dir) {
        snprintf(credential, sizeof credential, "%s/" CREDENTIAL, dir);
        path = file_exists(credential) ? credential : NULL;
    }
    if (path && getenv(VARIABLE))
        return err_set(e, E_CONFLICT, "$" VARIABLE " is set, and there is %s: one of them must go",
                       path);
    k->path = path ? mem_strdup(path) : NULL;
    return path && !k->path ? err_set(e, E_NOMEM, "no memory for the API keys") : 0;
}

static int read_source(struct keys *k, struct keyfile *f, struct err *e)
{
    char *secret = k->path ? NULL : getenv(VARIABLE);
    if (k->path)
        return keyfile_read(f, k->path, e);
    int rc = keyfile_single(f, SINGLE_NAME, secret, "$" VARIABLE, e);
    sodium_memzero(secret, strlen(secret)); /* /proc/PID/environ shows it otherwise */
    return rc;
}

int keys_open(struct keys **out, const struct options *o, struct err *e)
{
    struct keyfile f = {0};
    *out = NULL;
    if (sodium_init() < 0)
        return err_set(e, E_UNSUPPORTED, "libsodium does not start");
    struct keys *k = mem_zalloc(sizeof *k);
    if (!k)
        return err_set(e, E_NOMEM, "no memory for the API keys");
    pthread_rwlock_init(&k->lock, NULL);
    randombytes_buf(k->pepper, sizeof k->pepper);
    int rc = find_source(k, o->api_keys, e);
    bool any = k->path || getenv(VARIABLE);
    if (!rc && any)
        rc = read_source(k, &f, e);
    if (!rc && any)
        rc = take_over(k, &f, e);
    keyfile_free(&f);
    if (rc || !any)
        keys_close(k);
    else
        *out = k;
    return rc;
}

int keys_bind(struct keys *k, struct statecache *sc, struct err *e)
{
    int rc = 0;
    k->sc = sc;
    for (struct key *key = k->head; key && !rc; key = key->next) {
        rc = enter(k, key, e);
        limit(k, key);
    }
    if (sc)
        statecache_expect(sc, k->n_keys);
    return rc;
}

int keys_reload(struct keys *k, struct err *e)
{
    struct keyfile f = {0};
    if (!k->path)
        return err_set(e, E_UNSUPPORTED, "the key came from $" VARIABLE ", which cannot change");
    int rc = keyfile_read(&f, k->path, e);
    if (!rc)
        rc = take_over(k, &f, e);
    keyfile_free(&f);
    return rc;
}

void keys_close(struct keys *k)
{
    if (!k)
        return;
    for (struct key *key = k->head, *next; key; key = next) {
        next = key->next;
        mem_free(key);
    }
    mem_free(k->rows);
    mem_free(k->path);
    pthread_rwlock_destroy(&k->lock);
    sodium_memzero(k, sizeof *k);
    mem_free(k);
}

/* ---- the share of one ---- */

int key_take(struct key *k, int32_t n, struct err *e)
{
    int64_t now = __atomic_load_n(&k->requests, __ATOMIC_RELAXED);
    do {
        int64_t max = __atomic_load_n(&k->limit[KEY_REQUESTS], __ATOMIC_RELAXED);
        bool never = max >= 0 && n > max, busy = max >= 0 && now > max - n;
        if (never || busy)
            __atomic_add_fetch(&k->refused, (uint64_t)n, __ATOMIC_RELAXED);
        if (never)
            return err_set(e, E_DENIED, "this request is %d sequences, and the key may have %lld "
                           "at once", n, (long long)max);
        if (busy)
            return err_set(e, E_BUSY, "the key has %lld sequences, and may have %lld at once",
                           (long long)now, (long long)max);
    } while (!__atomic_compare_exchange_n(&k->requests, &now, now + n, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    __atomic_add_fetch(&k->admitted, (uint64_t)n, __ATOMIC_RELAXED);
    return 0;
}

void key_give(struct key *k, int32_t n)
{
    __atomic_sub_fetch(&k->requests, n, __ATOMIC_ACQ_REL);
}

/* ---- so much a minute ---- */

static const enum key_limit rate_limits[KEY_RATES] = {
    [KEY_RATE_REQUESTS] = KEY_REQUESTS_MINUTE, [KEY_RATE_TOKENS] = KEY_TOKENS_MINUTE,
};

/* Under rate_lock. False: no limit. */
static bool look(struct key *k, enum key_rate which, struct rate_view *out)
{
    int64_t limit = __atomic_load_n(&k->limit[rate_limits[which]], __ATOMIC_RELAXED);
    if (limit > 0)
        *out = rate_look(&k->rate[which], limit, clock_now_ns());
    else /* 0: none at all, ever */
        *out = (struct rate_view){.wait_ns = 3600 * NS_PER_S};
    return limit >= 0;
}

bool key_rate(struct key *k, enum key_rate which, struct rate_view *out)
{
    pthread_mutex_lock(&k->rate_lock);
    bool limited = look(k, which, out);
    pthread_mutex_unlock(&k->rate_lock);
    return limited;
}

int key_request(struct key *k, int32_t *retry_s, struct err *e)
{
    static const char *const what[KEY_RATES] = {"requests", "tokens"};
    struct rate_view v;
    int rc = 0;
    pthread_mutex_lock(&k->rate_lock);
    for (int i = 0; i < KEY_RATES && !rc; i++) {
        if (!look(k, (enum key_rate)i, &v) || v.wait_ns == 0)
            continue;
        *retry_s = (int32_t)MIN((v.wait_ns + NS_PER_S - 1) / NS_PER_S, 86400);
        rc = err_set(e, E_BUSY, "the key has had its %lld %s a minute; the next may come in %d s",
                     (long long)v.limit, what[i], (int)*retry_s);
    }
    if (!rc && look(k, KEY_RATE_REQUESTS, &v))
        rate_add(&k->rate[KEY_RATE_REQUESTS], 1);
    pthread_mutex_unlock(&k->rate_lock);
    if (rc)
        __atomic_add_fetch(&k->refused, 1, __ATOMIC_RELAXED);
    return rc;
}

void key_tokens(struct key *k, int64_t n)
{
    struct rate_view v;
    pthread_mutex_lock(&k->rate_lock);
    if (look(k, KEY_RATE_TOKENS, &v))
        rate_add(&k->rate[KEY_RATE_TOKENS], n);
    pthread_mutex_unlock(&k->rate_lock);
}
