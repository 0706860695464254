/* Named sessions: states that a client owns, continues, forks and rewinds.
 *
 * Any thread may call these; each takes the cache's lock for a moment. An id of another tenant is
 * answered exactly as an unknown one (E_NOENT, same sentence, same work). A change is in force when
 * the call returns; session_durable tells whether it is on disk yet. */
#ifndef RECURD_SESSION_H
#define RECURD_SESSION_H

#include "base/buf.h"
#include "statecache/statecache.h"

#define SESSION_TURN_ID 64                /* bytes of a client's turn id */
#define LIMIT_ANSWER_BYTES (256u << 10)   /* kept for one repeated request */
#define LIMIT_SESSION_TURNS 4096          /* the latest ones; older can be rewound to by position */
#define SESSION_RECORD 256                /* bytes of the fixed fields in a file */

enum session_persist { PERSIST_OFF, PERSIST_PENDING, PERSIST_DURABLE };

struct session_info {
    struct session_id id;
    int64_t position;         /* tokens of its path */
    int64_t turns;            /* committed turns, counted from the path's start */
    uint64_t generation;      /* + 1 with every change */
    uint64_t created_s, used_s, expires_s; /* unix seconds */
    bool busy;                /* a turn is running */
    uint64_t ticket;          /* of the running turn: from session_claim to its request */
    enum session_persist persist;
    bool shared;              /* the shared store has it as it is */
};

const char *session_persist_name(enum session_persist p);
void session_id_hex(const struct session_id *id, char out[33]);
bool session_id_parse(const char *hex, struct session_id *out); /* 32 lower-case digits */

/* E_BUSY: the tenant's limit is reached. ttl_s 0 = the default. */
int session_create(struct statecache *sc, const struct tenant_tag *tenant, int64_t ttl_s,
                   struct session_info *out, struct err *e) MUST_USE;
int session_get(struct statecache *sc, const struct tenant_tag *tenant,
                const struct session_id *id, struct session_info *out, struct err *e) MUST_USE;
/* The same, as new as a store that replicas share has it. Waits for that. */
int session_look(struct statecache *sc, const struct tenant_tag *tenant,
                 const struct session_id *id, struct session_info *out, struct err *e) MUST_USE;
/* Ids in ascending order, those greater than *after (NULL = from the first); returns the number
 * written, at most max; *more = there are further ones. */
int session_list(struct statecache *sc, const struct tenant_tag *tenant,
                 const struct session_id *after, struct session_info *out, int max, bool *more);
/* It is gone when this returns; *durable (may be NULL): no crash brings it back.
 * Waits for the disk. */
int session_delete(struct statecache *sc, const struct tenant_tag *tenant,
                   const struct session_id *id, bool *durable, struct err *e) MUST_USE;
/* A second session at `position` (-1 = where the first one is) of the same path. O(1): nothing is
 * copied. E_RANGE beyond the end. */
int session_fork(struct statecache *sc, const struct tenant_tag *tenant,
                 const struct session_id *id, int64_t position, struct session_info *out,
                 struct err *e) MUST_USE;
/* Back to `position`, or to the end of turn `turn` (0 = empty) if that is >= 0. E_BUSY while a
 * turn runs; E_CONFLICT when expected_generation is given (not 0) and differs. */
int session_rewind(struct statecache *sc, const struct tenant_tag *tenant,
                   const struct session_id *id, int64_t position, int64_t turn,
                   uint64_t expected_generation, struct session_info *out,
                   struct err *e) MUST_USE;

/* What a client makes its turn depend on, so that a request which arrives twice, or late, changes
 * nothing. */
struct session_condition {
    const char *turn_id; /* of the turn; NULL = none. If the last turn had it, this is a repeat */
    int64_t position;    /* where the session must be; -1 = anywhere */
    uint64_t generation; /* that nothing at all has changed since; 0 = whatever did */
};
/* Before a request that continues a session is submitted; `when` NULL: no condition. A repeat:
 * *repeated is true, the answer is in `answer` and nothing is claimed. E_CONFLICT: the session is
 * elsewhere or of another generation. E_BUSY: a turn is running (with the same id too: the client
 * should retry). After 0 and !*repeated it is busy until statecache_end or session_release. */
int session_claim(struct statecache *sc, const struct tenant_tag *tenant,
                  const struct session_id *id, const struct session_condition *when,
                  bool *repeated, struct buf *answer, struct session_info *out,
                  struct err *e) MUST_USE;
/* Gives the claim back if the request never reached statecache_begin; otherwise nothing. */
void session_release(struct statecache *sc, const struct tenant_tag *tenant,
                     const struct session_id *id, uint64_t ticket);

/* The path's tokens [from, from + n) for n = *count; *count becomes what there was. */
int session_tokens(struct statecache *sc, const struct tenant_tag *tenant,
                   const struct session_id *id, int64_t from, int32_t *out, int64_t *count,
                   struct err *e) MUST_USE;

/* Waits until the last change is on disk or has failed to get there, at most timeout_ms.
 * Returns the state then: PERSIST_PENDING after the time, PERSIST_OFF without a disk tier. */
enum session_persist session_durable(struct statecache *sc, const struct tenant_tag *tenant,
                                     const struct session_id *id, int timeout_ms);

/* The session as one binary blob (README.md: the file format), and back under a new id. Export
 * may wait for the engine to fetch a state from the device. Import refuses every blob that was
 * altered, belongs to another tenant, model or install key (E_FORMAT, E_DENIED, E_CONFLICT). */
int session_export(struct statecache *sc, const struct tenant_tag *tenant,
                   const struct session_id *id, struct buf *out, struct err *e) MUST_USE;
/* The longest blob that can make sense here, for the limit of a request's body. */
uint64_t session_blob_max(struct statecache *sc);
int session_import(struct statecache *sc, const struct tenant_tag *tenant, const void *blob,
                   size_t n, struct session_info *out, struct err *e) MUST_USE;

#endif
