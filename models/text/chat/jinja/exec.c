/* Statements and macros. */
#include <string.h>

#include "base/limits.h"
#include "models/text/chat/jinja/eval.h"

void assign_to(struct run *r, struct scope *s, const struct node *target, struct value v)
{
    if (r->failed)
        return;
    r->line = target->line;
    if (target->type == E_NAME) {
        scope_set(r, s, target->name, v);
    } else if (target->type == E_ATTR) {
        struct value ns = eval_expr(r, s, target->a);
        if (!r->failed && ns.kind != V_NAMESPACE)
            run_fail(r, E_FORMAT, "cannot assign attribute on non-namespace object");
        else if (!r->failed)
            dict_put(r, ns.d, v_text(target->name), v);
    } else {
        const struct seq *l = value_iterate(r, &v);
        size_t i = 0;
        for (const struct node *t = target->items; t && l; t = t->next, i++)
            if (i < l->n)
                assign_to(r, s, t, l->v[i]);
        if (l && i != l->n)
            run_fail(r, E_FORMAT, "%zu values cannot be unpacked into %zu names", l->n, i);
    }
}

/* The elements for which the loop's condition holds: loop.last and loop.length count these. */
static struct seq *select_items(struct run *r, struct scope *s, const struct node *n,
                                struct seq *all)
{
    struct seq *l = list_new(r, SEQ_LIST, 0);
    size_t cap = 0;
    for (size_t i = 0; l && i < all->n && !r->failed; i++) {
        struct scope *inner = scope_new(r, s);
        assign_to(r, inner, n->a, all->v[i]);
        struct value v = r->failed ? v_none() : eval_expr(r, inner, n->c);
        if (truthy(&v))
            list_push(r, l, &cap, all->v[i]);
    }
    return l;
}

static enum flow exec_for(struct run *r, struct scope *s, const struct node *n,
                          struct builder *out)
{
    struct value v = eval_expr(r, s, n->b);
    struct seq *l = r->failed ? NULL : value_iterate(r, &v);
    const struct text *name = find_symbol(r->program, "loop");
    if (l && n->c)
        l = select_items(r, s, n, l);
    struct loop *loop = l ? run_take(r, sizeof *loop) : NULL;
    if (!loop)
        return FLOW_BREAK;
    *loop = (struct loop){.items = l};
    struct scope *inner = NULL;
    size_t captured = r->captured;
    for (; loop->at < l->n && run_spend(r, 1); loop->at++) {
        if (inner && captured == r->captured)
            scope_reset(r, inner);
        else
            inner = scope_new(r, s);
        captured = r->captured;
        if (!inner)
            break;
        if (name)
            scope_set(r, inner, name, (struct value){.kind = V_LOOP, .loop = loop});
        assign_to(r, inner, n->a, l->v[loop->at]);
        if (!r->failed && exec_body(r, inner, n->body, out) == FLOW_BREAK)
            break;
    }
    if (inner && captured == r->captured)
        scope_reset(r, inner);
    if (l->n == 0 && !r->failed && n->orelse)
        return exec_body(r, scope_new(r, s), n->orelse, out);
    return FLOW_NEXT;
}

static enum flow exec_if(struct run *r, struct scope *s, const struct node *n,
                         struct builder *out)
{
    for (; n && !r->failed; n = n->b) {
        struct value v = eval_expr(r, s, n->a);
        if (r->failed)
            break;
        if (truthy(&v))
            return exec_body(r, s, n->body, out);
        if (!n->b)
            return exec_body(r, s, n->orelse, out);
    }
    return FLOW_BREAK;
}

static struct value macro_call(struct run *r, const struct macro *m, const struct args *a);

/* The text of a body in a scope of its own. */
static struct value body_text(struct run *r, struct scope *s, const struct node *body)
{
    struct builder b;
    text_build(&b, r);
    struct scope *inner = scope_new(r, s);
    if (inner)
        exec_body(r, inner, body, &b);
    return v_text(text_built(&b));
}

static struct value macro_value(struct run *r, struct scope *s, const struct node *n)
{
    struct macro *m = run_take(r, sizeof *m);
    r->captured++;
    if (m)
        *m = (struct macro){n, s, macro_call};
    return (struct value){.kind = m ? V_MACRO : V_UNDEFINED, .macro = m};
}

static void exec_call_block(struct run *r, struct scope *s, const struct node *n,
                            struct builder *out)
{
    struct value caller = macro_value(r, s, n), fn = eval_expr(r, s, n->a->a);
    struct args a;
    if (r->failed || !eval_args(r, s, n->a->items, &caller, &a))
        return;
    struct value v = call_value(r, &fn, &a);
    if (!r->failed)
        put_str(out, &v);
}

static void exec_with(struct run *r, struct scope *s, const struct node *n, struct builder *out)
{
    struct scope *inner = scope_new(r, s);
    for (const struct node *i = n->items; i && inner && !r->failed; i = i->next)
        assign_to(r, inner, i->a, eval_expr(r, s, i->b));
    if (inner && !r->failed)
        exec_body(r, inner, n->body, out);
}

static enum flow exec_one(struct run *r, struct scope *s, const struct node *n,
                          struct builder *out)
{
    struct value v;
    switch (n->type) {
    case S_DATA: put_text(out, n->value.s); break;
    case S_OUTPUT:
        v = eval_expr(r, s, n->a);
        if (!r->failed)
            put_str(out, &v);
        break;
    case S_IF: return exec_if(r, s, n, out);
    case S_FOR: return exec_for(r, s, n, out);
    case S_SET: assign_to(r, s, n->a, eval_expr(r, s, n->b)); break;
    case S_SET_BLOCK:
        v = body_text(r, s, n->body);
        assign_to(r, s, n->a, apply_filters(r, s, n->b, v));
        break;
    case S_MACRO: scope_set(r, s, n->name, macro_value(r, s, n)); break;
    case S_CALL_BLOCK: exec_call_block(r, s, n, out); break;
    case S_FILTER_BLOCK:
        v = body_text(r, s, n->body);
        v = apply_filters(r, s, n->a, v);
        if (!r->failed)
            put_str(out, &v);
        break;
    case S_WITH: exec_with(r, s, n, out); break;
    case S_SCOPE: {
        struct scope *inner = scope_new(r, s);
        return inner ? exec_body(r, inner, n->body, out) : FLOW_BREAK;
    }
    case S_BREAK: return FLOW_BREAK;
    case S_CONTINUE: return FLOW_CONTINUE;
    default: run_fail(r, E_FORMAT, "an expression where a statement is expected");
    }
    return FLOW_NEXT;
}

enum flow exec_body(struct run *r, struct scope *s, const struct node *n, struct builder *out)
{
    enum flow flow = FLOW_NEXT;
    if (++r->depth > LIMIT_TEMPLATE_DEPTH)
        run_fail(r, E_RANGE, "nested deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
    for (; n && flow == FLOW_NEXT && run_spend(r, 1); n = n->next) {
        r->line = n->line;
        flow = exec_one(r, s, n, out);
    }
    r->depth--;
    return r->failed ? FLOW_BREAK : flow;
}

/* ---- macros ----------------------------------------------------------------------------- */

/* Index of the named argument among a's values, or SIZE_MAX; it counts as used. */
static size_t named(const struct args *a, const struct text *name, size_t *used)
{
    for (size_t i = 0; i < a->n_named; i++)
        if (text_same(a->names[i], name)) {
            ++*used;
            return a->n + i;
        }
    return SIZE_MAX;
}

/* Positional arguments beyond the parameters, and named ones that none has. */
static void rest(struct run *r, const struct macro *m, const struct args *a, struct scope *s,
                 size_t n_params, size_t used)
{
    const struct node *n = m->node;
    const struct text *varargs = find_symbol(r->program, "varargs");
    const struct text *kwargs = find_symbol(r->program, "kwargs");
    size_t more = a->n > n_params ? a->n - n_params : 0;
    if (more && !n->uses_varargs)
        run_fail(r, E_FORMAT, "a macro of %zu parameters is called with %zu arguments",
                 n_params, a->n);
    if (used < a->n_named && !n->uses_kwargs)
        run_fail(r, E_FORMAT, "a macro is called with an argument that no parameter names");
    if (n->uses_varargs && varargs && !r->failed) {
        struct seq *l = list_new(r, SEQ_TUPLE, more);
        if (l && more)
            memcpy(l->v, a->v + n_params, more * sizeof *l->v);
        scope_set(r, s, varargs, v_seq(l));
    }
    if (n->uses_kwargs && kwargs && !r->failed) {
        struct dict *d = dict_new(r, a->n_named);
        for (size_t i = 0; i < a->n_named; i++) {
            bool own = n->uses_caller && text_is(a->names[i], "caller");
            for (const struct node *p = n->items; p; p = p->next)
                own |= text_same(p->name, a->names[i]);
            if (!own)
                dict_put(r, d, v_text(a->names[i]), a->v[a->n + i]);
        }
        scope_set(r, s, kwargs, v_dict(d));
    }
}

static struct value macro_call(struct run *r, const struct macro *m, const struct args *a)
{
    struct scope *s = scope_new(r, m->scope);
    size_t i = 0, used = 0;
    if (!s)
        return v_none();
    for (const struct node *p = m->node->items; p && !r->failed; p = p->next, i++) {
        size_t at = i < a->n ? i : named(a, p->name, &used);
        struct value v;
        if (at != SIZE_MAX)
            v = a->v[at];
        else if (p->a)
            v = eval_expr(r, s, p->a);
        else
            v = v_undefined(r, "parameter '%.*s' was not provided", (int)MIN(p->name->n, 80U),
                            p->name->p);
        scope_set(r, s, p->name, v);
    }
    const struct text *caller = find_symbol(r->program, "caller");
    if (m->node->uses_caller && caller && !r->failed) {
        size_t at = named(a, caller, &used);
        scope_set(r, s, caller, at != SIZE_MAX ? a->v[at]
                                               : v_undefined(r, "No caller defined"));
    }
    rest(r, m, a, s, i, used);
    return r->failed ? v_none() : body_text(r, s, m->node->body);
}
