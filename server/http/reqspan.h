/* What a request took, told to the collector of traces where there is one (server/otlp). No prompt,
 * no output, no secret. Thread: the exchange's. */
#ifndef RECURD_REQSPAN_H
#define RECURD_REQSPAN_H

struct exchange;

/* The headers are there: whether it will be told, and as part of whose trace. */
void reqspan_begin(struct exchange *x);
/* It has ended, and its generation has noted its facts. */
void reqspan_end(const struct exchange *x);

#endif
