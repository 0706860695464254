/* Series after an exact reduction. No operation is contracted (-ffp-contract=off). */
#include "kernels/elementary.h"

#include <math.h>

#define HALF_ROOT 0.70710678118654752440
#define LOG_TERMS 12 /* s^2 <= 0.0295: what is left out is below 1e-19 */
#define EXP_TERMS 16 /* |r| <= 0.347 */

double exact_log2(double x)
{
    int e;
    double m = frexp(x, &e);
    if (m < HALF_ROOT) {
        m *= 2;
        e--;
    }
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0; /* ln m = 2 artanh s */
    for (int k = LOG_TERMS; k-- > 0;)
        sum = sum * s2 + 1.0 / (2 * k + 1);
    return e + 2 * s * sum / LN_2;
}

double exact_exp2(double x)
{
    x = x < -1000 ? -1000 : x > 1000 ? 1000 : x;
    double k = floor(x + 0.5), r = (x - k) * LN_2, sum = 1;
    for (int i = EXP_TERMS; i > 0; i--)
        sum = sum * r / i + 1;
    return ldexp(sum, (int)k);
}

double exact_pow(double x, double y)
{
    if (!(x > 0))
        return y == 0 ? 1 : 0;
    return exact_exp2(y * exact_log2(x));
}
