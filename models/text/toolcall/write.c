/* From the functions that are offered to the structure of one call, by the row of the dialect. */
#include <string.h>

#include "base/mem.h"
#include "models/text/constrain/schema.h"
#include "models/text/toolcall/toolcall_int.h"

#define SPACE "(?: |\\n[ \\t]{0,20})?" /* between the tokens of JSON, as schemas have it */
#define PROSE "(?:[^{ \\t\\n\\r](?:.|[\\n\\r])*)?" /* what begins as no object */
#define NAME "[A-Za-z_][A-Za-z0-9_]{0,63}"

/* The structure in work. Failed allocations are told apart at the end: jansson's functions take
 * the NULLs of others. */
struct writer {
    const struct toolcall_dialect *d;
    json_t *documents;
    bool failed;
    struct err *e;
};

static void add(struct writer *w, json_t *list, json_t *v)
{
    w->failed |= json_array_append_new(list, v) != 0;
}

static json_t *mark_or_regex(const char *key, const char *text, size_t n)
{
    return json_pack("{s:s%}", key, text, n);
}

/* Literal text: markers become tokens, # a number. */
static void add_text(struct writer *w, json_t *list, const char *text)
{
    const char *marker;
    for (size_t i = 0, run = 0, n = text ? strlen(text) : 0, k; i <= n; i += k) {
        size_t len = 0;
        for (int m = 0; i < n && (marker = toolcall_marker(w->d, m)); m++)
            len = strncmp(text + i, marker, strlen(marker)) == 0 ? strlen(marker) : len;
        k = MAX(len, (size_t)1);
        if (i < n && !len && text[i] != '#')
            continue;
        if (i > run)
            add(w, list, json_stringn(text + run, i - run));
        if (len)
            add(w, list, mark_or_regex("mark", text + i, len));
        else if (i < n)
            add(w, list, json_pack("{s:s}", "regex", "[0-9]{1,4}"));
        run = i + k;
    }
}

static int refuse(struct writer *w, const char *function, const char *what)
{
    return err_set(w->e, E_UNSUPPORTED, "the function \"%.64s\": %.64s cannot be enforced where "
                   "calls are written as \"%s\"", function, what, w->d->name);
}

/* Letters, digits, _ . -: what every dialect takes as a name. */
static bool is_word(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return n > 0 && s[n] == '\0';
}

/* Whether the dialect can write this argument's name. */
static bool writes_key(const struct toolcall_dialect *d, const char *key)
{
    return d->write.args == ARGS_PYTHON ? is_word(key)
                                        : *key && !strpbrk(key, "\n\"<>");
}

/* The schema of the function's arguments, with its number among the documents. */
static const json_t *document(struct writer *w, const json_t *function, bool loose, size_t *nth)
{
    json_t *own = json_object_get(function, "parameters");
    json_t *s = json_is_object(own) && !loose ? json_copy(own) : json_object();
    *nth = json_array_size(w->documents);
    w->failed |= json_object_set_new(s, "type", json_string("object")) != 0;
    add(w, w->documents, s);
    return s;
}

/* Keywords of a flat schema for which arguments one by one are not enough. */
static const char *beyond(const json_t *s)
{
    static const char *const words[] = {"enum", "not", "patternProperties", "propertyNames",
                                        "minProperties", "maxProperties"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (json_object_get(s, words[i]))
            return words[i];
    return NULL;
}

/* One argument with its name. part: in the structure's sense. */
static json_t *argument(struct writer *w, json_t *name, json_t *part, bool text)
{
    const struct toolcall_dialect *d = w->d;
    const char avoid[2] = {d->tags.value_end ? d->tags.value_end[0] : 0, 0};
    const char *pad = d->write.pad;
    json_t *out = json_array();
    if (d->write.args == ARGS_PYTHON) {
        add(w, out, name);
        add(w, out, json_string("="));
        add(w, out, json_pack("{s:o,s:b}", "value", part, "python", 1));
        return out;
    }
    add(w, out, json_string(d->tags.key));
    add(w, out, name);
    add_text(w, out, d->tags.key_end);
    add_text(w, out, pad);
    if (text)
        add(w, out, json_pack("{s:o,s:[s,s],s:b}", "raw", part, "ends", d->tags.value_end, d->close,
                              "trimmed", !*pad));
    else
        add(w, out, json_pack("{s:o,s:s}", "value", part, "avoid", avoid));
    add_text(w, out, pad);
    add_text(w, out, d->tags.value_end);
    add_text(w, out, d->write.args == ARGS_TAGS ? "\n" : "");
    return out;
}

static bool is_required(const json_t *s, const char *key)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(s, "required"), i, v)
        if (json_is_string(v) && strcmp(json_string_value(v), key) == 0)
            return true;
    return false;
}

/* A function in work, and one way to write its arguments. */
struct way {
    const char *function;
    size_t nth;        /* the document */
    const json_t *own; /* the function's properties as it names them: so the reader knows them */
    const json_t *s;   /* flat */
};

static int add_argument(struct writer *w, const struct way *way, const char *key, json_t *items,
                        json_t *needed)
{
    bool must = is_required(way->s, key);
    json_t *own = json_object_get(way->own, key);
    json_t *one = json_object_get(json_object_get(way->s, "properties"), key), *part;
    if (json_is_false(one) && !must)
        return 0;
    if (!writes_key(w->d, key))
        return must ? refuse(w, way->function, key) : 0;
    if (own == one || !json_is_object(one)) /* as the document has it */
        part = json_pack("[i,s]", (int)way->nth, key);
    else
        part = json_pack("[i,O]", (int)way->nth, one);
    add(w, items, argument(w, json_string(key), part, toolset_text_type(own)));
    add(w, needed, json_boolean(must));
    return 0;
}

/* Arguments one by one, in the order of the schema. */
static int add_arguments(struct writer *w, json_t *list, const struct way *way)
{
    json_t *properties = json_object_get(way->s, "properties"), *items = json_array();
    json_t *needed = json_array(), *v;
    const json_t *more = json_object_get(way->s, "additionalProperties");
    const char *key, *between = w->d->write.args == ARGS_PYTHON ? ", " : "";
    size_t i;
    int rc = beyond(way->s) ? refuse(w, way->function, beyond(way->s)) : 0;
    more = more ? more : json_object_get(way->s, "unevaluatedProperties");
    json_object_foreach(properties, key, v)
        rc = rc ? rc : add_argument(w, way, key, items, needed);
    json_array_foreach(json_object_get(way->s, "required"), i, v) {
        if (rc || !json_is_string(v) || json_object_get(properties, json_string_value(v)))
            continue;
        rc = more && !json_is_true(more)
                 ? refuse(w, way->function, "additionalProperties")
                 : add_argument(w, way, json_string_value(v), items, needed);
    }
    if (!rc && !json_array_size(items) && !json_is_false(more)) { /* any */
        json_t *any = argument(w, json_pack("{s:s}", "regex", NAME), json_true(),
                               w->d->write.args == ARGS_TAGS);
        rc = json_is_object(more) && json_object_size(more)
                 ? refuse(w, way->function, "additionalProperties") : 0;
        add(w, list, json_pack("{s:o,s:s,s:i}", "repeat", any, "between", between, "least", 0));
    } else {
        add(w, list, json_pack("{s:O,s:O,s:s}", "items", items, "needed", needed, "between",
                               between));
    }
    json_decref(items);
    json_decref(needed);
    return rc;
}

/* A property that must be there and has no value. */
static bool is_dead(const json_t *s)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(s, "properties"), key, v)
        if (json_is_false(v) && is_required(s, key))
            return true;
    return false;
}

/* Each way that anyOf, oneOf, if … leave to write the arguments. */
static int add_ways(struct writer *w, json_t *list, const char *function, size_t nth,
                    const json_t *s)
{
    json_t *ways, *any = json_array(), *one;
    struct err why = {0};
    size_t i;
    int rc = schema_ways(&ways, s, s, &why);
    if (rc) {
        json_decref(any);
        return rc == E_NOMEM ? err_set(w->e, rc, "%s", why.text)
                             : err_set(w->e, rc, "the function \"%.64s\": %s", function, why.text);
    }
    json_array_foreach(ways, i, one) {
        struct way way = {function, nth, json_object_get(s, "properties"), one};
        if (is_dead(one))
            continue;
        json_t *arguments = json_array();
        rc = rc ? rc : add_arguments(w, arguments, &way);
        add(w, any, arguments);
    }
    json_decref(ways);
    rc = rc || json_array_size(any) ? rc : refuse(w, function, "a schema that no object matches");
    add(w, list, json_pack("{s:o}", "any", any));
    return rc;
}

static void add_space(struct writer *w, json_t *list)
{
    add(w, list, json_pack("{s:s}", "regex", SPACE));
}

/* {"name": …, key: …} */
static void add_object(struct writer *w, json_t *list, const json_t *name, size_t nth)
{
    char *quoted = json_dumps(name, JSON_ENCODE_ANY);
    const char *texts[] = {"{",  "\"name\":",        quoted ? quoted : "", ",",
                           "\"", w->d->write.key, "\":"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        add(w, list, json_string(texts[i]));
        if (i < 2 || i == 3 || i == 6)
            add_space(w, list);
    }
    add(w, list, json_pack("{s:[i]}", "value", (int)nth));
    add_space(w, list);
    add(w, list, json_string("}"));
    w->failed |= !quoted;
    mem_free(quoted);
}

/* One function's call. */
static int add_call(struct writer *w, json_t *any, const json_t *function, bool loose)
{
    const struct form_write *f = &w->d->write;
    const json_t *name = json_object_get(function, "name");
    json_t *list = json_array();
    size_t nth;
    int rc = 0;
    const json_t *s = document(w, function, loose, &nth);
    add_text(w, list, f->lead);
    if (f->args == ARGS_CALL) {
        add_object(w, list, name, nth);
    } else if (!is_word(json_string_value(name))) {
        rc = refuse(w, json_string_value(name), "its name");
    } else {
        add(w, list, json_incref((json_t *)(uintptr_t)name));
        add_text(w, list, f->name_end);
        if (f->args == ARGS_JSON)
            add(w, list, json_pack("{s:[i]}", "value", (int)nth));
        else
            rc = add_ways(w, list, json_string_value(name), nth, s);
    }
    add_text(w, list, f->tail);
    add(w, any, list);
    return rc;
}

/* Calls, one or many, with what is around them. */
static json_t *section(struct writer *w, json_t *any, bool many, bool opened)
{
    const struct form_write *f = &w->d->write;
    json_t *calls = json_pack("{s:O}", "any", any), *list = json_array(), *out = json_array();
    if (many && f->between) {
        json_t *between = json_array();
        add_text(w, between, f->between);
        calls = json_pack("{s:o,s:o,s:i}", "repeat", calls, "between", between, "least", 1);
    }
    add_text(w, list, f->begin);
    add(w, list, json_incref(calls));
    add_text(w, list, f->finish);
    if (!opened)
        add_text(w, out, w->d->open);
    if (f->bare)
        list = json_pack("{s:[o,O]}", "any", list, calls);
    add(w, out, list);
    add_text(w, out, w->d->close);
    json_decref(calls);
    return out;
}

int toolcall_structure(char **out, const struct toolcall_demand *d, struct err *e)
{
    json_t *any = json_array(), *tool;
    struct writer w = {.d = d->dialect, .documents = json_array(), .e = e};
    size_t i;
    int rc = 0;
    bool lacked = mem_lacked();
    *out = NULL;
    json_array_foreach((json_t *)(uintptr_t)d->tools, i, tool) {
        const json_t *f = toolset_function(tool);
        const char *name = json_string_value(json_object_get(f, "name"));
        bool loose = d->wish && !json_is_true(json_object_get(f, "strict"));
        if (!rc && name && (!d->name || strcmp(d->name, name) == 0))
            rc = add_call(&w, any, f, loose);
    }
    json_t *text = section(&w, any, d->wish, d->wish);
    if (d->wish && !d->dialect->open[0]) /* the whole text is a call, or it is none */
        text = json_pack("{s:[o,{s:s}]}", "any", text, "regex", PROSE);
    json_t *whole = json_pack("{s:o,s:o}", "documents", w.documents, "text", text);
    if (!rc && whole && !w.failed)
        *out = json_dumps(whole, JSON_COMPACT);
    json_decref(whole);
    json_decref(any);
    if (!lacked && mem_lacked()) { /* a copy may lack what the schema says */
        mem_free(*out);
        *out = NULL;
        return err_set(e, E_NOMEM, "no memory for the form of calls");
    }
    return rc || *out ? rc : err_set(e, E_NOMEM, "no memory for the form of calls");
}

bool toolcall_strict(const json_t *tools)
{
    size_t i;
    json_t *tool;
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool)
        if (json_is_true(json_object_get(toolset_function(tool), "strict")))
            return true;
    return false;
}

const char *toolcall_open(const struct toolcall_dialect *d, bool *closes)
{
    *closes = d->close != NULL;
    return d->open;
}
