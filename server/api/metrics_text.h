/* What /metrics is written as. Thread: any. */
#ifndef RECURD_METRICS_TEXT_H
#define RECURD_METRICS_TEXT_H

#include "base/buf.h"

/* Within a line, before what only OpenMetrics has a place for: an exemplar. */
#define METRICS_EXEMPLAR '\1'

/* Appends the families that a set of names (metrics_names.def) has, once more under those names,
 * with the label model_name. set: "none", or of the table. text has whole families under ours. */
void metrics_other_names(struct buf *text, const char *set, const char *model);
/* Into the text format 0.0.4 (exemplars left out), or OpenMetrics 1.0: there a counter's family has
 * no "_total", and there is an end. */
void metrics_respell(struct buf *text, bool openmetrics);

#endif
