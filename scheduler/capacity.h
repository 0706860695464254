/* How many sequences and how much of their past fit: from the options, the model's facts and the
 * memory that is free. Thread: main, while opening. */
#ifndef RECURD_CAPACITY_H
#define RECURD_CAPACITY_H

#include "scheduler/served.h"

/* Fills s->cap and s->context_max; the model and the device are open. */
void capacity_choose(struct served *s, const struct served_options *o);

/* A line each at info: weights, states, pages, cache, what is left; what was chosen, and what the
 * next larger choice would take. Warnings where less than was asked for, or than the model could,
 * is there. After loading. */
void capacity_log(const struct served *s, const struct served_options *o);

#endif
