/* What the files of the cache share: the cache itself, tenants, sessions, tracks.
 *
 * Owner: struct statecache. Thread: its lock guards every field here. The device, the slots and
 * the pages are touched by functions marked ENGINE only; the writer thread sees the bytes of
 * pinned snapshots, which do not change, and nothing else without the lock. */
#ifndef RECURD_STATECACHE_CORE_H
#define RECURD_STATECACHE_CORE_H

#include <pthread.h>

#include "base/clock.h"
#include "statecache/lived.h"
#include "statecache/index/planner.h"
#include "statecache/index/prefix.h"
#include "statecache/session.h"
#include "statecache/stats.h"
#include "statecache/store/journal.h"
#include "statecache/store/store.h"
#include "statecache/store/writer.h"
#include "statecache/value/allowance.h"

struct errand;
struct found;
struct record_job;
struct shared;
struct link { struct link *prev, *next; };

/* States come and go in dozens per request; giving them back to the heap each time would leave it
 * in pieces. Their pages go back to the system. */
#define SPARE_SLABS 32
/* … but for the ones used next: a page that comes anew costs as much as copying into it. */
#define WARM_SLABS 2
#define WARM_BYTES MIB(4) /* of many small ones more */

struct tenant {
    struct tenant *next;
    struct tenant_tag tag;
    struct node *root;
    uint64_t bytes[TIERS];
    int64_t sessions;
    uint64_t foreign;        /* its states on disk that belong to another model, … */
    uint64_t other_numerics; /* … and those that other arithmetic made */
    struct tenant_limits limits;
};

/* How much of a session's record file is still so: tokens and turns from its start. */
struct keep { int64_t tokens, turns; };

/* What this replica knows of a session's record in the shared store (shared/together.h). */
struct stored {
    uint64_t fence;      /* under which the version that it has was written; 0: no record */
    uint64_t seen;       /* the store's fence then: later claims count from there */
    unsigned char nonce[24];
    uint64_t generation; /* of that version */
    uint64_t claim;      /* the fence of our claim; 0 = none */
    uint64_t heard;      /* calls that it was looked for in (shared/recall.h) */
    unsigned char *ids;  /* [n_ids] names of the path's first stretches, which are there */
    int32_t n_ids;
};

struct session {
    struct session *chain;    /* next in its bucket */
    struct session_id id;
    struct tenant *tenant;
    struct node *node;        /* where it is; pinned */
    struct snapshot *tip;     /* held: its tokens cover node; NULL at position 0 or without state */
    struct snapshot *saved;   /* held: what the durable record file names */
    struct record_job *doubtful; /* their states held: records that may be there instead */
    uint64_t generation, saved_generation, failed_generation; /* saved: logged, or in a file */
    uint64_t waiting_generation; /* is on its way into the log, which decides; 0 = none */
    uint64_t file_generation, logged_generation; /* 0 = none; of the record file, of the log */
    uint64_t logged_segment;  /* which needs what was logged; 0 = none does */
    struct keep keep, keep_next; /* since that file; since the one that is being written */
    uint64_t file_bytes, new_bytes; /* of the record file; of the one that is being written */
    struct link due;          /* of its next record file */
    uint64_t due_ns;
    uint64_t created_s, used_s; /* of the wall clock, for people */
    uint64_t lived_s, ttl_s; /* last use, as lived.h counts: what expiry goes by */
    int64_t n_turns, lo_turn; /* all turns; turns [lo_turn, n_turns) are in turns[] */
    int64_t *turns;           /* position after turn i at i % LIMIT_SESSION_TURNS */
    int64_t cap_turns;
    struct buf answer;        /* of the last turn */
    char turn_id[SESSION_TURN_ID + 1];       /* of the last turn */
    char claimed_turn[SESSION_TURN_ID + 1];  /* of the running one */
    uint64_t ticket;          /* of the claim */
    bool busy, running, dead; /* claimed; and begun; deleted while busy */
    struct stored stored;
    bool checkpointing;       /* a record file is on its way */
    bool carried;             /* its record file names a state of another arithmetic, held: */
    unsigned char carried_state[16];
    bool foreign_file;        /* its record file is of another arithmetic: */
    unsigned char file_made[CHANGE_MODEL];
};

/* Shorter paths are computed faster than they are looked up and kept. */
#define SMALL_TOKENS 16

struct track {
    struct statecache *sc;
    struct tenant *tenant;
    struct session *session;  /* NULL = none */
    struct node *end;         /* the path known so far; pinned */
    struct snapshot *start;   /* pinned, or NULL: position 0 */
    struct snapshot *swap;    /* pinned, after CAPTURE_SWAP */
    struct state_copy *ahead; /* start or swap, on its way to the device or there */
    int64_t prompt_end, pos;  /* pos: computed, as last told */
    int64_t turn_end;         /* position of CAPTURE_END, or -1 */
    int64_t pin_s;
    bool small, fresh;        /* its prompt is below SMALL_TOKENS; was to compute everything */
    int32_t *tail;            /* appended, not in the tree yet */
    int32_t n_tail, cap_tail;
    uint64_t commit_generation; /* 0 = none */
    struct errand *errand;    /* the turn's record is on its way to the shared store */
    struct err lost;          /* why it did not get there */
};

struct statecache {
    pthread_mutex_t lock;
    pthread_cond_t changed;   /* commits finished, states arrived in RAM */
    struct statecache_options o;
    struct format format;
    struct prefix prefix;
    struct tenant *tenants;
    struct link lru[TIERS];   /* oldest first, snapshots only */
    struct block **block_of_page; /* [pages->n_total] */
    int32_t *dead_slots, *dead_pages; /* given up by other threads; the engine returns them */
    int32_t n_dead_slots, n_dead_pages;
    struct snapshot *copying; /* whose slabs are being filled from the device */
    float *spare[SPARE_SLABS]; /* slabs to be used again: all have one size */
    int32_t n_spare;
    struct session **sessions;    /* SESSION_BUCKETS chains */
    struct session *departed;     /* deleted while busy, a chain: freed when their turn ends */
    uint64_t n_sessions, n_tickets;
    struct store store;       /* writer thread, but for open and close */
    struct store_health health; /* copied after every job */
    struct writer writer;
    struct journal journal;   /* the log of turns */
    struct shared *shared;    /* the tier behind the local ones; NULL = none */
    struct link due, behind;  /* sessions and states that are to be written, the first due first */
    uint64_t n_due, n_behind; /* … how many there are */
    struct allowance behind_left; /* what writing behind may still take */
    uint64_t leaving;         /* bytes of files whose removal is queued */
    uint64_t stuck;           /* of files that nothing here can remove, or has not been able to */
    struct foreign *foreign;  /* states that wait for their model or arithmetic */
    size_t n_foreign, n_foreign_held, cap_foreign; /* the first are held */
    bool disk;                /* there is a disk tier */
    struct snapshot **scanned; /* by name, while opening */
    size_t n_scanned, cap_scanned;
    struct found *found;      /* files of paths, while opening */
    size_t n_found, cap_found;
    uint64_t n_other_numerics; /* files that other arithmetic made, one of them by … */
    char other_numerics[CODEC_NUMERICS]; /* opening */
    uint64_t n_carried;        /* sessions whose states other arithmetic made: opening */
    bool opening;             /* what is found is kept, whatever the limits are now */
    bool foreign_states, unread; /* some wait for their model; some could not be read: opening */
    uint64_t changes;
    struct lived lived;
    uint64_t expire_at_s;      /* as lived counts */
    int64_t grid;
    int wanted;               /* snapshots with `wanted` */
    int tracks;
    struct statecache_stats stats;
};

#ifndef SESSION_BUCKETS      /* fewer where a cache is opened thousands of times a second */
#define SESSION_BUCKETS 4096 /* 10,000 sessions: chains of two or three */
#endif

static inline bool core_disk_on(const struct statecache *sc)
{
    return sc->disk && store_may_write(&sc->health);
}

/* core.c */
#define CORE_CLOCK CLOCK_MONOTONIC /* steps of the wall clock neither end a wait nor prolong it */
struct timespec core_deadline(int ms); /* from now on, for waits on sc->changed */
void core_changed(struct statecache *sc); /* for everybody who waits for something */
struct tenant *core_tenant(struct statecache *sc, const unsigned char tag[16]); /* NULL: memory */
void core_charge(struct statecache *sc, struct tenant *t, enum tier tier, int64_t bytes);
/* A file of the disk tier is going to be removed; and then it was, or could not be. */
void core_leaves(struct statecache *sc, uint64_t bytes);
void core_left(struct statecache *sc, uint64_t bytes, bool removed);
/* ENGINE. Returns to the pools what other threads gave up. */
void core_bury(struct statecache *sc);
void core_enter(struct statecache *sc); /* ENGINE. Takes the lock, and gives it back; */
void core_leave(struct statecache *sc); /* both of them bury */

/* session.c */
struct session *session_of(struct statecache *sc, const struct tenant_tag *tenant,
                           const struct session_id *id); /* NULL = not that tenant's */
struct session *session_new(struct statecache *sc, struct tenant *t, struct node *node,
                            struct err *e); /* in no table yet, busy with nothing */
void session_enter(struct statecache *sc, struct session *x);
/* A new one: into the table, the log and the shared store, for which it may wait. */
void session_born(struct statecache *sc, struct session *x, struct session_info *out);
void session_discard(struct statecache *sc, struct session *x); /* in no table (any more) */
void session_describe(const struct statecache *sc, const struct session *x,
                      struct session_info *out);
/* Moves it to node; tip (may be NULL) covers its tokens. */
void session_move(struct statecache *sc, struct session *x, struct node *node,
                  struct snapshot *tip);
int session_push_turn(struct session *x, int64_t position) MUST_USE; /* E_NOMEM */
enum session_persist session_persistence(const struct statecache *sc, const struct session *x);
/* There is no telling when x will be on disk: those who wait hear that it is not; unless it is. */
void session_fail(struct statecache *sc, struct session *x);
/* ENGINE. The running turn ended at node. */
int session_commit(struct statecache *sc, struct session *x, struct node *node,
                   const void *answer, size_t n, struct err *e) MUST_USE;
void session_unclaim(struct statecache *sc, struct session *x);
void session_forget(struct statecache *sc, struct session *x); /* here; not busy */
void session_expire(struct statecache *sc);
void session_free_all(struct statecache *sc);

/* record.c */
/* Queues the session's record file; what comes of it is told by its generations. False: there is no
 * disk tier now, or no memory. */
bool record_save(struct statecache *sc, struct session *x);
void record_remove(struct statecache *sc, struct session *x);
/* It is known which record is on the medium, or does not matter any more. */
void record_settled(struct statecache *sc, struct session *x);
int record_scan(struct statecache *sc, struct err *e) MUST_USE;
/* The fixed fields as they are stored, with the state they name or NULL; out [SESSION_RECORD]. */
void record_fields(const struct session *x, const struct snapshot *state, unsigned char *out);
/* The same and the turns. */
void record_encode(const struct session *x, unsigned char *out, int64_t *turns, size_t *n_turns);
int record_decode(struct session *x, const unsigned char *in, const int64_t *turns, size_t n_turns,
                  int64_t *position, int64_t *state_position, struct err *e) MUST_USE;

#endif
