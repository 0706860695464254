/* Looking after a shared store from outside, beside the replicas that use it: every state of our
 * keys is opened and every chunk proved; what no replica can ever use is removed when asked for.
 *
 * Whose a thing is, only its box says: what opens with none of our keys is another cluster's, or
 * garbage, and is never touched. Memory: some batches, and 16 bytes for each of at most UPKEEP_IDS
 * chunks; with more the store is gone through several times. One thread. */
#ifndef RECURD_SHARED_UPKEEP_H
#define RECURD_SHARED_UPKEEP_H

#include "statecache/shared/kv.h"
#include "statecache/shared/seal.h"

#define UPKEEP_IDS (UINT64_C(1) << 22)

struct upkeep_counts {
    uint64_t states, bytes;   /* ours and whole; bytes of their chunks, as often as named */
    uint64_t broken;          /* ours, and a chunk is gone or wrong, or what is said is nonsense */
    uint64_t newer;           /* ours, of a version this build does not know */
    uint64_t foreign, foreign_chunks; /* of no key of ours */
    uint64_t sessions;        /* records of ours */
    uint64_t chunks, orphans; /* ours: named by a state or a session; by none */
    uint64_t young;           /* … of those, used too lately, or nobody knows when */
    uint64_t unknown;         /* of kinds that this build does not know */
    uint64_t removed;
};

struct upkeep {
    struct kv *kv;            /* connected */
    struct format format;     /* its keys */
    bool prune;
    int64_t grace_s;          /* an orphan that was used since may be of a state being put */
    struct upkeep_counts counts;
    void (*tell)(void *arg, const char *key, const char *why); /* of what is broken */
    void *arg;
    /* its own: */
    struct seal_keys keys[2];
    int n_keys;
    unsigned char (*ids)[16]; /* sorted */
    size_t n_ids, cap_ids;
    uint64_t passes, pass;
    uint64_t pass_ns;         /* when this pass began: what came since may name any chunk */
    bool blind;               /* some may name chunks in a way that this build does not know */
    unsigned char *plain, *expanded; /* of a chunk */
    struct compressor *compressor;
};

/* As kv_ops; E_NOMEM. What was pruned until then stays so. */
int upkeep_run(struct upkeep *u, struct err *e) MUST_USE;

#endif
