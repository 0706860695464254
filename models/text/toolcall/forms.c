/* Bodies of calls as JSON and as tags. Nothing is trusted: a body that does not follow its form to
 * the last byte is no call. */
#define _GNU_SOURCE /* memrchr */
#include <string.h>

#include "base/jsonread.h"
#include "base/mem.h"
#include "models/text/toolcall/toolcall_int.h"

/* Member `key` of a valid JSON object as it is written; false: there is none. */
static bool member(const char *p, size_t n, const char *key, size_t *from, size_t *end)
{
    size_t i = form_space(p, n, 0) + 1, k = strlen(key);
    for (;;) {
        size_t name, name_end;
        i = form_space(p, n, i);
        if (i < n && p[i] == ',')
            i = form_space(p, n, i + 1);
        name = i;
        if (i >= n || form_value(p, n, i, &name_end) != FORM_CALLS)
            return false;
        *from = form_space(p, n, form_space(p, n, name_end) + 1); /* the colon */
        if (form_value(p, n, *from, end) != FORM_CALLS)
            return false;
        if (name_end - name == k + 2 && memcmp(p + name + 1, key, k) == 0)
            return true;
        i = *end;
    }
}

/* {"name": …, "arguments" or "parameters": an object, or one as a string} */
static bool json_call(const char *p, size_t n, const struct toolset *s, json_t *out)
{
    static const char *const keys[] = {"arguments", "parameters"};
    json_error_t e;
    json_t *o = form_is_json(p, n, true) ? jsonread(p, n, JSON_ALLOW_NUL, &e) : NULL;
    json_t *name = json_object_get(o, "name"), *id = json_object_get(o, "id");
    bool ok = false;
    for (size_t i = 0; i < ARRAY_LEN(keys) && json_is_string(name) && !ok; i++) {
        const json_t *args = json_object_get(o, keys[i]);
        const char *text = p;
        size_t from = 0, end = 0;
        if (json_is_object(args) && member(p, n, keys[i], &from, &end)) {
            text += from;
            end -= from;
        } else if (json_is_string(args)) {
            text = json_string_value(args);
            end = json_string_length(args);
        }
        ok = end &&
             form_add(out, s, json_string_value(name), json_string_length(name), text, end,
                      json_string_value(id), json_string_length(id));
    }
    json_decref(o);
    return ok;
}

/* One call, several behind each other, or an array of them. */
enum form_result form_json(const char *p, size_t n, const struct form_tags *tags,
                           const struct toolset *s, json_t *out)
{
    size_t i = form_space(p, n, 0);
    bool list = i < n && p[i] == '[', more = true;
    i += list;
    while (more) {
        size_t from = i = form_space(p, n, i);
        enum form_result r = i < n && p[i] == '{' ? form_value(p, n, i, &i) : FORM_BAD;
        if (r != FORM_CALLS)
            return r;
        if (!json_call(p + from, i - from, s, out))
            return FORM_BAD;
        i = form_space(p, n, i);
        more = list ? i < n && p[i] == ',' : i < n;
        i += list && more;
    }
    (void)tags;
    if (list && (i >= n || p[i++] != ']'))
        return FORM_BAD;
    return form_space(p, n, i) == n ? FORM_CALLS : FORM_BAD;
}

/* name[ARGS]{…}, several with [TOOL_CALLS] between them; or what form_json reads. */
enum form_result form_named_json(const char *p, size_t n, const struct form_tags *tags,
                                 const struct toolset *s, json_t *out)
{
    size_t i = form_space(p, n, 0);
    if (i < n && p[i] == '[')
        return form_json(p, n, tags, s, out);
    for (;;) {
        size_t name = form_space(p, n, i), mark = form_find(p, n, name, "[ARGS]");
        size_t args = form_space(p, n, mark + strlen("[ARGS]"));
        if (mark == n || args >= n || form_value(p, n, args, &i) != FORM_CALLS ||
            !form_add(out, s, p + name, mark - name, p + args, i - args, NULL, 0))
            return FORM_BAD;
        i = form_space(p, n, i);
        if (i == n)
            return FORM_CALLS;
        if (!form_at(p, n, i, "[TOOL_CALLS]"))
            return FORM_BAD;
        i += strlen("[TOOL_CALLS]");
    }
}

bool form_kimi_name(const char *id, size_t n, const char **name, size_t *n_name)
{
    static const char prefix[] = "functions.";
    size_t from = form_at(id, n, 0, prefix) ? strlen(prefix) : 0;
    const char *colon = from < n ? memrchr(id + from, ':', n - from) : NULL;
    size_t end = colon ? (size_t)(colon - id) : n;
    *name = id + from;
    *n_name = end > from ? end - from : 0;
    return *n_name > 0;
}

/* <|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{…}<|tool_call_end|> … */
enum form_result form_kimi(const char *p, size_t n, const struct form_tags *tags,
                           const struct toolset *s, json_t *out)
{
    static const char begin[] = "<|tool_call_begin|>", end[] = "<|tool_call_end|>",
                      argument[] = "<|tool_call_argument_begin|>";
    size_t i = form_space(p, n, 0);
    (void)tags;
    while (i < n) {
        if (!form_at(p, n, i, begin))
            return FORM_BAD;
        size_t id = form_space(p, n, i + strlen(begin)), mark = form_find(p, n, id, argument);
        size_t id_end = mark, args = form_space(p, n, mark + strlen(argument));
        if (mark == n || args >= n)
            return FORM_BAD;
        enum form_result r = form_value(p, n, args, &i);
        if (r != FORM_CALLS)
            return r;
        while (id_end > id && form_is_space(p[id_end - 1]))
            id_end--;
        const char *name;
        size_t n_name, close = form_space(p, n, i);
        if (!form_kimi_name(p + id, id_end - id, &name, &n_name) || !form_at(p, n, close, end) ||
            !form_add(out, s, name, n_name, p + args, i - args, p + id, id_end - id))
            return FORM_BAD;
        i = form_space(p, n, close + strlen(end));
    }
    return json_array_size(out) ? FORM_CALLS : FORM_BAD;
}

json_t *form_tag_value(const char *p, size_t n, bool text)
{
    json_error_t e;
    json_t *v = NULL;
    if (n && *p == '\n') { /* the line ends that belong to the tags */
        p++;
        n--;
    }
    n -= n && p[n - 1] == '\n';
    if (!text && n && form_is_json(p, n, false))
        v = jsonread(p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    return v ? v : json_stringn(p, n);
}

/* The keys of one call from i on; *i: behind its end. */
static enum form_result read_keys(const char *p, size_t n, size_t *i, const struct form_tags *t,
                                  const struct toolset *s, const char *name, size_t n_name,
                                  json_t *args)
{
    for (;;) {
        size_t key = form_space(p, n, *i);
        if (form_at(p, n, key, t->call_end)) {
            *i = key + strlen(t->call_end);
            return FORM_CALLS;
        }
        if (!form_at(p, n, key, t->key))
            return key == n ? FORM_MORE : FORM_BAD;
        key += strlen(t->key);
        size_t key_end = form_find(p, n, key, t->key_end);
        size_t value = key_end + strlen(t->key_end), end = form_find(p, n, value, t->value_end);
        if (end == n) /* the marker that was found stood in this value */
            return FORM_MORE;
        if (key == key_end || memchr(p + key, '\n', key_end - key) ||
            json_object_setn_new(args, p + key, key_end - key, form_tag_value(
                p + value, end - value,
                toolset_is_text(s, name, n_name, p + key, key_end - key))))
            return FORM_BAD;
        *i = end + strlen(t->value_end);
    }
}

enum form_result form_tagged(const char *p, size_t n, const struct form_tags *t,
                             const struct toolset *s, json_t *out)
{
    size_t i = form_space(p, n, 0);
    while (i < n) {
        if (!form_at(p, n, i, t->call))
            return FORM_BAD;
        size_t name = i + strlen(t->call), name_end = form_find(p, n, name, t->call_name_end);
        if (name_end == n || name == name_end)
            return FORM_BAD;
        i = name_end + strlen(t->call_name_end);
        json_t *args = json_object();
        enum form_result r = args ? read_keys(p, n, &i, t, s, p + name, name_end - name, args)
                                  : FORM_BAD;
        char *text = r == FORM_CALLS ? json_dumps(args, JSON_COMPACT) : NULL;
        if (r == FORM_CALLS && (!text || !form_add(out, s, p + name, name_end - name, text,
                                                   strlen(text), NULL, 0)))
            r = FORM_BAD;
        mem_free(text);
        json_decref(args);
        if (r != FORM_CALLS)
            return r;
        i = form_space(p, n, i);
    }
    return json_array_size(out) ? FORM_CALLS : FORM_BAD;
}
