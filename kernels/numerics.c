/* In a file of its own, so that a program with another revision differs by one object. */
#include "kernels/numerics.h"

#include <string.h>

int numerics_revision(void) { return NUMERICS_REVISION; }

const char *numerics_inputs(const char *name)
{
    return strstr(name, "+int16") ? ", quantised weights by inputs of 16 bits" : "";
}
