/* The end of the process when one of our own invariants is broken. Any thread. */
#include "base/base.h"

#include <stdlib.h>

#include "base/log.h"

void base_assert_failed(const char *what, const char *file, int line)
{
    log_error("broken invariant at %s:%d: %s", file, line, what);
    abort();
}
