/* Loading while the world watches: a thread opens and loads what is served, and the main one tells
 * how far it is, to the service manager and to a terminal, and hears signals. Thread: main only.
 */
#ifndef RECURD_LOADING_H
#define RECURD_LOADING_H

#include "base/progress.h"
#include "scheduler/served.h"

enum loading_end {
    LOADING_DONE,
    LOADING_FAILED,  /* fault and e say why */
    LOADING_STOPPED, /* a signal came */
    LOADING_STUCK,   /* a signal came, and the thread did not end: it still uses everything */
};

struct loading {
    struct served *s;        /* set after DONE; also after FAILED and STOPPED, to be closed */
    enum served_fault fault; /* with FAILED */
    bool hangup;             /* SIGHUP came while it was loaded */
};

/* o->progress is what is watched; it must not be NULL. */
enum loading_end loading_run(struct loading *l, const struct served_options *o,
                             struct err *e) MUST_USE;

/* "loading, 41 %", or "loading: preparing the device" where it cannot say. */
void loading_text(const struct progress *p, char *out, size_t size);

#endif
