/* Looking at text: markers, white space, where a JSON value ends. */
#define _GNU_SOURCE /* memmem */
#include <string.h>

#include "base/jsonread.h"
#include "base/limits.h"
#include "models/text/toolcall/toolcall_int.h"

bool form_at(const char *p, size_t n, size_t i, const char *text)
{
    size_t k = strlen(text);
    return i <= n && k <= n - i && memcmp(p + i, text, k) == 0;
}

size_t form_find(const char *p, size_t n, size_t i, const char *text)
{
    const char *at = i < n ? memmem(p + i, n - i, text, strlen(text)) : NULL;
    return at ? (size_t)(at - p) : n;
}

enum look form_look(const char *p, size_t n, size_t at, const char *text, bool end)
{
    size_t want = strlen(text), there = MIN(want, n - at);
    if (there && memcmp(p + at, text, there) != 0)
        return NO;
    return there == want ? YES : end ? NO : MAYBE;
}

size_t form_overlap(const char *p, size_t n, const char *text)
{
    for (size_t k = MIN(strlen(text) - 1, n); k > 0; k--)
        if (memcmp(p + n - k, text, k) == 0)
            return k;
    return 0;
}

enum form_result form_value(const char *p, size_t n, size_t i, size_t *end)
{
    int depth = 0;
    bool quoted = false;
    size_t from = i;
    for (; i < n; i++) {
        char c = p[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > LIMIT_JSON_DEPTH)
                return FORM_BAD;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (depth == 0 && (c == ',' || c == ':' || form_is_space(c))) {
            break; /* behind a number or a word */
        }
        if (depth < 0) /* the bracket around a number or a word */
            break;
        if (depth == 0 && !quoted && (c == '}' || c == ']' || c == '"')) {
            i++;
            break;
        }
    }
    *end = MIN(i, n);
    if (quoted)
        return FORM_MORE;
    return depth > 0 || *end == from ? FORM_BAD : FORM_CALLS;
}

bool form_is_json(const char *p, size_t n, bool object)
{
    size_t from = form_space(p, n, 0), end;
    json_error_t e;
    if (form_value(p, n, from, &end) != FORM_CALLS || form_space(p, n, end) != n)
        return false;
    json_t *v = jsonread(p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    bool ok = v && (!object || json_is_object(v));
    json_decref(v);
    return ok;
}
