/* The agent check of HAProxy: who connects is told one line, in words of that protocol
 * (configuration.txt, "agent-check"), and is sent away. "up 100%" while requests are served, less
 * of the weight the fuller the queue is, in quarters, so that a consistent hash stays calm;
 * "drain" while draining; "down #why" else. */
#ifndef RECURD_AGENT_H
#define RECURD_AGENT_H

#include "base/err.h"

struct agent;
struct http;

/* Listens at spec (listen.h) and answers from a thread of its own; h outlives it. Thread: main. */
int agent_open(struct agent **out, const char *spec, const struct http *h,
               struct err *e) MUST_USE;
void agent_close(struct agent *a); /* NULL is fine */

/* The line for what is now, with its newline; at most AGENT_LINE bytes. Thread: any. */
#define AGENT_LINE 96
void agent_line(const struct http *h, char out[AGENT_LINE]);

#endif
