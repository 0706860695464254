/* Declarations of every row of kernels.def. */
#ifndef RECURD_CPU_KERNELS_H
#define RECURD_CPU_KERNELS_H

#include "kernels/host.h"

#define K(OP, variant, need, when, formats, function, max_abs, max_rel, note) host_kernel function;
#include "kernels/cpu/kernels.def"
#undef K

#endif
