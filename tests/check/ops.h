/* The ops as kernelcheck sees them: parameters, shapes, and how to build a rig from one. */
#ifndef RECURD_CHECK_OPS_H
#define RECURD_CHECK_OPS_H

#include "tests/check/rig.h"

#define SHAPE_PARAMS 12

struct shape {
    int p[SHAPE_PARAMS]; /* p[0] is the batch layout; the rest is named in op_check.params */
};

struct op_check {
    const char *params;           /* "layout rows cols …" */
    const struct shape *shapes;
    int n_shapes;
    void (*build)(struct rig *r, const int *p);
};
extern const struct op_check *const op_checks[OP_KINDS];

/* ew.c */
void build_ew(struct rig *r, const int *p);
extern const struct shape ew_shapes[EW_OPS + 6];

/* A rig of this op, shape, class and seed, ready to run. */
void ops_rig(struct rig *r, enum op_kind k, const struct shape *s, enum input_class c,
             uint64_t seed);
/* Parses "1x2x3"; false when the number of parameters is wrong. */
bool ops_parse(enum op_kind k, const char *text, struct shape *out);
int ops_params(enum op_kind k);
int ops_shapes(enum op_kind k);

#endif
