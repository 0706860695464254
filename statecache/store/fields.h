/* The fixed fields of a session's record as they are stored; README.md shows them. Pure. */
#ifndef RECURD_FIELDS_H
#define RECURD_FIELDS_H

#include <string.h>

#include "base/bytes.h"
#include "statecache/session.h"

struct fields {
    unsigned char state[16]; /* name of the state that the session is at, or zero */
    uint64_t state_position, position, turns, lo_turn, created_s, used_s, ttl_s,
        lived_s, shared_fence, shared_seen;
    unsigned char shared_nonce[24]; /* these three: struct stored */
    char turn_id[SESSION_TURN_ID]; /* zeros behind it */
};

enum { /* offsets */
    FIELD_STATE = 0, FIELD_STATE_POSITION = 16, FIELD_POSITION = 24, FIELD_TURNS = 32,
    FIELD_CREATED = 40, FIELD_USED = 48, FIELD_TTL = 56, FIELD_TURN_ID = 64, FIELD_LO_TURN = 128,
    FIELD_LIVED = 136, FIELD_SHARED_FENCE = 144, FIELD_SHARED_SEEN = 152,
    FIELD_SHARED_NONCE = 160, FIELD_RESERVED = 184
};
_Static_assert(FIELD_TURN_ID + SESSION_TURN_ID == FIELD_LO_TURN &&
               FIELD_RESERVED < SESSION_RECORD, "the record's layout");

static inline void fields_write(const struct fields *x, unsigned char out[SESSION_RECORD])
{
    memset(out, 0, SESSION_RECORD);
    memcpy(out + FIELD_STATE, x->state, sizeof(x->state));
    bytes_put(out + FIELD_STATE_POSITION, x->state_position, 8);
    bytes_put(out + FIELD_POSITION, x->position, 8);
    bytes_put(out + FIELD_TURNS, x->turns, 8);
    bytes_put(out + FIELD_CREATED, x->created_s, 8);
    bytes_put(out + FIELD_USED, x->used_s, 8);
    bytes_put(out + FIELD_TTL, x->ttl_s, 8);
    memcpy(out + FIELD_TURN_ID, x->turn_id, sizeof(x->turn_id));
    bytes_put(out + FIELD_LO_TURN, x->lo_turn, 8);
    bytes_put(out + FIELD_LIVED, x->lived_s, 8);
    bytes_put(out + FIELD_SHARED_FENCE, x->shared_fence, 8);
    bytes_put(out + FIELD_SHARED_SEEN, x->shared_seen, 8);
    memcpy(out + FIELD_SHARED_NONCE, x->shared_nonce, sizeof(x->shared_nonce));
}

static inline void fields_read(struct fields *x, const unsigned char in[SESSION_RECORD])
{
    memcpy(x->state, in + FIELD_STATE, sizeof(x->state));
    x->state_position = bytes_get(in + FIELD_STATE_POSITION, 8);
    x->position = bytes_get(in + FIELD_POSITION, 8);
    x->turns = bytes_get(in + FIELD_TURNS, 8);
    x->created_s = bytes_get(in + FIELD_CREATED, 8);
    x->used_s = bytes_get(in + FIELD_USED, 8);
    x->ttl_s = bytes_get(in + FIELD_TTL, 8);
    memcpy(x->turn_id, in + FIELD_TURN_ID, sizeof(x->turn_id));
    x->lo_turn = bytes_get(in + FIELD_LO_TURN, 8);
    x->lived_s = bytes_get(in + FIELD_LIVED, 8);
    x->shared_fence = bytes_get(in + FIELD_SHARED_FENCE, 8);
    x->shared_seen = bytes_get(in + FIELD_SHARED_SEEN, 8);
    memcpy(x->shared_nonce, in + FIELD_SHARED_NONCE, sizeof(x->shared_nonce));
}

#endif
