/* The fields that constrain an answer's text, of OpenAI, vLLM and llama-server. One of them at
 * most; their order is that of the table. Thread: any. */
#include <string.h>

#include "base/mem.h"
#include "server/api/params_int.h"

enum form {
    FORM_SCHEMA, /* a JSON Schema: an object, true or false, or one of them as text */
    FORM_TEXT,   /* a string; an empty one is none */
    FORM_CHOICE, /* an array of strings */
    FORM_FLAG,   /* true */
};

struct field {
    const char *name;
    enum grammar_kind kind;
    enum form form;
};

static const struct field fields[] = {
    {"json_schema", GRAMMAR_SCHEMA, FORM_SCHEMA}, {"grammar", GRAMMAR_GBNF, FORM_TEXT},
    {"regex", GRAMMAR_REGEX, FORM_TEXT},          {"choice", GRAMMAR_CHOICE, FORM_CHOICE},
    {"guided_json", GRAMMAR_SCHEMA, FORM_SCHEMA}, {"guided_grammar", GRAMMAR_GBNF, FORM_TEXT},
    {"guided_regex", GRAMMAR_REGEX, FORM_TEXT},   {"guided_choice", GRAMMAR_CHOICE, FORM_CHOICE},
};
/* The members of structured_outputs; an error names the whole field. */
static const struct field members[] = {
    {"json", GRAMMAR_SCHEMA, FORM_SCHEMA},  {"grammar", GRAMMAR_GBNF, FORM_TEXT},
    {"regex", GRAMMAR_REGEX, FORM_TEXT},    {"choice", GRAMMAR_CHOICE, FORM_CHOICE},
    {"json_object", GRAMMAR_OBJECT, FORM_FLAG},
};

static bool fits(const json_t *v, enum form f)
{
    switch (f) {
    case FORM_SCHEMA: return json_is_object(v) || json_is_boolean(v) || json_is_string(v);
    case FORM_TEXT: return json_is_string(v);
    case FORM_CHOICE: return json_is_array(v);
    case FORM_FLAG: return json_is_boolean(v);
    }
    return false;
}

/* v as the grammar's text. param: the request's field. */
static int take(struct params *p, const json_t *v, const struct field *f, const char *param,
                struct err *e)
{
    static const char *const want[] = {[FORM_SCHEMA] = "a JSON Schema", [FORM_TEXT] = "a string",
                                       [FORM_CHOICE] = "an array of strings",
                                       [FORM_FLAG] = "true or false"};
    struct constrain_in *c = &p->constrain;
    if (!fits(v, f->form))
        return err_field(e, E_FORMAT, param, "%s: %s was sent, %s is expected", param,
                         jsonin_kind(v), want[f->form]);
    if ((f->form == FORM_TEXT && json_string_length(v) == 0) ||
        (f->form == FORM_FLAG && json_is_false(v)))
        return 0;
    if (c->field)
        return err_field(e, E_CONFLICT, param, "%s: %s constrains the answer already", param,
                         c->field);
    char *made = json_is_string(v) ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    const char *text = made ? made : json_string_value(v);
    size_t n = made ? strlen(made) : json_string_length(v);
    c->text = text ? arena_copy(&p->arena, text, n) : NULL;
    c->n = f->form == FORM_FLAG ? 0 : n;
    mem_free(made);
    if (!c->text)
        return err_set(e, E_NOMEM, "no memory for the request");
    c->field = param;
    c->kind = f->kind;
    return 0;
}

/* {"type": "text" | "json_object" | "json_schema", …} */
static int read_format(struct params *p, const json_t *v, struct err *e)
{
    static const struct field schema = {"schema", GRAMMAR_SCHEMA, FORM_SCHEMA};
    static const struct field object = {"json_object", GRAMMAR_OBJECT, FORM_FLAG};
    const char *param = "response_format";
    const char *type = json_string_value(json_object_get(v, "type"));
    const json_t *own = jsonin_get(v, "schema"), *inner = jsonin_get(v, "json_schema");
    if (!type)
        return err_field(e, E_FORMAT, param, "%s: an object with a \"type\" is expected", param);
    if (strcmp(type, "text") == 0)
        return 0;
    if (strcmp(type, "json_object") == 0)
        return own ? take(p, own, &schema, param, e) : take(p, json_true(), &object, param, e);
    if (strcmp(type, "json_schema") != 0)
        return err_field(e, E_UNSUPPORTED, param, "%s: \"%.40s\" is neither text, json_object nor "
                         "json_schema", param, type);
    if (json_is_object(inner) && jsonin_get(inner, "schema"))
        own = jsonin_get(inner, "schema");
    if (!own)
        return err_field(e, E_FORMAT, param, "%s: json_schema has no \"schema\"", param);
    return take(p, own, &schema, param, e);
}

static int read_structured(struct params *p, const json_t *v, struct err *e)
{
    /* What does not change which texts are allowed. */
    static const char *const other[] = {"disable_fallback", "disable_any_whitespace",
                                        "disable_additional_properties"};
    const char *param = "structured_outputs", *key;
    json_t *one;
    if (!json_is_object(v))
        return err_field(e, E_FORMAT, param, "%s: %s was sent, an object is expected", param,
                         jsonin_kind(v));
    json_object_foreach((json_t *)(uintptr_t)v, key, one) {
        const struct field *f = NULL;
        bool known = json_is_null(one);
        for (size_t i = 0; i < ARRAY_LEN(members); i++)
            if (strcmp(members[i].name, key) == 0)
                f = &members[i];
        for (size_t i = 0; i < ARRAY_LEN(other); i++)
            known = known || strcmp(other[i], key) == 0;
        if (!f && !known)
            return err_field(e, E_UNSUPPORTED, param, "%s: \"%.40s\" is not supported", param, key);
        int rc = f && !json_is_null(one) ? take(p, one, f, param, e) : 0;
        if (rc)
            return rc;
        if (strcmp(key, "disable_any_whitespace") == 0)
            p->constrain.compact = json_is_true(one);
    }
    return 0;
}

int params_constrain(struct params *p, const json_t *o, struct err *e)
{
    const json_t *format = jsonin_get(o, "response_format");
    const json_t *structured = jsonin_get(o, "structured_outputs");
    int rc = format ? read_format(p, format, e) : 0;
    for (size_t i = 0; i < ARRAY_LEN(fields) && !rc; i++) {
        const json_t *v = jsonin_get(o, fields[i].name);
        rc = v ? take(p, v, &fields[i], fields[i].name, e) : 0;
    }
    if (!rc && structured)
        rc = read_structured(p, structured, e);
    return rc;
}
