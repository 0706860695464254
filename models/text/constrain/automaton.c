/* Building a grammar's automata, and the analyses the matcher relies on. All are linear in the
 * number of edges and without recursion: the grammar is a stranger's. See the header. */
#include "models/text/constrain/automaton.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

#define NAME_BYTES 64 /* of a rule's name in messages */
#define ARENA_BYTES MIB(8)

void automaton_init(struct automaton *a)
{
    *a = (struct automaton){0};
    arena_init(&a->arena, ARENA_BYTES);
}

void automaton_free(struct automaton *a)
{
    arena_free(&a->arena);
    mem_free(a->rules);
    mem_free(a->flags);
    mem_free(a->edges);
    mem_free(a->first);
    mem_free(a->by_rank);
    *a = (struct automaton){0};
}

size_t automaton_bytes_used(const struct automaton *a)
{
    return a->arena.used + (size_t)a->cap_rules * (sizeof *a->rules + sizeof *a->by_rank) +
           (size_t)a->cap_states * (sizeof *a->flags + sizeof *a->first) +
           (size_t)a->cap_edges * sizeof *a->edges;
}

/* ---- building ------------------------------------------------------------------------- */

/* Room for one more of `size` bytes in *p. */
static bool grow(struct automaton *a, void **p, int32_t n, int32_t *cap, size_t size, int32_t most,
                 const char *what)
{
    if (a->err.code)
        return false;
    if (n < *cap)
        return true;
    if (n >= most) {
        err_set(&a->err, E_RANGE, "the grammar needs more than %d %s", (int)most, what);
        return false;
    }
    int32_t more = MIN(MAX(2 * n, 64), most);
    void *q = mem_realloc(*p, (size_t)more * size);
    if (!q) {
        err_set(&a->err, E_NOMEM, "no memory for a grammar of %d %s", (int)more, what);
        return false;
    }
    *p = q;
    *cap = more;
    return true;
}

int32_t automaton_state(struct automaton *a)
{
    if (!grow(a, (void **)&a->flags, a->n_states, &a->cap_states, sizeof *a->flags,
              LIMIT_GRAMMAR_STATES, "states"))
        return 0;
    a->flags[a->n_states] = 0;
    return a->n_states++;
}

int32_t automaton_rule(struct automaton *a, const char *name)
{
    int32_t start = automaton_state(a), end = automaton_state(a);
    if (!grow(a, (void **)&a->rules, a->n_rules, &a->cap_rules, sizeof *a->rules,
              LIMIT_GRAMMAR_RULES, "rules"))
        return 0;
    char *copy = arena_copy(&a->arena, name, strnlen(name, NAME_BYTES));
    if (!copy) {
        err_set(&a->err, E_NOMEM, "no memory for the names of %d rules", (int)a->n_rules);
        return 0;
    }
    a->flags[end] = STATE_END;
    a->rules[a->n_rules] = (struct rule){.name = copy, .start = start, .end = end};
    return a->n_rules++;
}

static void add(struct automaton *a, struct edge x)
{
    if (!grow(a, (void **)&a->edges, a->n_edges, &a->cap_edges, sizeof *a->edges,
              LIMIT_GRAMMAR_EDGES, "edges"))
        return;
    ASSERT(x.from >= 0 && x.from < a->n_states && x.to >= 0 && x.to < a->n_states);
    a->edges[a->n_edges++] = x;
}

void automaton_byte_range(struct automaton *a, int32_t from, int32_t to, int lo, int hi)
{
    for (int end; lo <= hi; lo = end + 1) {
        for (end = lo; end < hi && a->avoid[end + 1] == a->avoid[lo]; end++)
            ;
        if (!a->avoid[lo])
            add(a, (struct edge){from, to, EDGE_BYTES, (uint8_t)lo, (uint8_t)end});
    }
}

void automaton_empty(struct automaton *a, int32_t from, int32_t to)
{
    add(a, (struct edge){from, to, EDGE_EMPTY, 0, 0});
}

void automaton_call(struct automaton *a, int32_t from, int32_t to, int32_t rule)
{
    add(a, (struct edge){from, to, rule, 0, 0});
}

void automaton_text(struct automaton *a, int32_t from, int32_t to, const char *text, size_t n)
{
    if (n == 0)
        automaton_empty(a, from, to);
    for (size_t i = 0; i < n && !a->err.code; i++) {
        int32_t next = i + 1 == n ? to : automaton_state(a);
        int byte = (unsigned char)text[i];
        automaton_byte_range(a, from, next, byte, byte);
        from = next;
    }
}
