/* Methods of str, as Python has them. */
#include <string.h>

#include "models/text/chat/jinja/builtins.h"

#define METHOD(name) \
    static struct value name(struct run *r, const struct value *self, const struct args *a)

/* Every method starts so: the arguments by name, or the failure. */
#define BIND(spec) \
    const struct value *arg[PARAMETERS_MAX]; \
    if (!bind_args(r, a, spec, arg)) \
        return v_none()

/* ---- str -------------------------------------------------------------------------------- */

static struct value change_case(struct run *r, const struct value *self, const struct args *a,
                                enum letter_case to)
{
    BIND("");
    (void)arg;
    return v_text(text_case(r, self->s, to));
}
METHOD(str_upper) { return change_case(r, self, a, TO_UPPER); }
METHOD(str_lower) { return change_case(r, self, a, TO_LOWER); }
METHOD(str_title) { return change_case(r, self, a, TO_TITLE); }
METHOD(str_swapcase) { return change_case(r, self, a, SWAP); }
METHOD(str_casefold) { return change_case(r, self, a, FOLD); }
METHOD(str_capitalize)
{
    BIND("");
    (void)arg;
    return v_text(text_capital(r, self->s));
}

static struct value strip(struct run *r, const struct value *self, const struct args *a, bool left,
                          bool right)
{
    BIND("chars");
    bool set = arg[0] && arg[0]->kind != V_NONE;
    const struct text *chars = set ? want_text(r, arg[0], "") : NULL;
    return r->failed ? v_none() : v_text(text_strip(r, self->s, chars, left, right));
}
METHOD(str_strip) { return strip(r, self, a, true, true); }
METHOD(str_lstrip) { return strip(r, self, a, true, false); }
METHOD(str_rstrip) { return strip(r, self, a, false, true); }

/* Bytes of the optional bounds of find, count, startswith … False = they exclude everything. */
static bool window(struct run *r, const struct text *t, const struct value *start,
                   const struct value *end, size_t *from, size_t *to)
{
    int64_t n = t->chars, a = start && start->kind == V_NONE ? 0 : want_int(r, start, 0);
    int64_t b = end && end->kind == V_NONE ? n : want_int(r, end, n);
    a = a < 0 ? MAX(a + n, 0) : a;
    b = b < 0 ? MAX(b + n, 0) : MIN(b, n);
    if (r->failed || a > b)
        return false;
    *from = text_byte(t, (size_t)a);
    *to = text_byte(t, (size_t)b);
    return run_spend(r, 1 + t->n / 128);
}

static bool ends_at(const struct text *t, const struct text *x, size_t from, size_t to, bool end)
{
    return x->n <= to - from &&
           (x->n == 0 || memcmp(t->p + (end ? to - x->n : from), x->p, x->n) == 0);
}

static struct value affix(struct run *r, const struct value *self, const struct args *a, bool end)
{
    BIND("!x start end");
    size_t from, to;
    if (!window(r, self->s, arg[1], arg[2], &from, &to))
        return v_bool(false);
    if (arg[0]->kind == V_SEQ && arg[0]->l->kind == SEQ_TUPLE) {
        for (size_t i = 0; i < arg[0]->l->n; i++) {
            const struct text *x = want_text(r, &arg[0]->l->v[i], "");
            if (r->failed || ends_at(self->s, x, from, to, end))
                return v_bool(true);
        }
        return v_bool(false);
    }
    const struct text *x = want_text(r, arg[0], "");
    return v_bool(x && ends_at(self->s, x, from, to, end));
}
METHOD(str_startswith) { return affix(r, self, a, false); }
METHOD(str_endswith) { return affix(r, self, a, true); }

METHOD(str_removeprefix)
{
    BIND("!x");
    const struct text *x = want_text(r, arg[0], ""), *t = self->s;
    return x && ends_at(t, x, 0, t->n, false) ? v_text(text_part(r, t, x->n, t->n)) : *self;
}
METHOD(str_removesuffix)
{
    BIND("!x");
    const struct text *x = want_text(r, arg[0], ""), *t = self->s;
    return x && ends_at(t, x, 0, t->n, true) ? v_text(text_part(r, t, 0, t->n - x->n)) : *self;
}

static struct value find(struct run *r, const struct value *self, const struct args *a, bool last,
                         bool must)
{
    BIND("!x start end");
    const struct text *x = want_text(r, arg[0], ""), *t = self->s;
    size_t from, to, at = SIZE_MAX;
    if (x && window(r, t, arg[1], arg[2], &from, &to))
        at = last ? text_rfind(t, x, to) : text_find(t, x, from);
    if (at != SIZE_MAX && (at < from || at + x->n > to))
        at = SIZE_MAX;
    if (at == SIZE_MAX && must)
        return run_fail(r, E_FORMAT, "substring not found");
    return v_int(at == SIZE_MAX ? -1 : (int64_t)count_chars(t->p, at));
}
METHOD(str_find) { return find(r, self, a, false, false); }
METHOD(str_rfind) { return find(r, self, a, true, false); }
METHOD(str_index) { return find(r, self, a, false, true); }
METHOD(str_rindex) { return find(r, self, a, true, true); }

METHOD(str_count)
{
    BIND("!x start end");
    const struct text *x = want_text(r, arg[0], ""), *t = self->s;
    size_t from, to;
    int64_t n = 0;
    if (!x || !window(r, t, arg[1], arg[2], &from, &to))
        return v_int(0);
    if (x->n == 0)
        return v_int((int64_t)count_chars(t->p + from, to - from) + 1);
    for (; (from = text_find(t, x, from)) != SIZE_MAX && from + x->n <= to; n++)
        from += x->n;
    return v_int(n);
}

METHOD(str_replace)
{
    BIND("!old !new count");
    const struct text *old = want_text(r, arg[0], ""), *with = want_text(r, arg[1], "");
    int64_t count = want_int(r, arg[2], -1);
    return r->failed ? v_none() : v_text(text_replace(r, self->s, old, with, count));
}

/* At white space, runs of it counting once. */
static struct seq *split_blank(struct run *r, const struct text *t, int64_t max)
{
    struct seq *l = list_new(r, SEQ_LIST, 0);
    size_t cap = 0, at = 0;
    while (!r->failed) {
        size_t next = at;
        while (at < t->n && is_blank(next_char(t->p, t->n, &next)))
            at = next;
        if (at >= t->n)
            break;
        size_t from = at;
        if (max == 0) {
            list_push(r, l, &cap, v_text(text_part(r, t, from, t->n)));
            break;
        }
        for (next = at; at < t->n && !is_blank(next_char(t->p, t->n, &next)); at = next)
            ;
        list_push(r, l, &cap, v_text(text_part(r, t, from, at)));
        run_spend(r, 1 + (at - from) / 32);
        max--;
    }
    return l;
}

/* rsplit at white space: from the end. */
static struct seq *rsplit_blank(struct run *r, const struct text *t, int64_t max)
{
    struct seq *all = split_blank(r, t, -1);
    if (!all || max < 0 || (int64_t)all->n <= max)
        return all;
    size_t keep = all->n - (size_t)max; /* the first `keep` words stay together */
    const struct text *last = all->v[keep - 1].s;
    struct seq *l = list_new(r, SEQ_LIST, (size_t)max + 1);
    const struct text *head = text_part(r, t, 0, (size_t)(last->p - t->p) + last->n);
    if (!l || !head)
        return NULL;
    l->v[0] = v_text(head);
    for (size_t i = 1; i < l->n; i++)
        l->v[i] = all->v[keep - 1 + i];
    return l;
}

static struct seq *split_at(struct run *r, const struct text *t, const struct text *x, int64_t max)
{
    struct seq *l = list_new(r, SEQ_LIST, 0);
    size_t cap = 0, at = 0;
    for (; max != 0 && run_spend(r, 1 + (t->n - at) / 4096); max--) {
        size_t hit = text_find(t, x, at);
        if (hit == SIZE_MAX)
            break;
        list_push(r, l, &cap, v_text(text_part(r, t, at, hit)));
        at = hit + x->n;
    }
    if (!r->failed)
        list_push(r, l, &cap, v_text(text_part(r, t, at, t->n)));
    return l;
}

static struct seq *rsplit_at(struct run *r, const struct text *t, const struct text *x,
                             int64_t max)
{
    struct seq *l = list_new(r, SEQ_LIST, 0);
    size_t cap = 0, end = t->n;
    for (; max != 0 && run_spend(r, 1); max--) {
        size_t hit = text_rfind(t, x, end);
        if (hit == SIZE_MAX || !run_spend(r, (end - hit) / 32))
            break;
        list_push(r, l, &cap, v_text(text_part(r, t, hit + x->n, end)));
        end = hit;
    }
    if (!r->failed)
        list_push(r, l, &cap, v_text(text_part(r, t, 0, end)));
    for (size_t i = 0; l && !r->failed && i < l->n / 2; i++) {
        struct value v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
    return l;
}

static struct value split(struct run *r, const struct value *self, const struct args *a, bool last)
{
    BIND("sep maxsplit");
    int64_t max = want_int(r, arg[1], -1);
    if (!arg[0] || arg[0]->kind == V_NONE)
        return v_seq(last ? rsplit_blank(r, self->s, max) : split_blank(r, self->s, max));
    const struct text *x = want_text(r, arg[0], "");
    if (x && x->n == 0)
        run_fail(r, E_FORMAT, "empty separator");
    if (r->failed)
        return v_none();
    return v_seq(last ? rsplit_at(r, self->s, x, max) : split_at(r, self->s, x, max));
}
METHOD(str_split) { return split(r, self, a, false); }
METHOD(str_rsplit) { return split(r, self, a, true); }

static struct value partition(struct run *r, const struct value *self, const struct args *a,
                              bool last)
{
    BIND("!sep");
    const struct text *x = want_text(r, arg[0], ""), *t = self->s;
    struct seq *l = x ? list_new(r, SEQ_TUPLE, 3) : NULL;
    if (x && x->n == 0)
        run_fail(r, E_FORMAT, "empty separator");
    if (!l || !run_spend(r, t->n / 128))
        return v_none();
    size_t at = last ? text_rfind(t, x, t->n) : text_find(t, x, 0);
    size_t cut = at != SIZE_MAX ? at : last ? 0 : t->n;
    size_t after = at != SIZE_MAX ? at + x->n : cut;
    l->v[0] = v_text(text_part(r, t, 0, cut));
    l->v[1] = v_text(text_part(r, t, cut, after));
    l->v[2] = v_text(text_part(r, t, after, t->n));
    return v_seq(l);
}
METHOD(str_partition) { return partition(r, self, a, false); }
METHOD(str_rpartition) { return partition(r, self, a, true); }

METHOD(str_splitlines)
{
    BIND("keepends");
    return v_seq(text_lines(r, self->s, want_bool(arg[0], false)));
}

METHOD(str_join)
{
    BIND("!items");
    struct builder b;
    const struct seq *l = value_iterate(r, arg[0]);
    text_build(&b, r);
    for (size_t i = 0; l && i < l->n && run_spend(r, 1); i++) {
        if (i)
            put_text(&b, self->s);
        put_text(&b, want_text(r, &l->v[i], ""));
    }
    b.safe = self->s->safe;
    return v_text(text_built(&b));
}

METHOD(str_format) { return format_braces(r, self->s, a); }

static struct value pad(struct run *r, const struct value *self, const struct args *a, bool left,
                        bool right)
{
    BIND("!width fill");
    const struct text *fill = want_text(r, arg[1], " ");
    int64_t width = want_int(r, arg[0], 0);
    if (fill && fill->n != 1)
        run_fail(r, E_FORMAT, "a filling of %u bytes, one is supported", fill->n);
    return r->failed ? v_none() : v_text(text_pad(r, self->s, width, fill->p[0], left, right));
}
METHOD(str_center) { return pad(r, self, a, true, true); }
METHOD(str_ljust) { return pad(r, self, a, false, true); }
METHOD(str_rjust) { return pad(r, self, a, true, false); }
METHOD(str_zfill)
{
    BIND("!width");
    const struct text *t = self->s;
    int64_t width = want_int(r, arg[0], 0);
    if (t->n == 0 || (t->p[0] != '-' && t->p[0] != '+'))
        return v_text(text_pad(r, t, width, '0', true, false));
    const struct text *rest = text_pad(r, text_part(r, t, 1, t->n), width - 1, '0', true, false);
    return r->failed ? v_none() : v_text(text_join(r, text_part(r, t, 0, 1), rest));
}
METHOD(str_expandtabs)
{
    BIND("tabsize");
    struct builder b;
    int64_t size = MIN(want_int(r, arg[0], 8), 1000), column = 0;
    text_build(&b, r);
    for (size_t at = 0; at < self->s->n && run_spend(r, 1);) {
        size_t from = at;
        uint32_t c = next_char(self->s->p, self->s->n, &at);
        int64_t fill = c == '\t' && size > 0 ? size - column % size : 0;
        if (c == '\t')
            put_fill(&b, ' ', (size_t)fill);
        else
            put_part(&b, self->s, from, at);
        column = c == '\n' || c == '\r' ? 0 : column + (c == '\t' ? fill : 1);
    }
    return v_text(text_built(&b));
}

#define IS(name, classes) \
    METHOD(name) \
    { \
        BIND(""); \
        (void)arg; \
        return v_bool(run_spend(r, self->s->n / 16) && text_all(self->s, classes)); \
    }
IS(str_isalpha, CHAR_ALPHA)
IS(str_isdecimal, CHAR_DECIMAL)
IS(str_isdigit, CHAR_DIGIT)
IS(str_isnumeric, CHAR_NUMERIC)
IS(str_isalnum, CHAR_ALPHA | CHAR_NUMERIC)

METHOD(str_isspace)
{
    BIND("");
    (void)arg;
    for (size_t at = 0; at < self->s->n && run_spend(r, 1);)
        if (!is_blank(next_char(self->s->p, self->s->n, &at)))
            return v_bool(false);
    return v_bool(self->s->n > 0);
}

/* Some letter of this case and none of another. */
static struct value all_case(struct run *r, const struct value *self, unsigned is, unsigned other)
{
    bool some = false;
    for (size_t at = 0; at < self->s->n && run_spend(r, 1);) {
        unsigned k = char_class(next_char(self->s->p, self->s->n, &at));
        if (k & other)
            return v_bool(false);
        some |= (k & is) != 0;
    }
    return v_bool(some);
}
METHOD(str_isupper)
{
    (void)a;
    return all_case(r, self, CHAR_UPPER, CHAR_LOWER | CHAR_TITLE);
}
METHOD(str_islower)
{
    (void)a;
    return all_case(r, self, CHAR_LOWER, CHAR_UPPER | CHAR_TITLE);
}

const struct function jinja_text_methods[] = {
    {"upper", str_upper}, {"lower", str_lower}, {"title", str_title},
    {"swapcase", str_swapcase}, {"casefold", str_casefold}, {"capitalize", str_capitalize},
    {"strip", str_strip}, {"lstrip", str_lstrip}, {"rstrip", str_rstrip},
    {"startswith", str_startswith}, {"endswith", str_endswith},
    {"removeprefix", str_removeprefix}, {"removesuffix", str_removesuffix}, {"find", str_find},
    {"rfind", str_rfind}, {"index", str_index}, {"rindex", str_rindex}, {"count", str_count},
    {"replace", str_replace}, {"split", str_split}, {"rsplit", str_rsplit},
    {"partition", str_partition}, {"rpartition", str_rpartition}, {"splitlines", str_splitlines},
    {"join", str_join}, {"format", str_format}, {"center", str_center}, {"ljust", str_ljust},
    {"rjust", str_rjust}, {"zfill", str_zfill}, {"expandtabs", str_expandtabs},
    {"isalpha", str_isalpha}, {"isdecimal", str_isdecimal}, {"isdigit", str_isdigit},
    {"isnumeric", str_isnumeric}, {"isalnum", str_isalnum}, {"isspace", str_isspace},
    {"isupper", str_isupper}, {"islower", str_islower}, {NULL, NULL}};
