/* A record of the log of turns: how a session differs from the one its record file names. README.md
 * shows the bytes. Pure: memory to memory.
 *
 * A change stands alone: all it needs is a record file of the session whose generation is at least
 * `base` and below its own. What it keeps of that one (tokens, turns) was never undone between
 * base and itself, so any of them will do; and of several changes only the latest counts. */
#ifndef RECURD_CHANGE_H
#define RECURD_CHANGE_H

#include "base/buf.h"
#include "statecache/store/codec.h"

#define CHANGE_TOKENS 16384 /* more are not logged: a state of them is written at once */
#define CHANGE_MODEL 16

enum change_kind { CHANGE_SESSION = 1, CHANGE_DELETED = 2 };

/* In memory order of nothing: arrays lie unaligned in the record's bytes. */
struct change {
    enum change_kind kind;
    unsigned char made[CHANGE_MODEL];  /* change_model_made, which earlier versions go by */
    unsigned char model[CHANGE_MODEL]; /* change_model; zeros: of an earlier version, or deleted */
    unsigned char tenant[16], id[16];
    uint64_t generation, base;         /* base 0: no record file is needed */
    int64_t keep_tokens, keep_turns;   /* of the record file's session, counted from its start */
    const void *fields;                /* [SESSION_RECORD], as in a record file; but no state,
                                        * and `model` in the reserved bytes */
    const void *tokens, *turns, *answer; /* int32 after those kept; int64 likewise */
    uint32_t n_tokens, n_turns, n_answer;
};

/* Which model and layout a change belongs to: tokens have no arithmetic. */
void change_model(const struct format *f, unsigned char out[CHANGE_MODEL]);
/* The same with the arithmetic of f, which is that of the record file that the change builds on:
 * an earlier version takes a change of another one than its own for damage. */
void change_model_made(const struct format *f, unsigned char out[CHANGE_MODEL]);
/* Appends it. E_NOMEM: nothing is appended. */
int change_encode(struct buf *out, const struct change *c) MUST_USE;
/* The first of the records in p: *c points into it, *used is its length. E_FORMAT. Ranges are those
 * of any model: whether the tokens are in a vocabulary is not looked at. */
int change_decode(const unsigned char *p, size_t n, struct change *c, size_t *used,
                  struct err *e) MUST_USE;

#endif
