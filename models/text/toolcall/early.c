/* Calls that are read while they are written, by the row of their dialect: a name that is known,
 * then arguments as pieces of one JSON object. Every decision depends on the bytes from a place on,
 * not on how many are there already. What leaves is the same JSON that the whole body would give;
 * only an argument that is written twice stands there twice. */
#include <string.h>

#include "base/jsonread.h"
#include "base/limits.h"
#include "base/mem.h"
#include "models/text/toolcall/toolcall_int.h"

/* A place in what is held. */
struct spot {
    const char *p;
    size_t n, i;
    bool end; /* there will be no more */
};

/* Where a call begins: up to where its arguments do. */
struct head {
    char name[256], id[256];
    const json_t *arguments;
};

static struct spot begin(const struct toolcall *t, bool end)
{
    return (struct spot){t->held.p, t->held.len, 0, end};
}

static enum look wait_for_more(const struct spot *s) { return s->end ? NO : MAYBE; }

/* Text behind white space: YES goes behind it. */
static enum look expect(struct spot *s, const char *text)
{
    size_t i = form_space(s->p, s->n, s->i);
    enum look l = form_look(s->p, s->n, i, text, s->end);
    if (l == YES)
        s->i = i + strlen(text);
    return l;
}

/* ---- before a call ---- */

/* A name that was offered; id: as the model wrote it. */
static enum look named(const struct toolcall *t, struct head *h, const char *name, size_t n,
                       const char *id, size_t n_id)
{
    h->arguments = toolset_arguments(t->o.tools, name, n);
    if (!h->arguments || n >= sizeof h->name || n_id >= sizeof h->id)
        return NO;
    memcpy(h->name, name, n);
    h->name[n] = '\0';
    if (n_id)
        memcpy(h->id, id, n_id);
    h->id[n_id] = '\0';
    return YES;
}

/* A JSON string that is a function's name. */
static enum look quoted_name(const struct toolcall *t, struct spot *s, struct head *h)
{
    size_t i = form_space(s->p, s->n, s->i), end;
    json_error_t e;
    if (i == s->n)
        return wait_for_more(s);
    if (s->p[i] != '"')
        return NO;
    if (form_value(s->p, s->n, i, &end) != FORM_CALLS)
        return wait_for_more(s);
    json_t *name = jsonread(s->p + i, end - i, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    enum look l = name ? named(t, h, json_string_value(name), json_string_length(name), "", 0) : NO;
    json_decref(name);
    s->i = end;
    return l;
}

/* Up to the object that arguments are. */
static enum look to_object(struct spot *s)
{
    s->i = form_space(s->p, s->n, s->i);
    return s->i == s->n ? wait_for_more(s) : s->p[s->i] == '{' ? YES : NO;
}

/* {"name": "…", "arguments": */
static enum look head_object(const struct toolcall *t, struct spot *s, struct head *h)
{
    char key[32];
    const char *const texts[] = {"{", "\"name\"", ":", NULL, ",", key, ":"};
    enum look l = YES;
    snprintf(key, sizeof key, "\"%s\"", t->o.dialect->write.key);
    for (size_t i = 0; i < ARRAY_LEN(texts) && l == YES; i++)
        l = texts[i] ? expect(s, texts[i]) : quoted_name(t, s, h);
    return l == YES ? to_object(s) : l;
}

/* Up to text; *from, *end: what is before it, behind white space. */
static enum look until(struct spot *s, const char *text, size_t *from, size_t *end)
{
    *from = form_space(s->p, s->n, s->i);
    *end = form_find(s->p, s->n, *from, text);
    if (*end == s->n)
        return wait_for_more(s);
    s->i = *end + strlen(text);
    return YES;
}

/* name[ARGS], or with the lead and id of Kimi's */
static enum look head_json(const struct toolcall *t, struct spot *s, struct head *h)
{
    const struct toolcall_dialect *d = t->o.dialect;
    bool kimi = d->read == form_kimi;
    size_t from, end, n;
    const char *name;
    enum look l = kimi ? expect(s, d->inner[0]) : YES;
    if (l == YES)
        l = until(s, kimi ? d->inner[1] : d->write.name_end, &from, &end);
    if (l != YES)
        return l;
    while (kimi && end > from && form_is_space(s->p[end - 1]))
        end--;
    if (!kimi)
        l = named(t, h, s->p + from, end - from, "", 0);
    else if (form_kimi_name(s->p + from, end - from, &name, &n))
        l = named(t, h, name, n, s->p + from, end - from);
    else
        l = NO;
    return l == YES ? to_object(s) : l;
}

/* <function=name> */
static enum look head_tags(const struct toolcall *t, struct spot *s, struct head *h)
{
    const struct form_tags *tags = &t->o.dialect->tags;
    enum look l = expect(s, tags->call);
    size_t from = s->i, end = form_find(s->p, s->n, from, tags->call_name_end);
    if (l != YES)
        return l;
    if (end == s->n)
        return wait_for_more(s);
    s->i = end + strlen(tags->call_name_end);
    return named(t, h, s->p + from, end - from, "", 0);
}

/* name( */
static enum look head_python(const struct toolcall *t, struct spot *s, struct head *h)
{
    size_t from = form_space(s->p, s->n, s->i), n = form_word(s->p + from, s->n - from);
    s->i = from + n;
    if (s->i == s->n)
        return wait_for_more(s);
    enum look l = expect(s, "(");
    return l == YES ? named(t, h, s->p + from, n, "", 0) : l;
}

/* Past what is between calls and around them. MAYBE: more of it may come. */
static enum look past_gap(const struct toolcall *t, struct spot *s)
{
    const struct form_write *w = &t->o.dialect->write;
    const char *const texts[] = {w->tail, w->between};
    for (;;) {
        s->i = form_space(s->p, s->n, s->i);
        if (s->i == s->n)
            return wait_for_more(s);
        enum look l = NO;
        for (size_t k = 0; k < ARRAY_LEN(texts) && l == NO; k++)
            if (texts[k] && *texts[k] && (l = form_look(s->p, s->n, s->i, texts[k], s->end)) == YES)
                s->i += strlen(texts[k]);
        if (l == NO && s->p[s->i] && strchr("[]},)", s->p[s->i])) {
            s->i++;
            l = YES;
        }
        if (l != YES)
            return l == NO ? YES : MAYBE;
    }
}

/* Whether the text ends in what follows a call: a marker without its end is nothing else. */
static bool ends_in_gap(const struct toolcall *t, const struct spot *s)
{
    const struct form_write *w = &t->o.dialect->write;
    const char *const texts[] = {w->tail, w->between, w->finish, t->o.dialect->close};
    for (size_t k = 0; k < ARRAY_LEN(texts) && s->end && t->early.calls; k++)
        if (texts[k] && form_look(s->p, s->n, s->i, texts[k], false) == MAYBE)
            return true;
    return false;
}

/* It is no call, or no other one: text from here on. */
static bool no_more(struct toolcall *t, size_t gap)
{
    if (t->early.calls) {
        buf_drop_front(&t->held, gap);
        toolcall_leave(t, TEXT);
    } else {
        toolcall_leave(t, TEXT);
        toolcall_pass(t, TOOLCALL_TEXT, strlen(t->o.dialect->open));
    }
    return true;
}

static bool begin_call(struct toolcall *t, const struct head *h, size_t n)
{
    enum form_args args = t->o.dialect->write.args;
    struct early *s = &t->early;
    bool object = args == ARGS_CALL || args == ARGS_JSON;
    toolcall_emit(t, TOOLCALL_BEGIN, h->name, strlen(h->name), h->id);
    buf_drop_front(&t->held, n);
    *s = (struct early){.at = object ? EARLY_JSON : EARLY_KEY, .calls = s->calls + 1,
                        .begun = true, .arguments = h->arguments};
    if (!object)
        toolcall_emit(t, TOOLCALL_ARGUMENTS, "{", 1, NULL);
    return true;
}

static bool step_head(struct toolcall *t, bool end)
{
    static enum look (*const heads[])(const struct toolcall *, struct spot *, struct head *) = {
        [ARGS_CALL] = head_object, [ARGS_JSON] = head_json, [ARGS_TAGS] = head_tags,
        [ARGS_PYTHON] = head_python};
    const struct toolcall_dialect *d = t->o.dialect;
    struct spot s = begin(t, end);
    struct head h;
    s.i = t->early.calls ? 0 : strlen(d->open);
    enum look l = past_gap(t, &s), closes = NO;
    size_t gap = ends_in_gap(t, &s) ? s.n : s.i;
    if (l == YES && d->close)
        closes = form_look(s.p, s.n, s.i, d->close, end);
    if (closes == YES && t->early.calls) {
        buf_drop_front(&t->held, gap + strlen(d->close));
        toolcall_leave(t, BETWEEN);
        return true;
    }
    l = l == YES && closes == NO ? heads[d->write.args](t, &s, &h) : closes == MAYBE ? MAYBE : l;
    if (l == YES && closes == NO)
        return begin_call(t, &h, s.i);
    if (l == MAYBE && t->held.len <= LIMIT_CALL_BYTES)
        return false;
    return no_more(t, gap);
}

/* ---- in a call ---- */

static bool end_call(struct toolcall *t)
{
    t->early = (struct early){.calls = t->early.calls};
    toolcall_emit(t, TOOLCALL_END, NULL, 0, NULL);
    if (t->o.single)
        toolcall_leave(t, OVER);
    return true;
}

static bool cut_call(struct toolcall *t)
{
    toolcall_leave(t, t->o.single ? OVER : TEXT);
    toolcall_emit(t, TOOLCALL_CUT, NULL, 0, NULL);
    return true;
}

/* More is needed, and there may be that much more. */
static bool more_or_cut(struct toolcall *t)
{
    return t->held.len > LIMIT_CALL_BYTES && cut_call(t);
}

static void open_out(struct buf *out) { buf_init(out, 8 * (size_t)LIMIT_CALL_BYTES); }

/* Bytes of arguments; the first n held bytes are done with. */
static void give(struct toolcall *t, struct buf *out, size_t n)
{
    t->code = out->failed ? E_NOMEM : t->code;
    toolcall_emit(t, TOOLCALL_ARGUMENTS, out->p, out->len, NULL);
    buf_free(out);
    buf_drop_front(&t->held, n);
}

/* Brackets and quotes alone say where the object ends. */
static bool step_json(struct toolcall *t)
{
    struct early *s = &t->early;
    size_t i = 0;
    bool whole = false;
    while (i < t->held.len && !whole) {
        char c = t->held.p[i++];
        if (s->escaped)
            s->escaped = false;
        else if (s->quote)
            s->escaped = c == '\\', s->quote = c == '"' ? 0 : s->quote;
        else if (c == '"')
            s->quote = c;
        else
            s->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        whole = !s->quote && s->depth == 0;
    }
    toolcall_pass(t, TOOLCALL_ARGUMENTS, i);
    return whole && end_call(t);
}

static void escape(struct buf *out, const char *p, size_t n)
{
    static const char names[] = "\bb\ff\nn\rr\tt";
    for (size_t i = 0; i < n; i++) {
        const char *name = p[i] ? strchr(names, p[i]) : NULL;
        if (name && (unsigned char)p[i] < 0x20)
            buf_fmt(out, "\\%c", name[1]);
        else if ((unsigned char)p[i] < 0x20)
            buf_fmt(out, "\\u%04X", p[i]);
        else if (p[i] == '"' || p[i] == '\\')
            buf_fmt(out, "\\%c", p[i]);
        else
            buf_ch(out, p[i]);
    }
}

/* "key": and what opens a string; then the value is read, behind the first n bytes. */
static bool give_key(struct toolcall *t, const char *key, size_t n_key, enum early_at at, size_t n)
{
    struct early *s = &t->early;
    struct buf out;
    open_out(&out);
    buf_str(&out, s->any ? ",\"" : "\"");
    escape(&out, key, n_key);
    buf_str(&out, at == EARLY_VALUE ? "\":" : "\":\"");
    give(t, &out, n);
    s->any = s->lead = true;
    s->at = at;
    s->seen = 0;
    s->depth = 0;
    return true;
}

static bool end_arguments(struct toolcall *t, size_t n)
{
    buf_drop_front(&t->held, n);
    toolcall_emit(t, TOOLCALL_ARGUMENTS, "}", 1, NULL);
    return end_call(t);
}

/* <parameter=key>, or the end of the call. */
static bool step_key_tags(struct toolcall *t)
{
    const struct form_tags *tags = &t->o.dialect->tags;
    struct spot s = begin(t, false);
    enum look ends = expect(&s, tags->call_end), key = ends == YES ? NO : expect(&s, tags->key);
    if (ends == YES)
        return end_arguments(t, s.i);
    if (key != YES)
        return ends == NO && key == NO ? cut_call(t) : more_or_cut(t);
    size_t end = form_find(s.p, s.n, s.i, tags->key_end), n = end - s.i;
    if (end == s.n)
        return more_or_cut(t);
    if (!n || memchr(s.p + s.i, '\n', n))
        return cut_call(t);
    bool text = json_is_true(json_object_getn(t->early.arguments, s.p + s.i, n));
    return give_key(t, s.p + s.i, n, text ? EARLY_TEXT : EARLY_VALUE, end + strlen(tags->key_end));
}

/* key=, or the end of the call. */
static bool step_key_python(struct toolcall *t)
{
    struct spot s = begin(t, false);
    if (expect(&s, ")") == YES)
        return end_arguments(t, s.i);
    enum look comma = t->early.any ? expect(&s, ",") : YES;
    size_t from = form_space(s.p, s.n, s.i), n = form_word(s.p + from, s.n - from);
    s.i = from + n;
    if (comma != YES || s.i == s.n)
        return comma == NO ? cut_call(t) : more_or_cut(t);
    enum look equals = n ? expect(&s, "=") : NO;
    size_t value = form_space(s.p, s.n, s.i);
    if (equals != YES || value == s.n)
        return equals == NO ? cut_call(t) : more_or_cut(t);
    bool string = s.p[value] == '"' || s.p[value] == '\'';
    t->early.quote = string ? s.p[value] : 0;
    return give_key(t, s.p + from, n, string ? EARLY_STRING : EARLY_VALUE, value + string);
}

/* Text between tags, without the line ends that belong to them. */
static bool step_text(struct toolcall *t)
{
    const char *tag = t->o.dialect->tags.value_end;
    struct buf *b = &t->held, out;
    char line[64];
    if (t->early.lead && b->p[0] == '\n')
        buf_drop_front(b, 1);
    t->early.lead = false;
    size_t end = form_find(b->p, b->len, 0, tag), n = end;
    bool found = end < b->len;
    snprintf(line, sizeof line, "\n%s", tag);
    if (found)
        n -= n && b->p[n - 1] == '\n';
    else
        n -= MAX(form_overlap(b->p, b->len, tag), form_overlap(b->p, b->len, line));
    if (!found && !n)
        return more_or_cut(t);
    open_out(&out);
    escape(&out, b->p, n);
    if (found)
        buf_ch(&out, '"');
    t->early.at = found ? EARLY_KEY : EARLY_TEXT;
    give(t, &out, found ? end + strlen(tag) : n);
    return true;
}

static bool step_string(struct toolcall *t)
{
    struct buf *b = &t->held, out;
    size_t i = 0, n = 1;
    open_out(&out);
    while (i < b->len && b->p[i] != t->early.quote && n) {
        n = form_python_char(b->p + i, b->len - i, &out);
        i += n;
    }
    bool whole = i < b->len && n;
    if (whole)
        buf_ch(&out, '"');
    t->early.at = whole ? EARLY_KEY : EARLY_STRING;
    give(t, &out, i + whole);
    return whole;
}

/* A value that ends before the first n held bytes, as a whole. */
static bool give_value(struct toolcall *t, size_t n, size_t drop)
{
    bool tags = t->o.dialect->write.args == ARGS_TAGS;
    struct buf out;
    open_out(&out);
    json_t *v = tags ? form_tag_value(t->held.p, n, false) : NULL;
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    bool good = tags ? text != NULL : form_python_value(t->held.p, n, &out);
    if (text)
        buf_str(&out, text);
    mem_free(text);
    json_decref(v);
    if (!good)
        buf_clear(&out);
    t->early.at = EARLY_KEY;
    give(t, &out, good ? drop : 0);
    return good || cut_call(t);
}

static bool step_value_tags(struct toolcall *t)
{
    const char *tag = t->o.dialect->tags.value_end;
    size_t end = form_find(t->held.p, t->held.len, t->early.seen, tag), n = strlen(tag);
    if (end < t->held.len)
        return give_value(t, end, end + n);
    t->early.seen = t->held.len >= n ? t->held.len - n + 1 : 0;
    return more_or_cut(t);
}

/* Up to the comma or bracket behind it. */
static bool step_value_python(struct toolcall *t)
{
    struct early *s = &t->early;
    for (; s->seen < t->held.len; s->seen++) {
        char c = t->held.p[s->seen];
        if (s->escaped) {
            s->escaped = false;
        } else if (s->quote) {
            s->escaped = c == '\\';
            s->quote = c == s->quote ? 0 : s->quote;
        } else if (c == '"' || c == '\'') {
            s->quote = c;
        } else if (s->depth == 0 && (c == ',' || c == ')')) {
            return give_value(t, s->seen, s->seen);
        } else if (c && strchr("{[(", c)) {
            s->depth++;
        } else if (c && strchr("}])", c)) {
            s->depth--;
        }
    }
    return more_or_cut(t);
}

bool early_step(struct toolcall *t, bool end)
{
    bool tags = t->o.dialect->write.args == ARGS_TAGS;
    switch (t->early.at) {
    case EARLY_HEAD: return step_head(t, end);
    case EARLY_JSON: return step_json(t);
    case EARLY_KEY: return tags ? step_key_tags(t) : step_key_python(t);
    case EARLY_TEXT: return step_text(t);
    case EARLY_STRING: return step_string(t);
    case EARLY_VALUE: return tags ? step_value_tags(t) : step_value_python(t);
    }
    return false;
}

void early_finish(struct toolcall *t)
{
    if (!t->early.begun)
        return;
    buf_clear(&t->held);
    cut_call(t);
}
