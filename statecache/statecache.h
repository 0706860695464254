/* The state cache: recurrent states as values that can be found, kept, forked and stored.
 *
 * Everything here is called by the ENGINE thread (it owns the device, the slots and the pages);
 * sessions are managed from any thread through session.h. One lock inside covers both, and no
 * file is touched under it: the writer thread does the disk. A state is handed out only for the
 * exact tokens that produced it, compared one by one, within one tenant. */
#ifndef RECURD_STATECACHE_H
#define RECURD_STATECACHE_H

#include "kernels/backend.h"
#include "statecache/store/compress.h"
#include "statecache/value/pages.h"
#include "statecache/value/slots.h"

struct fsio;
struct statecache;
struct track; /* one sequence as the cache sees it, from begin to end */

/* Who may see an entry: statecache_tenant. All zero = the only tenant of a server without keys. */
struct tenant_tag { unsigned char b[16]; };
struct session_id { unsigned char b[16]; };

struct statecache_options {
    const struct plan *plan;          /* sections and vocabulary; this and the next three */
    struct device *device;            /* outlive the cache */
    struct slots *slots;              /* the engine's pools: parked states live in free slots */
    struct pages *pages;              /* NULL when the plan has no PAGED section */
    const unsigned char *fingerprint; /* [32] model and tokenizer; copied */
    const char *numerics;             /* which arithmetic runs: backend.numerics(); copied */
    const char *dir;                  /* state directory; NULL = no disk tier */
    const char *key_file;             /* install key; NULL = dir/key, created once; */
                                      /* without dir only for a shared store, which needs it */
    const char *key_file_old;         /* the one of before, still accepted; NULL = none */
    const struct fsio *io;            /* NULL = the real file system */
    size_t ram_bytes;                 /* budgets of the tiers */
    uint64_t disk_bytes;
    size_t path_bytes;                /* snapshots of one path in RAM; 0 = ram_bytes / 4 */
    int32_t park_slots;               /* device slots that parked states may hold; 0 = none */
    int32_t tenants;                  /* expected keys: each one's floor is half its fair share */
    int32_t grid;                     /* spacing of the finest grid; 0 = 64 */
    int32_t stretch;                  /* ids in one file of a path; 0 = 4096 */
    int32_t sessions_per_tenant;      /* 0 = 10000 */
    int64_t session_ttl_s;            /* unused sessions expire; 0 = 30 days */
    int64_t checkpoint_ms;            /* a session's state follows; 0 = 1000, < 0: at once */
    int64_t checkpoint_tokens;        /* … or when it lacks so many tokens; 0 = 256 */
    const char *shared_url;           /* of the shared stores (kv_list), NULL = none */
    const char *shared_password, *shared_ca; /* as in struct shared_options */
    const char *shared_endpoint, *shared_region, *shared_credentials; /* as there */
    int shared_wait_ms;               /* a request waits so long for it; 0 = 100 */
    int shared_cold_wait_ms;          /* … for the second store; 0 = 1000 */
    int64_t shared_cold_after_s;      /* states that rest so long are put there */
    int64_t shared_ttl_s;             /* what is put there lives so long; 0 = as the store likes */
    uint64_t shared_bytes_s;          /* may be put there a second; 0 = as many as can */
    enum compress_rule compress_disk, compress_shared; /* of states there; 0 = never */
    bool no_writer_thread;            /* tests: statecache_tick does the writer's work */
    void (*wake)(void *arg);          /* from any thread: something to do for the engine */
    void *wake_arg;
};

int statecache_open(struct statecache **out, const struct statecache_options *o,
                    struct err *e) MUST_USE;
/* ENGINE, before a planned end: states that only memory has go to the disk tier, last used first,
 * as many as get there in `seconds`. Tracks must have ended. */
void statecache_save(struct statecache *sc, int seconds);
/* Writes what is queued, stops the writer. Tracks must have ended. NULL allowed. */
void statecache_close(struct statecache *sc);

/* tag = HMAC(install key, key id): the same key is the same tenant after a restart, and when the
 * install key is changed. Any thread. */
void statecache_tenant(struct statecache *sc, const char *key_id, struct tenant_tag *tag);
/* A key of the caller's own for what it seals, by the half of the install key that seals; old: by
 * the one of before. False: there is none. Any thread. */
bool statecache_secret(struct statecache *sc, const char *what, bool old, unsigned char out[16]);

/* What one tenant may hold, besides the budgets of all. Any thread. A limit that is lowered takes
 * effect with the next state or session; E_NOMEM: the tenant is new and there is no memory. */
struct tenant_limits {
    int64_t sessions;
    uint64_t ram_bytes, disk_bytes; /* UINT64_MAX = no limit of its own */
};
int statecache_limit(struct statecache *sc, const struct tenant_tag *tag,
                     const struct tenant_limits *l, struct err *e) MUST_USE;
/* From now on so many tenants share the budgets: see struct statecache_options. Any thread. */
void statecache_expect(struct statecache *sc, int32_t tenants);
/* What a tenant holds now, by enum tier. Any thread. */
struct tenant_usage { int64_t sessions; uint64_t bytes[3]; };
void statecache_usage(struct statecache *sc, const struct tenant_tag *tag,
                      struct tenant_usage *out);

/* ---- a sequence ----------------------------------------------------------------------- */

/* The path of a request: a session's tokens up to its position (none without one), then these. */
struct statecache_query {
    struct tenant_tag tenant;
    const struct session_id *session; /* NULL = none; claimed before with session_claim, */
    uint64_t ticket;                  /* which gave this */
    const int32_t *tokens;            /* 0 <= id < vocab, checked by the caller; copied */
    int32_t n;
    const int32_t *marks;             /* message boundaries: indices into tokens, ascending */
    int32_t n_marks;
    bool fresh;                       /* compute every token (prompt logprobs): no hit */
    bool whole;                       /* statecache_tokens will be asked for all of the path */
    uint64_t *ask;                    /* the request's own, 0 at first: it may wait once for the */
                                      /* shared store. NULL = it may not */
    uint64_t token_ns;                /* what computing one takes; 0 = not known */
    int64_t before;                   /* tokens of other prompts that may be computed before */
    int32_t others;                   /* these, and of how many: of each as many as these are at */
                                      /* most, a long one does not keep a short one waiting */
    bool again;                       /* it was told to wait before: counted once */
    int64_t pin_s;                    /* keep the prompt's state at least so long; 0 = no */
};

struct statecache_start {
    int64_t position;     /* the state covers tokens [0, position); 0 = a zeroed state */
    int64_t base;         /* tokens of the path that came from the session */
    int64_t end;          /* tokens of the whole path */
    int64_t matched;      /* tokens of it that the index knew */
    const char *why;      /* nothing deeper was found: "whole" (it is all), "fresh", */
                          /* "new_tokens", or as miss_reason_name */
    const float *logits;  /* [vocab] after the last token when position == end: no forward */
                          /* pass; valid until statecache_end */
};

/* Finds the deepest usable state and registers the path as being computed. E_BUSY: wait, another
 * sequence computes a common prefix or the disk is being read; try again when statecache_changes
 * differs (wake is called as well). Other errors: E_NOENT (session), E_NOMEM. */
int statecache_begin(struct statecache *sc, const struct statecache_query *q, struct track **out,
                     struct statecache_start *start, struct err *e) MUST_USE;
uint64_t statecache_changes(struct statecache *sc);

/* Puts the found state (zeros for position 0) into `slot` and its pages into table[0 …
 * ceil(position / PAGE_TOKENS)), each with one reference that the caller then owns; the last one
 * is private if it is partly filled. E_NOMEM: no free page; nothing is kept. E_BUSY: the state is
 * on its way to the device, and wake is called when it is there; nothing is kept, neither slot nor
 * table. */
int statecache_restore(struct statecache *sc, struct track *t, int32_t slot, int32_t *table,
                       struct err *e) MUST_USE;

/* Right after begin: copies the path's tokens [from, to) to out; from >= start's position unless
 * the query was for the whole path, to <= end plus what was appended. */
void statecache_tokens(struct statecache *sc, const struct track *t, int64_t from, int64_t to,
                       int32_t *out);

/* The sequence is at pos: where must the next step end at the latest, so that a state can be
 * captured there? INT64_MAX = anywhere. Call before every step; may change between calls. */
int64_t statecache_cut(struct statecache *sc, struct track *t, int64_t pos);
/* Tokens were generated and computed: the path is n longer. known: how long it is now. */
int64_t statecache_known(struct statecache *sc, const struct track *t);
int statecache_append(struct statecache *sc, struct track *t, const int32_t *tokens, int32_t n,
                      struct err *e) MUST_USE;

/* Could a state at pos (computed or appended by now) be kept and committed now? E_BUSY: ids in its
 * way are being read, wake is called when they are there; a capture meanwhile keeps nothing. E_IO:
 * they cannot be. The engine never waits for the disk. */
int statecache_clear(struct statecache *sc, struct track *t, int64_t pos, struct err *e) MUST_USE;

enum capture_kind {
    CAPTURE_CUT,  /* at a position that statecache_cut named */
    CAPTURE_END,  /* end of a turn: also parks, see below */
    CAPTURE_SWAP, /* preempted: restore brings it back, it is not evicted before end */
};
/* Freezes the sequence's state at pos (computed tokens so far). table: its pages. logits [vocab]
 * of token pos - 1 or NULL, copied. With CAPTURE_END `slot` may be
 * kept as the device tier: then *kept is true and the slot is no longer the caller's. Never fails
 * for lack of budget (the state is then not kept); E_DEVICE from the device only. */
int statecache_capture(struct statecache *sc, struct track *t, enum capture_kind kind, int64_t pos,
                       int32_t slot, const int32_t *table, const float *logits, bool *kept,
                       struct err *e) MUST_USE;

/* A session's turn ended at its last captured position: publishes it and, with a disk tier, makes
 * it durable. Poll statecache_committed until it is not COMMIT_PENDING, then answer the client.
 * answer: what a repeated request with this turn id is given; n above LIMIT_ANSWER_BYTES: there is
 * none, and a repeat is a new turn that its expected_position refuses. */
enum commit { COMMIT_PENDING, COMMIT_DURABLE, COMMIT_MEMORY /* persistence is off */,
              COMMIT_LOST /* it did not happen: statecache_lost */ };
int statecache_commit(struct statecache *sc, struct track *t, const void *answer, size_t n,
                      struct err *e) MUST_USE;
enum commit statecache_committed(struct statecache *sc, struct track *t);
void statecache_lost(struct statecache *sc, const struct track *t, struct err *e);
/* Before a planned end, instead of polling: waits until the shared store has answered. */
void statecache_await(struct statecache *sc, struct track *t);
/* Sessions are in a store that other machines reach: what concerns them waits for the network. */
bool statecache_shares_sessions(struct statecache *sc);

/* Finished or cancelled. A claimed session is released; uncommitted turns leave it as it was. */
void statecache_end(struct statecache *sc, struct track *t);

/* Frees a device slot (pages: at least n KV pages) held by parked states, moving them to RAM.
 * False: there is nothing to free. */
bool statecache_reclaim_slot(struct statecache *sc);
bool statecache_reclaim_pages(struct statecache *sc, int32_t n);

/* Once per turn of the engine loop: expiry, budgets, states that other threads asked for. */
void statecache_tick(struct statecache *sc);

#endif
