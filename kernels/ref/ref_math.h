/* Scalar functions of the definition: double inside, float32 at the edges. */
#ifndef RECURD_REF_MATH_H
#define RECURD_REF_MATH_H

#include <math.h>
#include <string.h>

#include "kernels/plan.h"

static inline double ref_sigmoid(double z)
{
    return z >= 0 ? 1 / (1 + exp(-z)) : exp(z) / (1 + exp(z));
}
static inline double ref_softplus(double z) { return z > 20 ? z : log1p(exp(z)); }

static inline double ref_act(enum activation a, double z)
{
    switch (a) {
    case ACT_NONE: return z;
    case ACT_SILU: return z * ref_sigmoid(z);
    case ACT_SIGMOID: return ref_sigmoid(z);
    case ACT_RELU: return z > 0 ? z : z < 0 ? 0 : z;
    case ACT_SQRELU: return z > 0 ? z * z : z < 0 ? 0 : z * z;
    case ACT_TANH: return tanh(z);
    case ACT_GELU_TANH:
        return 0.5 * z * (1 + tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)));
    case ACT_GELU_ERF: return 0.5 * z * (1 + erf(z * 0.7071067811865476));
    }
    return z;
}

#endif
