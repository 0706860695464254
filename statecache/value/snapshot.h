/* Snapshots: the state after the tokens of a path, frozen; and the KV pages they share.
 *
 * A snapshot is in any combination of tiers: a device slot, a slab in RAM, a file. Functions
 * marked ENGINE touch the device or the engine's pools; the others may run on any thread and
 * leave slots and pages to core_bury. All under the cache's lock. */
#ifndef RECURD_SNAPSHOT_H
#define RECURD_SNAPSHOT_H

#include "statecache/statecache_int.h"

/* A full page of KV rows as a value; immutable, shared by the snapshots of a path. */
struct block {
    int32_t refs;  /* snapshots */
    int32_t page;  /* device page with one reference of ours, or -1 */
    float *host;   /* page_bytes, or NULL */
    struct tenant *tenant;
};

/* What a snapshot is to one shared store. */
struct share {
    bool there, going;    /* it has it; is being given it */
    struct link offer;    /* member of the list of those to be given to it, or prev == NULL */
    uint64_t offer_ns;
};

/* The state after the tokens of the path to `node`. Its bytes never change. */
struct snapshot {
    struct node *node;
    struct tenant *tenant;
    int64_t pos;
    enum point kind;
    /* where it is: any combination, never nowhere (but while it is being read from disk) */
    int32_t slot;             /* device slot, or -1 */
    float *slab;              /* slot_bytes, or NULL */
    bool on_disk, durable;    /* durable: survives the machine, not just the process */
    bool checked;             /* its file was written, or read whole, by this process */
    float *logits;            /* [vocab]; with slab or slot */
    struct block **blocks;    /* [n_blocks] full pages; NULL when only on disk */
    int32_t n_blocks;
    float *tail;              /* the partly filled last page, zero beyond pos, or NULL */
    unsigned char name[16];   /* on disk */
    uint64_t file_bytes;
    bool has_logits;          /* also known when only on disk */
    bool writing, reading;    /* a job is on its way */
    struct state_copy *copy;  /* slab is being filled from the device; pinned until then */
    struct snapshot *next_copy;
    bool release;             /* give up the RAM copy once it is on disk */
    bool wanted;              /* another thread waits for a host copy */
    bool dead;                /* to be destroyed when the last pin goes */
    int pins;                 /* tracks and jobs: stays where it is */
    int holds;                /* sessions and their records: stays at least on disk */
    uint32_t uses;
    uint64_t used_ns, pinned_until_ns;
    bool was_behind;          /* that job is charged to writing behind */
    struct link behind;       /* member of the list of those to be written so, or prev == NULL */
    uint64_t behind_ns;       /* when it was taken */
    struct share share[SHARED_STORES];
    struct link lru[TIERS];   /* member of the tier's list, or prev == NULL */
};

/* An empty one, put on its node; NULL = no memory. */
struct snapshot *snapshot_new(struct statecache *sc, struct tenant *t, struct node *node,
                              enum point kind);
/* ENGINE. Fills it from a sequence; keep_slot: takes the slot over instead of copying it.
 * E_NOMEM: no room. E_DEVICE. On error it is as empty as before. */
int snapshot_fill(struct statecache *sc, struct snapshot *s, int32_t slot, const int32_t *table,
                  bool keep_slot, struct err *e) MUST_USE;
int snapshot_set_logits(struct statecache *sc, struct snapshot *s,
                        const float *logits) MUST_USE; /* E_NOMEM */
/* ENGINE. The state also in RAM, begun (s->copy) or done: the slot is no longer needed. Pages stay
 * on the device until others need them. */
int snapshot_fetch(struct statecache *sc, struct snapshot *s, struct err *e) MUST_USE;
/* ENGINE. Everything in RAM, and done. */
int snapshot_to_host(struct statecache *sc, struct snapshot *s, struct err *e) MUST_USE;
/* ENGINE. See statecache_restore. ahead: its slab is on the device already; NULL = it is not, but
 * for one that comes from there (s->copy). */
int snapshot_restore(struct statecache *sc, struct snapshot *s, struct state_copy *ahead,
                     int32_t slot, int32_t *table, struct err *e) MUST_USE;
/* Room for one that is read from a file or a blob; the caller fills slab, blocks' hosts, tail,
 * and logits, and then calls snapshot_arrived. E_NOMEM. */
int snapshot_allocate(struct statecache *sc, struct snapshot *s) MUST_USE;
void snapshot_arrived(struct statecache *sc, struct snapshot *s);

bool snapshot_on_host(const struct snapshot *s); /* all of it is in RAM */
bool snapshot_ready(const struct snapshot *s);   /* restorable without the disk, and at once */
/* Full pages of so many tokens; 0 when the plan has none. */
int32_t snapshot_blocks(const struct statecache *sc, int64_t pos);

void snapshot_touch(struct statecache *sc, struct snapshot *s);
/* Leave a tier. When the last one is left, what remains is an empty snapshot: destroy it. */
void snapshot_drop_slot(struct statecache *sc, struct snapshot *s);
void snapshot_drop_ram(struct statecache *sc, struct snapshot *s);
void snapshot_on_disk(struct statecache *sc, struct snapshot *s, const unsigned char name[16],
                      uint64_t bytes, bool durable);
void snapshot_off_disk(struct statecache *sc, struct snapshot *s); /* the file is not touched */

/* Leaves the list of those to be given to this shared store; nothing where it is not in it. */
void snapshot_withdraw(struct statecache *sc, struct snapshot *s, int store);
/* Leaves the tree and every tier; freed when nothing pins or holds it. evicted: by a budget. */
void snapshot_destroy(struct statecache *sc, struct snapshot *s, bool evicted);
void snapshot_unpin(struct statecache *sc, struct snapshot *s);
void snapshot_unhold(struct statecache *sc, struct snapshot *s);

/* By last use, NULL at the end. */
struct snapshot *snapshot_oldest(const struct statecache *sc, enum tier t);
struct snapshot *snapshot_newer(const struct statecache *sc, const struct snapshot *s,
                                enum tier t);
struct snapshot *snapshot_newest(const struct statecache *sc, enum tier t);
struct snapshot *snapshot_older(const struct statecache *sc, const struct snapshot *s,
                                enum tier t);

#endif
