/* What validate_ops.c (each op's operands) gives to validate.c (the plan as a whole). */
#ifndef RECURD_VALIDATE_INT_H
#define RECURD_VALIDATE_INT_H

#include "kernels/validate.h"

/* A walk over the ops in order. */
struct walk {
    const struct plan *plan;
    const struct op_limits *limits; /* NULL: none */
    const struct op *op;            /* the one looked at */
    const int32_t *writer;          /* [act] last op before it that wrote there, -1 = none */
    struct err *e;                  /* the first finding; never NULL */
};

/* Records "layer N: NAME: …" unless ok; returns ok. */
bool walk_require(struct walk *w, bool ok, const char *fmt, ...) PRINTF(3, 4);

/* Operands, section and parameters of w->op against op_params.h. Presence, ranges of views and
 * indices were checked before. */
void validate_op(struct walk *w);

#endif
