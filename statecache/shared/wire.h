/* One connection to a store that speaks the Redis protocol. One thread at a time.
 *
 * libcurl makes the connection (names, TLS, time limits), hiredis reads the replies. The peer is
 * not trusted: replies are single values of a bounded length; lists are refused. After anything
 * that leaves it unknown what comes next the connection is closed: wire_connected tells. */
#ifndef RECURD_SHARED_WIRE_H
#define RECURD_SHARED_WIRE_H

#include "base/limits.h"
#include "statecache/shared/address.h"

#define WIRE_REPLY_MAX (MIB(1) + 4096) /* bytes of one reply */
#define WIRE_WORDS 8                   /* of one command */

struct wire;
struct word { const void *p; size_t n; };

enum reply_kind { REPLY_NIL, REPLY_TEXT, REPLY_NUMBER, REPLY_ERROR };
struct reply {
    enum reply_kind kind;
    long long number;
    const unsigned char *p; /* [n] of TEXT and ERROR; valid until the next call */
    size_t n;
};

/* Only makes the object; `to` outlives it. ca: file of certificates to trust instead of the
 * system's, or NULL. E_UNSUPPORTED: built without hiredis. */
int wire_open(struct wire **out, const struct shared_address *to, const char *ca,
              struct err *e) MUST_USE;
void wire_close(struct wire *w); /* NULL allowed */

/* Connects anew, says who we are, chooses the database, and has the last command answered within
 * answer_ms. E_IO, E_TIMEOUT, E_DENIED (credentials), E_FORMAT (not that protocol). */
int wire_connect(struct wire *w, int connect_ms, int answer_ms, struct err *e) MUST_USE;
bool wire_connected(const struct wire *w);
void wire_drop(struct wire *w);

/* Commands may follow one another before their replies are read, one for each, in order.
 * deadline_ns: of clock_now_ns. E_IO, E_FORMAT: the connection is closed. E_TIMEOUT of a reply:
 * none of those on their way is waited for any more, and what comes of them is passed over; else it
 * is closed, too. */
int wire_send(struct wire *w, const struct word *words, int n, uint64_t deadline_ns,
              struct err *e) MUST_USE;
int wire_receive(struct wire *w, uint64_t deadline_ns, struct reply *out, struct err *e) MUST_USE;
/* Both. A reply of kind ERROR is returned as E_DENIED with the store's words (the connection
 * stays). */
int wire_ask(struct wire *w, const struct word *words, int n, uint64_t deadline_ns,
             struct reply *out, struct err *e) MUST_USE;
/* One step of a SCAN for keys that match `pattern`, answered by lists: each() is given every key,
 * and cursor, "0" at first, is that again after the last step. As wire_ask. */
#define WIRE_CURSOR 24
int wire_scan(struct wire *w, const char *pattern, char cursor[WIRE_CURSOR],
              void (*each)(void *arg, const unsigned char *p, size_t n), void *arg,
              uint64_t deadline_ns, struct err *e) MUST_USE;
int wire_refused(const struct reply *r, struct err *e); /* E_DENIED, with the words of an ERROR */

#endif
