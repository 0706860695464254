/* Whose request this is a part of: the header `traceparent` (W3C Trace Context, level 1).
 * Thread: any. */
#ifndef RECURD_TRACEPARENT_H
#define RECURD_TRACEPARENT_H

#include "base/base.h"

#define TRACE_ID_CHARS 32
#define SPAN_ID_CHARS 16

struct trace_context {
    char trace[TRACE_ID_CHARS + 1]; /* lower case hex; "" = in no trace */
    char parent[SPAN_ID_CHARS + 1]; /* the caller's span; "" = none */
    bool sampled;                   /* the caller records its part */
};

/* Reads a header (NULL = there is none). False: *t is all zero, since what is malformed is ignored
 * (section 3.2 there), as are ids of zeros and version ff. Of later versions the known part is
 * taken. */
bool traceparent_read(const char *header, struct trace_context *t);

#endif
