/* Expressions: precedence climbing over the tokens. The grammar, and what binds how, is the
 * reference's: `~` binds more tightly than `+`, filters and tests than any operator. */
#include <string.h>

#include "base/limits.h"
#include "models/text/chat/jinja/builtins.h"
#include "models/text/chat/jinja/syntax.h"

enum { PREC_OR = 1, PREC_AND, PREC_NOT, PREC_COMPARE, PREC_ADD, PREC_CONCAT, PREC_MUL, PREC_POW };

struct node *node_new(struct parser *p, enum node_type type)
{
    if (++p->program->n_nodes > LIMIT_TEMPLATE_NODES) {
        run_fail(p->r, E_RANGE, "more than %d elements", LIMIT_TEMPLATE_NODES);
        return NULL;
    }
    struct node *n = run_take(p->r, sizeof *n);
    if (n) {
        n->type = type;
        n->line = p->t->line;
    }
    return n;
}

const struct text *intern_name(struct parser *p, const struct text *name)
{
    for (const struct symbol *s = p->program->symbols; s && name; s = s->next)
        if (text_same(s->name, name))
            return s->name;
    struct symbol *s = run_take(p->r, sizeof *s);
    if (!s || !name || !run_spend(p->r, 1))
        return NULL;
    *s = (struct symbol){name, p->program->symbols};
    p->program->symbols = s;
    return name;
}

/* ---- tokens ----------------------------------------------------------------------------- */

static void next(struct parser *p)
{
    if (p->t->type != T_END)
        p->t++;
    p->r->line = p->t->line;
}

bool at_name(const struct parser *p, const char *word)
{
    return p->t->type == T_NAME && p->t->s && text_is(p->t->s, word);
}

bool at_op(const struct parser *p, int op) { return p->t->type == T_OP && p->t->op == op; }

bool skip_name(struct parser *p, const char *word)
{
    bool there = at_name(p, word);
    if (there)
        next(p);
    return there;
}

bool skip_op(struct parser *p, int op)
{
    bool there = at_op(p, op);
    if (there)
        next(p);
    return there;
}

struct node *syntax_error(struct parser *p, const char *expected)
{
    const struct token *t = p->t;
    static const char *const names[] = {
        [T_END] = "the end of the template", [T_DATA] = "text", [T_VAR_BEGIN] = "{{",
        [T_VAR_END] = "}}", [T_BLOCK_BEGIN] = "{%", [T_BLOCK_END] = "%}", [T_STRING] = "a string",
        [T_INT] = "a number", [T_FLOAT] = "a number", [T_OP] = "an operator"};
    if (t->type == T_NAME && t->s)
        run_fail(p->r, E_FORMAT, "%s is expected before \"%.*s\"", expected, (int)MIN(t->s->n, 40U),
             t->s->p);
    else if (t->type == T_OP && t->op < 256)
        run_fail(p->r, E_FORMAT, "%s is expected before \"%c\"", expected, t->op);
    else
        run_fail(p->r, E_FORMAT, "%s is expected before %s", expected,
             t->type == T_NAME ? "a name" : names[t->type]);
    return NULL;
}

bool need_op(struct parser *p, int op)
{
    char s[] = {'"', (char)op, '"', 0};
    if (skip_op(p, op))
        return true;
    syntax_error(p, s);
    return false;
}

bool need_name(struct parser *p, const char *word)
{
    if (skip_name(p, word))
        return true;
    syntax_error(p, word);
    return false;
}

bool parse_nest(struct parser *p)
{
    if (++p->nesting > LIMIT_TEMPLATE_NESTING)
        run_fail(p->r, E_RANGE, "nested deeper than %d levels", LIMIT_TEMPLATE_NESTING);
    return !p->r->failed;
}

/* ---- lists of expressions --------------------------------------------------------------- */

static bool tuple_ends(const struct parser *p)
{
    return p->t->type == T_VAR_END || p->t->type == T_BLOCK_END || at_op(p, ')') ||
           at_name(p, "in") || at_name(p, "recursive");
}

struct node *parse_tuple(struct parser *p, bool conditional, bool parentheses)
{
    struct node *first = NULL, **tail = &first;
    bool tuple = false;
    do {
        if (tuple_ends(p) && (tuple || parentheses))
            break;
        *tail = parse_expression(p, conditional);
        if (!*tail)
            return NULL;
        tail = &(*tail)->next;
        tuple |= at_op(p, ',');
    } while (skip_op(p, ','));
    if (!tuple && first)
        return first;
    struct node *n = node_new(p, E_TUPLE);
    if (n)
        n->items = first;
    return n;
}

static struct node *parse_list(struct parser *p)
{
    struct node *n = node_new(p, E_LIST), **tail = n ? &n->items : NULL;
    next(p);
    while (n && !p->r->failed && !at_op(p, ']')) {
        if (n->items && !need_op(p, ','))
            return NULL;
        if (at_op(p, ']'))
            break;
        if (!(*tail = parse_expression(p, true)))
            return NULL;
        tail = &(*tail)->next;
    }
    return n && need_op(p, ']') ? n : NULL;
}

/* Keys and values take turns in the list. */
static struct node *parse_dict(struct parser *p)
{
    struct node *n = node_new(p, E_DICT), **tail = n ? &n->items : NULL;
    next(p);
    while (n && !p->r->failed && !at_op(p, '}')) {
        if (n->items && !need_op(p, ','))
            return NULL;
        if (at_op(p, '}'))
            break;
        for (int i = 0; i < 2; i++) {
            if ((i && !need_op(p, ':')) || !(*tail = parse_expression(p, true)))
                return NULL;
            tail = &(*tail)->next;
        }
    }
    return n && need_op(p, '}') ? n : NULL;
}

/* Behind "(": arguments with names, and `*` and `**` before what is spread. */
static bool parse_arguments(struct parser *p, struct node **items)
{
    struct node **tail = items;
    bool named = false;
    next(p);
    while (!p->r->failed && !at_op(p, ')')) {
        if (*items && !need_op(p, ','))
            return false;
        if (at_op(p, ')'))
            break;
        int spread = at_op(p, '*') ? '*' : at_op(p, OP_POW) ? OP_POW : 0;
        const struct text *name = NULL;
        if (spread) {
            next(p);
        } else if (p->t->type == T_NAME && p->t[1].type == T_OP && p->t[1].op == '=') {
            name = intern_name(p, p->t->s);
            next(p);
            next(p);
        }
        if (named && !name && spread != OP_POW) {
            syntax_error(p, "a named argument");
            return false;
        }
        named |= name != NULL;
        struct node *value = parse_expression(p, true), *arg = node_new(p, E_CONST);
        if (!value || !arg)
            return false;
        arg->a = value;
        arg->name = name;
        arg->op = spread;
        *tail = arg;
        tail = &arg->next;
    }
    return need_op(p, ')');
}

/* ---- primaries -------------------------------------------------------------------------- */

static struct node *constant(struct parser *p, struct value v)
{
    struct node *n = node_new(p, E_CONST);
    if (n)
        n->value = v;
    next(p);
    return n;
}

static struct node *parse_strings(struct parser *p)
{
    const struct text *s = p->t->s;
    while (p->t[1].type == T_STRING && s) {
        next(p);
        s = p->t->s ? text_join(p->r, s, p->t->s) : NULL;
    }
    return constant(p, v_text(s));
}

static struct node *parse_name(struct parser *p)
{
    const struct text *s = p->t->s;
    if (!s)
        return NULL;
    if (text_is(s, "true") || text_is(s, "True"))
        return constant(p, v_bool(true));
    if (text_is(s, "false") || text_is(s, "False"))
        return constant(p, v_bool(false));
    if (text_is(s, "none") || text_is(s, "None"))
        return constant(p, v_none());
    struct node *n = node_new(p, E_NAME);
    if (n)
        n->name = intern_name(p, s);
    if (p->macro) {
        p->macro->uses_caller |= text_is(s, "caller");
        p->macro->uses_varargs |= text_is(s, "varargs");
        p->macro->uses_kwargs |= text_is(s, "kwargs");
    }
    next(p);
    return n;
}

struct node *parse_primary(struct parser *p)
{
    struct node *n = NULL;
    switch (p->t->type) {
    case T_NAME: return parse_name(p);
    case T_STRING: return parse_strings(p);
    case T_INT:
    case T_FLOAT: return constant(p, p->t->number);
    default: break;
    }
    if (at_op(p, '(')) {
        next(p);
        n = parse_tuple(p, true, true);
        return n && need_op(p, ')') ? n : NULL;
    }
    if (at_op(p, '['))
        return parse_list(p);
    return at_op(p, '{') ? parse_dict(p) : syntax_error(p, "an expression");
}

static struct node *parse_subscript(struct parser *p)
{
    struct node *part[3] = {NULL, NULL, NULL};
    int colons = 0;
    for (;;) {
        if (at_op(p, ':') && colons < 2) {
            next(p);
            colons++;
        } else if (at_op(p, ']') || at_op(p, ',')) {
            break;
        } else if (part[colons] || !(part[colons] = parse_expression(p, true))) {
            return syntax_error(p, "\"]\"");
        }
    }
    if (!colons)
        return part[0] ? part[0] : syntax_error(p, "an expression");
    struct node *n = node_new(p, E_SLICE);
    if (n) {
        n->a = part[0];
        n->b = part[1];
        n->c = part[2];
    }
    return n;
}

static struct node *parse_item(struct parser *p, struct node *of)
{
    struct node *n = node_new(p, E_ITEM), *first = NULL, **tail = &first;
    bool several = false;
    next(p);
    do {
        several |= first != NULL;
        if (!(*tail = parse_subscript(p)))
            return NULL;
        tail = &(*tail)->next;
    } while (skip_op(p, ','));
    if (!n || !need_op(p, ']'))
        return NULL;
    n->a = of;
    n->b = first;
    if (several && (n->b = node_new(p, E_TUPLE)))
        n->b->items = first;
    return n;
}

static struct node *parse_attribute(struct parser *p, struct node *of)
{
    next(p);
    struct node *n = node_new(p, p->t->type == T_INT ? E_ITEM : E_ATTR);
    if (!n)
        return NULL;
    n->a = of;
    if (p->t->type == T_INT) {
        n->b = constant(p, p->t->number);
        return n;
    }
    if (p->t->type != T_NAME)
        return syntax_error(p, "a name");
    n->name = intern_name(p, p->t->s);
    next(p);
    return n;
}

static struct node *parse_call(struct parser *p, struct node *of)
{
    struct node *n = node_new(p, E_CALL);
    if (!n || !parse_arguments(p, &n->items))
        return NULL;
    n->a = of;
    return n;
}

struct node *parse_postfix(struct parser *p, struct node *n)
{
    while (n && p->t->type == T_OP) {
        if (p->t->op == '.')
            n = parse_attribute(p, n);
        else if (p->t->op == '[')
            n = parse_item(p, n);
        else if (p->t->op == '(')
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* ---- filters and tests ------------------------------------------------------------------ */

static struct node *parse_named(struct parser *p, enum node_type type, struct node *of)
{
    struct node *n = p->t->type == T_NAME ? node_new(p, type) : syntax_error(p, "a name");
    if (!n)
        return NULL;
    n->a = of;
    n->name = intern_name(p, p->t->s);
    if (!n->name)
        return NULL;
    n->fn = type == E_FILTER ? filter_find(p->r, n->name) : test_find(p->r, n->name);
    if (!n->fn && !p->soft)
        run_fail(p->r, E_FORMAT, "there is no %s \"%.*s\"", type == E_FILTER ? "filter" : "test",
             (int)MIN(n->name->n, 60U), n->name->p);
    next(p);
    return p->r->failed ? NULL : n;
}

struct node *parse_filters(struct parser *p, struct node *n, bool first)
{
    while (!p->r->failed && (first || skip_op(p, '|'))) {
        n = parse_named(p, E_FILTER, n);
        if (!n || (at_op(p, '(') && !parse_arguments(p, &n->items)))
            return NULL;
        first = false;
    }
    return n;
}

static struct node *parse_test(struct parser *p, struct node *of)
{
    bool negated = skip_name(p, "not");
    struct node *n = parse_named(p, E_TEST, of);
    if (!n)
        return NULL;
    enum token_type t = p->t->type;
    bool argument = t == T_STRING || t == T_INT || t == T_FLOAT || at_op(p, '[') ||
                    at_op(p, '{') || (t == T_NAME && !at_name(p, "else") && !at_name(p, "or") &&
                                      !at_name(p, "and"));
    if (at_op(p, '(')) {
        if (!parse_arguments(p, &n->items))
            return NULL;
    } else if (argument) {
        if (at_name(p, "is"))
            return syntax_error(p, "the end of a test");
        struct node *arg = node_new(p, E_CONST);
        if (!arg || !(arg->a = parse_postfix(p, parse_primary(p))))
            return NULL;
        n->items = arg;
    }
    struct node *inverse = negated ? node_new(p, E_NOT) : NULL;
    if (inverse)
        inverse->a = n;
    return negated ? inverse : n;
}

static struct node *parse_unary(struct parser *p, bool with_filters)
{
    struct node *n = NULL;
    if (!parse_nest(p))
        return NULL;
    if (at_op(p, '-') || at_op(p, '+')) {
        n = node_new(p, E_UNARY);
        if (n)
            n->op = p->t->op;
        next(p);
        struct node *operand = parse_unary(p, false);
        if (n)
            n->a = operand;
        n = operand ? n : NULL;
    } else {
        n = parse_primary(p);
    }
    n = parse_postfix(p, n);
    while (n && with_filters && !p->r->failed) {
        if (at_op(p, '|'))
            n = parse_filters(p, n, false);
        else if (skip_name(p, "is"))
            n = parse_test(p, n);
        else if (at_op(p, '('))
            n = parse_call(p, n);
        else
            break;
    }
    p->nesting--;
    return n;
}

/* ---- operators -------------------------------------------------------------------------- */

static int precedence(const struct parser *p, int *op)
{
    *op = p->t->type == T_OP ? p->t->op : 0;
    if (p->t->type == T_NAME) {
        if (at_name(p, "or"))
            return PREC_OR;
        if (at_name(p, "and"))
            return PREC_AND;
        bool not_in = at_name(p, "not") && p->t[1].type == T_NAME && p->t[1].s &&
                   text_is(p->t[1].s, "in");
        *op = not_in ? OP_NOT_IN : at_name(p, "in") ? OP_IN : 0;
    }
    switch (*op) {
    case OP_EQ: case OP_NE: case OP_GE: case OP_LE: case '<': case '>': case OP_IN:
    case OP_NOT_IN: return PREC_COMPARE;
    case '+': case '-': return PREC_ADD;
    case '~': return PREC_CONCAT;
    case '*': case '/': case '%': case OP_FLOORDIV: return PREC_MUL;
    case OP_POW: return PREC_POW;
    default: return 0;
    }
}

static struct node *parse_binary(struct parser *p, int min);

/* a < b <= c: one node, the operands in a list, each with the operator before it. */
static struct node *parse_compare(struct parser *p, struct node *left)
{
    struct node *n = node_new(p, E_COMPARE), **tail = n ? &n->items : NULL;
    int op;
    if (n)
        n->a = left;
    while (n && precedence(p, &op) == PREC_COMPARE) {
        next(p);
        if (op == OP_NOT_IN)
            next(p);
        struct node *item = node_new(p, E_COMPARE);
        if (!item || !(item->a = parse_binary(p, PREC_ADD)))
            return NULL;
        item->op = op;
        *tail = item;
        tail = &item->next;
    }
    return n;
}

static struct node *parse_binary(struct parser *p, int min)
{
    static const enum node_type types[] = {[PREC_OR] = E_OR, [PREC_AND] = E_AND,
        [PREC_ADD] = E_BINARY, [PREC_CONCAT] = E_CONCAT, [PREC_MUL] = E_BINARY,
        [PREC_POW] = E_BINARY};
    struct node *left;
    int op, level;
    if (!parse_nest(p))
        return NULL;
    if (min <= PREC_NOT && at_name(p, "not")) {
        left = node_new(p, E_NOT);
        next(p);
        struct node *operand = parse_binary(p, PREC_NOT);
        if (left)
            left->a = operand;
        left = operand ? left : NULL;
    } else {
        left = parse_unary(p, true);
    }
    while (left && (level = precedence(p, &op)) >= min && level > 0) {
        if (level == PREC_COMPARE) {
            left = parse_compare(p, left);
            continue;
        }
        struct node *n = node_new(p, types[level]);
        next(p);
        struct node *right = parse_binary(p, level + 1);
        if (!n || !right) {
            left = NULL;
            break;
        }
        n->op = op;
        n->a = left;
        n->b = right;
        left = n;
    }
    p->nesting--;
    return p->r->failed ? NULL : left;
}

struct node *parse_expression(struct parser *p, bool conditional)
{
    bool soft = p->soft;
    if (!parse_nest(p))
        return NULL;
    /* Whether it is a conditional shows only behind it; a filter in one may be unknown. */
    const struct token *t = p->t;
    int depth = 0;
    for (; conditional && t->type != T_END && t->type != T_VAR_END && t->type != T_BLOCK_END; t++) {
        depth += t->type == T_OP && t->op < 256 && strchr("([{", t->op);
        depth -= t->type == T_OP && t->op < 256 && strchr(")]}", t->op);
        if (depth < 0 || (depth == 0 && t->type == T_OP && t->op == ','))
            break;
        if (depth == 0 && t->type == T_NAME && t->s && text_is(t->s, "if"))
            p->soft = true;
    }
    struct node *n = parse_binary(p, PREC_OR);
    while (n && conditional && skip_name(p, "if")) {
        struct node *cond = node_new(p, E_COND), *test = parse_binary(p, PREC_OR), *other = NULL;
        if (!cond || !test || (skip_name(p, "else") && !(other = parse_expression(p, true)))) {
            n = NULL;
            break;
        }
        cond->a = test;
        cond->b = n;
        cond->c = other;
        n = cond;
    }
    p->soft = soft;
    p->nesting--;
    return p->r->failed ? NULL : n;
}
