/* How many CPUs this process may keep busy. Any thread. */
#ifndef RECURD_QUOTA_H
#define RECURD_QUOTA_H

#include <stddef.h>

#include "base/base.h"

/* CPUs worth a thread each: those of the affinity mask, or fewer when a control group allows the
 * time of fewer; never 0. why (may be NULL): empty, or ", 2 of 8 CPUs by …". */
int quota_cpus(char *why, size_t size);

/* The same with the places to look at given: of /proc/self/cgroup, and of the hierarchies. */
struct quota_files {
    const char *groups, *unified, *v1;
};
/* Time that the process's control groups and all above them allow, in CPUs, rounded up; 0 = no
 * limit, or none that can be read. */
int quota_groups(const struct quota_files *f);

/* "150000 100000": time per period, "max" or negative = no limit. CPUs, rounded up; 0 = no limit,
 * or not such a text. */
int quota_parse(const char *text);

#endif
