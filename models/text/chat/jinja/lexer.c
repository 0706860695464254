/* Template text -> tokens, with the white space rules of trim_blocks and lstrip_blocks: a block's
 * or comment's own newline goes, and so does white space before it on its line; '-' strips all
 * around, '+' nothing. The grammar is that of the reference's lexer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "models/text/chat/jinja/syntax.h"

struct lexer {
    struct run *r;
    struct tokens *out;
    const char *s;
    size_t n, at;
    bool line_start; /* what was read last ended a line */
    char open[LIMIT_TEMPLATE_NESTING]; /* brackets within the tag */
    int n_open;
};

static struct token *add(struct lexer *x, enum token_type type)
{
    struct tokens *v = x->out;
    if (x->r->failed)
        return NULL;
    if (v->n == v->cap) {
        size_t cap = MAX(2 * v->cap, (size_t)64);
        struct token *p = run_array(x->r, cap, sizeof *p);
        if (!p)
            return NULL;
        if (v->n)
            memcpy(p, v->p, v->n * sizeof *p);
        v->p = p;
        v->cap = cap;
    }
    v->p[v->n] = (struct token){.type = type, .line = x->r->line};
    return &v->p[v->n++];
}

static void count_lines(struct lexer *x, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        x->r->line += x->s[i] == '\n';
}

static void skip_blank(struct lexer *x)
{
    while (x->at < x->n) {
        size_t next = x->at;
        if (!is_blank(next_char(x->s, x->n, &next)))
            return;
        x->r->line += x->s[x->at] == '\n';
        x->at = next;
    }
}

static bool looking_at(const struct lexer *x, const char *s)
{
    size_t n = strlen(s);
    return n <= x->n - x->at && memcmp(x->s + x->at, s, n) == 0;
}

/* Data before a tag, cut as the tag's sign and place say. */
static void add_data(struct lexer *x, size_t from, size_t to, char sign, bool variable)
{
    size_t end = to;
    if (sign == '-') {
        while (end > from) {
            size_t at = prev_char(x->s, end), next = at;
            if (!is_blank(next_char(x->s, x->n, &next)))
                break;
            end = at;
        }
    } else if (sign != '+' && !variable) {
        size_t line = to;
        bool blank = true;
        while (line > from && x->s[line - 1] != '\n') {
            size_t at = prev_char(x->s, line), next = at;
            blank &= is_blank(next_char(x->s, x->n, &next));
            line = at;
        }
        if (blank && (line > from || x->line_start))
            end = line;
    }
    struct token *t = end > from ? add(x, T_DATA) : NULL;
    if (t)
        t->s = text_of(x->r, x->s + from, end - from, 0);
    count_lines(x, from, to);
}

/* Behind a closing tag: sign is what stood before it. */
static void after_tag(struct lexer *x, char sign, bool trims)
{
    size_t from = x->at;
    if (sign == '-')
        skip_blank(x);
    else if (sign != '+' && trims && x->at < x->n && x->s[x->at] == '\n') {
        x->at++;
        x->r->line++;
    }
    x->line_start = x->at > from && x->s[x->at - 1] == '\n';
}

static void comment(struct lexer *x)
{
    size_t start = x->at;
    for (size_t i = start; i + 1 < x->n; i++)
        if (x->s[i] == '#' && x->s[i + 1] == '}') {
            char sign = i > start ? x->s[i - 1] : 0;
            count_lines(x, start, i);
            x->at = i + 2;
            after_tag(x, sign, true);
            return;
        }
    run_fail(x->r, E_FORMAT, "a comment has no end");
}

/* {% raw %} and {% endraw %} from x->at (behind "{%" and its sign); 0 = something else. */
static size_t word_tag(const struct lexer *x, size_t at, const char *word, char *sign)
{
    size_t n = strlen(word);
    while (at < x->n && is_blank((unsigned char)x->s[at]))
        at++;
    if (n > x->n - at || memcmp(x->s + at, word, n) != 0)
        return 0;
    for (at += n; at < x->n && is_blank((unsigned char)x->s[at]);)
        at++;
    *sign = at < x->n ? x->s[at] : 0;
    at += *sign == '-' || *sign == '+';
    return at + 2 <= x->n && memcmp(x->s + at, "%}", 2) == 0 ? at + 2 : 0;
}

static void raw(struct lexer *x, size_t begin, char begin_sign)
{
    count_lines(x, x->at, begin);
    x->at = begin;
    after_tag(x, begin_sign == '-' ? '-' : '+', false);
    size_t from = x->at;
    for (size_t i = from; i + 1 < x->n; i++) {
        if (x->s[i] != '{' || x->s[i + 1] != '%')
            continue;
        char before = i + 2 < x->n ? x->s[i + 2] : 0, after;
        bool sign = before == '-' || before == '+';
        size_t end = word_tag(x, i + 2 + sign, "endraw", &after);
        if (!end)
            continue;
        add_data(x, from, i, before, false);
        x->at = end;
        after_tag(x, after, true);
        return;
    }
    run_fail(x->r, E_FORMAT, "a raw block has no end");
}

/* ---- inside a tag ----------------------------------------------------------------------- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c >= 0x80;
}

static size_t digits(const struct lexer *x, size_t at)
{
    while (at < x->n && (is_digit(x->s[at]) ||
                         (x->s[at] == '_' && at + 1 < x->n && is_digit(x->s[at + 1]))))
        at++;
    return at;
}

static void number(struct lexer *x)
{
    char s[64];
    size_t from = x->at, end = digits(x, from), k = 0;
    bool real = false, radix = false, after_dot = from > 0 && x->s[from - 1] == '.';
    if (x->s[from] == '0' && from + 1 < x->n && strchr("xXoObB", x->s[from + 1])) {
        radix = true;
        for (end = from + 2; end < x->n && is_word(x->s[end]);)
            end++;
    } else if (!after_dot) {
        if (end + 1 < x->n && x->s[end] == '.' && is_digit(x->s[end + 1])) {
            real = true;
            end = digits(x, end + 1);
        }
        size_t e = end + 1;
        if (end < x->n && (x->s[end] == 'e' || x->s[end] == 'E')) {
            e += e < x->n && (x->s[e] == '+' || x->s[e] == '-');
            if (e < x->n && is_digit(x->s[e])) {
                real = true;
                end = digits(x, e);
            }
        }
    }
    for (size_t i = from; i < end && k + 1 < sizeof s; i++)
        if (x->s[i] != '_')
            s[k++] = x->s[i];
    s[k] = 0;
    struct token *t = add(x, real ? T_FLOAT : T_INT);
    x->at = end;
    if (!t)
        return;
    if (real) {
        t->number = v_float(strtod(s, NULL));
        return;
    }
    int base = !radix ? 10 : (s[1] | 32) == 'x' ? 16 : (s[1] | 32) == 'o' ? 8 : 2;
    char *stop;
    errno = 0;
    long long i = strtoll(radix ? s + 2 : s, &stop, base);
    if (*stop || errno || end - from >= sizeof s)
        run_fail(x->r, E_RANGE, "%s is not a number of 64 bits", s);
    t->number = v_int(i);
}

static uint32_t hex(const char *s, size_t n, bool *ok)
{
    uint32_t c = 0;
    for (size_t i = 0; i < n; i++) {
        char d = s[i];
        int v = is_digit(d) ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10
                : d >= 'A' && d <= 'F' ? d - 'A' + 10 : -1;
        *ok &= v >= 0;
        c = c << 4 | (uint32_t)(v & 15);
    }
    return c;
}

/* One escape of Python's string literals, s behind the backslash. Returns the bytes it took. */
static size_t escape(struct lexer *x, struct builder *b, const char *s, size_t n)
{
    static const char plain[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    char c = s[0];
    for (size_t i = 0; plain[i]; i += 2)
        if (plain[i] == c) {
            put_bytes(b, &plain[i + 1], 1, 0);
            return 1;
        }
    if (c == '\n')
        return 1;
    if (c >= '0' && c <= '7') {
        uint32_t v = 0;
        size_t k = 0;
        for (; k < 3 && k < n && s[k] >= '0' && s[k] <= '7'; k++)
            v = v * 8 + (uint32_t)(s[k] - '0');
        put_char(b, v, 0);
        return k;
    }
    size_t want = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (!want) {
        put_bytes(b, "\\", 1, 0);
        return 0; /* Python keeps an unknown escape as it is */
    }
    bool ok = n > want;
    uint32_t v = ok ? hex(s + 1, want, &ok) : 0;
    if (!ok || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) {
        run_fail(x->r, E_FORMAT, "the escape \\%c is followed by no character's number", c);
        return 1;
    }
    put_char(b, v, 0);
    return want + 1;
}

static void string(struct lexer *x)
{
    char quote = x->s[x->at];
    size_t from = ++x->at;
    struct token *t = add(x, T_STRING);
    while (x->at < x->n && x->s[x->at] != quote)
        x->at += x->s[x->at] == '\\' ? 2 : 1;
    if (x->at >= x->n) {
        run_fail(x->r, E_FORMAT, "a string has no end");
        return;
    }
    struct builder b;
    text_build(&b, x->r);
    for (size_t i = from; i < x->at && !x->r->failed;) {
        size_t run = i;
        while (run < x->at && x->s[run] != '\\')
            run++;
        put_bytes(&b, x->s + i, run - i, 0);
        i = run;
        if (i < x->at)
            i += 1 + escape(x, &b, x->s + i + 1, x->at - i - 1);
    }
    count_lines(x, from, x->at++);
    if (t)
        t->s = text_built(&b);
}

static void operator_(struct lexer *x)
{
    static const struct { char s[3]; int op; } twos[] = {
        {"==", OP_EQ}, {"!=", OP_NE}, {">=", OP_GE}, {"<=", OP_LE}, {"//", OP_FLOORDIV},
        {"**", OP_POW}};
    struct token *t = add(x, T_OP);
    char c = x->s[x->at];
    if (!t)
        return;
    for (size_t i = 0; i < ARRAY_LEN(twos); i++)
        if (looking_at(x, twos[i].s)) {
            t->op = twos[i].op;
            x->at += 2;
            return;
        }
    if (!strchr("+-/*%~[](){}><=.:|,;", c) || !c) {
        run_fail(x->r, E_FORMAT, "the character 0x%02x in an expression", (unsigned char)c);
        return;
    }
    t->op = c;
    x->at++;
    if (strchr("([{", c)) {
        if (x->n_open == LIMIT_TEMPLATE_NESTING)
            run_fail(x->r, E_RANGE, "brackets nested deeper than %d levels",
                     LIMIT_TEMPLATE_NESTING);
        else
            x->open[x->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c)) {
        if (x->n_open == 0 || x->open[--x->n_open] != c)
            run_fail(x->r, E_FORMAT, "a %c that closes nothing", c);
    }
}

/* Tokens of one tag, to its end. */
static void tag(struct lexer *x, const char *end, enum token_type end_type)
{
    x->n_open = 0;
    while (!x->r->failed) {
        skip_blank(x);
        if (x->at >= x->n) {
            run_fail(x->r, E_FORMAT, "a tag has no end: %s is missing", end);
            return;
        }
        char c = x->s[x->at], sign = c == '-' || (c == '+' && end_type == T_BLOCK_END) ? c : 0;
        size_t here = x->at;
        x->at += sign != 0;
        if (x->n_open == 0 && looking_at(x, end)) {
            add(x, end_type);
            x->at += 2;
            after_tag(x, sign, end_type == T_BLOCK_END);
            return;
        }
        x->at = here;
        if (is_digit(c)) {
            number(x);
        } else if (c == '\'' || c == '"') {
            string(x);
        } else if (is_word(c)) {
            struct token *t = add(x, T_NAME);
            while (x->at < x->n && is_word(x->s[x->at]))
                x->at++;
            if (t)
                t->s = text_of(x->r, x->s + here, x->at - here, 0);
        } else {
            operator_(x);
        }
    }
}

/* \r\n and \r are newlines too; one at the very end goes. */
static char *normalize(struct run *r, const char *text, size_t *n)
{
    char *s = run_take(r, *n + 1);
    size_t k = 0;
    for (size_t i = 0; s && i < *n; i++) {
        if (text[i] == '\r' && i + 1 < *n && text[i + 1] == '\n')
            continue;
        s[k++] = text[i] == '\r' ? '\n' : text[i];
    }
    *n = k > 0 && s[k - 1] == '\n' ? k - 1 : k;
    return s;
}

bool jinja_lex(struct run *r, const char *text, size_t n, struct tokens *out)
{
    struct lexer x = {.r = r, .out = out, .line_start = true};
    *out = (struct tokens){0};
    r->line = 1;
    x.s = normalize(r, text, &n);
    x.n = n;
    while (!r->failed && x.at < n) {
        size_t from = x.at, hit = from;
        while (hit + 1 < n && !(x.s[hit] == '{' && strchr("{%#", x.s[hit + 1]) && x.s[hit + 1]))
            hit++;
        if (hit + 1 >= n) {
            add_data(&x, from, n, '+', false);
            break;
        }
        char kind = x.s[hit + 1], sign = hit + 2 < n ? x.s[hit + 2] : 0, after;
        bool signed_ = sign == '-' || sign == '+';
        add_data(&x, from, hit, sign, kind == '{');
        x.at = hit + 2 + signed_;
        size_t begin = kind == '%' ? word_tag(&x, x.at, "raw", &after) : 0;
        if (begin) {
            raw(&x, begin, after);
        } else if (kind == '#') {
            comment(&x);
        } else {
            add(&x, kind == '{' ? T_VAR_BEGIN : T_BLOCK_BEGIN);
            tag(&x, kind == '{' ? "}}" : "%}", kind == '{' ? T_VAR_END : T_BLOCK_END);
        }
    }
    add(&x, T_END);
    return !r->failed;
}
