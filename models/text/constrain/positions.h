/* Positions: where a text may stand in a grammar, found as they are needed and remembered.
 *
 * A place is a state of a rule and what happens when that rule ends: a node. A node is the set of
 * places to which the rule returns. A position is the set of all places where a text may stand.
 * Nodes and positions are kept once each (equal sets are one), so a position is a number, equal
 * positions have equal numbers, and what follows a byte is looked up after the first time: a
 * deterministic automaton that grows where texts go. Rules that return to one place after each
 * other share a node, and a call at the end of a rule leaves none (a graph-structured stack), so
 * neither ambiguity nor right recursion makes positions grow.
 *
 * Owner: a grammar. Thread: one at a time. */
#ifndef RECURD_POSITIONS_H
#define RECURD_POSITIONS_H

#include "base/limits.h"
#include "models/text/constrain/automaton.h"

#define POSITION_DEAD 0 /* nothing can follow, and no text stands there */

struct place { int32_t state, node; };

struct node {
    uint32_t first, n; /* in backs */
    uint32_t hash;
};

struct position {
    uint32_t first, n; /* in places, sorted: those that read bytes */
    uint32_t hash;
    int32_t mask;      /* its mask in the cache of the grammar, -1 = none */
    int16_t trigger;   /* bytes of trigger t that are there, + t * LIMIT_TRIGGER_BYTES; -1 = in the
                          grammar */
    bool whole;        /* the text so far is a sentence */
    uint8_t plain;     /* 1 + how many plain characters may follow whatever they are; 0 = unknown */
};

struct call { int32_t rank; struct place back; };
struct seen { struct place at; uint32_t stamp; };

struct positions {
    const struct automaton *a;
    struct place *backs, *places;
    struct node *nodes;
    struct position *all;
    int32_t *next;        /* [n][n_classes] position after a byte of the class; -1 = unknown */
    uint32_t n_backs, cap_backs, n_places, cap_places, n_nodes, cap_nodes, n, cap;
    int32_t *node_slots, *slots; /* hash tables: number + 1 */
    uint32_t n_node_slots, n_slots;
    int32_t start;        /* where the grammar begins, behind the trigger if there is one */
    uint8_t failure[TRIGGERS][LIMIT_TRIGGER_BYTES]; /* of a trigger (Knuth, Morris, Pratt) */
    /* Scratch of one step: */
    struct place *list;
    struct call *calls;   /* a heap by rank */
    struct place *sorted;
    struct seen *seen;
    uint32_t n_list, cap_list, n_calls, cap_calls, cap_sorted, n_seen, stamp;
    int64_t steps;        /* left before E_RANGE */
    struct err err;       /* sticky until it is cleared: steps or memory ran out */
};

/* a is finished, and outlives this. root: the rule that begins (behind the trigger). */
int positions_init(struct positions *p, const struct automaton *a, struct err *e) MUST_USE;
void positions_free(struct positions *p);
size_t positions_bytes(const struct positions *p);

/* The first of all: before the trigger if there is one. */
int32_t positions_first(const struct positions *p);
/* After a byte of the class; POSITION_DEAD also after a fault (p->err). */
int32_t positions_step(struct positions *p, int32_t from, int class);
static inline int32_t positions_next(struct positions *p, int32_t from, int class)
{
    int32_t to = p->next[(size_t)from * (size_t)p->a->n_classes + (size_t)class];
    return to >= 0 ? to : positions_step(p, from, class);
}
static inline int32_t positions_byte(struct positions *p, int32_t from, uint8_t byte)
{
    return positions_next(p, from, p->a->class_of[byte]);
}
/* How many plain characters (token_trie.h) may follow whatever they are, up to `most`. */
int32_t positions_plain(struct positions *p, int32_t from, int32_t most);

/* Forgets all but the n positions in keep, which become their new numbers. E_NOMEM. */
int positions_forget(struct positions *p, int32_t **keep, size_t n, struct err *e) MUST_USE;

#endif
