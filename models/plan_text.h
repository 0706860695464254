/* A model's plan as text, one op a line: what the builder and its passes made of a configuration.
 * tests/golden/plans holds those of ten families, so that a change of a pass shows in review. */
#ifndef RECURD_PLAN_TEXT_H
#define RECURD_PLAN_TEXT_H

#include "base/buf.h"
#include "models/model.h"

/* Appends the text. Of a model that is not loaded yet: afterwards nobody knows which tensors a
 * weight comes from. Out of memory: out->failed. */
void model_plan_text(const struct model *m, struct buf *out);

#endif
