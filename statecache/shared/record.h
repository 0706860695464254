/* The record of a session in the shared store: what another replica needs to go on with it.
 *
 * Its path's whole stretches are objects of their own (chunks: sealed, named by their contents, put
 * once); the ids beyond them, turns, last answer and times are in the record, as a record of the
 * log of turns (store/change.h). README.md shows the bytes. Pure; any thread. */
#ifndef RECURD_SHARED_RECORD_H
#define RECURD_SHARED_RECORD_H

#include "base/buf.h"
#include "statecache/shared/seal.h"
#include "statecache/store/change.h"

#define RECORD_HEAD 32
#define RECORD_STRETCHES 16384 /* 67 million tokens; the record stays below 1 MiB */
#define RECORD_BOX_MAX MIB(1)

struct shared_record {
    uint64_t fence;            /* under which it was written */
    int32_t n_ids;
    const unsigned char *ids;  /* [n_ids][SHARED_ID] of the stretches; into plain */
    struct change c;           /* into plain; base 0, kept tokens: those of the stretches */
    unsigned char *plain;      /* owned: shared_record_free */
};

/* Keyed by the half of the install key that names, so it stays when the key is changed; of tenant,
 * model and the session's id. Not of the arithmetic: tokens have none. */
void shared_record_name(const struct format *f, const unsigned char tenant[16],
                        const unsigned char id[16], struct link_name *out);
/* Whether a box says that it was sealed with that key. One that does and does not open was altered;
 * one that does not is another key's (or was altered there). */
bool shared_record_says(const struct seal_keys *k, const unsigned char *box, size_t n);
/* Appends the box (nonce first, which begins with what says which key it is) of that name. E_NOMEM;
 * E_RANGE: it is too long to be shared. */
int shared_record_seal(const struct seal_keys *k, const struct format *f,
                       const struct link_name *name, const struct shared_record *r,
                       struct buf *out, struct err *e) MUST_USE;
/* Opens it and checks all it says. E_DENIED: altered, of another name or key; E_FORMAT;
 * E_UNSUPPORTED: a newer version; E_NOMEM. */
int shared_record_open(const struct seal_keys *k, const struct format *f,
                       const struct link_name *name, const unsigned char *box, size_t n,
                       struct shared_record *out, struct err *e) MUST_USE;
/* Of a record of any model only which stretches it names: out->n_ids, ids. As above. */
int shared_record_stretches(const struct seal_keys *k, const struct link_name *name,
                            const unsigned char *box, size_t n, struct shared_record *out,
                            struct err *e) MUST_USE;
/* The same of what is in the box; `out` points into it and owns nothing. */
int shared_record_read(const struct format *f, const unsigned char *in, size_t n,
                       struct shared_record *out, struct err *e) MUST_USE;
void shared_record_free(struct shared_record *r);

#endif
