/* Copying of a shared store into another one, beside the replicas that use either: states with all
 * their chunks, and records of sessions with the stretches of their paths.
 *
 * Every state that a key of ours opens is read whole and proved before it is put, sealed with
 * today's key if it was sealed with the one of before; what is there already is not read again, so
 * a copy that was interrupted goes on where it was. A record replaces none that is as new. Memory:
 * one state. One thread. */
#ifndef RECURD_SHARED_COPY_H
#define RECURD_SHARED_COPY_H

#include "statecache/shared/object.h"

struct copy_counts {
    uint64_t states, bytes;     /* copied; of their chunks */
    uint64_t sessions;          /* records copied */
    uint64_t already;           /* of both: there, as new or newer */
    uint64_t broken;            /* ours, and gone in part, or not what it says */
    uint64_t newer;             /* ours, of a version this build does not know */
    uint64_t foreign;           /* of no key of ours */
};

struct copy {
    struct kv *from, *to;       /* connected */
    struct format format;       /* its keys */
    enum compress_rule compress;
    int64_t ttl_s;              /* of what is put; 0: states as the store likes, records 30 days */
    struct copy_counts counts;
    void (*tell)(void *arg, const char *key, const char *why); /* of what is broken */
    void *arg;
    /* its own: */
    struct seal_keys keys[2];
    int n_keys;
    struct compressor *compressor;
};

/* As kv.h, for one of the stores; E_NOMEM. What was copied until then stays so. */
int copy_run(struct copy *c, struct err *e) MUST_USE;

#endif
