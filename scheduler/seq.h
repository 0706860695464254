/* One sequence: a request while it has a place in the engine.
 *
 *   WAIT -----> PREFILL -----> DECODE -----> DONE
 *     ^ ^-------- | ^-- HELD --^ |
 *     +-----------+--------------+   preempted: its pages were needed by an older sequence
 *
 * What the state in the slot has seen are tokens [0, pos) of the text. What is left of it are the
 * rows to run; when none is left, a token is drawn from the last row's logits and appended. So
 * prefill, decode, a cache hit and a replay after preemption are one thing with different pos.
 * Only the tokens that may have to run are here, not those that a state has seen already: a turn of
 * a long session costs what the turn has.
 *
 * Invariants (seq_check): WAIT exactly without a slot; first <= pos <= n_history; DECODE means one
 * row left and a token drawn; pages cover the positions computed. Owner and thread: the engine. */
#ifndef RECURD_SEQ_H
#define RECURD_SEQ_H

#include "scheduler/batch.h"
#include "scheduler/dry.h"
#include "scheduler/receipts.h"
#include "scheduler/request.h"
#include "scheduler/stop.h"
#include "scheduler/tally.h"
#include "scheduler/trace.h"

enum seq_phase {
    SEQ_DONE,    /* the place is free */
    SEQ_WAIT,    /* for a slot, for pages, for a prefix that another one computes, or parked */
    SEQ_PREFILL, /* more than one row is left, or nothing was drawn yet */
    SEQ_DECODE,  /* the token drawn last is the only row left */
    SEQ_HELD,    /* its reader has no room for more: not scheduled */
};

struct seq {
    struct request *r;  /* one reference */
    enum seq_phase phase;
    int32_t slot;       /* -1 = none */
    int32_t *pages;     /* table, [pages_per_seq] in the engine's block; -1 from n_pages on */
    int32_t n_pages;
    int64_t pos;        /* tokens that the state has seen */
    int64_t start;      /* where a preempted one begins again: 0, or a state that the cache holds */
    int32_t *history;   /* prompt, then output: tokens [first, n_history), see seq_tokens */
    int64_t first, n_history, cap_history;
    int64_t n_prompt;   /* history before the first token drawn */
    int64_t n_echoed;   /* prompt tokens whose events are out; n_prompt when none are wanted */
    int32_t n_output, max_output; /* drawn so far; at most */
    struct tally seen;
    struct dry dry;
    struct sample_shape shape; /* of the next draw, if `shaped` */
    bool shaped;
    double mu;          /* mirostat's, of the next draw: a function of what this one has drawn */
    struct stop stop;
    int64_t cut;        /* where this step's chunk had to end, for the cache */
    bool ended;         /* by its constraint: nothing may follow, nor any token that ends it */
    struct err fault;   /* of its constraint: it ends when the step is done */
    const float *ready; /* logits after history[n_history - 1], from a cache: no row needed */
    bool begun;         /* the cache was asked */
    bool parked;        /* WAIT, and not to get a slot before it is resumed */
    bool stalled;       /* parked because its reader had no room */
    bool stuck;         /* the reader had too little room at looked_ns */
    int64_t ran, owed;  /* rows since it has the slot; rows that were lost with the last one */
    int32_t steps;      /* in which these were, at most INT32_MAX */
    int64_t told;       /* tokens that were out at moved_ns */
    uint64_t admitted_ns;
    uint64_t looked_ns, moved_ns; /* the last look at its reader; the last news for it */
    uint64_t held_ns, silent_ns;  /* time its reader was full; of that since it took anything */
    size_t room;                  /* it had then */
    void *track;        /* the cache's own */
    int64_t matched;    /* tokens that its index knew, and why no deeper state was found */
    const char *why;
    struct trace_record *trace; /* owned; NULL = not traced */
    struct receipt_line *receipt; /* owned; NULL = none is wanted */
    struct receipt_row *row;    /* owned: for the logits of this step's draw, for the receipt */
};

/* Makes an empty place (its page table set) a sequence in WAIT; takes over the reference, also on
 * failure. positions: the most tokens it may ever hold. E_NOMEM. */
int seq_begin(struct seq *q, struct request *r, int32_t vocab, const struct piece_source *pieces,
              int64_t positions, struct err *e) MUST_USE;
/* Its draws need all of its text, not what has to run alone. */
static inline bool seq_looks_back(const struct seq *q) { return q->seen.place || q->dry.p; }
/* Frees everything but slot and pages, which are given back before. */
void seq_end(struct seq *q);

/* n tokens of a session come before the prompt, and a state that has seen `start` tokens will be
 * restored; nothing has run yet. copy is asked for the session's tokens [from, to): those from
 * start on, and all of them, in pieces, if it looks back. positions: as before. E_RANGE,
 * E_NOMEM. */
int seq_continue(struct seq *q, int64_t n, int64_t start,
                 void (*copy)(void *arg, int64_t from, int64_t to, int32_t *out), void *arg,
                 int64_t positions, struct err *e) MUST_USE;
/* The tokens from pos >= first on. */
static inline const int32_t *seq_tokens(const struct seq *q, int64_t pos)
{
    return q->history + (pos - q->first);
}

/* Before a draw: q->shape and q->shaped. */
void seq_shape(struct seq *q);
/* The draw of the next token, behind seq_shape, with all but what keeps tokens from it. */
struct sample_row seq_row(const struct seq *q);
/* Behind it, and behind seq_push: what it changes for the next draw. */
void seq_drawn(struct seq *q, const struct sample_result *told);
/* Appends a drawn token. Amortised: the history doubles. E_NOMEM. */
int seq_push(struct seq *q, int32_t id, struct err *e) MUST_USE;

/* Rows until the next draw. */
static inline int64_t seq_left(const struct seq *q) { return q->n_history - q->pos; }
/* The phase of a sequence with a slot. room: events its reader can take now; 0 = held. */
void seq_settle(struct seq *q, size_t room);
/* Its state is gone, or goes: back to WAIT. kept: to be restored at pos; else from start on. */
void seq_lose_slot(struct seq *q, bool kept);

/* What it asks of the next step. cut > pos: where a chunk must end. False: nothing now. */
bool seq_want(const struct seq *q, int64_t cut, size_t room, struct batch_want *w);

/* A look at the reader, before q takes part in a step. room: events it can take now. False: it
 * took nothing for stall_ns, or over the request it was full for longer than that, and as long
 * again for every ring of events that it took; 0 = no limit. */
bool seq_reader(struct seq *q, size_t room, uint64_t now, uint64_t stall_ns) MUST_USE;
void seq_too_slow(const struct seq *q, struct err *e); /* says so */

void seq_check(const struct seq *q);

#endif
