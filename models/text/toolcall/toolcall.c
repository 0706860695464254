/* The reader: looks for markers, holds back what may become one, hands bodies to their form.
 * Invariant: every decision depends on the bytes from a place on, not on how many more are there
 * already; that is why the events do not depend on the cuts. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "models/text/toolcall/toolcall_int.h"

#define THINK_OPEN "<think>"
#define THINK_CLOSE "</think>"
#define LEAD_BYTES 64  /* of white space that waits for what follows it */
#define CLOSES 64      /* closing markers tried inside of one body */
#define SLICE KIB(4)   /* fed at once: bounds what is held */

struct toolcall *toolcall_new(const struct toolcall_options *o)
{
    struct toolcall *t = mem_zalloc(sizeof *t);
    if (!t)
        return NULL;
    t->o = *o;
    if (!o->tools)
        t->o.dialect = NULL;
    t->place = o->reasoning && o->thinking ? THINK : LEAD;
    buf_init(&t->held, LIMIT_CALL_BYTES + 2 * SLICE);
    return t;
}

void toolcall_free(struct toolcall *t)
{
    if (t)
        buf_free(&t->held);
    mem_free(t);
}

struct toolcall *toolcall_clone(const struct toolcall *t, void *arg)
{
    struct toolcall *c = toolcall_new(&t->o);
    if (!c)
        return NULL;
    struct buf held = c->held;
    *c = *t;
    c->o.arg = arg;
    c->held = held;
    if (!buf_add(&c->held, t->held.p, t->held.len))
        return c;
    toolcall_free(c);
    return NULL;
}

/* The marker that opens a call at `at`; an empty one is the body's first byte. */
static enum look look_call(const struct toolcall *t, size_t at, bool end)
{
    const struct toolcall_dialect *d = t->o.dialect;
    if (!d)
        return NO;
    return form_look(t->held.p, t->held.len, at, d->open[0] ? d->open : d->starts, end);
}

/* At the beginning, or behind reasoning and calls: white space belongs to what comes. */
static bool step_lead(struct toolcall *t, bool end)
{
    struct buf *b = &t->held;
    if (t->place == BETWEEN)
        buf_drop_front(b, form_space(b->p, b->len, 0));
    size_t w = form_space(b->p, b->len, 0);
    if (w > LEAD_BYTES || (w == b->len && end && w)) {
        t->place = TEXT;
        return true;
    }
    if (w == b->len)
        return false;
    bool opens = t->place == LEAD && t->o.reasoning;
    enum look think = opens ? form_look(b->p, b->len, w, THINK_OPEN, end) : NO;
    enum look call = look_call(t, w, end);
    if (think == YES) {
        buf_drop_front(b, w + strlen(THINK_OPEN));
        t->place = THINK;
    } else if (call == YES) {
        buf_drop_front(b, w);
        t->place = CALL;
    } else if (think == MAYBE || call == MAYBE) {
        return false;
    } else {
        t->place = TEXT;
    }
    return true;
}

/* Up to a marker, which is found (true) or may have begun. */
static bool pass_until(struct toolcall *t, enum toolcall_kind kind, const char *marker, bool end)
{
    struct buf *b = &t->held;
    size_t at = marker ? form_find(b->p, b->len, 0, marker) : b->len;
    bool found = at < b->len;
    toolcall_pass(t, kind, found || end || !marker ? at
                                              : b->len - form_overlap(b->p, b->len, marker));
    return found;
}

static bool step_think(struct toolcall *t, bool end)
{
    if (!pass_until(t, TOOLCALL_REASONING, THINK_CLOSE, end))
        return false;
    buf_drop_front(&t->held, strlen(THINK_CLOSE));
    t->place = BETWEEN;
    return true;
}

static bool step_text(struct toolcall *t, bool end)
{
    const struct toolcall_dialect *d = t->o.dialect;
    if (!pass_until(t, TOOLCALL_TEXT, d && d->open[0] ? d->open : NULL, end))
        return false;
    t->place = CALL;
    return true;
}

/* It was no call: the marker is text, and what follows is looked at anew. */
static bool no_call(struct toolcall *t)
{
    toolcall_leave(t, TEXT);
    toolcall_pass(t, TOOLCALL_TEXT, strlen(t->o.dialect->open));
    return true;
}

static void give_calls(struct toolcall *t, const json_t *calls, size_t n_bytes)
{
    size_t n = json_array_size(calls);
    for (size_t i = 0; i < (t->o.single ? 1 : n); i++) {
        const json_t *c = json_array_get(calls, i), *name = json_object_get(c, "name");
        const json_t *args = json_object_get(c, "arguments");
        toolcall_emit(t, TOOLCALL_BEGIN, json_string_value(name), json_string_length(name),
             json_string_value(json_object_get(c, "id")));
        toolcall_emit(t, TOOLCALL_ARGUMENTS, json_string_value(args), json_string_length(args),
                      NULL);
        toolcall_emit(t, TOOLCALL_END, NULL, 0, NULL);
    }
    buf_drop_front(&t->held, n_bytes);
    toolcall_leave(t, t->o.single ? OVER : BETWEEN);
}

/* The body that ends at `at`, `marker` bytes of a marker behind it. */
static bool try_body(struct toolcall *t, size_t at, size_t marker)
{
    const struct toolcall_dialect *d = t->o.dialect;
    size_t open = strlen(d->open);
    json_t *calls = json_array();
    enum form_result r = FORM_BAD;
    if (calls)
        r = d->read(t->held.p + open, at - open, &d->tags, t->o.tools, calls);
    else
        t->code = E_NOMEM;
    if (r == FORM_CALLS)
        give_calls(t, calls, at + marker);
    json_decref(calls);
    if (r == FORM_MORE && marker && ++t->closes < CLOSES)
        t->looked = at + 1;
    else if (r != FORM_CALLS)
        no_call(t);
    return true;
}

/* Where nothing closes calls: one may be whole when a bracket has found its other. False: not yet.
 * Brackets and quotes alone are looked at; what is found whole is read as everywhere. */
static bool found_whole(struct toolcall *t)
{
    const struct buf *b = &t->held;
    size_t open = strlen(t->o.dialect->open);
    for (t->scanned = MAX(t->scanned, open); t->scanned < b->len; t->scanned++) {
        char c = b->p[t->scanned];
        if (t->quoted && c == '\\' && t->scanned + 1 == b->len)
            return false;
        if (t->quoted) {
            t->scanned += c == '\\';
            t->quoted = c != '"';
            continue;
        }
        t->quoted = c == '"';
        t->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (t->depth != 0 || (c != '}' && c != ']') || t->closes >= CLOSES)
            continue;
        t->closes++;
        size_t at = t->scanned + 1;
        json_t *calls = json_array();
        bool whole = calls && t->o.dialect->read(b->p + open, at - open, &t->o.dialect->tags,
                                                 t->o.tools, calls) == FORM_CALLS;
        t->code = calls ? t->code : E_NOMEM;
        if (whole)
            give_calls(t, calls, at);
        json_decref(calls);
        if (whole)
            return true;
    }
    return false;
}

static bool step_call(struct toolcall *t, bool end)
{
    const struct toolcall_dialect *d = t->o.dialect;
    struct buf *b = &t->held;
    size_t open = strlen(d->open), close = d->close ? strlen(d->close) : 0;
    size_t w = form_space(b->p, b->len, open);
    if (t->early.calls == 0 && w < b->len && d->starts && !strchr(d->starts, b->p[w]))
        return no_call(t);
    if (t->o.early)
        return early_step(t, end);
    if (t->o.single && !d->close && found_whole(t))
        return true;
    size_t at = d->close ? form_find(b->p, b->len, MAX(t->looked, open), d->close) : b->len;
    if (at < b->len && at - open <= LIMIT_CALL_BYTES - open - close)
        return try_body(t, at, close);
    if (b->len > LIMIT_CALL_BYTES)
        return no_call(t);
    if (end)
        return d->close ? no_call(t) : try_body(t, b->len, 0);
    t->looked = d->close && b->len - open >= close ? MAX(open, b->len - close + 1) : t->looked;
    return false;
}

/* One decision; false: more bytes are needed for the next. */
static bool step(struct toolcall *t, bool end)
{
    if (t->held.len == 0)
        return false;
    switch (t->place) {
    case LEAD: case BETWEEN: return step_lead(t, end);
    case TEXT: return step_text(t, end);
    case THINK: return step_think(t, end);
    case CALL: return step_call(t, end);
    case OVER: buf_clear(&t->held); return false;
    }
    return false;
}

int toolcall_feed(struct toolcall *t, const char *p, size_t n, struct err *e)
{
    for (size_t i = 0, slice; i < n && !t->code; i += slice) {
        slice = MIN(n - i, SLICE);
        slice = utf8_complete(p + i, slice) ? utf8_complete(p + i, slice) : slice;
        if (buf_add(&t->held, p + i, slice))
            t->code = E_NOMEM;
        while (!t->code && step(t, false))
            ;
    }
    return t->code ? err_set(e, t->code, "no memory for %zu bytes of a tool call", t->held.len) : 0;
}

int toolcall_finish(struct toolcall *t, struct err *e)
{
    while (!t->code && step(t, true))
        ;
    early_finish(t);
    return t->code ? err_set(e, t->code, "no memory for %zu bytes of a tool call", t->held.len) : 0;
}
