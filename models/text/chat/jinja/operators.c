/* Arithmetic and comparison, with Python's rules. Integers have 64 bits: beyond them is an error,
 * not another number. */
#include <math.h>
#include <string.h>

#include "models/text/chat/jinja/builtins.h"
#include "models/text/chat/jinja/syntax.h"

static struct value misfit(struct run *r, int op, const struct value *a, const struct value *b)
{
    const struct value *u = a->kind == V_UNDEFINED ? a : b->kind == V_UNDEFINED ? b : NULL;
    if (u)
        return fail_undefined(r, u);
    const char *sign = op == OP_FLOORDIV ? "//" : op == OP_POW ? "**" : NULL;
    char one[] = {(char)op, 0};
    return run_fail(r, E_FORMAT, "%s does not work between a %s and a %s", sign ? sign : one,
                kind_name(a), kind_name(b));
}

static struct value overflow(struct run *r)
{
    return run_fail(r, E_RANGE, "a number beyond 64 bits");
}

static struct value int_power(struct run *r, int64_t a, int64_t n)
{
    int64_t x = 1;
    if (n < 0)
        return a == 0 ? run_fail(r, E_RANGE, "0 to a negative power")
                      : v_float(pow((double)a, (double)n));
    if (a == 0 || a == 1 || n == 0)
        return v_int(n == 0 ? 1 : a);
    if (a == -1)
        return v_int(n % 2 ? -1 : 1);
    for (; n > 0; n--)
        if (mul_overflows(x, a, &x))
            return overflow(r);
    return v_int(x);
}

static struct value int_op(struct run *r, int op, int64_t a, int64_t b)
{
    int64_t x = 0;
    bool bad = false;
    switch (op) {
    case '+': bad = add_overflows(a, b, &x); break;
    case '-': bad = __builtin_sub_overflow(a, b, &x); break;
    case '*': bad = mul_overflows(a, b, &x); break;
    case OP_POW: return int_power(r, a, b);
    default: /* / // % */
        if (b == 0)
            return run_fail(r, E_RANGE, "a division by zero");
        if (op == '/')
            return v_float((double)a / (double)b);
        if (a == INT64_MIN && b == -1)
            return op == '%' ? v_int(0) : overflow(r);
        x = op == '%' ? a % b : a / b;
        if (op == '%' && x != 0 && (x < 0) != (b < 0))
            x += b;
        if (op == OP_FLOORDIV && a % b != 0 && (a < 0) != (b < 0))
            x--;
    }
    return bad ? overflow(r) : v_int(x);
}

static struct value float_op(struct run *r, int op, double a, double b)
{
    switch (op) {
    case '+': return v_float(a + b);
    case '-': return v_float(a - b);
    case '*': return v_float(a * b);
    case OP_POW: return v_float(pow(a, b));
    default: break;
    }
    if (b == 0)
        return run_fail(r, E_RANGE, "a division by zero");
    if (op == '/')
        return v_float(a / b);
    double m = fmod(a, b);
    if (m != 0 && (m < 0) != (b < 0))
        m += b;
    return v_float(op == '%' ? m : floor((a - m) / b + 0.5));
}

static struct value repeat(struct run *r, const struct value *v, int64_t n)
{
    size_t one = v->kind == V_STRING ? v->s->n : v->l->n, times = n > 0 ? (size_t)n : 0;
    size_t total;
    if (mul_overflows(one, times, &total) || total > r->max_output)
        return run_fail(r, E_RANGE, "a %s repeated %lld times is too long", kind_name(v),
                    (long long)n);
    if (v->kind == V_STRING) {
        struct builder b;
        text_build(&b, r);
        for (size_t i = 0; i < times && one && run_spend(r, 1); i++)
            put_text(&b, v->s);
        b.safe = v->s->safe;
        return v_text(text_built(&b));
    }
    struct seq *l = run_spend(r, total) ? list_new(r, v->l->kind, total) : NULL;
    for (size_t i = 0; l && i < total; i++)
        l->v[i] = v->l->v[i % one];
    return v_seq(l);
}

static struct value add_texts(struct run *r, const struct text *a, const struct text *b)
{
    struct builder out;
    bool safe = a->safe || b->safe;
    text_build(&out, r);
    put_text(&out, safe && !a->safe ? text_escape(r, a) : a);
    put_text(&out, safe && !b->safe ? text_escape(r, b) : b);
    out.safe = safe;
    return v_text(text_built(&out));
}

static struct value add_lists(struct run *r, const struct seq *a, const struct seq *b)
{
    struct seq *l = run_spend(r, (a->n + b->n) / 8) ? list_new(r, a->kind, a->n + b->n) : NULL;
    if (!l)
        return v_none();
    if (a->n)
        memcpy(l->v, a->v, a->n * sizeof *l->v);
    if (b->n)
        memcpy(l->v + a->n, b->v, b->n * sizeof *l->v);
    return v_seq(l);
}

static bool is_list(const struct value *v)
{
    return v->kind == V_SEQ && v->l->kind <= SEQ_TUPLE;
}

struct value binary_op(struct run *r, int op, const struct value *a, const struct value *b)
{
    if (!run_spend(r, 1))
        return v_none();
    if (is_number(a) && is_number(b))
        return a->kind == V_FLOAT || b->kind == V_FLOAT
                   ? float_op(r, op, float_of(a), float_of(b))
                   : int_op(r, op, int_of(a), int_of(b));
    bool a_int = a->kind == V_INT || a->kind == V_BOOL, b_int = b->kind == V_INT ||
                                                                b->kind == V_BOOL;
    if (op == '+' && a->kind == V_STRING && b->kind == V_STRING)
        return add_texts(r, a->s, b->s);
    if (op == '+' && is_list(a) && is_list(b) && a->l->kind == b->l->kind)
        return add_lists(r, a->l, b->l);
    if (op == '%' && a->kind == V_STRING)
        return format_percent(r, a->s, b);
    if (op == '*' && (a->kind == V_STRING || is_list(a)) && b_int)
        return repeat(r, a, int_of(b));
    if (op == '*' && (b->kind == V_STRING || is_list(b)) && a_int)
        return repeat(r, b, int_of(a));
    return misfit(r, op, a, b);
}

bool compare_op(struct run *r, int op, const struct value *a, const struct value *b)
{
    const struct value *u = a->kind == V_UNDEFINED ? a : b->kind == V_UNDEFINED ? b : NULL;
    switch (op) {
    case OP_EQ: return equal_values(r, a, b);
    case OP_NE: return !equal_values(r, a, b);
    case OP_IN: return value_contains(r, b, a);
    case OP_NOT_IN: return !value_contains(r, b, a);
    default: break;
    }
    if (u) {
        fail_undefined(r, u);
        return false;
    }
    if ((a->kind == V_FLOAT && isnan(a->f)) || (b->kind == V_FLOAT && isnan(b->f)))
        return false;
    int c = compare_values(r, a, b);
    switch (op) {
    case '<': return c < 0;
    case '>': return c > 0;
    case OP_LE: return c <= 0;
    default: return c >= 0;
    }
}
