/* Memory that requests share: bodies, imports, parsed JSON, replies. Who would go beyond it is
 * refused, so that no number of clients takes more. Pure. Thread: any; every member is atomic. */
#ifndef RECURD_BUDGET_H
#define RECURD_BUDGET_H

#include "base/limits.h"
#include "base/base.h"

/* What takes no more than this finds room in the last quarter, which others leave free. */
#define BUDGET_SMALL KIB(64)

struct budget {
    int64_t max;      /* set once, before anything is taken */
    int64_t used;
    uint64_t refused; /* how often */
};

/* Changes what one request holds from `from` to `to` bytes. False: it holds `from` as before.
 * Less is never refused. */
bool budget_change(struct budget *b, size_t from, size_t to) MUST_USE;

#endif
