/* Events of a stream mostly differ in nothing but a piece of text. Such a one is parsed once; what
 * equals it around the text is then compared instead, at a fifth of the time. Thread: one. */
#ifndef RECURD_LOAD_PATTERN_H
#define RECURD_LOAD_PATTERN_H

#include "programs/recurd-bench/reply.h"

struct pattern {
    struct buf before, after; /* the text's value; empty = none is known */
    int tries;                /* to find one in this stream */
};

void pattern_init(struct pattern *p);
void pattern_free(struct pattern *p);
void pattern_begin(struct pattern *p); /* another stream */
/* What reply_parse gives without a capture. */
int pattern_parse(struct pattern *p, const char *data, size_t n, struct reply *out) MUST_USE;

#endif
