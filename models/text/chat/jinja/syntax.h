/* From a template's source to its syntax tree. Lives in the template's arena; read-only after
 * jinja_compile, so any thread may run it. */
#ifndef RECURD_JINJA_SYNTAX_H
#define RECURD_JINJA_SYNTAX_H

#include "models/text/chat/jinja/value.h"

/* ---- tokens (lexer.c) ---- */

enum token_type {
    T_END, T_DATA, T_VAR_BEGIN, T_VAR_END, T_BLOCK_BEGIN, T_BLOCK_END, T_NAME, T_STRING, T_INT,
    T_FLOAT, T_OP,
};

/* Operators of two characters; those of one are themselves. */
enum { OP_EQ = 256, OP_NE, OP_GE, OP_LE, OP_FLOORDIV, OP_POW, OP_IN, OP_NOT_IN };

struct token {
    enum token_type type;
    int op, line;
    const struct text *s; /* data, name, string */
    struct value number;
};

struct tokens {
    struct token *p;
    size_t n, cap;
};

/* False = failed, the sentence in r->err. */
bool jinja_lex(struct run *r, const char *text, size_t n, struct tokens *out);

/* ---- the tree ---- */

enum node_type {
    /* expressions */
    E_CONST, E_NAME, E_LIST, E_TUPLE, E_DICT, E_UNARY, E_BINARY, E_CONCAT, E_NOT, E_AND, E_OR,
    E_COMPARE, E_COND, E_ATTR, E_ITEM, E_SLICE, E_CALL, E_FILTER, E_TEST,
    /* statements */
    S_DATA, S_OUTPUT, S_IF, S_FOR, S_SET, S_SET_BLOCK, S_MACRO, S_CALL_BLOCK, S_FILTER_BLOCK,
    S_WITH, S_SCOPE, S_BREAK, S_CONTINUE,
};

struct node {
    enum node_type type;
    int op, line;             /* op of an argument: '*' and OP_POW spread a value */
    const struct text *name;  /* interned: equal names are one pointer */
    struct value value;       /* of a constant; of data, its text */
    struct node *a, *b, *c;   /* operands; S_FOR: target, sequence, condition; E_COND: condition,
                                 then, else; S_IF: condition, and b: the elif or else after it */
    struct node *items;       /* elements, arguments, parameters, pairs: a list by `next` */
    struct node *body, *orelse;
    struct node *next;
    const struct function *fn; /* a filter or test; NULL = unknown, an error when it is reached */
    bool uses_caller, uses_varargs, uses_kwargs; /* of a macro's body */
};

struct jinja {
    struct arena arena;
    struct node *body;
    struct symbol *symbols;
    size_t n_nodes;
};

struct symbol {
    const struct text *name;
    struct symbol *next;
};

/* ---- parsing (parser.c: expressions, statements.c: the rest) ---- */

struct parser {
    struct run *r;
    struct jinja *program;
    const struct token *t; /* the current one; the last is T_END */
    int nesting, loops;
    bool soft;             /* in an if: unknown filters fail only when they are reached */
    struct node *macro;    /* whose body is parsed */
};

struct node *node_new(struct parser *p, enum node_type type);
const struct text *intern_name(struct parser *p, const struct text *name);

bool at_name(const struct parser *p, const char *word);
bool at_op(const struct parser *p, int op);
bool skip_name(struct parser *p, const char *word);
bool skip_op(struct parser *p, int op);
bool need_op(struct parser *p, int op);
bool need_name(struct parser *p, const char *word);
struct node *syntax_error(struct parser *p, const char *expected);
/* One level deeper into the source; false = too deep. Each is matched by p->nesting--. */
bool parse_nest(struct parser *p);

struct node *parse_expression(struct parser *p, bool conditional);
struct node *parse_tuple(struct parser *p, bool conditional, bool parentheses);
struct node *parse_primary(struct parser *p);
struct node *parse_postfix(struct parser *p, struct node *n);
struct node *parse_target(struct parser *p, bool namespaces);
/* `| name(args)` repeated; inline: the first without its bar. n may be NULL. */
struct node *parse_filters(struct parser *p, struct node *n, bool first);
struct node *parse_template(struct parser *p);

#endif
