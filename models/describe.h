/* --describe: what a model is and what it costs, before it is loaded. Thread: main. */
#ifndef RECURD_DESCRIBE_H
#define RECURD_DESCRIBE_H

#include <stdio.h>

#include "models/model.h"

void describe(const struct model *m, const struct device *d, const struct capacity *c, FILE *f);

#endif
