/* Structures: texts, special tokens, schemas and regexes put together. The form in which other
 * modules say what a model must write; as JSON text, so that equal ones are found again.
 *
 *   {"documents": [schema, …], "text": NODE}
 *
 * A NODE is
 *   "text"                 these characters
 *   [NODE, …]              one after another
 *   {"any": [NODE, …]}     one of them
 *   {"mark": "text"}       the special token of this text; without one, the characters
 *   {"regex": "…"}         as regex.h
 *   {"items": [NODE, …], "needed": [true, …], "between": "…"}
 *                          in this order; what is not needed may be missing
 *   {"repeat": NODE, "between": NODE, "least": 0 or 1}   any number of times
 *   {"value": PART, "python": bool, "avoid": "…"}
 *                          a JSON value, or a Python literal; without the characters to avoid
 *   {"raw": PART, "ends": ["…"], "trimmed": bool}
 *                          the text of a string; schema_raw (schema.h)
 * and a PART is true (any value) or [document], [document, "name of a property"] or [document,
 * {…}], a schema whose references are in the document.
 * Thread: any. */
#ifndef RECURD_STRUCTURE_H
#define RECURD_STRUCTURE_H

#include "models/text/constrain/automaton.h"
#include "models/text/constrain/token_trie.h"

/* The rule of the whole text; 0 with the fault in a->err. */
int32_t structure_parse(struct automaton *a, const char *text, size_t n,
                        const struct token_trie *trie);

#endif
