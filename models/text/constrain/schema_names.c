/* Names and other strings that are none of some. */
#include <string.h>

#include "base/limits.h"
#include "models/text/constrain/regex.h"
#include "models/text/constrain/schema_int.h"

struct name_node { int32_t c, child, next, state; bool ends; };

/* The child of v for character c, made if it is not there. 0 = a fault. */
static int32_t name_child(struct schema *x, struct name_node **nodes, int32_t *n, int32_t v,
                          int32_t c)
{
    for (int32_t k = (*nodes)[v].child; k; k = (*nodes)[k].next)
        if ((*nodes)[k].c == c)
            return k;
    if ((*n & (*n - 1)) == 0) { /* a power of two: full */
        struct name_node *more = arena_array(&x->a->arena, 2 * (size_t)*n, sizeof *more);
        if (!more)
            return schema_fault(x, E_RANGE, "properties: too many names to tell apart"), 0;
        memcpy(more, *nodes, (size_t)*n * sizeof *more);
        *nodes = more;
    }
    (*nodes)[*n] = (struct name_node){.c = c, .next = (*nodes)[v].child,
                                      .state = automaton_state(x->a)};
    (*nodes)[v].child = *n;
    return (*n)++;
}

/* Strings of plain characters that are none of the names: along the trie of the names, or off
 * it. (Escapes would spell a name in another way.) */
int32_t schema_other_names(struct schema *x, const json_t *properties)
{
    struct automaton *a = x->a;
    int32_t rule = automaton_rule(a, "another name"), n = 1, off = automaton_state(a);
    struct name_node root = {.state = automaton_state(a)}, *nodes = &root;
    int32_t end = automaton_end(a, rule), budget = LIMIT_GRAMMAR_STATES;
    const char *key;
    json_t *v;
    automaton_byte_range(a, automaton_start(a, rule), root.state, '"', '"');
    json_object_foreach((json_t *)(uintptr_t)properties, key, v) {
        int32_t at = 0;
        size_t len = strlen(key), used;
        for (size_t i = 0; i < len && !a->err.code; i += used, budget--)
            at = name_child(x, &nodes, &n, at, regex_decode(key + i, len - i, &used));
        nodes[at].ends = true;
    }
    for (int32_t i = 0; i < n && !a->err.code; i++) {
        struct char_set s = {0};
        for (int32_t k = nodes[i].child; k; k = nodes[k].next) {
            char_set_add(a, &s, nodes[k].c, nodes[k].c);
            if (nodes[k].c >= 0x20 && nodes[k].c != '"' && nodes[k].c != '\\')
                expr_emit(a, expr_class(a, &(struct char_range){nodes[k].c, nodes[k].c}, 1),
                          nodes[i].state, nodes[k].state);
        }
        char_set_add(a, &s, 0, 0x1F);
        char_set_add(a, &s, '"', '"');
        char_set_add(a, &s, '\\', '\\');
        char_set_not(a, &s);
        expr_emit(a, expr_class(a, s.p, s.n), nodes[i].state, off);
        if (!nodes[i].ends)
            automaton_byte_range(a, nodes[i].state, end, '"', '"');
    }
    static const struct char_range plain[] = {{0x20, '!'}, {'#', '['}, {']', CHAR_MAX_CODE}};
    expr_emit(a, expr_class(a, plain, 3), off, off);
    automaton_byte_range(a, off, end, '"', '"');
    return rule;
}
