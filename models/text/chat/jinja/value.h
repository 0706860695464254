/* Values of a template while it runs, and the run they live in.
 *
 * Everything but a namespace and a loop is immutable, as in the reference's sandbox, so values are
 * shared freely. All memory is the run's arena; nothing is freed before the run ends. The first
 * failure stays in run->err and makes every later operation return at once: callers check
 * run->failed where a loop could go on. Thread: one run, one thread. */
#ifndef RECURD_JINJA_VALUE_H
#define RECURD_JINJA_VALUE_H

#include "base/arena.h"
#include "base/err.h"
#include "models/text/chat/jinja/text.h"

enum kind {
    V_UNDEFINED, V_NONE, V_BOOL, V_INT, V_FLOAT, V_STRING, V_SEQ, V_DICT, V_NAMESPACE, V_MACRO,
    V_FUNCTION, V_METHOD, V_LOOP, V_JOINER,
}; /* kind_name has their names */

/* What an undefined value's text is: all it says when it is used, or a name that was looked for. */
enum absence { ABSENT_SAYS, ABSENT_NAME, ABSENT_ATTRIBUTE };

struct value {
    enum kind kind : 8;
    enum absence absence : 8;  /* of an undefined value … */
    enum kind of : 8;          /* … of ABSENT_ATTRIBUTE: in what */
    union {
        bool b;
        int64_t i;
        double f;
        const struct text *s;    /* also what an undefined value says when it is used */
        struct seq *l;
        struct dict *d;          /* also a namespace */
        struct macro *macro;
        const struct function *fn;
        struct method *method;
        struct loop *loop;
        struct joiner *joiner;
    };
};

/* What Python keeps apart: how it prints, whether it has a length, whether it may be read twice. */
enum seq_kind { SEQ_LIST, SEQ_TUPLE, SEQ_RANGE, SEQ_VIEW, SEQ_ITERATOR };

struct seq {
    enum seq_kind kind;
    bool spent;           /* an iterator that was read */
    size_t n;
    struct value *v;
};

struct pair {
    struct value k, v;
};

struct dict {
    size_t n, cap;
    struct pair *p;       /* in the order of insertion */
    uint32_t *index;      /* open addressing, 1 + place; NULL while small */
    size_t n_index;
};

/* Arguments of a call: positional ones, then named ones. */
struct args {
    size_t n, n_named;
    const struct value *v;
    const struct text **names; /* of v[n] … v[n + n_named - 1] */
};

struct joiner {
    bool used;
    struct value separator;
};

struct run {
    struct arena arena;
    struct err *err;      /* may be NULL */
    bool failed;
    int code;             /* of the failure */
    int line;             /* of the template, of what is evaluated now */
    int depth;            /* nesting of evaluation */
    uint64_t fuel;        /* steps left */
    uint64_t max_fuel;
    size_t max_output;
    int64_t now;          /* seconds since 1970: strftime_now */
    const struct jinja *program;
    const struct library *library; /* the functions there are */
    struct var *globals, *free_vars;
    size_t captured;      /* macros made so far: each keeps the scopes around it */
};

/* ---- failing and accounting ---- */

/* Records the sentence with the template's line; returns an undefined value. */
struct value run_fail(struct run *r, int code, const char *fmt, ...) PRINTF(3, 4);
/* Steps: one per node evaluated, one per 128 bytes copied. False = none left. */
bool run_spend(struct run *r, size_t steps);
void *run_take(struct run *r, size_t n);                /* NULL = failed */
void *run_array(struct run *r, size_t count, size_t size);

/* ---- making ---- */
static inline struct value v_none(void) { return (struct value){.kind = V_NONE}; }
static inline struct value v_bool(bool b) { return (struct value){.kind = V_BOOL, .b = b}; }
static inline struct value v_int(int64_t i) { return (struct value){.kind = V_INT, .i = i}; }
static inline struct value v_float(double f) { return (struct value){.kind = V_FLOAT, .f = f}; }
static inline struct value v_text(const struct text *s)
{
    return (struct value){.kind = s ? V_STRING : V_UNDEFINED, .s = s};
}
static inline struct value v_seq(struct seq *l)
{
    return (struct value){.kind = l ? V_SEQ : V_UNDEFINED, .l = l};
}
static inline struct value v_dict(struct dict *d)
{
    return (struct value){.kind = d ? V_DICT : V_UNDEFINED, .d = d};
}
struct value v_undefined(struct run *r, const char *fmt, ...) PRINTF(2, 3);
/* The same without a sentence, which is written only when the value is used. in: NULL = a
 * variable. name lives as long as the run. */
struct value v_absent(const struct text *name, const struct value *in);
/* Fails with what the undefined value says. */
struct value fail_undefined(struct run *r, const struct value *v);

/* Room for n elements, to be filled by the caller. */
struct seq *list_new(struct run *r, enum seq_kind kind, size_t n);
/* The same elements as another kind, not copied: nobody changes them. */
struct seq *list_share(struct run *r, enum seq_kind kind, struct value *v, size_t n);
/* A growing list: doubles, moves. False = failed. */
bool list_push(struct run *r, struct seq *l, size_t *cap, struct value v);

struct dict *dict_new(struct run *r, size_t cap);
struct value *dict_find(const struct dict *d, const struct value *k); /* NULL = none */
struct value *dict_find_str(const struct dict *d, const char *k);
/* Replaces or adds. An unhashable key fails. */
bool dict_put(struct run *r, struct dict *d, struct value k, struct value v);

/* ---- asking ---- */
bool is_str(const struct value *v, const char *s);
static inline bool is_number(const struct value *v)
{
    return v->kind == V_INT || v->kind == V_FLOAT || v->kind == V_BOOL;
}
static inline int64_t int_of(const struct value *v) { return v->kind == V_BOOL ? v->b : v->i; }
static inline double float_of(const struct value *v)
{
    return v->kind == V_FLOAT ? v->f : (double)int_of(v);
}
/* "str", "list" … as Python names types, for messages. */
const char *kind_name(const struct value *v);
bool truthy(const struct value *v);
bool equal_values(struct run *r, const struct value *a, const struct value *b);
/* -1, 0, 1; an order that does not exist fails. */
int compare_values(struct run *r, const struct value *a, const struct value *b);
/* x in container. */
bool value_contains(struct run *r, const struct value *container, const struct value *x);
/* The elements of anything that can be iterated, as a sequence; an iterator is spent by it. */
struct seq *value_iterate(struct run *r, const struct value *v);
/* len(v), or -1 with a failure. */
int64_t value_length(struct run *r, const struct value *v);

/* ---- as text (print.c) ---- */
const struct text *to_text(struct run *r, const struct value *v); /* str(v) */
void put_str(struct builder *b, const struct value *v);           /* str(v) */
void put_repr(struct builder *b, const struct value *v);          /* repr(v) */
void put_float(struct builder *b, double f);                      /* repr */
/* json.dumps. indent < 0: one line; the separators' NULL: Python's own. */
struct json_style {
    int64_t indent;
    const struct text *indent_text, *item, *key;
    bool ascii, sorted;
};
void put_json(struct builder *b, const struct value *v, const struct json_style *s, int level);

#endif
