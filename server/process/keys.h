/* The API keys in force: whose secret is this, what may they do, what did they use.
 *
 * Only a keyed digest of each secret is kept, under a key that this process drew; a request's
 * secret is compared with all of them, so that the time says nothing. A key is known by its name:
 * its states and sessions stay when its secret changes. Owner: main, from keys_open to
 * keys_close. Thread: any, but for open, bind, reload and close: main. */
#ifndef RECURD_KEYS_H
#define RECURD_KEYS_H

#include <pthread.h>

#include "server/process/keyfile.h"
#include "server/process/rate.h"
#include "statecache/statecache.h"

struct keys;
struct options;

enum key_rate { KEY_RATE_REQUESTS, KEY_RATE_TOKENS, KEY_RATES };

/* Stays until keys_close, also when a reload removes it: requests and counters hold on to it. */
struct key {
    struct key *next;
    char name[KEY_NAME_BYTES + 1];
    struct tenant_tag tenant;
    int64_t limit[KEY_LIMITS]; /* -1 = none; atomic, as all below */
    int metrics;               /* may read /metrics */
    int priority;              /* its requests' priority counts among other keys', too */
    int in_force;              /* is in the file now */
    int64_t requests;          /* sequences now */
    uint64_t admitted, refused; /* sequences */
    uint64_t prompt_tokens, cached_tokens, output_tokens;
    pthread_mutex_t rate_lock; /* a leaf; covers rate */
    struct rate rate[KEY_RATES];
};

/* The key file of the options, else the credential recurd.api-keys, else $RECURD_API_KEY, which
 * is wiped. *out = NULL: there are none, and nobody is asked for one. */
int keys_open(struct keys **out, const struct options *o, struct err *e) MUST_USE;
void keys_close(struct keys *k); /* NULL allowed */

/* Makes every key a tenant of the state cache, with its limits. sc NULL = there is none. */
int keys_bind(struct keys *k, struct statecache *sc, struct err *e) MUST_USE;

/* Reads the file again. All or nothing: after a failure the old keys stay in force. Removed keys
 * are unknown to every request that comes from now on. E_UNSUPPORTED: there is no file. */
int keys_reload(struct keys *k, struct err *e) MUST_USE;

/* Whose secret these n bytes are; NULL = nobody's. */
struct key *keys_find(struct keys *k, const char *secret, size_t n);
int keys_count(struct keys *k);
const char *keys_source(const struct keys *k); /* a path or a name, for messages */
/* Every key there was; pass NULL, then the one before. NULL = the end. */
struct key *keys_next(struct keys *k, const struct key *after);

/* Takes n of the key's sequences. E_DENIED: it never may have so many; E_BUSY: not now. */
int key_take(struct key *k, int32_t n, struct err *e) MUST_USE;
void key_give(struct key *k, int32_t n);

/* One more request this minute. E_BUSY: it has had all of its requests or tokens; *retry_s
 * becomes the seconds after which that is no longer so. */
int key_request(struct key *k, int32_t *retry_s, struct err *e) MUST_USE;
/* Its requests computed these tokens. */
void key_tokens(struct key *k, int64_t n);
/* False: the key has no such limit. */
bool key_rate(struct key *k, enum key_rate which, struct rate_view *out);

#endif
