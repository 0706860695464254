/* Which state to give up when a tier is full. Pure functions over plain numbers. */
#ifndef RECURD_EVICT_H
#define RECURD_EVICT_H

#include "base/base.h"

/* One candidate as the policy sees it. */
struct evict_entry {
    double saved_tokens; /* computation it saves: distance to the state before it on its path */
    double uses;         /* times it was hit */
    double age_s;        /* since the last use */
    uint64_t bytes;      /* what giving it up frees */
    bool inner;          /* its path has states beyond it: a turn that goes on needs those */
    bool floor;          /* its tenant is at or below the floor that others may not touch */
};

/* An unused state is worth half after so long: about a coffee break. */
#define EVICT_HALF_LIFE_S 600.0
/* States on the way are for those who go back, edit or part there: of so many turns one. */
#define EVICT_INNER 32.0
/* The end of a path saves at least a spacing of the finest grid: what is right before it is inner,
 * and would be given up next. */
#define EVICT_END_TOKENS 64.0

/* What keeping the entry is worth: saved computation per byte, weighted by place, use and age. */
double evict_worth(const struct evict_entry *e);

/* The entry to give up: the one worth least among those above their floor; -1 = none. */
int evict_pick(const struct evict_entry *e, int n);

/* The bytes of a tier that other tenants cannot take from one: half of its fair share. */
uint64_t evict_floor(uint64_t budget, int tenants);

#endif
