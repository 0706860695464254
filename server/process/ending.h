/* The process ends in time, whatever in it does not. */
#ifndef RECURD_ENDING_H
#define RECURD_ENDING_H

#include "base/progress.h"

/* From now on the process may take so long to end; then it exits with `code`, after a line that
 * names the stage of p in which it hung. Nothing is lost by that which a kill would not lose. p is
 * borrowed for good. Without memory for a thread there is no limit but the service manager's. */
void ending_within(const struct progress *p, uint64_t ms, int code);

#endif
