/* Who may write a session's record, in commands of the Redis protocol: compare and set.
 *
 *   recurd:r:<name>    32 bytes in the open: 0 `RECURDCL` · 8 the fence (8) · 16 the replica that
 *                      has a turn running, or zeros (16); then the record's box, nonce first
 *   recurd:l:<replica> there while that replica lives: for CLAIM_LIFE_MS, then renewed
 *   recurd:b:0         names of sessions whose records the store had forgotten lately (recall.h)
 *   recurd:e:0         16 bytes that are others when the store has begun anew
 *
 * Every claim adds one to the fence, so what an earlier holder writes finds another beginning and
 * is refused. The nonce is part of what is compared: two records never begin alike. One thread for
 * each connection. All as wire_ask; a reply that makes no sense is E_FORMAT. */
#ifndef RECURD_SHARED_CLAIM_H
#define RECURD_SHARED_CLAIM_H

#include "statecache/shared/record.h"
#include "statecache/shared/wire.h"

#define CLAIM_FENCE_MAX (UINT64_C(1) << 62)
#define CLAIM_LIFE_MS 1000
#define CLAIM_RENEW_MS 250
#define CLAIM_CALL_MS 3000   /* for so long a session that was forgotten is nobody's … */
#define CLAIM_HEAR_MS 500    /* … and so often each replica looks whether one is */
#define CLAIM_OPEN 32                          /* bytes in the open */
#define CLAIM_HEAD (CLAIM_OPEN + SHARED_NONCE) /* … and those compared */

struct claim {
    uint64_t fence;
    unsigned char holder[16]; /* zeros: nobody */
    unsigned char nonce[SHARED_NONCE];
};

/* What is under a name: nothing (n < CLAIM_HEAD: nothing that could be a record), or a record. */
struct claim_value {
    const unsigned char *p; /* [n]; until the wire's next call */
    size_t n;
    bool record;            /* it has our beginning: */
    struct claim at;
};

/* The same of bytes that came from elsewhere; out->p = p. */
void claim_read(const void *p, size_t n, struct claim_value *out);

struct claim_name { char text[9 + 32 + 1]; };
struct claim_name claim_record_key(const struct link_name *name);

void claim_head(const struct claim *c, unsigned char out[CLAIM_HEAD]);
bool claim_is_free(const struct claim *c);

int claim_get(struct wire *w, const struct claim_name *key, uint64_t deadline_ns,
              struct claim_value *out, struct err *e) MUST_USE;
/* If the value begins with expected[n] (n 0: there is none), it becomes: the head `next` before
 * what it was (box NULL), or before box[n_box] (nonce first), to live for ttl_s. *done false: it
 * does not; *now is what is there. */
int claim_swap(struct wire *w, const struct claim_name *key, const void *expected, size_t n,
               const struct claim *next, const void *box, size_t n_box, int64_t ttl_s,
               uint64_t deadline_ns, bool *done, struct claim_value *now, struct err *e) MUST_USE;
int claim_live(struct wire *w, const unsigned char replica[16], uint64_t deadline_ns,
               struct err *e) MUST_USE;
int claim_lives(struct wire *w, const unsigned char replica[16], uint64_t deadline_ns, bool *lives,
                struct err *e) MUST_USE;
/* The call lives, whose name as a holder is the record's own; aloud: so that others hear it. */
int claim_call(struct wire *w, const struct link_name *name, bool aloud, uint64_t deadline_ns,
               struct err *e) MUST_USE;
/* names: those called for, 16 bytes each, appended. epoch: the store's, made if it has none. */
int claim_hear(struct wire *w, unsigned char epoch[16], struct buf *names, uint64_t deadline_ns,
               struct err *e) MUST_USE;
int claim_end(struct wire *w, const unsigned char replica[16], uint64_t deadline_ns,
              struct err *e) MUST_USE;

#endif
