/* In a file of its own, so that a program with another revision differs by one object. */
#include "kernels/numerics.h"

int numerics_revision(void) { return NUMERICS_REVISION; }
