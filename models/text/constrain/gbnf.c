/* GBNF. See the header. */
#include "models/text/constrain/gbnf.h"

#include <string.h>

#include "base/limits.h"
#include "models/text/constrain/regex.h"

struct name {
    const char *p;
    int n, rule;
    bool defined;
    int next; /* in its bucket, -1 = none */
};

#define BUCKETS 1024

struct parser {
    struct automaton *a;
    const char *text;
    size_t n, at;
    int depth;
    struct name *names; /* in the arena */
    int n_names, cap_names;
    int buckets[BUCKETS];
};

static int peek(const struct parser *p, size_t ahead)
{
    return p->at + ahead < p->n ? (unsigned char)p->text[p->at + ahead] : -1;
}

static int line_of(const struct parser *p)
{
    int line = 1;
    for (size_t i = 0; i < MIN(p->at, p->n); i++)
        line += p->text[i] == '\n';
    return line;
}

static const struct expr *fail(struct parser *p, int code, const char *what)
{
    if (!p->a->err.code)
        err_set(&p->a->err, code, "the grammar has %s in line %d", what, line_of(p));
    return expr_never(p->a);
}

/* ---- names ------------------------------------------------------------------------------ */

static bool name_char(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_';
}

static struct name *find(struct parser *p, const char *s, int n)
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    int *bucket = &p->buckets[h % BUCKETS];
    for (int i = *bucket; i >= 0; i = p->names[i].next)
        if (p->names[i].n == n && memcmp(p->names[i].p, s, (size_t)n) == 0)
            return &p->names[i];
    if (p->n_names == p->cap_names) {
        int cap = MAX(2 * p->cap_names, 32);
        struct name *more = arena_array(&p->a->arena, (size_t)cap, sizeof *more);
        if (!more) {
            (void)fail(p, E_RANGE, "too many names");
            return NULL;
        }
        if (p->n_names)
            memcpy(more, p->names, (size_t)p->n_names * sizeof *more);
        p->names = more;
        p->cap_names = cap;
    }
    char label[80] = {0};
    memcpy(label, s, MIN((size_t)n, sizeof label - 1));
    struct name *x = &p->names[p->n_names];
    *x = (struct name){.p = s, .n = n, .rule = automaton_rule(p->a, label), .next = *bucket};
    *bucket = p->n_names++;
    return x;
}

/* ---- white space ------------------------------------------------------------------------ */

static void space(struct parser *p)
{
    for (int c; (c = peek(p, 0)) >= 0; p->at++) {
        while (c == '#' && peek(p, 0) >= 0 && peek(p, 0) != '\n')
            p->at++;
        c = peek(p, 0);
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return;
    }
}

/* The bytes of the name that comes next, when `::=` follows it: a rule begins here. */
static int begins_rule(struct parser *p)
{
    size_t back = p->at, n = 0;
    while (name_char(peek(p, 0)))
        p->at++;
    n = p->at - back;
    while (peek(p, 0) == ' ' || peek(p, 0) == '\t')
        p->at++;
    bool defines = peek(p, 0) == ':' && peek(p, 1) == ':' && peek(p, 2) == '=';
    p->at = back;
    return defines && n > 0 && n < 65536 ? (int)n : 0;
}

/* ---- literals and classes --------------------------------------------------------------- */

static int32_t hex(struct parser *p, int digits)
{
    int32_t v = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        int c = peek(p, 0), low = c | 32;
        if (!(c >= '0' && c <= '9') && !(low >= 'a' && low <= 'f'))
            return (void)fail(p, E_FORMAT, "a bad hexadecimal number"), 0;
        v = MIN(v, CHAR_MAX_CODE) * 16 + (c <= '9' ? c - '0' : low - 'W');
    }
    if (v > CHAR_MAX_CODE || (v >= 0xD800 && v <= 0xDFFF))
        return (void)fail(p, E_RANGE, "a number that is no character"), 0;
    return v;
}

static int32_t character(struct parser *p)
{
    static const char from[] = "ntr", to[] = "\n\t\r";
    size_t used = 1;
    int c = peek(p, 0);
    if (c != '\\') {
        int32_t code = regex_decode(p->text + p->at, p->n - p->at, &used);
        p->at += used;
        if (code < 0)
            (void)fail(p, E_FORMAT, "malformed UTF-8");
        return MAX(code, 0);
    }
    c = peek(p, 1);
    p->at += 2;
    if (c == 'x' || c == 'u' || c == 'U')
        return hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    const char *known = c > 0 ? strchr(from, c) : NULL;
    if (known)
        return to[known - from];
    if (c < 0x21 || c > 0x7E || name_char(c) != (c == '-' || c == '_'))
        (void)fail(p, E_FORMAT, "an unknown escape");
    return MAX(c, 0);
}

static const struct expr *one(struct parser *p, int32_t c)
{
    return expr_class(p->a, &(struct char_range){c, c}, 1);
}

static const struct expr *literal(struct parser *p)
{
    struct expr_list parts = {0};
    while (peek(p, 0) != '"' && !p->a->err.code) {
        size_t run = p->at;
        while (peek(p, 0) >= 0 && peek(p, 0) < 0x80 && peek(p, 0) != '"' && peek(p, 0) != '\\')
            p->at++;
        if (p->at > run)
            expr_list_add(p->a, &parts, expr_text(p->a, p->text + run, p->at - run));
        else if (peek(p, 0) < 0)
            return fail(p, E_FORMAT, "a \" without its end");
        else
            expr_list_add(p->a, &parts, one(p, character(p)));
    }
    p->at++;
    return expr_seq(p->a, parts.p, parts.n);
}

static const struct expr *char_class(struct parser *p)
{
    struct char_set s = {0};
    bool negated = peek(p, 0) == '^';
    p->at += negated;
    while (peek(p, 0) != ']' && !p->a->err.code) {
        if (peek(p, 0) < 0)
            return fail(p, E_FORMAT, "a [ without its ]");
        int32_t lo = character(p), hi = lo;
        if (peek(p, 0) == '-' && peek(p, 1) >= 0 && peek(p, 1) != ']') {
            p->at++;
            hi = character(p);
        }
        if (hi < lo)
            return fail(p, E_FORMAT, "a range that ends before it begins");
        char_set_add(p->a, &s, lo, hi);
    }
    p->at++;
    char_set_normalize(&s);
    if (negated)
        char_set_not(p->a, &s);
    return expr_class(p->a, s.p, s.n);
}

/* ---- structure -------------------------------------------------------------------------- */

static const struct expr *alternatives(struct parser *p);

static const struct expr *atom(struct parser *p)
{
    static const struct char_range any = {0, CHAR_MAX_CODE};
    int c = peek(p, 0);
    if (c == '"')
        return p->at++, literal(p);
    if (c == '[')
        return p->at++, char_class(p);
    if (c == '.')
        return p->at++, expr_class(p->a, &any, 1);
    if (c == '(') {
        p->at++;
        if (++p->depth > LIMIT_REGEX_DEPTH)
            return fail(p, E_RANGE, "too many groups in groups");
        const struct expr *x = alternatives(p);
        p->depth--;
        if (peek(p, 0) != ')')
            return fail(p, E_FORMAT, "a ( without its )");
        p->at++;
        return x;
    }
    if (name_char(c)) {
        size_t from = p->at;
        while (name_char(peek(p, 0)) && p->at - from < 65535)
            p->at++;
        struct name *x = find(p, p->text + from, (int)(p->at - from));
        return x ? expr_rule(p->a, x->rule) : expr_never(p->a);
    }
    if (c == '<' || c == '!')
        return fail(p, E_UNSUPPORTED, "a token (<…>), which is not supported,");
    return fail(p, E_FORMAT, c < 0 ? "nothing where something is expected" :
                             "a character that means nothing there");
}

static int64_t number(struct parser *p)
{
    int64_t v = -1;
    for (int c; (c = peek(p, 0)) >= '0' && c <= '9'; p->at++)
        v = MIN(MAX(v, 0) * 10 + (c - '0'), INT32_MAX);
    return v;
}

static const struct expr *counted(struct parser *p, const struct expr *x)
{
    p->at++;
    space(p);
    int64_t min = number(p), max = min;
    space(p);
    if (peek(p, 0) == ',') {
        p->at++;
        space(p);
        max = number(p);
        max = max < 0 ? REPEAT_FOREVER : max;
        min = MAX(min, 0);
        space(p);
    }
    if (min < 0 || peek(p, 0) != '}')
        return fail(p, E_FORMAT, "a repetition that is not {m}, {m,} or {m,n}");
    p->at++;
    if (max < min || min > LIMIT_GRAMMAR_REPEAT ||
        (max != REPEAT_FOREVER && max > LIMIT_GRAMMAR_REPEAT))
        return fail(p, E_RANGE, "a repetition that is too large, or ends before it begins");
    return expr_repeat(p->a, x, (int32_t)min, (int32_t)max);
}

static const struct expr *quantified(struct parser *p, const struct expr *x)
{
    for (int times = 0;; times++) {
        int c = peek(p, 0);
        if (p->a->err.code || (c != '*' && c != '+' && c != '?' && c != '{'))
            return x;
        if (times >= LIMIT_REGEX_DEPTH)
            return fail(p, E_RANGE, "too many quantifiers after each other");
        if (c == '{') {
            x = counted(p, x);
            continue;
        }
        p->at++;
        x = expr_repeat(p->a, x, c == '+', c == '?' ? 1 : REPEAT_FOREVER);
    }
}

static const struct expr *sequence(struct parser *p)
{
    struct expr_list parts = {0};
    for (;;) {
        space(p);
        int c = peek(p, 0);
        if (c < 0 || c == '|' || c == ')' || p->a->err.code || begins_rule(p))
            break;
        expr_list_add(p->a, &parts, quantified(p, atom(p)));
    }
    return expr_seq(p->a, parts.p, parts.n);
}

static const struct expr *alternatives(struct parser *p)
{
    struct expr_list alts = {0};
    do {
        p->at += alts.n > 0;
        expr_list_add(p->a, &alts, sequence(p));
    } while (peek(p, 0) == '|' && !p->a->err.code);
    return expr_alt(p->a, alts.p, alts.n);
}

static void definition(struct parser *p)
{
    int n = begins_rule(p);
    if (n == 0) {
        (void)fail(p, E_FORMAT, "something that is no `name ::=`");
        return;
    }
    struct name *x = find(p, p->text + p->at, n);
    if (!x)
        return;
    int32_t rule = x->rule;
    if (x->defined)
        err_set(&p->a->err, E_CONFLICT, "the grammar defines the rule \"%.*s\" twice (line %d)",
                MIN(n, 64), x->p, line_of(p));
    x->defined = true;
    p->at += (size_t)n;
    space(p);
    p->at += 3;
    const struct expr *body = alternatives(p);
    if (peek(p, 0) == ')')
        (void)fail(p, E_FORMAT, "a ) without its (");
    expr_define(p->a, rule, body);
}

int32_t gbnf_parse(struct automaton *a, const char *text, size_t n)
{
    struct parser p = {.a = a, .text = text, .n = n};
    for (int i = 0; i < BUCKETS; i++)
        p.buckets[i] = -1;
    for (space(&p); p.at < p.n && !a->err.code; space(&p))
        definition(&p);
    struct name *root = find(&p, "root", 4);
    for (int i = 0; i < p.n_names; i++)
        if (!p.names[i].defined)
            err_set(&a->err, E_NOENT, "the grammar does not define the rule \"%.*s\"",
                    MIN(p.names[i].n, 64), p.names[i].p);
    return a->err.code || !root ? 0 : root->rule;
}
