/* --replay TRACE: computes the answers of a trace again, each from its first token by the engine
 * itself, without a cache, and says of each whether ids and logprobs are the same to the bit. */
#ifndef RECURD_REPLAY_H
#define RECURD_REPLAY_H

#include "models/model.h"

struct replay_options {
    const char *trace;  /* file written by recurd --trace */
    const char *model;  /* directory or GGUF file */
    bool dummy;
    enum quantize quantize;
    enum states states;
    struct device_options device;
    int chunk;          /* tokens of a step, 0 = 512 */
};

/* A line on standard output for each answer. *differ: answers that are not the same, or that a
 * trace does not hold whole. E_CONFLICT: the trace is of another model. */
int replay(const struct replay_options *o, int *differ, struct err *e) MUST_USE;

#endif
