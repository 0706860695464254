/* What a template finds ready: filters, tests, methods, global functions. Each is a row of a table
 * in the file of its subject. */
#ifndef RECURD_JINJA_BUILTINS_H
#define RECURD_JINJA_BUILTINS_H

#include "models/text/chat/jinja/value.h"

/* self: what the filter, test or method is applied to. Failures are the run's. */
typedef struct value (*builtin)(struct run *r, const struct value *self, const struct args *a);

struct function {
    const char *name;
    builtin call;
};

struct method {
    struct value self;
    const struct function *fn;
};

/* The tables, each ended by a NULL name. A run finds functions through its library only, so that
 * no file of functions needs another's. */
struct library {
    const struct function *globals, *filters[3], *tests;
    /* Of rows without a function: methods that would change their object. */
    const struct function *text_methods, *dict_methods, *list_methods, *tuple_methods;
};
extern const struct library jinja_library;
extern const struct function jinja_text_filters[], jinja_list_filters[], jinja_number_filters[];
extern const struct function jinja_tests[];
extern const struct function jinja_text_methods[], jinja_dict_methods[], jinja_list_methods[];
extern const struct function jinja_tuple_methods[];

/* NULL = none of that name. */
const struct function *filter_find(const struct run *r, const struct text *name);
const struct function *test_find(const struct run *r, const struct text *name);
const struct function *global_find(const struct run *r, const struct text *name);
const struct function *method_find(const struct run *r, const struct value *v,
                                   const struct text *name);

/* Distributes arguments over parameters. spec: names separated by spaces, "!" before a required
 * one; out[i] = NULL where none was given. False = failed. */
#define PARAMETERS_MAX 6
bool bind_args(struct run *r, const struct args *a, const char *spec, const struct value **out);

/* Arguments as Python converts them; absent ones get the default. */
int64_t want_int(struct run *r, const struct value *v, int64_t otherwise);
const struct text *want_text(struct run *r, const struct value *v, const char *otherwise);
bool want_bool(const struct value *v, bool otherwise);

/* Attribute paths of map, sort, selectattr …: "a.b.0". Undefined where there is none. */
struct value get_path(struct run *r, struct value v, const struct value *path);

/* ---- operations of the evaluator (operators.c, access.c) ---- */
struct value binary_op(struct run *r, int op, const struct value *a, const struct value *b);
bool compare_op(struct run *r, int op, const struct value *a, const struct value *b);
struct value get_attr(struct run *r, const struct value *of, const struct text *name);
struct value get_item(struct run *r, const struct value *of, const struct value *key);
struct value get_slice(struct run *r, const struct value *of, const struct value *part[3]);
struct value call_value(struct run *r, const struct value *fn, const struct args *a);

/* format % arguments; format.format(…). */
struct value format_percent(struct run *r, const struct text *format, const struct value *args);
struct value format_braces(struct run *r, const struct text *format, const struct args *a);
/* strftime of the run's time. */
const struct text *format_time(struct run *r, const struct text *format);
/* Python's int(text, base) and float(text); false = not a number. */
bool parse_int(const struct text *t, int base, int64_t *out);
bool parse_float(const struct text *t, double *out);

/* Strings: shared by methods and filters. */
const struct text *text_case(struct run *r, const struct text *t, enum letter_case to);
const struct text *text_capital(struct run *r, const struct text *t);
const struct text *text_strip(struct run *r, const struct text *t, const struct text *set,
                              bool left, bool right);
const struct text *text_replace(struct run *r, const struct text *t, const struct text *old,
                                const struct text *with, int64_t count);
const struct text *text_escape(struct run *r, const struct text *t); /* HTML; result is safe */
struct seq *text_lines(struct run *r, const struct text *t, bool keep_ends);
/* fill: at the left (rjust), at the right (ljust) or both (center). */
const struct text *text_pad(struct run *r, const struct text *t, int64_t width, char fill,
                            bool left, bool right);
bool text_all(const struct text *t, unsigned classes); /* not empty, every character is one */

/* Stable; a key that cannot be compared fails. keys[i] belongs to v[i]. */
void sort_values(struct run *r, struct value *v, struct value *keys, size_t n, bool descending);

#endif
