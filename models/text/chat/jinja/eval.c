/* Expressions. */
#include "models/text/chat/jinja/eval.h"

#include <string.h>

#include "base/limits.h"

#define SPINE 32 /* operands of a + b + c … that are folded without recursion */

struct scope *scope_new(struct run *r, struct scope *up)
{
    struct scope *s = run_take(r, sizeof *s);
    if (s)
        s->up = up;
    return s;
}

void scope_set(struct run *r, struct scope *s, const struct text *name, struct value v)
{
    struct var *found = s ? s->vars : NULL;
    while (found && found->name != name)
        found = found->next;
    if (found || !s) {
        if (found)
            found->v = v;
        return;
    }
    struct var *var = r->free_vars ? r->free_vars : run_take(r, sizeof *var);
    if (!var)
        return;
    if (var == r->free_vars)
        r->free_vars = var->next;
    *var = (struct var){name, v, s->vars};
    s->vars = var;
}

void scope_reset(struct run *r, struct scope *s)
{
    while (s->vars) {
        struct var *var = s->vars;
        s->vars = var->next;
        var->next = r->free_vars;
        r->free_vars = var;
    }
}

const struct text *find_symbol(const struct jinja *program, const char *name)
{
    for (const struct symbol *s = program->symbols; s; s = s->next)
        if (text_is(s->name, name))
            return s->name;
    return NULL;
}

static struct value lookup(const struct run *r, const struct scope *s, const struct text *name)
{
    for (; s; s = s->up)
        for (const struct var *v = s->vars; v; v = v->next)
            if (v->name == name)
                return v->v;
    const struct function *fn = global_find(r, name);
    if (fn)
        return (struct value){.kind = V_FUNCTION, .fn = fn};
    return v_absent(name, NULL);
}

static struct value eval_items(struct run *r, struct scope *s, const struct node *n,
                               enum seq_kind kind)
{
    struct seq *l = list_new(r, kind, 0);
    size_t cap = 0;
    for (const struct node *i = n->items; i && !r->failed; i = i->next) {
        struct value v = eval_expr(r, s, i);
        list_push(r, l, &cap, v);
    }
    return v_seq(l);
}

static struct value eval_dict(struct run *r, struct scope *s, const struct node *n)
{
    struct dict *d = dict_new(r, 0);
    for (const struct node *i = n->items; i && !r->failed; i = i->next->next) {
        struct value k = eval_expr(r, s, i), v = eval_expr(r, s, i->next);
        dict_put(r, d, k, v);
    }
    return v_dict(d);
}

/* a + b + c: adding strings two by two would copy the beginning again and again. */
static struct value eval_binary(struct run *r, struct scope *s, const struct node *n)
{
    const struct node *spine[SPINE];
    size_t k = 0;
    for (; k < SPINE && n->type == E_BINARY; n = n->a)
        spine[k++] = n;
    struct value v = eval_expr(r, s, n);
    struct builder sum;
    bool building = false;
    while (k-- > 0 && !r->failed) {
        struct value right = eval_expr(r, s, spine[k]->b);
        r->line = spine[k]->line;
        if (spine[k]->op == '+' && v.kind == V_STRING && right.kind == V_STRING && !v.s->safe &&
            !right.s->safe) {
            if (!building) {
                text_build(&sum, r);
                put_text(&sum, v.s);
            }
            building = true;
            put_text(&sum, right.s);
            continue;
        }
        if (building)
            v = v_text(text_built(&sum));
        building = false;
        if (!r->failed)
            v = binary_op(r, spine[k]->op, &v, &right);
    }
    return building ? v_text(text_built(&sum)) : v;
}

/* a ~ b ~ c: strings of everything. */
static struct value eval_concat(struct run *r, struct scope *s, const struct node *n)
{
    const struct node *spine[SPINE];
    struct builder b;
    size_t k = 0;
    for (; k < SPINE && n->type == E_CONCAT; n = n->a)
        spine[k++] = n;
    struct value v = eval_expr(r, s, n);
    text_build(&b, r);
    put_str(&b, &v);
    while (k-- > 0 && !r->failed) {
        v = eval_expr(r, s, spine[k]->b);
        put_str(&b, &v);
    }
    return v_text(text_built(&b));
}

static struct value eval_compare(struct run *r, struct scope *s, const struct node *n)
{
    struct value left = eval_expr(r, s, n->a);
    bool holds = true;
    for (const struct node *i = n->items; i && holds && !r->failed; i = i->next) {
        struct value right = eval_expr(r, s, i->a);
        if (!r->failed)
            holds = compare_op(r, i->op, &left, &right);
        left = right;
    }
    return v_bool(holds);
}

static struct value eval_unary(struct run *r, struct scope *s, const struct node *n)
{
    struct value v = eval_expr(r, s, n->a);
    if (r->failed)
        return v;
    if (!is_number(&v))
        return v.kind == V_UNDEFINED ? fail_undefined(r, &v)
                   : run_fail(r, E_FORMAT, "a sign before a %s", kind_name(&v));
    if (v.kind == V_FLOAT)
        return v_float(n->op == '-' ? -v.f : v.f);
    return v_int(n->op == '-' && int_of(&v) != INT64_MIN ? -int_of(&v) : int_of(&v));
}

static struct value eval_item(struct run *r, struct scope *s, const struct node *n)
{
    struct value of = eval_expr(r, s, n->a);
    if (n->b->type != E_SLICE) {
        struct value key = eval_expr(r, s, n->b);
        r->line = n->line;
        return r->failed ? key : get_item(r, &of, &key);
    }
    const struct node *nodes[3] = {n->b->a, n->b->b, n->b->c};
    struct value values[3];
    const struct value *part[3] = {NULL, NULL, NULL};
    for (int i = 0; i < 3; i++)
        if (nodes[i]) {
            values[i] = eval_expr(r, s, nodes[i]);
            part[i] = &values[i];
        }
    return r->failed ? v_none() : get_slice(r, &of, part);
}

/* f(*list) and f(**dict). */
static void spread(struct run *r, const struct value *v, struct seq *plain, size_t *cap,
                   struct dict *named)
{
    if (named) {
        if (v->kind != V_DICT)
            run_fail(r, E_FORMAT, "** before a %s", kind_name(v));
        for (size_t i = 0; !r->failed && i < v->d->n; i++)
            dict_put(r, named, v->d->p[i].k, v->d->p[i].v);
        return;
    }
    const struct seq *l = value_iterate(r, v);
    for (size_t i = 0; l && i < l->n && !r->failed; i++)
        list_push(r, plain, cap, l->v[i]);
}

bool eval_args(struct run *r, struct scope *s, const struct node *items,
               const struct value *extra, struct args *out)
{
    struct seq *l = NULL;
    struct dict *named = NULL;
    size_t cap = 0;
    *out = (struct args){0};
    if (!items && !extra)
        return !r->failed;
    l = list_new(r, SEQ_LIST, 0);
    named = dict_new(r, 0);
    for (const struct node *i = items; i && !r->failed; i = i->next) {
        struct value v = eval_expr(r, s, i->a);
        if (r->failed)
            return false;
        if (i->op)
            spread(r, &v, l, &cap, i->op == '*' ? NULL : named);
        else if (i->name)
            dict_put(r, named, v_text(i->name), v);
        else
            list_push(r, l, &cap, v);
    }
    if (extra)
        dict_put(r, named, v_text(text_str(r, "caller")), *extra);
    if (r->failed)
        return false;
    out->n = l->n;
    out->n_named = named->n;
    out->names = run_array(r, named->n, sizeof *out->names);
    for (size_t i = 0; i < named->n && out->names && !r->failed; i++) {
        if (named->p[i].k.kind != V_STRING)
            run_fail(r, E_FORMAT, "an argument's name is a %s", kind_name(&named->p[i].k));
        out->names[i] = named->p[i].k.s;
        list_push(r, l, &cap, named->p[i].v);
    }
    out->v = l->v;
    return !r->failed;
}

static struct value eval_call(struct run *r, struct scope *s, const struct node *n)
{
    struct value fn = eval_expr(r, s, n->a);
    struct args a;
    if (r->failed || !eval_args(r, s, n->items, NULL, &a))
        return v_none();
    r->line = n->line;
    return call_value(r, &fn, &a);
}

static struct value apply(struct run *r, struct scope *s, const struct node *n, struct value v)
{
    struct args a;
    if (r->failed || !eval_args(r, s, n->items, NULL, &a))
        return v_none();
    r->line = n->line;
    if (!n->fn)
        return run_fail(r, E_FORMAT, "there is no %s \"%.*s\"",
                    n->type == E_FILTER ? "filter" : "test", (int)MIN(n->name->n, 60U),
                    n->name->p);
    return n->fn->call(r, &v, &a);
}

/* A chain of filters whose innermost has no operand: the text of a block. */
struct value apply_filters(struct run *r, struct scope *s, const struct node *filter,
                           struct value v)
{
    if (!filter || r->failed)
        return v;
    if (++r->depth > LIMIT_TEMPLATE_DEPTH)
        return run_fail(r, E_RANGE, "nested deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
    v = apply(r, s, filter, apply_filters(r, s, filter->a, v));
    r->depth--;
    return v;
}

static struct value eval_logic(struct run *r, struct scope *s, const struct node *n)
{
    struct value v = eval_expr(r, s, n->a);
    if (n->type == E_NOT)
        return v_bool(!truthy(&v));
    bool stops = truthy(&v) == (n->type == E_OR);
    return stops || r->failed ? v : eval_expr(r, s, n->b);
}

static struct value eval_cond(struct run *r, struct scope *s, const struct node *n)
{
    struct value v = eval_expr(r, s, n->a);
    if (r->failed)
        return v;
    if (truthy(&v))
        return eval_expr(r, s, n->b);
    return n->c ? eval_expr(r, s, n->c)
                : v_undefined(r, "the conditional in line %d has no else", n->line);
}

static struct value eval_attr(struct run *r, struct scope *s, const struct node *n)
{
    struct value of = eval_expr(r, s, n->a);
    r->line = n->line;
    return r->failed ? of : get_attr(r, &of, n->name);
}

static struct value eval_node(struct run *r, struct scope *s, const struct node *n)
{
    switch (n->type) {
    case E_CONST: return n->value;
    case E_NAME: return lookup(r, s, n->name);
    case E_LIST: return eval_items(r, s, n, SEQ_LIST);
    case E_TUPLE: return eval_items(r, s, n, SEQ_TUPLE);
    case E_DICT: return eval_dict(r, s, n);
    case E_UNARY: return eval_unary(r, s, n);
    case E_BINARY: return eval_binary(r, s, n);
    case E_CONCAT: return eval_concat(r, s, n);
    case E_NOT:
    case E_AND:
    case E_OR: return eval_logic(r, s, n);
    case E_COMPARE: return eval_compare(r, s, n);
    case E_COND: return eval_cond(r, s, n);
    case E_ATTR: return eval_attr(r, s, n);
    case E_ITEM: return eval_item(r, s, n);
    case E_CALL: return eval_call(r, s, n);
    case E_FILTER:
    case E_TEST: return apply(r, s, n, eval_expr(r, s, n->a));
    default: return run_fail(r, E_FORMAT, "a slice outside of brackets");
    }
}

struct value eval_expr(struct run *r, struct scope *s, const struct node *n)
{
    if (!run_spend(r, 1))
        return v_none();
    r->line = n->line;
    if (++r->depth > LIMIT_TEMPLATE_DEPTH)
        return run_fail(r, E_RANGE, "nested deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
    struct value v = eval_node(r, s, n);
    r->depth--;
    return v;
}
