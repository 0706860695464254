/* JSON text -> jansson tree, with a reader of our own. jansson's own (2.14) loses characters of a
 * token when memory runs out in the middle of it, and then reads and writes beyond the token's end,
 * or aborts; here a lack of memory is an error like any other. The rest of jansson is used. */
#ifndef RECURD_JSONREAD_H
#define RECURD_JSONREAD_H

#include <jansson.h>

#include "base/base.h"

#define JSONREAD_DEPTH 2048 /* levels; as jansson's */

/* What json_loadb(text, n, flags, e) gives, for the flags JSON_REJECT_DUPLICATES, JSON_DECODE_ANY
 * and JSON_ALLOW_NUL; of an error's place `position` and `line` are set. e may be NULL. NULL: an
 * error, json_error_code(e) says which (json_error_out_of_memory for a lack of it). Free with
 * json_decref. Any thread. */
json_t *jsonread(const char *text, size_t n, size_t flags, json_error_t *e) MUST_USE;

#endif
