/* Renders chat templates for the oracle test: one JSON object a line in, one a line out.
 *
 * In:  {"template": path, "vars": {name: value, …}, "now": seconds}
 * Out: {"text": …, "spans": [[end, origin], …]} or {"error": …}. Strings of vars["messages"][i]
 * have the origin 2 + i, all others 1, except what names a role. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "models/text/chat/jinja/jinja.h"

static bool is_role(const char *s)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strcmp(s, roles[i]) == 0)
            return true;
    return false;
}

/* The template of the line before is kept: lines come template by template. */
static int compile(const char *path, struct jinja **out, struct err *e)
{
    static char last[4096];
    static struct jinja *t;
    struct buf text;
    *out = t;
    if (t && strcmp(last, path) == 0)
        return 0;
    jinja_free(t);
    t = NULL;
    snprintf(last, sizeof last, "%s", path);
    buf_init(&text, LIMIT_TEMPLATE_BYTES);
    int rc = file_read(path, &text, e);
    if (rc == 0)
        rc = jinja_compile(&t, text.p ? text.p : "", text.len, e);
    buf_free(&text);
    *out = t;
    return rc;
}

static json_t *spans_of(const struct text *t)
{
    json_t *spans = json_array();
    for (uint32_t i = 0; i < t->n_marks; i++)
        json_array_append_new(spans, json_pack("[i,i]", (int)t->marks[i].end,
                                               (int)t->marks[i].origin));
    if (!t->marks)
        json_array_append_new(spans, json_pack("[i,i]", (int)t->n, (int)t->origin));
    return spans;
}

static json_t *render(const json_t *in, size_t bytes)
{
    struct err e = {0};
    struct jinja *t;
    const struct text *out;
    const char *name;
    json_t *v, *vars = json_object_get(in, "vars"), *reply;
    int rc = compile(json_string_value(json_object_get(in, "template")), &t, &e);
    struct run *r = rc ? NULL : jinja_run_new(bytes, bytes / 8, &e);
    if (r) {
        jinja_set_time(r, json_integer_value(json_object_get(in, "now")));
        json_object_foreach(vars, name, v) {
            if (strcmp(name, "messages") == 0)
                jinja_set_list(r, name, v, 2, "role", is_role);
            else
                jinja_set_json(r, name, v, 1);
        }
        rc = jinja_render(t, r, &out, &e);
    }
    if (rc || !r)
        reply = json_pack("{s:s}", "error", e.text);
    else
        reply = json_pack("{s:s#,s:o}", "text", out->n ? out->p : "", (int)out->n, "spans",
                          spans_of(out));
    jinja_run_free(r);
    return reply;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_error_t je;
        json_t *in = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &je), *out;
        if (!in) {
            fprintf(stderr, "jinja_render: %s\n", je.text);
            return 2;
        }
        out = render(in, (size_t)n);
        char *text = json_dumps(out, JSON_COMPACT);
        puts(text ? text : "{\"error\": \"the text is not UTF-8\"}");
        fflush(stdout);
        free(text);
        json_decref(out);
        json_decref(in);
    }
    free(line);
    return 0;
}
