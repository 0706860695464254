/* --verify RECEIPT: computes the logits of an answer again from its receipt (scheduler/receipt.h),
 * in steps of any size, and says that they are equal, or the first position that differs. */
#ifndef RECURD_VERIFY_H
#define RECURD_VERIFY_H

#include "models/model.h"

struct verify_options {
    const char *file;   /* a receipt, or a reply with one or several; "-" = standard input */
    const char *tokens; /* a JSON array of the ids of prompt and answer, for a receipt without; */
                        /* NULL = none */
    const char *model;  /* directory or GGUF file */
    bool dummy;
    enum quantize quantize;
    enum states states;
    struct device_options device;
    int chunk;          /* tokens of a step, 0 = 256 */
};

/* A line on standard output for each receipt. */
enum verdict { VERDICT_EQUAL, VERDICT_DIFFERS, VERDICT_NONE /* it cannot be verified */ };

/* The worst of them. e, with VERDICT_NONE: why none at all was looked at, or its code is 0. */
enum verdict verify(const struct verify_options *o, struct err *e) MUST_USE;

#endif
