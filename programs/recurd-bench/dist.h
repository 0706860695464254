/* Distributions of lengths and times, written as text: "512", "uniform:100:1000",
 * "normal:MEAN:STD", "lognormal:MEDIAN:SIGMA", "exp:MEAN". Thread: any. */
#ifndef RECURD_LOAD_DIST_H
#define RECURD_LOAD_DIST_H

#include "base/err.h"
#include "base/rng.h"

enum dist_kind { DIST_FIXED, DIST_UNIFORM, DIST_NORMAL, DIST_LOGNORMAL, DIST_EXP };

struct dist {
    enum dist_kind kind;
    double a, b;
};

int dist_parse(const char *text, struct dist *out, struct err *e) MUST_USE;
/* Never negative. */
double dist_draw(const struct dist *d, struct rng *r);
/* Rounded, at least 1, at most max: a length in tokens. */
int32_t dist_tokens(const struct dist *d, struct rng *r, int32_t max);

double dist_exp1(struct rng *r);                 /* exponential, mean 1 */
double dist_gamma1(struct rng *r, double shape); /* gamma of this shape > 0, scaled to mean 1 */

#endif
