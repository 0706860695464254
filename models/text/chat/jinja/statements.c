/* Statements. */
#include <string.h>

#include "models/text/chat/jinja/syntax.h"

/* Statements up to a block that begins with one of `ends`, which stays the current token. */
static bool parse_body(struct parser *p, const char *const *ends, struct node **body);

static void next(struct parser *p)
{
    if (p->t->type != T_END)
        p->t++;
    p->r->line = p->t->line;
}

static bool end_block(struct parser *p)
{
    if (p->t->type != T_BLOCK_END) {
        syntax_error(p, "\"%}\"");
        return false;
    }
    next(p);
    return true;
}

/* The rest of an opening tag, a body of its own scope, and the closing tag. */
static bool parse_block(struct parser *p, const char *end, struct node **body)
{
    const char *const ends[] = {end, NULL};
    bool soft = p->soft;
    p->soft = false;
    bool ok = end_block(p) && parse_body(p, ends, body);
    p->soft = soft;
    next(p); /* the end's name */
    return ok;
}

/* name, name.attribute, or several in a tuple. */
static struct node *parse_one_target(struct parser *p, bool namespaces)
{
    if (p->t->type != T_NAME)
        return syntax_error(p, "a name");
    struct node *n = node_new(p, E_NAME);
    if (!n)
        return NULL;
    n->name = intern_name(p, p->t->s);
    next(p);
    if (!namespaces || !skip_op(p, '.'))
        return n;
    struct node *attribute = node_new(p, E_ATTR);
    if (!attribute || p->t->type != T_NAME)
        return syntax_error(p, "a name");
    attribute->a = n;
    attribute->name = intern_name(p, p->t->s);
    next(p);
    return attribute;
}

struct node *parse_target(struct parser *p, bool namespaces)
{
    struct node *first = NULL, **tail = &first;
    bool tuple = false, closed = skip_op(p, '(');
    do {
        if (tuple && p->t->type != T_NAME && !at_op(p, '('))
            break;
        *tail = parse_nest(p) ? at_op(p, '(') ? parse_target(p, namespaces)
                                        : parse_one_target(p, namespaces) : NULL;
        p->nesting--;
        if (!*tail)
            return NULL;
        tail = &(*tail)->next;
        tuple |= at_op(p, ',');
    } while (skip_op(p, ',') && !at_name(p, "in"));
    if (closed && !need_op(p, ')'))
        return NULL;
    if (!tuple)
        return first;
    struct node *n = node_new(p, E_TUPLE);
    if (n)
        n->items = first;
    return n;
}

static bool parse_if(struct parser *p, struct node *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const end[] = {"endif", NULL};
    bool soft = p->soft, ok = true;
    p->soft = true;
    for (;;) {
        ok = (n->a = parse_tuple(p, false, false)) && end_block(p) &&
             parse_body(p, ends, &n->body);
        if (!ok || !skip_name(p, "elif"))
            break;
        struct node *other = node_new(p, S_IF);
        if (!(ok = other != NULL))
            break;
        n->b = other;
        n = other;
    }
    if (ok && skip_name(p, "else"))
        ok = end_block(p) && parse_body(p, end, &n->orelse);
    p->soft = soft;
    return ok && need_name(p, "endif");
}

static bool parse_for(struct parser *p, struct node *n)
{
    static const char *const ends[] = {"endfor", "else", NULL}, *const end[] = {"endfor", NULL};
    bool soft = p->soft;
    if (!(n->a = parse_target(p, false)) || !need_name(p, "in") ||
        !(n->b = parse_tuple(p, false, false)))
        return false;
    if (skip_name(p, "if") && !(n->c = parse_expression(p, true)))
        return false;
    if (at_name(p, "recursive")) {
        run_fail(p->r, E_UNSUPPORTED, "recursive loops are not supported");
        return false;
    }
    p->soft = false;
    p->loops++;
    bool ok = end_block(p) && parse_body(p, ends, &n->body);
    p->loops--;
    if (ok && skip_name(p, "else"))
        ok = end_block(p) && parse_body(p, end, &n->orelse);
    p->soft = soft;
    return ok && need_name(p, "endfor");
}

static bool parse_set(struct parser *p, struct node *n)
{
    if (!(n->a = parse_target(p, true)))
        return false;
    if (skip_op(p, '='))
        return (n->b = parse_tuple(p, true, false));
    n->type = S_SET_BLOCK;
    if (at_op(p, '|') && !(n->b = parse_filters(p, NULL, false)))
        return false;
    return parse_block(p, "endset", &n->body);
}

/* (name, name = default, …): each an E_NAME with its default in a. */
static bool parse_parameters(struct parser *p, struct node **items)
{
    struct node **tail = items;
    if (!need_op(p, '('))
        return false;
    while (!p->r->failed && !at_op(p, ')')) {
        if (*items && !need_op(p, ','))
            return false;
        struct node *n = parse_one_target(p, false);
        if (!n)
            return false;
        if (skip_op(p, '=') && !(n->a = parse_expression(p, true)))
            return false;
        *tail = n;
        tail = &n->next;
    }
    return need_op(p, ')');
}

static bool parse_macro_body(struct parser *p, struct node *n, const char *end)
{
    struct node *outer = p->macro;
    int loops = p->loops;
    p->macro = n;
    p->loops = 0;
    bool ok = parse_block(p, end, &n->body);
    p->macro = outer;
    p->loops = loops;
    return ok;
}

static bool parse_macro(struct parser *p, struct node *n)
{
    if (p->t->type != T_NAME)
        return syntax_error(p, "a name");
    n->name = intern_name(p, p->t->s);
    next(p);
    return parse_parameters(p, &n->items) && parse_macro_body(p, n, "endmacro");
}

static bool parse_call_block(struct parser *p, struct node *n)
{
    if (at_op(p, '(') && !parse_parameters(p, &n->items))
        return false;
    n->a = parse_expression(p, true);
    if (n->a && n->a->type != E_CALL)
        syntax_error(p, "a call");
    return !p->r->failed && parse_macro_body(p, n, "endcall");
}

static bool parse_with(struct parser *p, struct node *n)
{
    struct node **tail = &n->items;
    while (!p->r->failed && p->t->type != T_BLOCK_END) {
        if (n->items && !need_op(p, ','))
            return false;
        struct node *item = node_new(p, S_SET);
        if (!item || !(item->a = parse_target(p, false)) || !need_op(p, '=') ||
            !(item->b = parse_expression(p, true)))
            return false;
        *tail = item;
        tail = &item->next;
    }
    return parse_block(p, "endwith", &n->body);
}

static bool parse_filter_block(struct parser *p, struct node *n)
{
    return (n->a = parse_filters(p, NULL, true)) && parse_block(p, "endfilter", &n->body);
}

/* {% generation %} marks what the assistant wrote, for training: here a scope and no more. */
static bool parse_generation(struct parser *p, struct node *n)
{
    return parse_block(p, "endgeneration", &n->body);
}

static bool parse_jump(struct parser *p, struct node *n)
{
    if (p->loops == 0)
        run_fail(p->r, E_FORMAT, "a %s outside of a loop",
                 n->type == S_BREAK ? "break" : "continue");
    return !p->r->failed;
}

static const struct statement {
    const char *name;
    enum node_type type;
    bool (*parse)(struct parser *p, struct node *n);
} statements[] = {
    {"if", S_IF, parse_if}, {"for", S_FOR, parse_for}, {"set", S_SET, parse_set},
    {"macro", S_MACRO, parse_macro}, {"call", S_CALL_BLOCK, parse_call_block},
    {"filter", S_FILTER_BLOCK, parse_filter_block}, {"with", S_WITH, parse_with},
    {"generation", S_SCOPE, parse_generation}, {"break", S_BREAK, parse_jump},
    {"continue", S_CONTINUE, parse_jump},
};

/* Behind "{%". */
static struct node *parse_statement(struct parser *p)
{
    if (p->t->type != T_NAME)
        return syntax_error(p, "the name of a tag");
    for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
        if (!at_name(p, statements[i].name))
            continue;
        struct node *n = node_new(p, statements[i].type);
        next(p);
        return n && statements[i].parse(p, n) && end_block(p) ? n : NULL;
    }
    run_fail(p->r, E_FORMAT, "there is no tag \"%.*s\"", (int)MIN(p->t->s->n, 40U), p->t->s->p);
    return NULL;
}

static struct node *parse_output(struct parser *p)
{
    struct node *n = node_new(p, S_OUTPUT);
    if (!n || !(n->a = parse_tuple(p, true, false)))
        return NULL;
    if (p->t->type != T_VAR_END)
        return syntax_error(p, "\"}}\"");
    next(p);
    return n;
}

static struct node *parse_data(struct parser *p)
{
    struct node *n = node_new(p, S_DATA);
    if (n)
        n->value = v_text(p->t->s);
    next(p);
    return n;
}

static bool parse_body(struct parser *p, const char *const *ends, struct node **body)
{
    bool ok = parse_nest(p);
    while (ok) {
        struct node *n = NULL;
        if (p->t->type == T_BLOCK_BEGIN) {
            next(p);
            for (size_t i = 0; ends && ends[i]; i++)
                if (at_name(p, ends[i])) {
                    p->nesting--;
                    return true;
                }
            n = parse_statement(p);
        } else if (p->t->type == T_VAR_BEGIN) {
            next(p);
            n = parse_output(p);
        } else if (p->t->type == T_DATA) {
            n = parse_data(p);
        } else {
            ok = !ends;
            if (!ok)
                syntax_error(p, ends[0]);
            break;
        }
        ok = n && !p->r->failed;
        *body = n;
        body = n ? &n->next : body;
    }
    p->nesting--;
    return ok;
}

struct node *parse_template(struct parser *p)
{
    struct node *body = NULL;
    return parse_body(p, NULL, &body) ? body : NULL;
}
