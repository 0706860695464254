/* Memory that this process may still take: what the machine has free, or less where control groups
 * say so. Any thread. */
#ifndef RECURD_FREEMEM_H
#define RECURD_FREEMEM_H

#include "base/base.h"

/* UINT64_MAX when nothing is known. */
uint64_t freemem(void);

/* The same with the places to look at given: /proc/meminfo, /proc/self/cgroup, and where the
 * hierarchy of version 2 is mounted. */
struct freemem_files {
    const char *meminfo, *groups, *root;
};
uint64_t freemem_of(const struct freemem_files *f);

#endif
