/* In a file of its own, so that a program with another revision differs by one object. */
#include "kernels/numerics.h"

#include <stdbool.h>
#include <string.h>

int numerics_revision(void) { return NUMERICS_REVISION; }

const char *numerics_inputs(const char *name)
{
    bool int16 = strstr(name, "+int16"), half = strstr(name, "+f16states");
    return int16 && half ? ", quantised weights by inputs of 16 bits, states in float16"
           : int16       ? ", quantised weights by inputs of 16 bits"
           : half        ? ", states in float16"
                         : "";
}
