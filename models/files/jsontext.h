/* JSON text from files -> a jansson tree: strict, bounded before jansson sees it.
 *
 * Published files hold three things that JSON does not: Infinity and NaN as bare words, and
 * integers beyond 64 bits (model_max_length = 10^30). Both are rewritten to what jansson reads;
 * everything else is as strict as the standard, and duplicate keys are refused. Thread: any. */
#ifndef RECURD_JSONTEXT_H
#define RECURD_JSONTEXT_H

#include <jansson.h>

#include "base/err.h"

/* The root is an object. `name` stands in messages for the file. E_FORMAT, E_RANGE above
 * LIMIT_JSON_DEPTH or max_values. The tree is the caller's (json_decref). */
int jsontext_parse(json_t **out, const char *text, size_t n, size_t max_values, const char *name,
                   struct err *e) MUST_USE;
/* The same from a file of at most max_bytes. */
int jsontext_read(json_t **out, const char *path, size_t max_bytes, size_t max_values,
                  struct err *e) MUST_USE;

/* The same of a vocabulary, whose strings may hold zero bytes: lengths count. */
int jsontext_read_words(json_t **out, const char *path, size_t max_bytes, size_t max_values,
                        struct err *e) MUST_USE;

/* One line of a vocabulary in lines: the root is a list. */
int jsontext_parse_row(json_t **out, const char *text, size_t n, size_t max_values,
                       const char *name, struct err *e) MUST_USE;

/* The number a value stands for: integer, real, or {"__float__": "Infinity"}; false = none. */
bool jsontext_number(const json_t *v, double *out);

/* The last 120 bytes of a path or name: long directories must not push the numbers out of a
 * message. */
const char *jsontext_tail(const char *path);

#endif
