/* Filters about numbers and defaults. */
#include <math.h>
#include <stdlib.h>

#include "models/text/chat/jinja/builtins.h"

#define FILTER(name) \
    static struct value name(struct run *r, const struct value *self, const struct args *a)
#define BIND(spec) \
    const struct value *arg[PARAMETERS_MAX]; \
    if (!bind_args(r, a, spec, arg)) \
        return v_none()

FILTER(do_default)
{
    BIND("default_value boolean");
    bool absent = self->kind == V_UNDEFINED || (want_bool(arg[1], false) && !truthy(self));
    if (!absent)
        return *self;
    return arg[0] ? *arg[0] : v_text(text_str(r, ""));
}

FILTER(do_abs)
{
    BIND("");
    (void)arg;
    if (!is_number(self) || (self->kind == V_INT && self->i == INT64_MIN))
        return run_fail(r, E_FORMAT, "abs of a %s", kind_name(self));
    return self->kind == V_FLOAT ? v_float(fabs(self->f)) : v_int(llabs(int_of(self)));
}

static bool fits_int(double d) { return d > -9.2e18 && d < 9.2e18; }

FILTER(do_int)
{
    BIND("default base");
    struct value otherwise = arg[0] ? *arg[0] : v_int(0);
    int64_t base = want_int(r, arg[1], 10), i;
    double d = 0;
    if (self->kind == V_UNDEFINED)
        return run_fail(r, E_FORMAT, "int of an undefined value");
    if (self->kind == V_STRING) {
        if (parse_int(self->s, (int)MIN(base, 37), &i))
            return v_int(i);
        if (!parse_float(self->s, &d) || !fits_int(d))
            return otherwise;
        return v_int((int64_t)d);
    }
    if (!is_number(self))
        return otherwise;
    if (self->kind != V_FLOAT)
        return v_int(int_of(self));
    return fits_int(self->f) ? v_int((int64_t)self->f) : otherwise;
}

FILTER(do_float)
{
    BIND("default");
    double d;
    if (self->kind == V_UNDEFINED)
        return run_fail(r, E_FORMAT, "float of an undefined value");
    if (self->kind == V_STRING && parse_float(self->s, &d))
        return v_float(d);
    if (is_number(self))
        return v_float(float_of(self));
    return arg[0] ? *arg[0] : v_float(0);
}

FILTER(do_round)
{
    BIND("precision method");
    int64_t precision = want_int(r, arg[0], 0);
    const struct text *method = want_text(r, arg[1], "common");
    bool common = method && text_is(method, "common"), up = method && text_is(method, "ceil");
    if (!is_number(self) || precision > 15 || precision < -15)
        return run_fail(r, E_FORMAT, "round of a %s", kind_name(self));
    if (!common && !up && !(method && text_is(method, "floor")))
        return run_fail(r, E_FORMAT, "method must be common, ceil or floor");
    if (common && self->kind != V_FLOAT)
        return v_int(int_of(self));
    double scale = pow(10, (double)precision), d = float_of(self);
    if (!common)
        return v_float((up ? ceil(d * scale) : floor(d * scale)) / scale);
    if (precision < 0)
        return v_float(nearbyint(d * scale) / scale);
    /* The decimal that is nearest to the binary number, as Python rounds. */
    struct args one = {.n = 1, .v = self};
    char fmt[] = {'{', ':', '.', '0', '0', 'f', '}', 0};
    fmt[3] = (char)('0' + precision / 10);
    fmt[4] = (char)('0' + precision % 10);
    struct value v = format_braces(r, text_str(r, fmt), &one);
    return !r->failed && parse_float(v.s, &d) ? v_float(d) : v;
}

FILTER(do_attr)
{
    BIND("!name");
    const struct text *name = want_text(r, arg[0], "");
    struct value v = name && self->kind != V_DICT ? get_attr(r, self, name) : v_none();
    return self->kind == V_DICT ? v_undefined(r, "attr of a dict") : v;
}

const struct function jinja_number_filters[] = {
    {"default", do_default}, {"d", do_default}, {"abs", do_abs}, {"int", do_int},
    {"float", do_float}, {"round", do_round}, {"attr", do_attr}, {NULL, NULL}};
