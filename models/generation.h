/* generation_config.json: what a request gets when it names no value. NAN / -1 = not given. */
#ifndef RECURD_GENERATION_H
#define RECURD_GENERATION_H

#include <stdint.h>

struct generation_defaults {
    float temperature, top_p, min_p, repetition_penalty;
    int32_t top_k, max_new_tokens;
};

#endif
