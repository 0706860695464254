/* Names of the ways a request can end. */
#include "programs/recurd-bench/outcome.h"

#include "base/base.h"

static const char *const names[] = {
    "ok",      "cancelled", "unfinished", "connect",  "reset",     "closed",    "truncated",
    "timeout", "http_429",  "http_4xx",   "http_5xx", "bad_http", "bad_event", "api_error",
    "client",
};
_Static_assert(ARRAY_LEN(names) == OUTCOMES, "one name each");

const char *outcome_name(enum outcome o)
{
    return names[o];
}
