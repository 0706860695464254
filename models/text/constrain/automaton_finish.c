/* The analyses of a finished grammar: what can end, what is empty, who begins with whom. All are
 * linear in the number of edges and without recursion: the grammar is a stranger's. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/text/constrain/automaton.h"

/* Scratch: edges by their target, by the rule they call, by their source. */
struct analysis {
    struct automaton *a;
    int32_t *into, *into_first;
    int32_t *calls, *calls_first;
    int32_t *starts;       /* [n_states] the rule that starts here, -1 = none */
    int32_t *work, n_work; /* [n_states] states to look at */
    int32_t *met, n_met;   /* [n_rules] rules whose start was reached */
    bool *reached;         /* [n_states] */
    bool *matched;         /* [n_rules] */
};

static int32_t edge_target(const struct edge *x) { return x->to; }
static int32_t edge_source(const struct edge *x) { return x->from; }
static int32_t edge_rule(const struct edge *x) { return x->rule; }

/* order = edge numbers by key(edge); those with a key < 0 are left out. first: [n_keys + 1]. */
static void sort_edges(const struct automaton *a, int32_t (*key)(const struct edge *),
                       int32_t n_keys, int32_t *first, int32_t *order)
{
    memset(first, 0, ((size_t)n_keys + 1) * sizeof *first);
    for (int32_t i = 0; i < a->n_edges; i++)
        if (key(&a->edges[i]) >= 0)
            first[key(&a->edges[i]) + 1]++;
    for (int32_t k = 0; k < n_keys; k++)
        first[k + 1] += first[k];
    for (int32_t i = 0; i < a->n_edges; i++)
        if (key(&a->edges[i]) >= 0)
            order[first[key(&a->edges[i])]++] = i;
    for (int32_t k = n_keys; k > 0; k--)
        first[k] = first[k - 1];
    first[0] = 0;
}

static void reach(struct analysis *z, int32_t s)
{
    if (z->reached[s])
        return;
    z->reached[s] = true;
    z->work[z->n_work++] = s;
    int32_t r = z->starts[s];
    if (r >= 0) {
        z->matched[r] = true;
        z->met[z->n_met++] = r;
    }
}

/* The states from which an end can be reached, and the rules that can so be matched: by edges on
 * nothing alone, or (bytes) by all. */
static void spread(struct analysis *z, bool bytes)
{
    const struct automaton *a = z->a;
    memset(z->reached, 0, (size_t)a->n_states * sizeof *z->reached);
    memset(z->matched, 0, (size_t)a->n_rules * sizeof *z->matched);
    z->n_work = z->n_met = 0;
    for (int32_t r = 0; r < a->n_rules; r++)
        reach(z, a->rules[r].end);
    for (int32_t done = 0; z->n_work > 0 || done < z->n_met;) {
        if (z->n_work > 0) {
            int32_t t = z->work[--z->n_work];
            for (int32_t i = z->into_first[t]; i < z->into_first[t + 1]; i++) {
                const struct edge *x = &a->edges[z->into[i]];
                if (x->rule == EDGE_BYTES ? bytes : x->rule < 0 || z->matched[x->rule])
                    reach(z, x->from);
            }
            continue;
        }
        int32_t r = z->met[done++]; /* its callers were passed by while it was not matched */
        for (int32_t i = z->calls_first[r]; i < z->calls_first[r + 1]; i++)
            if (z->reached[a->edges[z->calls[i]].to])
                reach(z, a->edges[z->calls[i]].from);
    }
}

/* Drops edges that lead nowhere; true: some were. */
static void prune(struct analysis *z)
{
    struct automaton *a = z->a;
    int32_t n = 0;
    for (int32_t i = 0; i < a->n_edges; i++) {
        const struct edge *x = &a->edges[i];
        a->edges[n] = *x;
        n += z->reached[x->to] && (x->rule < 0 || z->matched[x->rule]);
    }
    a->n_edges = n;
}

static void sort_all(struct analysis *z)
{
    sort_edges(z->a, edge_target, z->a->n_states, z->into_first, z->into);
    sort_edges(z->a, edge_rule, z->a->n_rules, z->calls_first, z->calls);
}

/* Edges in order of their source: first[s] … first[s + 1]. */
static int sort_sources(struct analysis *z, struct err *e)
{
    struct automaton *a = z->a;
    struct edge *sorted = mem_array((size_t)MAX(a->n_edges, 1), sizeof *sorted);
    a->first = mem_array((size_t)a->n_states + 1, sizeof *a->first);
    if (!sorted || !a->first) {
        mem_free(sorted);
        return err_set(e, E_NOMEM, "no memory for a grammar of %d edges", (int)a->n_edges);
    }
    sort_edges(a, edge_source, a->n_states, a->first, z->into); /* into is not needed any more */
    for (int32_t i = 0; i < a->n_edges; i++)
        sorted[i] = a->edges[z->into[i]];
    mem_free(a->edges);
    a->edges = sorted;
    a->cap_edges = a->n_edges;
    return 0;
}

static void find_flags(struct analysis *z)
{
    struct automaton *a = z->a;
    z->n_work = 0;
    memset(z->reached, 0, (size_t)a->n_states * sizeof *z->reached);
    for (int32_t i = 0; i < a->n_edges; i++) {
        const struct edge *x = &a->edges[i];
        if (x->rule == EDGE_BYTES)
            a->flags[x->from] |= STATE_READS;
        if (x->rule != EDGE_EMPTY && !z->reached[x->from]) {
            z->reached[x->from] = true;
            z->work[z->n_work++] = x->from;
        }
    }
    while (z->n_work > 0) { /* something follows; so it does wherever this can be reached */
        int32_t t = z->work[--z->n_work];
        for (int32_t i = z->into_first[t]; i < z->into_first[t + 1]; i++) {
            int32_t s = a->edges[z->into[i]].from;
            if (a->edges[z->into[i]].rule == EDGE_EMPTY && !z->reached[s]) {
                z->reached[s] = true;
                z->work[z->n_work++] = s;
            }
        }
    }
    for (int32_t s = 0; s < a->n_states; s++)
        if (!z->reached[s])
            a->flags[s] |= STATE_TAIL;
}

/* ---- who begins with whom: Tarjan's components of "stands at the same position" ---------- */

struct walk {
    int32_t *index, *low, *component, *at; /* [n_states] at: the next edge to look at, doubled */
    int32_t *path, *stack;
    int32_t n_path, n_stack, next, n_components;
};

/* The i-th state that stands where s stands, -1 = no more. An edge that calls has two: the start
 * of the rule, and what follows if the rule may be empty. */
static int32_t neighbour(const struct automaton *a, int32_t s, int32_t i)
{
    const struct edge *x = &a->edges[a->first[s] + i / 2];
    if (a->first[s] + i / 2 >= a->first[s + 1])
        return -1;
    if (i % 2 == 0)
        return x->rule >= 0 ? a->rules[x->rule].start : s;
    return x->rule == EDGE_EMPTY || (x->rule >= 0 && a->rules[x->rule].nullable) ? x->to : s;
}

static void close_component(struct walk *w, int32_t s)
{
    int32_t t;
    do {
        t = w->stack[--w->n_stack];
        w->component[t] = w->n_components;
    } while (t != s);
    w->n_components++;
}

static void walk_from(const struct automaton *a, struct walk *w, int32_t root)
{
    w->path[w->n_path++] = root;
    while (w->n_path > 0) {
        int32_t s = w->path[w->n_path - 1];
        if (w->index[s] < 0) {
            w->index[s] = w->low[s] = w->next++;
            w->stack[w->n_stack++] = s;
        }
        int32_t t = neighbour(a, s, w->at[s]++);
        if (t >= 0 && w->index[t] < 0) {
            w->path[w->n_path++] = t;
        } else if (t >= 0 && w->component[t] < 0) {
            w->low[s] = MIN(w->low[s], w->index[t]);
        } else if (t < 0) {
            if (w->low[s] == w->index[s])
                close_component(w, s);
            w->n_path--;
            if (w->n_path > 0) {
                int32_t up = w->path[w->n_path - 1];
                w->low[up] = MIN(w->low[up], w->low[s]);
            }
        }
    }
}

static int rank_rules(struct automaton *a, const struct walk *w, int32_t *rule_of, struct err *e)
{
    for (int32_t i = 0; i < a->n_edges; i++) {
        const struct edge *x = &a->edges[i];
        if (x->rule >= 0 && w->component[x->from] == w->component[a->rules[x->rule].start])
            return err_set(e, E_FORMAT, "the rule \"%s\" begins with itself: left recursion is "
                           "not supported", a->rules[x->rule].name);
    }
    /* Components are found callees first. */
    for (int32_t c = 0; c < w->n_components; c++)
        rule_of[c] = -1;
    for (int32_t r = 0; r < a->n_rules; r++)
        rule_of[w->component[a->rules[r].start]] = r;
    int32_t rank = 0;
    for (int32_t c = w->n_components; c-- > 0;)
        if (rule_of[c] >= 0) {
            a->rules[rule_of[c]].rank = rank;
            a->by_rank[rank++] = rule_of[c];
        }
    ASSERT(rank == a->n_rules);
    return 0;
}

static int find_ranks(struct automaton *a, struct err *e)
{
    size_t n = (size_t)a->n_states;
    int32_t *block = mem_array(7 * n, sizeof *block);
    a->by_rank = mem_array((size_t)a->n_rules, sizeof *a->by_rank);
    if (!block || !a->by_rank) {
        mem_free(block);
        return err_set(e, E_NOMEM, "no memory for a grammar of %d states", (int)a->n_states);
    }
    struct walk w = {.index = block, .low = block + n, .component = block + 2 * n,
                     .at = block + 3 * n, .path = block + 4 * n, .stack = block + 5 * n};
    for (size_t s = 0; s < n; s++)
        w.index[s] = w.component[s] = -1;
    for (int32_t s = 0; s < a->n_states; s++)
        if (w.index[s] < 0)
            walk_from(a, &w, s);
    int rc = rank_rules(a, &w, block + 6 * n, e);
    mem_free(block);
    return rc;
}

/* ---- together ------------------------------------------------------------------------- */

static void find_classes(struct automaton *a)
{
    bool begins[257] = {[0] = true};
    for (int t = 0; t < a->n_triggers; t++)
        for (size_t i = 0; i < a->triggers[t].n; i++) {
            int byte = (unsigned char)a->triggers[t].p[i];
            begins[byte] = begins[byte + 1] = true;
        }
    for (int32_t i = 0; i < a->n_edges; i++)
        if (a->edges[i].rule == EDGE_BYTES)
            begins[a->edges[i].lo] = begins[a->edges[i].hi + 1] = true;
    for (int byte = 0; byte < 256; byte++) {
        if (begins[byte])
            a->class_byte[a->n_classes++] = (uint8_t)byte;
        a->class_of[byte] = (uint8_t)(a->n_classes - 1);
    }
}

static int analyse(struct analysis *z, int32_t root, struct err *e)
{
    struct automaton *a = z->a;
    for (int32_t s = 0; s < a->n_states; s++)
        z->starts[s] = -1;
    for (int32_t r = 0; r < a->n_rules; r++)
        z->starts[a->rules[r].start] = r;
    sort_all(z);
    spread(z, true);
    if (!z->matched[root])
        return err_set(e, E_FORMAT, "no text matches the grammar: \"%s\" can never end",
                       a->rules[root].name);
    prune(z);
    sort_all(z);
    spread(z, false);
    for (int32_t r = 0; r < a->n_rules; r++)
        a->rules[r].nullable = z->matched[r];
    find_flags(z);
    int rc = sort_sources(z, e);
    if (rc == 0)
        rc = find_ranks(a, e);
    if (rc == 0)
        find_classes(a);
    a->root = root;
    return rc;
}

int automaton_finish(struct automaton *a, int32_t root, struct err *e)
{
    if (a->err.code) {
        if (e)
            *e = a->err;
        return a->err.code;
    }
    size_t states = (size_t)a->n_states, rules = (size_t)a->n_rules;
    size_t edges = (size_t)MAX(a->n_edges, 1);
    int32_t *block = mem_array(2 * edges + 3 * states + 2 * rules + 2, sizeof *block);
    bool *marks = mem_array(states + rules, sizeof *marks);
    struct analysis z = {.a = a, .into = block, .calls = block + edges,
                         .into_first = block + 2 * edges,
                         .calls_first = block + 2 * edges + states + 1,
                         .starts = block + 2 * edges + states + rules + 2,
                         .work = block + 2 * edges + 2 * states + rules + 2,
                         .met = block + 2 * edges + 3 * states + rules + 2,
                         .reached = marks, .matched = marks + states};
    int rc = block && marks ? analyse(&z, root, e)
                            : err_set(e, E_NOMEM, "no memory for a grammar of %d states",
                                      (int)a->n_states);
    mem_free(block);
    mem_free(marks);
    return rc;
}
