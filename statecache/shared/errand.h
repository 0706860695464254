/* One question about one session's record, on its way to the store: a job of the third connection.
 * All functions are called under the cache's lock; the engine only pushes and looks. */
#ifndef RECURD_SHARED_ERRAND_H
#define RECURD_SHARED_ERRAND_H

#include "statecache/shared/claim.h"
#include "statecache/statecache_int.h"

enum errand_kind {
    ERRAND_LOOK,    /* what is there? */
    ERRAND_CLAIM,   /* the same, and it is ours for a turn */
    ERRAND_PUT,     /* the record, if what is there begins as `expected` */
    ERRAND_RELEASE, /* a claim is given up */
    ERRAND_REMOVE,  /* a record that says: deleted; whoever holds it */
    ERRAND_LIVE,    /* this replica lives */
    ERRAND_HEAR,    /* which sessions are called for, and is the store the one of before? */
};

struct errand {
    struct job job;
    struct statecache *sc;
    enum errand_kind kind;
    bool done, loose;         /* loose: nobody waits for it, it is freed when it is done */
    void (*finish)(struct errand *a); /* takes it when it is done; NULL = the owner looks */
    struct session *pushed;   /* by `finish` */
    struct errand *arrival;   /* in the list of those whose session is not here yet */
    struct tenant_tag tenant;
    struct session_id id;
    struct link_name name;
    uint64_t deadline_ns;
    struct stored known;      /* what this replica knows of the record */
    bool local;               /* it has a copy of the session, and the ids of its stretches */
    /* PUT: */
    bool call;      /* the store has forgotten it: others may have newer turns (recall.h) */
    bool reply;     /* only where what is there is older, or nothing */
    unsigned char expected[CLAIM_HEAD];
    size_t n_expected;
    struct claim next;
    int64_t ttl_s;
    struct buf change;        /* encoded: the session as it will be (change.h) */
    unsigned char *ids;       /* [n_ids] of stretches that are put, [n_new] that will be */
    int32_t n_ids, n_new;
    int32_t *tokens;          /* of the new ones */
    struct node *node;        /* pinned: where the session will be */
    struct buf answer;        /* of its turn, … */
    bool answered;            /* … which is kept */
    uint64_t generation;      /* that it will have */
    /* what came of it: */
    bool skip, claimed, fresh, gone, deleted, busy; /* fresh: r is newer than what is known, path
                                              its ids; busy: a turn runs elsewhere;
                                              gone: no record is there (expected has what is) */
    bool sealed;              /* a record is there that no key of ours opens */
    bool forgotten;           /* none is, and this replica knew one */
    unsigned char epoch[16];  /* HEAR, and `answer` has the names */
    bool old;                 /* r is sealed with the key of before, its stretches, too */
    struct shared_record r;
    int32_t *path;            /* [r's tokens] */
    uint64_t refused;
    int rc;
    struct err err, odd;
};

/* NULL: no memory. */
struct errand *errand_new(struct statecache *sc, enum errand_kind kind,
                          const struct tenant_tag *tenant, const struct session_id *id);
void errand_push(struct errand *a);
/* Gives up the lock until it is done, which is soon: it has a deadline. Not the engine. */
void errand_wait(struct errand *a);
/* It is done. */
void errand_free(struct errand *a);
int64_t errand_tokens(const struct errand *a); /* of what was found */

#endif
