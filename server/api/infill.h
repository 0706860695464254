/* Prompts with a gap: special tokens between which models are taught to write what is missing.
 * Thread: any. */
#ifndef RECURD_INFILL_H
#define RECURD_INFILL_H

#include "base/err.h"
#include "models/text/tokenizer.h"

struct infill {
    const char *field; /* of the request, that asks for it: a literal */
    const char *before, *begun, *after; /* the gap; begun: of its own text; none NULL */
    size_t n_before, n_begun, n_after;
};

/* Appends it as the model knows it, beginning of text included. E_UNSUPPORTED: the model has no
 * such tokens; E_RANGE: too many. Field and param are set. */
int infill_encode(const struct tokenizer *t, const struct infill *in, struct ids *out,
                  struct err *e) MUST_USE;

#endif
