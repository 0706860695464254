/* The pool of state slots on the device. Thread: engine. */
#ifndef RECURD_SLOTS_H
#define RECURD_SLOTS_H

#include "base/err.h"

struct slots {
    int32_t *free; /* stack of free slot numbers */
    int32_t n_free, n_total;
};

int slots_init(struct slots *s, int32_t n, struct err *e) MUST_USE;
void slots_fini(struct slots *s);
int32_t slots_take(struct slots *s);          /* -1 = none free; contents are whatever they were */
void slots_put(struct slots *s, int32_t slot);

#endif
