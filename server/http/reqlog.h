/* One line a request, when it has ended: who asked for what, what it took. No prompt, no output, no
 * secret. Thread: the exchange's. */
#ifndef RECURD_REQLOG_H
#define RECURD_REQLOG_H

struct exchange;

/* Generations, changes and refusals at info; questions that were answered (probes, scrapes, lists)
 * at debug. */
void reqlog(const struct exchange *x);

#endif
