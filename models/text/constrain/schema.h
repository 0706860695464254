/* JSON Schema (draft 2020-12) -> rules.
 *
 * The table in README.md says what is enforced; every other keyword that would restrict values is
 * refused by name; annotations are ignored.
 *
 * What is written is a subset of what the schema allows, chosen so that models do well:
 *  - properties in the order of the schema, additional ones after them; properties that a schema
 *    with `properties` does not name only where additionalProperties says so in words;
 *  - a schema without `type` that has keywords of some types has these types;
 *  - numbers of at most 16 digits before and behind the point, two in the exponent, and no
 *    exponent where bounds are given;
 *  - white space: one space, or a line break and an indentation; none at all when compact.
 * Thread: any. */
#ifndef RECURD_SCHEMA_H
#define RECURD_SCHEMA_H

#include "models/text/constrain/expr.h"

/* How values are written. python: as Python's literals (True, None; no \\/ in strings). */
struct schema_style { bool compact, python; };

/* The rule of a value that the schema allows; 0 with the fault in a->err. text: JSON. */
int32_t schema_parse(struct automaton *a, const char *text, size_t n, bool compact);
/* The same of a part `s` of the document `root`, which its references are in; both are only
 * read. */
struct json_t;
int32_t schema_part(struct automaton *a, const struct json_t *root, const struct json_t *s,
                    struct schema_style style);
/* The object that schema s of the document root describes, as flat schemas of which one must match:
 * a new array, for those who write properties one by one. E_UNSUPPORTED … as schema_parse. */
#define SCHEMA_WAYS 32
int schema_ways(struct json_t **out, const struct json_t *root, const struct json_t *s,
                struct err *e) MUST_USE;
/* The rule of the text of a string that s allows, unquoted and unescaped, ended by any of the texts
 * in `ends` (an array of strings of ASCII, two bytes or more), which it does not hold. trimmed: nor
 * does it begin or end with a line break, which its reader takes away. */
int32_t schema_raw(struct automaton *a, const struct json_t *root, const struct json_t *s,
                   const struct json_t *ends, bool trimmed);
/* The rule of any object. */
int32_t schema_any_object(struct automaton *a, bool compact);

#endif
