/* The threads that digest rows of logits for receipts, so that no step waits for it: the engine
 * copies a row and goes on.
 *
 * A row belongs to the engine until receipts_push, then to a thread, then to nobody. A line is one
 * request's receipt while it is made: its rows are digested in order, one at a time, those of
 * several lines at once. After receipts_end or receipts_drop a line is the threads': they give the
 * receipt to the request, tell its reader, and free everything.
 *
 * Rows are bounded. When there is no room, whoever wants a receipt sits a step out, and nobody
 * else. Threads begin with the first line; the memory of rows goes with the last.
 *
 * Owner: the engine. Thread: the engine's, but where it says any. */
#ifndef RECURD_RECEIPTS_H
#define RECURD_RECEIPTS_H

#include "scheduler/deliver.h"
#include "scheduler/receipt.h"

struct receipts;
struct receipt_line;

struct receipt_row {
    struct receipt_row *next;
    int32_t id;                /* the token drawn from it */
    _Alignas(64) float logits[]; /* [vocab] */
};

struct receipts_options {
    int32_t vocab;
    int32_t threads; /* at least 1 */
    int32_t rows;    /* at most so many are there; at least 1 */
    struct wakes *wakes;     /* as deliver_end wants them */
    void (*poke)(void *arg); /* any thread, no lock held: look again for room, or for a receipt */
    void *arg;
};

int receipts_open(struct receipts **out, const struct receipts_options *o, struct err *e) MUST_USE;
void receipts_close(struct receipts *w); /* no line is with the engine; NULL allowed */

/* Takes over x, also on failure. E_NOMEM. */
int receipts_begin(struct receipts *w, struct receipt *x, struct receipt_line **out,
                   struct err *e) MUST_USE;
struct receipt *receipts_of(struct receipt_line *l); /* before its first row */

/* How many of `wanted` rows can be taken; if fewer, poke is called when there are more. */
int32_t receipts_room(struct receipts *w, int32_t wanted);
/* Grows with each row the line was given: who has the least was served longest ago. */
uint64_t receipts_served(const struct receipt_line *l);
/* For l, with room for it. NULL = no memory. */
struct receipt_row *receipts_take(struct receipts *w, struct receipt_line *l);
void receipts_put_back(struct receipts *w, struct receipt_row *row); /* NULL allowed */
/* row has the logits that id was drawn from; it is digested after receipts_go. E_NOMEM: an earlier
 * one of this line could not be kept; the row is given back. */
int receipts_push(struct receipts *w, struct receipt_line *l, struct receipt_row *row,
                  struct err *e) MUST_USE;
void receipts_go(struct receipts *w);

/* All rows are pushed: when they are digested r has its receipt, or finishes with E_NOMEM. tells: r
 * then finishes with `finish`; else r->receipt_due ends, which the caller has set. */
void receipts_end(struct receipts *w, struct receipt_line *l, struct request *r,
                  enum finish finish, bool tells);
void receipts_drop(struct receipts *w, struct receipt_line *l); /* NULL allowed */

/* Any thread: no line is left. */
bool receipts_idle(struct receipts *w);
/* Waits until none is; the engine has none. */
void receipts_flush(struct receipts *w);
/* Any thread: rows digested, and the time that took. */
void receipts_count(struct receipts *w, uint64_t *rows, uint64_t *ns);

#endif
