/* Counters of the state cache, copied out under its lock. Monotonic unless said otherwise. */
#ifndef RECURD_STATECACHE_STATS_H
#define RECURD_STATECACHE_STATS_H

#include "base/latency.h"
#include "statecache/store/compress.h"

struct statecache;

/* Why a request had to compute its prompt from the first token. */
enum miss_reason {
    MISS_NO_CHECKPOINT,   /* nothing of this prompt was seen, or no state was kept on its path */
    MISS_EVICTED,         /* there was one, the budget pushed it out */
    MISS_FINGERPRINT,     /* there was one, of another model or tokenizer */
    MISS_NUMERICS,        /* there was one, made by other arithmetic: device, kernels, revision */
    MISS_TOKENS_DIVERGED, /* a path shares the first tokens and parts before its first state */
    MISS_TOO_SHORT,       /* prompts under 16 tokens are cheaper to compute than to keep */
    MISS_REASONS
};
const char *miss_reason_name(enum miss_reason r);

enum tier { TIER_DEVICE, TIER_RAM, TIER_DISK, TIERS };
const char *tier_name(enum tier t);

#define SHARED_STORES 2 /* of --shared: the hot one, which is asked first, and the cold one */

/* One shared store; all zero without it. */
struct shared_stats {
    uint64_t requests, repeated; /* to a bucket; sent again, among those */
    bool on;                   /* there is one */
    bool up;                   /* now: both connections work */
    bool waited_for;           /* now: it answers in time */
    uint64_t answer_ns;        /* now: what an answer takes, by the latest ones */
    uint64_t lacks;            /* now: answers in time until it is waited for again */
    bool sessions;             /* records of sessions are there */
    uint64_t hits, misses, timeouts; /* of requests that asked: found and used, not there, late */
    /* Requests by what came of waiting for it: a state; nothing, and that was known in time; it was
     * late; it was not worth waiting for, or late again and again. */
    uint64_t waits_hit, waits_miss, waits_late, waits_skipped;
    uint64_t pending;          /* now: states that wait to be put there, or are being put */
    uint64_t writes, dropped;  /* states put there; those left out, because it was slow or down */
    uint64_t over_budget;      /* … of these, because writing there had taken its share */
    uint64_t errors;           /* failed calls, and things found that did not check */
    uint64_t read_bytes, written_bytes, write_cpu_ns;
    uint64_t session_reads, session_writes; /* records taken over; put */
    uint64_t session_calls, session_sealed; /* forgotten by the store; sealed with another key */
    uint64_t session_conflicts, session_late; /* held elsewhere, or lost; not answered in time */
    struct latency get, put;   /* one search with its fetch; one state */
    struct compress_count packed, expanded; /* of what was written and read */
};

struct statecache_stats {
    uint64_t entries[TIERS], bytes[TIERS], bytes_max[TIERS]; /* now */
    uint64_t hits, exact_hits; /* requests that found a state; those that needed no forward pass */
    uint64_t misses[MISS_REASONS];
    uint64_t cached_tokens, replayed_tokens; /* not computed; computed again after a hit */
    uint64_t waits;            /* requests that waited for a prefix that another one computed */
    uint64_t captures, captures_skipped, evictions[TIERS], thinned;
    uint64_t log_bytes;        /* now: of the log of turns, beside the disk tier */
    uint64_t swaps_out, swaps_in;
    uint64_t spill_bytes, reload_bytes;
    struct latency spill, reload, fsync;
    struct compress_count packed, expanded; /* of what was written to disk, and read back */
    uint64_t files_written, files_quarantined, write_errors, read_errors;
    uint64_t commits, commits_durable, commits_memory;
    uint64_t pending;          /* now: records and states to be written, and jobs under way */
    uint64_t sessions, nodes, tokens; /* now: sessions, tree nodes, token ids held */
    struct shared_stats shared[SHARED_STORES];
    bool disk_on;              /* false: no disk tier, or it is sick and serving goes on without */
};
void statecache_stats(struct statecache *sc, struct statecache_stats *out);

#endif
