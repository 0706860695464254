/* Distributions of lengths and times. Thread: any. */
#include "programs/recurd-bench/dist.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum dist_kind kind;
    int numbers;
} kinds[] = {
    {"fixed", DIST_FIXED, 1},         {"uniform", DIST_UNIFORM, 2}, {"normal", DIST_NORMAL, 2},
    {"lognormal", DIST_LOGNORMAL, 2}, {"exp", DIST_EXP, 1},
};

/* One number of 0 … 1e9 up to ':' or the end; NULL when it is none. */
static const char *number(const char *s, double *out)
{
    char *end;
    *out = strtod(s, &end);
    if (end == s || !isfinite(*out) || *out < 0 || *out > 1e9 || (*end && *end != ':'))
        return NULL;
    return end;
}

int dist_parse(const char *text, struct dist *out, struct err *e)
{
    *out = (struct dist){.kind = DIST_FIXED};
    const char *end = number(text, &out->a);
    if (end && !*end)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i].name);
        if (strncmp(text, kinds[i].name, n) || text[n] != ':')
            continue;
        out->kind = kinds[i].kind;
        end = number(text + n + 1, &out->a);
        if (end && kinds[i].numbers == 2)
            end = *end == ':' ? number(end + 1, &out->b) : NULL;
        if (end && !*end && (out->kind != DIST_UNIFORM || out->b >= out->a))
            return 0;
    }
    return err_set(e, E_FORMAT,
                   "\"%.60s\" is neither a number nor uniform:LOW:HIGH, normal:MEAN:STD, "
                   "lognormal:MEDIAN:SIGMA or exp:MEAN", text);
}

static double normal(struct rng *r)
{
    double u = 1 - rng_unit(r), v = rng_unit(r); /* 1 - u: never the logarithm of 0 */
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

double dist_exp1(struct rng *r)
{
    return -log(1 - rng_unit(r));
}

/* Marsaglia and Tsang (ACM TOMS 26, 2000); below shape 1 through shape + 1 and a power. */
double dist_gamma1(struct rng *r, double shape)
{
    double k = shape < 1 ? shape + 1 : shape, d = k - 1.0 / 3, c = 1 / sqrt(9 * d), x, v;
    for (;;) {
        x = normal(r);
        v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(1 - rng_unit(r)) < 0.5 * x * x + d - d * v + d * log(v))
            break;
    }
    double g = d * v;
    if (shape < 1)
        g *= pow(1 - rng_unit(r), 1 / shape);
    return g / shape;
}

double dist_draw(const struct dist *d, struct rng *r)
{
    double x = d->a;
    switch (d->kind) {
    case DIST_FIXED: break;
    case DIST_UNIFORM: x = d->a + (d->b - d->a) * rng_unit(r); break;
    case DIST_NORMAL: x = d->a + d->b * normal(r); break;
    case DIST_LOGNORMAL: x = d->a * exp(d->b * normal(r)); break;
    case DIST_EXP: x = d->a * dist_exp1(r); break;
    }
    return x > 0 ? x : 0;
}

int32_t dist_tokens(const struct dist *d, struct rng *r, int32_t max)
{
    double x = dist_draw(d, r);
    if (d->kind == DIST_UNIFORM) /* whole numbers, both ends as likely as the others */
        x = d->a + floor((d->b - d->a + 1) * rng_unit(r));
    x = floor(x + 0.5);
    return x < 1 ? 1 : x > max ? max : (int32_t)x;
}
