/* Shared by the files schema*.c: not for others.
 *
 * A schema is compiled one job at a time (a rule and the JSON it is for), so that neither nesting
 * nor recursion in it becomes recursion here. Before that it is made flat: $ref and allOf are
 * merged away, const becomes enum, oneOf becomes anyOf. */
#ifndef RECURD_SCHEMA_INT_H
#define RECURD_SCHEMA_INT_H

#include <jansson.h>

#include "models/text/constrain/schema.h"

struct schema_job { const json_t *s; int32_t rule; };

struct schema {
    struct automaton *a;
    json_t *root;
    json_t *made;        /* array: JSON that merging made, kept until the end */
    json_t *by_content;  /* object: text of what merging made -> rule */
    struct schema_style style;
    struct schema_job *jobs;
    int32_t n_jobs, cap_jobs, done;
    int32_t *slots, n_slots; /* hash of jobs by pointer: index + 1 */
    int32_t work;            /* merges left */
    bool exact;              /* what is made flat now is of which the complement is taken */
    int32_t space, value, object, array, string, number; /* rules, 0 = not made yet */
};

/* The rule of a sub-schema; its job is done later. */
int32_t schema_rule(struct schema *x, const json_t *s);
/* s without $ref, allOf, const and oneOf. Owned by x. NULL after a fault. json false = nothing. */
const json_t *schema_flat(struct schema *x, const json_t *s);
/* What s's if and its keywords about dependents ask for, and not `nots` (flat; NULL = nothing):
 * schemas that must all match. */
const json_t *schema_conditions(struct schema *x, const json_t *s, const json_t *nots);
/* Whether a list holds the value. */
bool schema_holds(const json_t *array, const json_t *v);
/* s, or what its $ref refers to when nothing else in it counts. NULL after a fault. */
const json_t *schema_follow(struct schema *x, const json_t *s);
/* Work that hostile schemas multiply. False: it is used up, which is a fault, or there was one. */
bool schema_spend(struct schema *x, size_t n);
/* Keeps a new value (NULL = no memory) until the end. */
json_t *schema_keep(struct schema *x, json_t *made);
/* Records the fault "keyword: …"; returns NULL. */
void *schema_fault(struct schema *x, int code, const char *fmt, ...) PRINTF(3, 4);

/* Whether no value can match both (flat schemas); false = it is not known. */
bool schema_disjoint(struct schema *x, const json_t *a, const json_t *b, int depth);

enum json_kind { KIND_NULL = 1, KIND_BOOL = 2, KIND_INTEGER = 4, KIND_NUMBER = 8, KIND_STRING = 16,
                 KIND_ARRAY = 32, KIND_OBJECT = 64, KIND_ALL = 127 };
/* Types that a flat schema allows: named, or those its keywords are about, or all. KIND_NUMBER
 * includes integers. */
int schema_kinds(struct schema *x, const json_t *s);
int schema_kind_of(const json_t *value);
/* A keyword's integer >= 0, or `otherwise`; *named may be NULL. */
int64_t schema_count(struct schema *x, const json_t *s, const char *key, int64_t otherwise);

/* Each adds edges from -> to for values of the kind that flat schema s allows. */
void schema_emit_string(struct schema *x, const json_t *s, int32_t from, int32_t to);
void schema_emit_number(struct schema *x, const json_t *s, bool integer, int32_t from, int32_t to);
void schema_emit_array(struct schema *x, const json_t *s, int32_t from, int32_t to);
void schema_emit_object(struct schema *x, const json_t *s, int32_t from, int32_t to);
void schema_emit_enum(struct schema *x, const json_t *s, int32_t from, int32_t to);

/* Optional white space. Rules of any value, string (its text in quotes), number. */
void schema_emit_space(struct schema *x, int32_t from, int32_t to);
int32_t schema_any_value(struct schema *x);
int32_t schema_any_string(struct schema *x);
int32_t schema_any_number(struct schema *x);
/* null, true or false as the style writes it. */
const char *schema_word(const struct schema *x, int type);
/* A character of a string, escaped or not. */
const struct expr *schema_char(struct schema *x);
/* A name or other text as JSON writes it, with its quotes. */
const struct expr *schema_quoted(struct schema *x, const char *text, size_t n);

/* What pattern and format say of a string's inside; NULL: nothing. flags: of regex.h. */
const struct expr *schema_shape(struct schema *x, const json_t *s, int flags);
/* format's expression; NULL: annotations that restrict nothing; a fault: unknown. */
const struct expr *schema_format(struct schema *x, const char *name, int flags);
/* Whether `not` lists the value; the strings that it lists, as names of an object, NULL: none. */
bool schema_left_out(const json_t *s, const json_t *v);
json_t *schema_left_out_strings(struct schema *x, const json_t *s);
/* The rule of strings of plain characters (in quotes) that are none of an object's names. */
int32_t schema_other_names(struct schema *x, const json_t *names);
/* Whether the keywords about strings, or numbers, allow a listed value. */
bool schema_string_fits(struct schema *x, const json_t *s, const json_t *v);
/* Before and after the rules of one schema; begin false: a fault. */
bool schema_begin(struct schema *x, struct automaton *a, struct schema_style style);
void schema_end(struct schema *x);

/* A bound as it is written in decimal. */
struct decimal {
    bool there, negative, open; /* open: the bound itself is left out */
    int n_whole, n_part;
    char whole[24], part[24];   /* digits, '0' … '9' */
};
/* low: what is above it is inside. E_RANGE (in a->err): more than 17 digits before the point or 20
 * behind it. */
bool decimal_of(struct automaton *a, double v, bool low, bool open, struct decimal *out);
/* Edges for whole numbers in low … high, which are whole, that k divides: 1 … 1000. */
void multiples_between(struct automaton *a, int k, const struct decimal *low,
                       const struct decimal *high, int32_t from, int32_t to);
/* Numbers in low … high; integers are compared with integer bounds. */
const struct expr *number_between(struct automaton *a, const struct decimal *low,
                                  const struct decimal *high, bool integer);

#endif
