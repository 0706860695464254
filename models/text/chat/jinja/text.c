/* Strings with origins: building, cutting, searching. */
#include "models/text/chat/jinja/text.h"

#include <string.h>

#include "models/text/chat/jinja/value.h"

#define FIRST_BYTES 64

/* ---- characters ------------------------------------------------------------------------- */

uint32_t next_char(const char *p, size_t n, size_t *at)
{
    unsigned char c = (unsigned char)p[(*at)++];
    int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
    uint32_t code = more ? c & (0x3fU >> more) : c;
    for (; more && *at < n; more--)
        code = code << 6 | ((unsigned char)p[(*at)++] & 0x3f);
    return code;
}

size_t prev_char(const char *p, size_t at)
{
    do
        at--;
    while (at > 0 && ((unsigned char)p[at] & 0xc0) == 0x80);
    return at;
}

size_t count_chars(const char *p, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)p[i] & 0xc0) != 0x80;
    return count;
}

/* ---- building --------------------------------------------------------------------------- */

void text_build(struct builder *b, struct run *r)
{
    *b = (struct builder){.r = r, .max = r->max_output};
}

/* A builder at the end of the newest block would grow in place; doubling is simple and bounded
 * by the arena. */
static bool room(struct builder *b, size_t n)
{
    if (b->r->failed || !run_spend(b->r, n / 128))
        return false;
    if (n > b->max - b->n) {
        run_fail(b->r, E_RANGE, "a text grows beyond %zu bytes", b->max);
        return false;
    }
    if (n <= b->cap - b->n)
        return true;
    size_t cap = MAX(MAX(b->cap * 2, b->n + n), (size_t)FIRST_BYTES);
    char *p = run_take(b->r, cap);
    if (!p)
        return false;
    if (b->n)
        memcpy(p, b->p, b->n);
    b->p = p;
    b->cap = cap;
    return true;
}

static bool mark(struct builder *b, origin_t origin)
{
    struct mark *last = b->n_marks ? &b->marks[b->n_marks - 1] : NULL;
    if (last && last->origin == origin) {
        last->end = (uint32_t)b->n;
        return true;
    }
    if (b->n_marks == b->cap_marks) {
        size_t cap = b->cap_marks ? 2 * b->cap_marks : 4;
        struct mark *m = run_array(b->r, cap, sizeof *m);
        if (!m)
            return false;
        if (b->n_marks)
            memcpy(m, b->marks, b->n_marks * sizeof *m);
        b->marks = m;
        b->cap_marks = cap;
    }
    b->marks[b->n_marks++] = (struct mark){(uint32_t)b->n, origin};
    return true;
}

void put_bytes(struct builder *b, const char *p, size_t n, origin_t origin)
{
    if (n == 0 || !room(b, n))
        return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
    mark(b, origin);
}

void put_cstr(struct builder *b, const char *s) { put_bytes(b, s, strlen(s), 0); }

/* The mark that covers a byte of a text that has marks. */
static uint32_t mark_at(const struct text *t, size_t byte)
{
    uint32_t low = 0, high = t->n_marks - 1;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (byte < t->marks[mid].end)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

void put_part(struct builder *b, const struct text *t, size_t from, size_t to)
{
    if (!t || from >= to)
        return;
    if (!t->marks) {
        put_bytes(b, t->p + from, to - from, t->origin);
        return;
    }
    for (uint32_t i = mark_at(t, from); from < to; i++) {
        size_t end = MIN((size_t)t->marks[i].end, to);
        put_bytes(b, t->p + from, end - from, t->marks[i].origin);
        from = end;
    }
}

void put_text(struct builder *b, const struct text *t)
{
    if (t)
        put_part(b, t, 0, t->n);
}

void put_char(struct builder *b, uint32_t c, origin_t origin)
{
    char s[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        s[i] = (char)(0x80 | (c & 0x3f));
    s[0] = (char)(lead[n] | c);
    put_bytes(b, s, n, origin);
}

void put_fill(struct builder *b, char c, size_t n)
{
    if (n == 0 || !room(b, n))
        return;
    memset(b->p + b->n, c, n);
    b->n += n;
    mark(b, 0);
}

const struct text *text_built(struct builder *b)
{
    struct text *t = b->r->failed ? NULL : run_take(b->r, sizeof *t);
    if (!t)
        return NULL;
    *t = (struct text){.p = b->n ? b->p : "", .n = (uint32_t)b->n, .safe = b->safe};
    t->chars = (uint32_t)count_chars(t->p, b->n);
    if (b->n_marks == 1) {
        t->origin = b->marks[0].origin;
    } else if (b->n_marks > 1) {
        t->marks = b->marks;
        t->n_marks = (uint32_t)b->n_marks;
    }
    return t;
}

const struct text *text_of(struct run *r, const char *p, size_t n, origin_t origin)
{
    if (n > r->max_output) {
        run_fail(r, E_RANGE, "a text of %zu bytes, at most %zu are allowed", n, r->max_output);
        return NULL;
    }
    struct text *t = run_take(r, sizeof *t);
    if (t)
        *t = (struct text){.p = p, .n = (uint32_t)n, .origin = origin,
                           .chars = (uint32_t)count_chars(p, n)};
    return t;
}

const struct text *text_copy(struct run *r, const char *p, size_t n, origin_t origin)
{
    char *copy = run_take(r, n + 1);
    if (!copy)
        return NULL;
    memcpy(copy, p, n);
    return text_of(r, copy, n, origin);
}

const struct text *text_str(struct run *r, const char *s)
{
    return text_of(r, s, strlen(s), 0);
}

const struct text *text_part(struct run *r, const struct text *t, size_t from, size_t to)
{
    if (from == 0 && to == t->n)
        return t;
    from = MIN(from, to);
    struct text *part = run_spend(r, (to - from) / 128) ? run_take(r, sizeof *part) : NULL;
    if (!part)
        return NULL;
    *part = (struct text){.p = t->p + from, .n = (uint32_t)(to - from), .origin = t->origin,
                          .safe = t->safe};
    part->chars = t->chars == t->n ? part->n : (uint32_t)count_chars(part->p, part->n);
    if (!t->marks || part->n == 0)
        return part;
    uint32_t first = mark_at(t, from), last = mark_at(t, to - 1);
    part->origin = t->marks[first].origin;
    if (first == last)
        return part;
    struct mark *m = run_array(r, last - first + 1, sizeof *m);
    if (!m)
        return NULL;
    for (uint32_t i = first; i <= last; i++)
        m[i - first] = (struct mark){(uint32_t)(MIN((size_t)t->marks[i].end, to) - from),
                                     t->marks[i].origin};
    part->marks = m;
    part->n_marks = last - first + 1;
    return part;
}

const struct text *text_join(struct run *r, const struct text *a, const struct text *b)
{
    struct builder out;
    text_build(&out, r);
    put_text(&out, a);
    put_text(&out, b);
    return text_built(&out);
}

/* ---- asking ----------------------------------------------------------------------------- */

origin_t text_origin(const struct text *t, size_t byte)
{
    return t->marks ? t->marks[mark_at(t, byte)].origin : t->origin;
}

size_t text_byte(const struct text *t, size_t character)
{
    if (character >= t->chars)
        return t->n;
    if (t->chars == t->n)
        return character;
    size_t at = 0;
    while (character-- > 0)
        next_char(t->p, t->n, &at);
    return at;
}

bool text_is(const struct text *t, const char *s)
{
    return t->n == strlen(s) && memcmp(t->p, s, t->n) == 0;
}

bool text_same(const struct text *a, const struct text *b)
{
    return a == b || (a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0));
}

/* UTF-8 sorts as its code points do. */
int text_compare(const struct text *a, const struct text *b)
{
    size_t n = MIN(a->n, b->n);
    int c = n ? memcmp(a->p, b->p, n) : 0;
    return c ? (c < 0 ? -1 : 1) : (a->n > b->n) - (a->n < b->n);
}

size_t text_find(const struct text *t, const struct text *x, size_t from)
{
    if (x->n == 0)
        return from <= t->n ? from : SIZE_MAX;
    while (from + x->n <= t->n) {
        const char *hit = memchr(t->p + from, x->p[0], t->n - from - x->n + 1);
        if (!hit)
            return SIZE_MAX;
        if (memcmp(hit, x->p, x->n) == 0)
            return (size_t)(hit - t->p);
        from = (size_t)(hit - t->p) + 1;
    }
    return SIZE_MAX;
}

size_t text_rfind(const struct text *t, const struct text *x, size_t to)
{
    if (x->n > to)
        return SIZE_MAX;
    for (size_t at = to - x->n + 1; at-- > 0;)
        if (x->n == 0 || memcmp(t->p + at, x->p, x->n) == 0)
            return at;
    return SIZE_MAX;
}
