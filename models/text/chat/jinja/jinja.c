/* The face of the interpreter: compiling a template, preparing a run, rendering. */
#include "models/text/chat/jinja/jinja.h"

#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "models/text/chat/jinja/eval.h"

int jinja_compile(struct jinja **out, const char *text, size_t n, struct err *e)
{
    struct err mine = {0};
    *out = NULL;
    e = e ? e : &mine;
    if (n > LIMIT_TEMPLATE_BYTES)
        return err_set(e, E_RANGE, "the chat template has %zu bytes, at most %zu are allowed", n,
                       LIMIT_TEMPLATE_BYTES);
    if (!utf8_valid(text, n))
        return err_set(e, E_FORMAT, "the chat template is not valid UTF-8");
    struct jinja *t = mem_zalloc(sizeof *t);
    if (!t)
        return err_set(e, E_NOMEM, "out of memory for the chat template");
    struct run r = {.err = e, .library = &jinja_library, .fuel = LIMIT_TEMPLATE_STEPS_MAX,
                    .max_fuel = LIMIT_TEMPLATE_STEPS_MAX, .max_output = LIMIT_TEMPLATE_BYTES};
    arena_init(&r.arena, LIMIT_TEMPLATE_MEMORY + 32 * n);
    struct tokens tokens;
    struct parser p = {.r = &r, .program = t};
    if (jinja_lex(&r, text, n, &tokens)) {
        p.t = tokens.p;
        t->body = parse_template(&p);
    }
    t->arena = r.arena;
    if (r.failed) {
        jinja_free(t);
        return e->code;
    }
    *out = t;
    return 0;
}

void jinja_free(struct jinja *t)
{
    if (t)
        arena_free(&t->arena);
    mem_free(t);
}

struct run *jinja_run_new(size_t input_bytes, size_t input_values, struct err *e)
{
    struct run *r = mem_zalloc(sizeof *r);
    if (!r) {
        err_set(e, E_NOMEM, "out of memory for a chat template");
        return NULL;
    }
    input_bytes = MIN(input_bytes, LIMIT_BODY_BYTES);
    arena_init(&r->arena, LIMIT_TEMPLATE_MEMORY + LIMIT_TEMPLATE_MEMORY_X * input_bytes);
    r->err = e;
    r->library = &jinja_library;
    r->max_fuel = MIN((size_t)LIMIT_TEMPLATE_STEPS + input_bytes / 16 +
                          LIMIT_TEMPLATE_STEPS_VALUE * MIN(input_values, (size_t)LIMIT_BODY_BYTES),
                      (size_t)LIMIT_TEMPLATE_STEPS_MAX);
    r->fuel = r->max_fuel;
    r->max_output = LIMIT_TEMPLATE_OUTPUT;
    r->now = (int64_t)time(NULL);
    return r;
}

void jinja_run_free(struct run *r)
{
    if (r)
        arena_free(&r->arena);
    mem_free(r);
}

void jinja_set_time(struct run *r, int64_t seconds) { r->now = seconds; }

int jinja_render(const struct jinja *t, struct run *r, const struct text **out, struct err *e)
{
    struct scope *globals = scope_new(r, NULL), *s = scope_new(r, globals);
    struct builder b;
    if (e && !r->failed)
        r->err = e;
    r->program = t;
    for (const struct var *v = r->globals; v && !r->failed; v = v->next) {
        char name[64];
        size_t n = MIN((size_t)v->name->n, sizeof name - 1);
        memcpy(name, v->name->p, n);
        name[n] = 0;
        const struct text *symbol = find_symbol(t, name);
        if (symbol)
            scope_set(r, globals, symbol, v->v);
    }
    text_build(&b, r);
    if (!r->failed)
        exec_body(r, s, t->body, &b);
    *out = text_built(&b);
    return r->failed ? r->code : 0;
}
