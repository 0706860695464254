/* See peak_impl.h. */
#include "tests/check/peak_impl.h"
