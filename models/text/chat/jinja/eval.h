/* Running the tree: scopes, expressions, statements. */
#ifndef RECURD_JINJA_EVAL_H
#define RECURD_JINJA_EVAL_H

#include "models/text/chat/jinja/builtins.h"
#include "models/text/chat/jinja/syntax.h"

struct var {
    const struct text *name; /* interned */
    struct value v;
    struct var *next;
};

/* Loops, macros and blocks open one; a name is searched from the innermost outwards. */
struct scope {
    struct scope *up;
    struct var *vars;
};

struct macro {
    const struct node *node;
    struct scope *scope; /* where it was defined */
    struct value (*invoke)(struct run *r, const struct macro *m, const struct args *a);
};

struct loop {
    struct seq *items;
    size_t at;
    bool has_changed;
    struct value changed; /* what loop.changed() saw last */
};

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

/* The interned name, or NULL when the template does not have it. */
const struct text *find_symbol(const struct jinja *program, const char *name);

struct value eval_expr(struct run *r, struct scope *s, const struct node *n);
/* A list of statements. A failure of the run shows as FLOW_BREAK. */
enum flow exec_body(struct run *r, struct scope *s, const struct node *n, struct builder *out);

struct scope *scope_new(struct run *r, struct scope *up);
/* Empties a scope that nobody else can see, so that loops do not eat memory. */
void scope_reset(struct run *r, struct scope *s);
void scope_set(struct run *r, struct scope *s, const struct text *name, struct value v);
/* name, namespace.attribute or a tuple of them. */
void assign_to(struct run *r, struct scope *s, const struct node *target, struct value v);
/* Evaluated arguments of a call; extra (may be NULL) is added under the name "caller". */
bool eval_args(struct run *r, struct scope *s, const struct node *items,
               const struct value *extra, struct args *out);
struct value apply_filters(struct run *r, struct scope *s, const struct node *filter,
                           struct value v);

#endif
