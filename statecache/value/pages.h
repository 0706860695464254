/* KV pages of growing state: reference counts, copy on write by the caller. Thread: engine. */
#ifndef RECURD_PAGES_H
#define RECURD_PAGES_H

#include "base/err.h"

struct pages {
    int32_t *free, *refs; /* stack of free pages; references of each page */
    int32_t n_free, n_total;
};

int pages_init(struct pages *p, int32_t n, struct err *e) MUST_USE;
void pages_fini(struct pages *p);
int32_t pages_take(struct pages *p);           /* one reference; -1 = none free */
void pages_ref(struct pages *p, int32_t page);
void pages_unref(struct pages *p, int32_t page); /* the last one frees it */
static inline int32_t pages_refs(const struct pages *p, int32_t page) { return p->refs[page]; }

#endif
