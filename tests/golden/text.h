/* The text that whole models are compared on. One thread at a time. */
#ifndef RECURD_GOLDEN_TEXT_H
#define RECURD_GOLDEN_TEXT_H

#include "models/model.h"

#define TEXT_TOKENS 1024 /* at most */

struct text { int32_t ids[TEXT_TOKENS], n, vocab; };

/* inputs.txt as m's tokenizer has it; as many random ids as the bundled models make of it where m
 * has none. E_IO, E_NOMEM, what encoding says. */
int text_read(const struct model *m, struct text *x, struct err *e) MUST_USE;

#endif
