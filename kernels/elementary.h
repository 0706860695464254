/* log2 and exp2 in doubles, made of single IEEE operations: the same bits on every machine, which
 * a C library does not promise. Errors below 1e-14. Pure. */
#ifndef RECURD_ELEMENTARY_H
#define RECURD_ELEMENTARY_H

#define LN_2 0.69314718055994530942

double exact_log2(double x);  /* x > 0, finite */
double exact_exp2(double x);  /* what is outside -1000 … 1000 counts as these */
/* x^y, x >= 0: 0^0 is 1, and so is the rest of it as above. */
double exact_pow(double x, double y);

#endif
