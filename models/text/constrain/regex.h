/* Regular expressions -> expressions of a grammar.
 *
 * What ECMAScript, Python and PCRE agree on: literals, . [] [^] \d \w \s \D \W \S, \n \t \r \f \v
 * \0 \xHH \uHHHH \u{H} \cX, ( ) (?: ) (?<name> ) (?P<name> ), | * + ? {m} {m,} {m,n} with a lazy ?
 * (which changes nothing), ^ and $ at the ends of the expression's own alternatives. \d \w \s are
 * ASCII, and \D \W \S are without what Unicode counts as such: what every dialect accepts. Refused:
 * look-around, back references, \b, \p, flags, possessive quantifiers. */
#ifndef RECURD_REGEX_H
#define RECURD_REGEX_H

#include "models/text/constrain/expr.h"

enum regex_flags {
    REGEX_SEARCH = 1, /* may match anywhere, as JSON Schema's pattern: anchors count. Without it
                         the whole text is matched, and anchors say what is so anyhow */
    REGEX_JSON = 2,   /* characters are written as in a JSON string */
};

/* NULL with the fault in a->err: E_FORMAT, E_UNSUPPORTED, with the byte's number. */
const struct expr *regex_parse(struct automaton *a, const char *text, size_t n, int flags);

/* A character written as in a JSON string: what must be escaped is. */
const struct expr *regex_json_class(struct automaton *a, const struct char_set *s);

/* Adds \d \w \s \D \W \S to a set; false: it is none of these letters. excluded: what is wanted
 * is what the set does not hold. */
bool regex_named_set(struct automaton *a, int letter, bool excluded, struct char_set *out);

/* One character of UTF-8 at s[0 … n), n > 0: its bytes in *used; -1 = malformed. */
int32_t regex_decode(const char *s, size_t n, size_t *used);

#endif
