/* Checks of ops that ops.c does not list. */
#ifndef RECURD_CHECK_OCLMORE_H
#define RECURD_CHECK_OCLMORE_H

#include "tests/check/ops.h"

/* The check of an op: of ops.c, else of oclmore.c; n_shapes 0 = none. */
struct op_check oclmore_check(enum op_kind k);
int oclmore_params(enum op_kind k);
/* "1x2x3"; false when the number of parameters is wrong. */
bool oclmore_parse(enum op_kind k, const char *text, struct shape *out);
/* A rig of this op, shape, class and seed, ready to run. */
void oclmore_rig(struct rig *r, enum op_kind k, const struct shape *s, enum input_class c,
                 uint64_t seed);

#endif
