/* A grammar as byte automata that call each other (a recursive transition network): the one form
 * that every kind of definition becomes and that the matcher runs.
 *
 * A rule is an automaton with one start and one end. An edge passes on a range of bytes, on
 * nothing, or on whatever text another rule matches. Building never fails half-way: the first
 * fault (a limit, no memory) stays in `err`, and what is added afterwards is ignored.
 *
 * Owner: whoever declared it. Thread: one while building; read-only after automaton_finish. */
#ifndef RECURD_AUTOMATON_H
#define RECURD_AUTOMATON_H

#include "base/arena.h"
#include "base/err.h"

/* What an edge needs, when it is no rule (>= 0). */
enum { EDGE_BYTES = -1, EDGE_EMPTY = -2 };

struct edge {
    int32_t from, to;
    int32_t rule;    /* the rule called, EDGE_BYTES or EDGE_EMPTY */
    uint8_t lo, hi;  /* of EDGE_BYTES */
};

struct rule {
    const char *name; /* for messages */
    int32_t start, end;
    bool nullable;    /* matches the empty text */
    int32_t rank;     /* a rule that another may begin with has a higher rank; no two are equal */
};

enum state_flags {
    STATE_END = 1,   /* of its rule */
    STATE_TAIL = 2,  /* nothing follows but the end */
    STATE_READS = 4, /* has an edge of bytes */
};

#define TRIGGERS 2
struct trigger { const char *p; size_t n; };

struct automaton {
    struct arena arena;
    int32_t n_rules, cap_rules, n_states, cap_states, n_edges, cap_edges;
    struct rule *rules;
    uint8_t *flags;    /* [n_states] enum state_flags */
    struct edge *edges;
    bool avoid[256];     /* bytes that no edge added from now on passes on; 0: nor is \u0000 one */
    struct err err;
    struct trigger triggers[TRIGGERS]; /* one after another; their bytes are told apart */
    int n_triggers;
    bool again;          /* behind the text, that of the last trigger may come again */
    /* After automaton_finish: */
    int32_t root;
    int32_t *first;    /* [n_states + 1] edges of state s are [first[s], first[s + 1]) */
    int32_t *by_rank;  /* [n_rules] */
    int32_t n_classes; /* bytes that no edge tells apart are one class */
    uint8_t class_of[256], class_byte[256]; /* class_byte: one byte of each class */
};

void automaton_init(struct automaton *a);
void automaton_free(struct automaton *a);
size_t automaton_bytes_used(const struct automaton *a);

/* Numbers of the new rule and state; 0 after a fault. name is copied, shortened if it is long. */
int32_t automaton_rule(struct automaton *a, const char *name);
int32_t automaton_state(struct automaton *a);
static inline int32_t automaton_start(const struct automaton *a, int32_t r)
{
    return r < a->n_rules ? a->rules[r].start : 0;
}
static inline int32_t automaton_end(const struct automaton *a, int32_t r)
{
    return r < a->n_rules ? a->rules[r].end : 0;
}
void automaton_byte_range(struct automaton *a, int32_t from, int32_t to, int lo, int hi);
void automaton_text(struct automaton *a, int32_t from, int32_t to, const char *text, size_t n);
void automaton_empty(struct automaton *a, int32_t from, int32_t to);
void automaton_call(struct automaton *a, int32_t from, int32_t to, int32_t rule);

/* Removes what can never end, and prepares the automaton for the matcher. E_FORMAT: a rule
 * begins with itself (left recursion), or no text matches root at all. */
int automaton_finish(struct automaton *a, int32_t root, struct err *e) MUST_USE;

#endif
