/* Positions of a text in a grammar. See the header.
 *
 * A step has two halves. Ends: from the places after the byte, by empty edges, and by returning
 * from rules that end here, all places that are reached. Beginnings: every rule that is called
 * from one of them, in the order of ranks: all callers of a rule are known when its node is made,
 * because whoever begins with it has a lower rank. A rule that may be empty is passed by at once,
 * so rules that begin here never end here. */
#include "models/text/constrain/positions.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

#define UNKNOWN (-1)
#define ACCEPT (-1) /* the state of the place behind the root */
#define SCRATCH_MAX (16 * LIMIT_GRAMMAR_ITEMS)

/* ---- memory ----------------------------------------------------------------------------- */

static bool fault(struct positions *p, int code, const char *sentence)
{
    err_set(&p->err, code, "%s", sentence);
    return false;
}

static bool grow(struct positions *p, void **array, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    uint32_t more = MAX(2 * *cap, 32);
    if ((size_t)more * size > 4 * LIMIT_GRAMMAR_POOL)
        return fault(p, E_RANGE, "the grammar is too ambiguous, or its text too deep, to follow");
    void *q = mem_realloc(*array, (size_t)more * size);
    if (!q)
        return fault(p, E_NOMEM, "no memory to follow the grammar");
    *array = q;
    *cap = more;
    return true;
}

size_t positions_bytes(const struct positions *p)
{
    size_t classes = (size_t)p->a->n_classes;
    return (p->n_backs + (size_t)p->n_places) * sizeof *p->places +
           p->n_nodes * sizeof *p->nodes +
           p->n * (sizeof *p->all + classes * sizeof *p->next) +
           (p->n_node_slots + (size_t)p->n_slots) * sizeof *p->slots;
}

static uint32_t hash_places(const struct place *v, uint32_t n, uint32_t seed)
{
    uint64_t h = seed + UINT64_C(0x9E3779B97F4A7C15) * (n + 1);
    for (uint32_t i = 0; i < n; i++) {
        h ^= (uint64_t)(uint32_t)v[i].state << 32 | (uint32_t)v[i].node;
        h *= UINT64_C(0xFF51AFD7ED558CCD);
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

static bool same_places(const struct place *a, const struct place *b, uint32_t n)
{
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

/* Twice as many slots, with what they held. */
static bool rehash(struct positions *p, bool nodes)
{
    uint32_t n = nodes ? p->n_nodes : p->n, old = nodes ? p->n_node_slots : p->n_slots;
    if (2 * (n + 1) < old)
        return true;
    uint32_t cap = MAX(2 * old, 64);
    int32_t *slots = mem_array(cap, sizeof *slots);
    if (!slots)
        return fault(p, E_NOMEM, "no memory to follow the grammar");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (nodes ? p->nodes[i].hash : p->all[i].hash) & (cap - 1);
        while (slots[at])
            at = (at + 1) & (cap - 1);
        slots[at] = (int32_t)i + 1;
    }
    mem_free(nodes ? p->node_slots : p->slots);
    *(nodes ? &p->node_slots : &p->slots) = slots;
    *(nodes ? &p->n_node_slots : &p->n_slots) = cap;
    return true;
}

static bool append(struct positions *p, struct place **to, uint32_t *n, uint32_t *cap,
                   const struct place *v, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!grow(p, (void **)to, *n, cap, sizeof **to))
            return false;
        (*to)[(*n)++] = v[i];
    }
    return true;
}

/* The node that returns to v [n], sorted. */
static int32_t intern_node(struct positions *p, const struct place *v, uint32_t n)
{
    uint32_t h = hash_places(v, n, 1), at;
    if (!rehash(p, true))
        return 0;
    for (at = h & (p->n_node_slots - 1); p->node_slots[at]; at = (at + 1) & (p->n_node_slots - 1)) {
        const struct node *x = &p->nodes[p->node_slots[at] - 1];
        if (x->hash == h && x->n == n && same_places(p->backs + x->first, v, n))
            return p->node_slots[at] - 1;
    }
    uint32_t first = p->n_backs;
    if (!grow(p, (void **)&p->nodes, p->n_nodes, &p->cap_nodes, sizeof *p->nodes) ||
        !append(p, &p->backs, &p->n_backs, &p->cap_backs, v, n))
        return 0;
    p->nodes[p->n_nodes] = (struct node){first, n, h};
    p->node_slots[at] = (int32_t)++p->n_nodes;
    return (int32_t)p->n_nodes - 1;
}

static int32_t intern(struct positions *p, const struct place *v, uint32_t n, bool whole,
                      int trigger)
{
    uint32_t h = hash_places(v, n, whole ? 2 : 3) + (uint32_t)(trigger + 1) * 7919, at;
    size_t classes = (size_t)p->a->n_classes;
    if (!rehash(p, false))
        return POSITION_DEAD;
    for (at = h & (p->n_slots - 1); p->slots[at]; at = (at + 1) & (p->n_slots - 1)) {
        const struct position *x = &p->all[p->slots[at] - 1];
        if (x->hash == h && x->n == n && x->whole == whole && x->trigger == trigger &&
            same_places(p->places + x->first, v, n))
            return p->slots[at] - 1;
    }
    uint32_t first = p->n_places, cap = p->cap;
    if (positions_bytes(p) > 4 * LIMIT_GRAMMAR_POOL)
        return fault(p, E_RANGE, "the grammar is too ambiguous to follow"), POSITION_DEAD;
    if (!grow(p, (void **)&p->all, p->n, &p->cap, sizeof *p->all))
        return POSITION_DEAD;
    if (p->cap != cap || !p->next) {
        int32_t *next = mem_realloc(p->next, p->cap * classes * sizeof *next);
        if (!next) {
            p->cap = cap;
            return fault(p, E_NOMEM, "no memory to follow the grammar"), POSITION_DEAD;
        }
        p->next = next;
    }
    if (!append(p, &p->places, &p->n_places, &p->cap_places, v, n))
        return POSITION_DEAD;
    p->all[p->n] = (struct position){.first = first, .n = n, .hash = h, .mask = -1,
                                     .trigger = (int16_t)trigger, .whole = whole};
    for (size_t c = 0; c < classes; c++)
        p->next[p->n * classes + c] = UNKNOWN;
    p->slots[at] = (int32_t)++p->n;
    return (int32_t)p->n - 1;
}

/* ---- scratch ---------------------------------------------------------------------------- */

static void begin(struct positions *p)
{
    p->n_list = p->n_calls = 0;
    if (++p->stamp == 0) {
        for (uint32_t i = 0; i < p->n_seen; i++)
            p->seen[i].stamp = 0;
        p->stamp = 1;
    }
}

static bool more_seen(struct positions *p)
{
    uint32_t cap = MAX(2 * p->n_seen, 64);
    struct seen *v = mem_array(cap, sizeof *v);
    if (!v)
        return fault(p, E_NOMEM, "no memory to follow the grammar");
    mem_free(p->seen);
    p->seen = v;
    p->n_seen = cap;
    for (uint32_t i = 0; i < p->n_list; i++) {
        uint32_t at = hash_places(&p->list[i], 1, 0) & (cap - 1);
        while (v[at].stamp)
            at = (at + 1) & (cap - 1);
        v[at] = (struct seen){p->list[i], p->stamp};
    }
    return true;
}

/* Puts a place on the list, once. */
static void reach(struct positions *p, int32_t state, int32_t node)
{
    struct place x = {state, node};
    if (--p->steps < 0)
        fault(p, E_RANGE, "the grammar is too ambiguous to follow");
    if (p->err.code || (2 * (p->n_list + 1) > p->n_seen && !more_seen(p)))
        return;
    uint32_t at = hash_places(&x, 1, 0) & (p->n_seen - 1);
    for (; p->seen[at].stamp == p->stamp; at = (at + 1) & (p->n_seen - 1))
        if (p->seen[at].at.state == state && p->seen[at].at.node == node)
            return;
    if (p->n_list >= SCRATCH_MAX)
        fault(p, E_RANGE, "the grammar is too ambiguous to follow");
    if (p->err.code || !grow(p, (void **)&p->list, p->n_list, &p->cap_list, sizeof *p->list))
        return;
    p->seen[at] = (struct seen){x, p->stamp};
    p->list[p->n_list++] = x;
}

static void push_call(struct positions *p, int32_t rank, struct place back)
{
    if (--p->steps < 0 || p->n_calls >= SCRATCH_MAX)
        fault(p, E_RANGE, "the grammar is too ambiguous to follow");
    if (p->err.code || !grow(p, (void **)&p->calls, p->n_calls, &p->cap_calls, sizeof *p->calls))
        return;
    uint32_t i = p->n_calls++;
    for (; i > 0 && p->calls[(i - 1) / 2].rank > rank; i = (i - 1) / 2)
        p->calls[i] = p->calls[(i - 1) / 2];
    p->calls[i] = (struct call){rank, back};
}

static struct call pop_call(struct positions *p)
{
    struct call top = p->calls[0], last = p->calls[--p->n_calls];
    uint32_t i = 0, n = p->n_calls;
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && p->calls[child + 1].rank < p->calls[child].rank)
            child++;
        if (p->calls[child].rank >= last.rank)
            break;
        p->calls[i] = p->calls[child];
    }
    p->calls[i] = last;
    return top;
}

static int by_place(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->state != b->state)
        return a->state < b->state ? -1 : 1;
    return (a->node > b->node) - (a->node < b->node);
}

/* Sorts v and drops what is twice there. */
static uint32_t sort_places(struct place *v, uint32_t n)
{
    uint32_t kept = 0;
    if (n > 1)
        qsort(v, n, sizeof *v, by_place);
    for (uint32_t i = 0; i < n; i++)
        if (kept == 0 || by_place(&v[kept - 1], &v[i]) != 0)
            v[kept++] = v[i];
    return kept;
}

/* ---- a step ----------------------------------------------------------------------------- */

/* The rule r is called and returns to `to` of the place's own rule. */
static void call_rule(struct positions *p, const struct rule *r, struct place from, int32_t to)
{
    if (!(p->a->flags[to] & STATE_TAIL)) {
        push_call(p, r->rank, (struct place){to, from.node});
        return;
    }
    struct node x = p->nodes[from.node]; /* nothing follows there: it returns where we would */
    for (uint32_t i = 0; i < x.n && !p->err.code; i++)
        push_call(p, r->rank, p->backs[x.first + i]);
}

/* What can be reached from list[i] without a byte. ends: whether a rule may end here. */
static void expand(struct positions *p, uint32_t i, bool ends, bool *whole)
{
    const struct automaton *a = p->a;
    struct place at = p->list[i];
    if (ends && a->flags[at.state] & STATE_END) {
        struct node x = p->nodes[at.node];
        for (uint32_t k = 0; k < x.n && !p->err.code; k++) {
            struct place back = p->backs[x.first + k];
            if (back.state == ACCEPT)
                *whole = true;
            else
                reach(p, back.state, back.node);
        }
    }
    for (int32_t k = a->first[at.state]; k < a->first[at.state + 1] && !p->err.code; k++) {
        const struct edge *x = &a->edges[k];
        if (x->rule == EDGE_BYTES)
            continue;
        if (x->rule == EDGE_EMPTY || a->rules[x->rule].nullable)
            reach(p, x->to, at.node);
        if (x->rule >= 0)
            call_rule(p, &a->rules[x->rule], at, x->to);
    }
}

/* All calls of the rule that is called with the lowest rank: its node and its start. */
static void begin_rule(struct positions *p)
{
    int32_t rank = p->calls[0].rank;
    uint32_t n = 0;
    while (p->n_calls > 0 && p->calls[0].rank == rank) {
        if (!grow(p, (void **)&p->sorted, n, &p->cap_sorted, sizeof *p->sorted))
            return;
        p->sorted[n++] = pop_call(p).back;
    }
    n = sort_places(p->sorted, n);
    int32_t node = intern_node(p, p->sorted, n);
    reach(p, p->a->rules[p->a->by_rank[rank]].start, node);
}

/* The position of what is on the list, and of the calls. */
static int32_t settle(struct positions *p, bool whole)
{
    uint32_t i = 0, n = 0;
    for (; i < p->n_list && !p->err.code; i++)
        expand(p, i, true, &whole);
    while (p->n_calls > 0 && !p->err.code) {
        begin_rule(p);
        for (; i < p->n_list && !p->err.code; i++)
            expand(p, i, false, &whole);
    }
    for (i = 0; i < p->n_list; i++) {
        p->list[n] = p->list[i];
        n += (p->a->flags[p->list[i].state] & STATE_READS) != 0;
    }
    if (n > LIMIT_GRAMMAR_ITEMS)
        fault(p, E_RANGE, "the grammar is too ambiguous to follow");
    if (p->err.code)
        return POSITION_DEAD;
    n = sort_places(p->list, n);
    if (n == 0 && whole && p->a->again)
        return intern(p, NULL, 0, true, (p->a->n_triggers - 1) * LIMIT_TRIGGER_BYTES);
    return intern(p, p->list, n, whole, -1);
}

/* One more byte before the grammar: how much of which trigger is there. */
static int32_t step_trigger(struct positions *p, int trigger, uint8_t byte)
{
    int nth = trigger / LIMIT_TRIGGER_BYTES, k = trigger % LIMIT_TRIGGER_BYTES;
    const struct trigger *t = &p->a->triggers[nth];
    while (k > 0 && (uint8_t)t->p[k] != byte)
        k = p->failure[nth][k - 1];
    k += (uint8_t)t->p[k] == byte;
    if (k == (int)t->n && nth + 1 == p->a->n_triggers)
        return p->start;
    return intern(p, NULL, 0, true, k == (int)t->n ? (nth + 1) * LIMIT_TRIGGER_BYTES
                                                   : nth * LIMIT_TRIGGER_BYTES + k);
}

int32_t positions_step(struct positions *p, int32_t from, int class)
{
    uint8_t byte = p->a->class_byte[class];
    struct position at = p->all[from];
    int32_t to = POSITION_DEAD;
    if (at.trigger >= 0) {
        to = step_trigger(p, at.trigger, byte);
    } else {
        begin(p);
        for (uint32_t i = 0; i < at.n && !p->err.code; i++) {
            struct place x = p->places[at.first + i];
            for (int32_t k = p->a->first[x.state]; k < p->a->first[x.state + 1]; k++) {
                const struct edge *d = &p->a->edges[k];
                p->steps--;
                if (d->rule == EDGE_BYTES && d->lo <= byte && byte <= d->hi)
                    reach(p, d->to, x.node);
            }
        }
        if (p->n_list > 0)
            to = settle(p, false);
    }
    if (p->err.code)
        return POSITION_DEAD;
    p->next[(size_t)from * (size_t)p->a->n_classes + (size_t)class] = to;
    return to;
}

/* ---- plain characters ------------------------------------------------------------------- */

#define LEVEL 16 /* positions after as many characters; more are not followed */

struct level {
    int32_t at[LEVEL];
    int32_t n;
};

static bool level_add(struct level *l, int32_t x)
{
    for (int32_t i = 0; i < l->n; i++)
        if (l->at[i] == x)
            return true;
    if (l->n == LEVEL)
        return false;
    l->at[l->n++] = x;
    return true;
}

/* Adds the positions after every byte in [lo, hi]; false: one is dead, or they are too many. */
static bool after_bytes(struct positions *p, int32_t from, int lo, int hi, struct level *out)
{
    for (int byte = lo; byte <= hi; byte++) {
        if (byte > lo && p->a->class_of[byte] == p->a->class_of[byte - 1])
            continue;
        int32_t to = positions_byte(p, from, (uint8_t)byte);
        if (to == POSITION_DEAD || !level_add(out, to))
            return false;
    }
    return true;
}

/* … after every plain character. The forms are those of Unicode's table 3-7. */
static bool after_plain(struct positions *p, int32_t from, struct level *out)
{
    static const struct { uint8_t n, lo[4], hi[4]; } forms[] = {
        {1, {0x20}, {0x21}}, {1, {0x23}, {0x5B}}, {1, {0x5D}, {0x7F}},
        {2, {0xC2, 0x80}, {0xDF, 0xBF}},
        {3, {0xE0, 0xA0, 0x80}, {0xE0, 0xBF, 0xBF}}, {3, {0xE1, 0x80, 0x80}, {0xEC, 0xBF, 0xBF}},
        {3, {0xED, 0x80, 0x80}, {0xED, 0x9F, 0xBF}}, {3, {0xEE, 0x80, 0x80}, {0xEF, 0xBF, 0xBF}},
        {4, {0xF0, 0x90, 0x80, 0x80}, {0xF0, 0xBF, 0xBF, 0xBF}},
        {4, {0xF1, 0x80, 0x80, 0x80}, {0xF3, 0xBF, 0xBF, 0xBF}},
        {4, {0xF4, 0x80, 0x80, 0x80}, {0xF4, 0x8F, 0xBF, 0xBF}},
    };
    for (size_t f = 0; f < ARRAY_LEN(forms); f++) {
        struct level now = {.at = {from}, .n = 1};
        for (int i = 0; i < forms[f].n; i++) {
            struct level then = {.n = 0};
            for (int32_t k = 0; k < now.n; k++)
                if (!after_bytes(p, now.at[k], forms[f].lo[i], forms[f].hi[i], &then))
                    return false;
            now = then;
        }
        for (int32_t k = 0; k < now.n; k++)
            if (!level_add(out, now.at[k]))
                return false;
    }
    return true;
}

int32_t positions_plain(struct positions *p, int32_t from, int32_t most)
{
    struct level now = {.at = {from}, .n = 1};
    int32_t chars = 0;
    if (p->all[from].plain)
        return p->all[from].plain - 1;
    for (; chars < most; chars++) {
        struct level then = {.n = 0};
        bool all = true, closed = true;
        for (int32_t k = 0; k < now.n && all; k++)
            all = after_plain(p, now.at[k], &then);
        if (!all || p->err.code)
            break;
        for (int32_t k = 0; k < then.n; k++) { /* nothing new: it goes on for ever */
            struct level old = now;
            closed = closed && level_add(&old, then.at[k]) && old.n == now.n;
        }
        if (closed) {
            chars = most;
            break;
        }
        now = then;
    }
    if (!p->err.code)
        p->all[from].plain = (uint8_t)(chars + 1);
    return chars;
}

/* ---- beginning, forgetting -------------------------------------------------------------- */

static void find_failure(struct positions *p, int nth)
{
    const struct trigger *t = &p->a->triggers[nth];
    int k = 0;
    ASSERT(t->n > 0 && t->n <= LIMIT_TRIGGER_BYTES);
    p->failure[nth][0] = 0;
    for (size_t i = 1; i < t->n; i++) {
        while (k > 0 && t->p[k] != t->p[i])
            k = p->failure[nth][k - 1];
        k += t->p[k] == t->p[i];
        p->failure[nth][i] = (uint8_t)k;
    }
}

/* The positions that are always there: dead, before the trigger, the grammar's start. */
static int populate(struct positions *p, struct err *e)
{
    const struct rule *root = &p->a->rules[p->a->root];
    (void)intern_node(p, &(struct place){ACCEPT, ACCEPT}, 1); /* node 0: behind the root */
    (void)intern(p, NULL, 0, false, -1); /* dead: a position without places or end is no other */
    if (p->a->n_triggers)
        (void)intern(p, NULL, 0, true, 0);
    begin(p);
    if (!p->err.code)
        push_call(p, root->rank, (struct place){ACCEPT, ACCEPT});
    p->start = settle(p, root->nullable);
    if (p->err.code && e)
        *e = p->err;
    return p->err.code;
}

int positions_init(struct positions *p, const struct automaton *a, struct err *e)
{
    *p = (struct positions){.a = a, .steps = LIMIT_GRAMMAR_STEPS};
    ASSERT(a->n_triggers > 0 || !a->again);
    for (int i = 0; i < a->n_triggers; i++)
        find_failure(p, i);
    int rc = populate(p, e);
    if (rc)
        positions_free(p);
    return rc;
}

static void free_values(struct positions *p)
{
    void *arrays[] = {p->backs, p->places, p->nodes, p->all, p->next, p->node_slots, p->slots};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        mem_free(arrays[i]);
}

static void free_scratch(struct positions *p)
{
    void *arrays[] = {p->list, p->calls, p->sorted, p->seen};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        mem_free(arrays[i]);
}

void positions_free(struct positions *p)
{
    free_values(p);
    free_scratch(p);
    *p = (struct positions){0};
}

int32_t positions_first(const struct positions *p) { return p->a->n_triggers ? 1 : p->start; }

/* Copies the nodes that the places to keep need; map[i]: the new number. */
static void copy_nodes(struct positions *to, const struct positions *from, int32_t *map,
                       int32_t **keep, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct position *x = &from->all[*keep[i]];
        for (uint32_t k = 0; k < x->n; k++)
            map[from->places[x->first + k].node] = 1;
    }
    for (uint32_t i = from->n_nodes; i-- > 0;) { /* a node returns to older ones only */
        const struct node *x = &from->nodes[i];
        for (uint32_t k = 0; map[i] && k < x->n; k++)
            if (from->backs[x->first + k].node >= 0)
                map[from->backs[x->first + k].node] = 1;
    }
    for (uint32_t i = 0; i < from->n_nodes && !to->err.code; i++) {
        const struct node *x = &from->nodes[i];
        for (uint32_t k = 0; map[i] && k < x->n; k++) {
            struct place back = from->backs[x->first + k];
            if (!grow(to, (void **)&to->sorted, k, &to->cap_sorted, sizeof *to->sorted))
                return;
            to->sorted[k] = (struct place){back.state, back.node < 0 ? -1 : map[back.node]};
        }
        if (map[i])
            map[i] = intern_node(to, to->sorted, sort_places(to->sorted, x->n));
    }
}

static int32_t copy_position(struct positions *to, const struct positions *from,
                             const int32_t *map, int32_t old)
{
    const struct position *x = &from->all[old];
    for (uint32_t k = 0; k < x->n; k++) {
        struct place at = from->places[x->first + k];
        if (!grow(to, (void **)&to->sorted, k, &to->cap_sorted, sizeof *to->sorted))
            return POSITION_DEAD;
        to->sorted[k] = (struct place){at.state, map[at.node]};
    }
    return intern(to, to->sorted, sort_places(to->sorted, x->n), x->whole, x->trigger);
}

int positions_forget(struct positions *p, int32_t **keep, size_t n, struct err *e)
{
    struct positions to;
    int32_t *map = mem_array(MAX(p->n_nodes, 1), sizeof *map);
    int32_t *new = mem_array(MAX(n, 1), sizeof *new);
    int rc = map && new ? positions_init(&to, p->a, e)
                        : err_set(e, E_NOMEM, "no memory to follow the grammar");
    if (rc == 0) {
        copy_nodes(&to, p, map, keep, n);
        for (size_t i = 0; i < n && !to.err.code; i++)
            new[i] = copy_position(&to, p, map, *keep[i]);
        if ((rc = to.err.code)) {
            if (e)
                *e = to.err;
            positions_free(&to);
        }
    }
    for (size_t i = 0; i < n && !rc; i++)
        *keep[i] = new[i];
    if (!rc) {
        positions_free(p);
        *p = to;
    }
    mem_free(map);
    mem_free(new);
    return rc;
}
