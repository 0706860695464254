/* Fields of a request that nobody reads: told to the client in a header, to the operator in the log
 * (each name once), and refused where the server is strict. Thread: any. */
#ifndef RECURD_UNKNOWN_H
#define RECURD_UNKNOWN_H

#include "base/limits.h"
#include "server/api/jsonin.h"

/* After the parse: the names that w's objects have and nobody asked for, "a, b", into out, as many
 * as fit, then an ellipsis. Nulls count as absent. where: of the log line. E_UNSUPPORTED if strict
 * and there is one: the sentence has the nearest name that the parser knows; e->param lasts until
 * the thread's next call. */
int unknown_fields(const struct jsonin_watch *w, const char *where, bool strict,
                   char out[LIMIT_NOTE_BYTES], struct err *e) MUST_USE;

#endif
