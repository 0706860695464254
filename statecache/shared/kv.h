/* What states need of a store that replicas share, whichever it is: named values.
 *
 * One object is one connection (or one set of them) and is used by one thread at a time. The store
 * is not trusted: every reply has a bound that the caller names. After anything that leaves it
 * unknown what comes next the store is dropped: `connected` tells, and `connect` begins anew.
 *
 * deadline_ns: of clock_now_ns. All return 0; E_TIMEOUT, E_IO, E_FORMAT (not that protocol, or
 * longer than the bound); E_DENIED: the store would not, in its words; E_NOMEM. */
#ifndef RECURD_SHARED_KV_H
#define RECURD_SHARED_KV_H

#include "base/base.h"
#include "base/err.h"

#define KV_NAME 32   /* bytes of a name, at most */
#define KV_MARKS 64  /* of one list */

/* KV_RECORD: of a session. Those in use are claim.h's; as values here they are only copied. */
enum kv_kind {
    KV_STATE = 's', KV_CHUNK = 'c', KV_MARK = 'i', KV_GROUP = 'g', KV_RECORD = 'r'
};

struct kv_key {
    enum kv_kind kind;
    unsigned char n, name[KV_NAME];
};
#define KV_KEY_TEXT (2 * KV_NAME + 3)
/* "s:0123…": the kind, then the name in hex. */
void kv_key_text(const struct kv_key *key, char out[KV_KEY_TEXT]);
/* The name [n] in hex, without the kind. False: it is none of a key. */
bool kv_key_read(enum kv_kind kind, const char *hex, size_t n_hex, size_t n, struct kv_key *out);

struct kv_value {
    bool there;             /* false: the store has no such key */
    const unsigned char *p; /* [n], until the next call; NULL: it is there, and not such a value */
    size_t n;
};

/* Where a list of keys goes on. Zeros at first; `last` after the last page. */
struct kv_page {
    char at[2 * KV_NAME + 1];
    bool last;
    void (*each)(void *arg, const struct kv_key *key);
    void *arg;
};

struct kv;
struct kv_ops {
    void (*close)(struct kv *s);

    /* Anew: who we are, and one question answered within answer_ms. */
    int (*connect)(struct kv *s, int connect_ms, int answer_ms, struct err *e);
    bool (*connected)(const struct kv *s);
    void (*drop)(struct kv *s);
    /* After an answer that came too late: does it answer? If not it is dropped. NULL: it has ways
     * of its own to tell. */
    int (*probe)(struct kv *s, uint64_t deadline_ns, struct err *e);

    /* Begins to put p[n], whatever was there, to live for ttl_s (0 = as the store likes). Some puts
     * may be on their way at once; `flush` has them all done, and tells the first fault of any.
     * p is the caller's own again when put returns. */
    int (*put)(struct kv *s, const struct kv_key *key, const void *p, size_t n, int64_t ttl_s,
               uint64_t deadline_ns, struct err *e);
    int (*flush)(struct kv *s, uint64_t deadline_ns, struct err *e);

    /* Questions for values of at most `most` bytes: up to `window` may be on their way, and each
     * has its `answer`, in order. Nothing else may be asked in between, puts neither. */
    int (*ask)(struct kv *s, const struct kv_key *key, size_t most, uint64_t deadline_ns,
               struct err *e);
    int (*answer)(struct kv *s, uint64_t deadline_ns, struct kv_value *out, struct err *e);

    /* Is it there, and will it stay? Then its time to live begins again. */
    int (*keep)(struct kv *s, const struct kv_key *key, int64_t ttl_s, uint64_t deadline_ns,
                bool *there, struct err *e);
    int (*remove)(struct kv *s, const struct kv_key *key, uint64_t deadline_ns, struct err *e);

    /* Lists of KV_MARKS bits: sets one, whether there was a list or not; and the lists of n keys,
     * bit i at 1 << i, 0 where there is none. Hints: a bit may be lost, or be set for nothing. */
    int (*mark)(struct kv *s, const struct kv_key *list, int bit, int64_t ttl_s,
                uint64_t deadline_ns, struct err *e);
    int (*marks)(struct kv *s, const struct kv_key *lists, int n, uint64_t *marks,
                 uint64_t deadline_ns, struct err *e);

    /* A page of all keys of a kind whose names have n bytes, in no order, some twice. */
    int (*list)(struct kv *s, enum kv_kind kind, size_t n, struct kv_page *page,
                uint64_t deadline_ns, struct err *e);

    /* For who looks after a store from outside. How many seconds nobody has used it, or only put
     * it, where that is all the store knows; -1: it does not say, or there is none. And a page
     * more of what lies there and is of no kind that this build knows, counted to *n. */
    int (*idle)(struct kv *s, const struct kv_key *key, uint64_t deadline_ns, int64_t *idle_s,
                struct err *e);
    int (*others)(struct kv *s, struct kv_page *page, uint64_t *n, uint64_t deadline_ns,
                  struct err *e);
};

/* The beginning of every store's own object. */
struct kv {
    const struct kv_ops *ops;
    const char *shown; /* for people: without secrets */
    int window;        /* questions on their way at once, at least 1 */
    bool grouped;      /* questions cost: lists have lists of their own, which are asked first */
    bool lasting;      /* what is put lives as long as the store's own rules say: no ttl_s */
    uint64_t requests, repeated; /* sent, and of those sent again, since they were last read */
};

/* Where a store is, and who we are there. Texts are copied by those who open one. */
struct kv_options {
    const char *url;      /* of one store */
    const char *password; /* if the URL has none; NULL = there is none */
    const char *ca;       /* certificates to trust instead of the system's, or NULL */
    const char *endpoint, *region; /* of s3://, NULL = Amazon's, $AWS_REGION */
    const char *credentials; /* file that has them, NULL = $AWS_ACCESS_KEY_ID and its like */
};

/* Makes the object only; connects nowhere. kv_open: by the URL's scheme. E_FORMAT, E_RANGE (the
 * address; no sentence has a secret), E_CONFLICT: an option of another store, E_UNSUPPORTED: built
 * without what it needs, E_NOMEM; of s3:// as s3_login_open. */
int kv_open(struct kv **out, const struct kv_options *o, struct err *e) MUST_USE;
int kv_redis_open(struct kv **out, const struct kv_options *o, struct err *e) MUST_USE;
int kv_s3_open(struct kv **out, const struct kv_options *o, struct err *e) MUST_USE;
void kv_close(struct kv *s); /* NULL allowed */

/* --shared, which may name several stores with commas between, the one asked first first; a comma
 * in a password is none of those, because no scheme follows. out[i].url: into *copy, which the
 * caller frees (mem_free). Options of s3:// go to those stores. E_RANGE: more than KV_STORES;
 * E_CONFLICT: one of them twice; E_NOMEM. */
#define KV_STORES 2
int kv_list(const struct kv_options *all, struct kv_options out[KV_STORES], int *n, char **copy,
            struct err *e) MUST_USE;

/* The connection of a Redis store, for what only its protocol has; NULL: it is another store. */
struct wire;
struct wire *kv_redis_wire(struct kv *s);

#endif
