/* The engine's cache hooks over the state cache: which states a sequence starts from, where it
 * leaves some, and the end of a session's turn. Engine thread; open and close without it. */
#ifndef RECURD_CACHED_H
#define RECURD_CACHED_H

#include "scheduler/engine.h"
#include "statecache/statecache.h"

/* A session's turn whose text is out. Its state has yet to see the token drawn last, to be kept
 * and to become durable; then the reader is told of the end. */
struct ending {
    struct ending *next;
    struct request *r;    /* one reference */
    struct track *track;
    enum finish finish;
    bool settled;         /* captured and committed: slot and pages are given back */
    int32_t slot, *pages; /* taken over from the sequence, [n_pages] of pages_per_seq */
    int32_t n_pages;
    int64_t pos, n_prompt; /* of the state; of the prompt, context included */
    int32_t *output, n_output; /* the tokens drawn; the state lacks the last one if … */
    bool left;
};

struct cached {
    struct engine_cache hooks;
    struct engine *en;
    struct statecache *sc;
    struct ending *endings;
};

/* Gives the engine its hooks. o: what the engine does not know by itself. */
int cached_open(struct cached **out, struct engine *en, const struct statecache_options *o,
                struct err *e) MUST_USE;
void cached_close(struct cached *c); /* nothing is active any more; NULL allowed */

#endif
