/* Whether requests wait for a store: an investment that must pay. Pure: times are handed in.
 *
 * Of each store it is known how long its latest answers took. A request waits if a state would be
 * here, by that, before what it saves had been computed; and never for a store that was late
 * several times in a row, or has not said a word for as long: until answers came in time again, to
 * questions that nobody waited for. A late one among these only sets that back, so a machine at
 * work, where one in five is late, is waited for again soon, and not by a chance. Under the cache's
 * lock. */
#ifndef RECURD_SHARED_WAITING_H
#define RECURD_SHARED_WAITING_H

#include "base/base.h"

#define WAITING_KEPT 8      /* answers; what is expected is the middle one */
#define WAITING_LATE 2      /* answers in a row that came too late */
#define WAITING_TIMELY 3    /* that came in time; twice as many each time it falls back */
#define WAITING_TIMELY_MAX 24
#define WAITING_SETBACK 2   /* of these, a late one among them takes back so many */
#define WAITING_RELAPSE_NS (30 * NS_PER_S) /* late again so soon: it falls back */
#define WAITING_FLOOR 10    /* a tenth of the longest wait is always worth it */

struct waiting {
    uint64_t limit_ns;   /* an answer that takes longer is late */
    uint64_t took_ns[WAITING_KEPT];
    uint32_t n;          /* answers, ever; [n % WAITING_KEPT] is the next one's place */
    double byte_ns;      /* of states that were fetched; 0 = none was */
    uint64_t asked_ns;   /* since when a question is on its way; 0 = none is */
    uint64_t heard_ns;   /* when the last answer came */
    uint64_t late;       /* answers in a row */
    uint64_t timely;     /* in time since it is off, less what late ones took back */
    bool off;            /* not waited for */
    uint64_t need, on_ns; /* timely ones that end that; when they last did */
};

void waiting_init(struct waiting *w, uint64_t limit_ns);

/* A question goes out: one at a time. */
void waiting_asked(struct waiting *w, uint64_t now);
/* Its answer came after took_ns. typical: it says how long the next will take (a longer
 * conversation only says whether the store is late). */
void waiting_answered(struct waiting *w, uint64_t took_ns, bool typical, uint64_t now);
/* It was given up after took_ns: late, if that is the limit; else nothing is known. */
void waiting_given_up(struct waiting *w, uint64_t took_ns, uint64_t now);
void waiting_broken(struct waiting *w); /* nothing is known of it: the connection broke */
void waiting_fetched(struct waiting *w, uint64_t bytes, uint64_t ns);

/* What has become of `off` by now; true: it changed. */
bool waiting_look(struct waiting *w, uint64_t now);
/* How long so many answers, one after the other, will take: as the middle one did, or longer, if
 * one is on its way for longer already. 0: nothing is known. */
uint64_t waiting_expected(const struct waiting *w, int rounds, uint64_t now);
uint64_t waiting_fetch(const struct waiting *w, uint64_t bytes, uint64_t now); /* of a state */
uint64_t waiting_lacks(const struct waiting *w); /* timely answers that end `off`; 0: it is not */
/* How long a request may wait, if meanwhile `tokens`, of token_ns each (0: not known), would be
 * computed for it: its own that a state saves, and those of others before them. */
uint64_t waiting_worth(const struct waiting *w, int64_t tokens, uint64_t token_ns);
/* Whether it is worth it: a state takes `rounds` answers, one after the other. */
bool waiting_pays(const struct waiting *w, uint64_t worth_ns, int rounds, uint64_t now);

#endif
