/* Tests: what stands behind `is`. */
#include "models/text/chat/jinja/builtins.h"
#include "models/text/chat/jinja/syntax.h"

#define TEST(name, expression) \
    static struct value name(struct run *r, const struct value *v, const struct args *a) \
    { \
        return bind_args(r, a, "", NULL) ? v_bool(expression) : v_none(); \
    }

TEST(is_defined, v->kind != V_UNDEFINED)
TEST(is_undefined, v->kind == V_UNDEFINED)
TEST(is_none, v->kind == V_NONE)
TEST(is_boolean, v->kind == V_BOOL)
TEST(is_true, v->kind == V_BOOL && v->b)
TEST(is_false, v->kind == V_BOOL && !v->b)
TEST(is_integer, v->kind == V_INT)
TEST(is_float, v->kind == V_FLOAT)
TEST(is_number_, is_number(v))
TEST(is_string, v->kind == V_STRING)
TEST(is_mapping, v->kind == V_DICT)
TEST(is_sequence, v->kind == V_STRING || v->kind == V_DICT || v->kind == V_UNDEFINED ||
                      (v->kind == V_SEQ && v->l->kind <= SEQ_RANGE))
TEST(is_iterable, v->kind == V_STRING || v->kind == V_DICT || v->kind == V_UNDEFINED ||
                      v->kind == V_SEQ || v->kind == V_LOOP)
TEST(is_callable, v->kind == V_MACRO || v->kind == V_FUNCTION || v->kind == V_METHOD ||
                      v->kind == V_JOINER || v->kind == V_UNDEFINED)
TEST(is_escaped, v->kind == V_STRING && v->s->safe)
TEST(is_filter, v->kind == V_STRING && filter_find(r, v->s))
TEST(is_test, v->kind == V_STRING && test_find(r, v->s))

static struct value all_case(struct run *r, const struct value *v, const char *method)
{
    const struct text *t = to_text(r, v);
    struct value s = v_text(t), name = v_text(text_str(r, method));
    struct args none = {0};
    if (r->failed)
        return v_none();
    return method_find(r, &s, name.s)->call(r, &s, &none);
}
static struct value is_upper(struct run *r, const struct value *v, const struct args *a)
{
    return bind_args(r, a, "", NULL) ? all_case(r, v, "isupper") : v_none();
}
static struct value is_lower(struct run *r, const struct value *v, const struct args *a)
{
    return bind_args(r, a, "", NULL) ? all_case(r, v, "islower") : v_none();
}

/* value % n == rest */
static struct value leaves(struct run *r, const struct value *v, const struct value *n,
                           int64_t rest)
{
    struct value left = binary_op(r, '%', v, n), want = v_int(rest);
    return v_bool(!r->failed && equal_values(r, &left, &want));
}
static struct value is_odd(struct run *r, const struct value *v, const struct args *a)
{
    struct value two = v_int(2);
    return bind_args(r, a, "", NULL) ? leaves(r, v, &two, 1) : v_none();
}
static struct value is_even(struct run *r, const struct value *v, const struct args *a)
{
    struct value two = v_int(2);
    return bind_args(r, a, "", NULL) ? leaves(r, v, &two, 0) : v_none();
}
static struct value is_divisible(struct run *r, const struct value *v, const struct args *a)
{
    const struct value *arg[PARAMETERS_MAX];
    return bind_args(r, a, "!num", arg) ? leaves(r, v, arg[0], 0) : v_none();
}

static struct value is_same(struct run *r, const struct value *v, const struct args *a)
{
    const struct value *arg[PARAMETERS_MAX];
    if (!bind_args(r, a, "!other", arg))
        return v_none();
    bool same = v->kind == arg[0]->kind;
    if (same && (v->kind == V_SEQ || v->kind == V_DICT))
        same = v->d == arg[0]->d;
    else if (same)
        same = equal_values(r, v, arg[0]);
    return v_bool(same);
}

#define COMPARE(name, op) \
    static struct value name(struct run *r, const struct value *v, const struct args *a) \
    { \
        const struct value *arg[PARAMETERS_MAX]; \
        return bind_args(r, a, "!other", arg) ? v_bool(compare_op(r, op, v, arg[0])) : v_none(); \
    }
COMPARE(is_eq, OP_EQ)
COMPARE(is_ne, OP_NE)
COMPARE(is_lt, '<')
COMPARE(is_le, OP_LE)
COMPARE(is_gt, '>')
COMPARE(is_ge, OP_GE)
COMPARE(is_in, OP_IN)

const struct function jinja_tests[] = {
    {"defined", is_defined}, {"undefined", is_undefined}, {"none", is_none},
    {"boolean", is_boolean}, {"true", is_true}, {"false", is_false}, {"integer", is_integer},
    {"float", is_float}, {"number", is_number_}, {"string", is_string}, {"mapping", is_mapping},
    {"sequence", is_sequence}, {"iterable", is_iterable}, {"callable", is_callable},
    {"escaped", is_escaped}, {"filter", is_filter}, {"test", is_test}, {"upper", is_upper},
    {"lower", is_lower}, {"odd", is_odd}, {"even", is_even}, {"divisibleby", is_divisible},
    {"sameas", is_same}, {"in", is_in}, {"eq", is_eq}, {"==", is_eq}, {"equalto", is_eq},
    {"ne", is_ne}, {"!=", is_ne}, {"lt", is_lt}, {"<", is_lt}, {"lessthan", is_lt}, {"le", is_le},
    {"<=", is_le}, {"gt", is_gt}, {">", is_gt}, {"greaterthan", is_gt}, {"ge", is_ge},
    {">=", is_ge}, {NULL, NULL},
};
