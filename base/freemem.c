/* MemAvailable, and for each control group above this process its limit less what it uses; pages of
 * files that it could drop count as free. What the files say is checked like any input. */
#include "base/freemem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4096

/* Bytes behind `name` at the start of a line of the file; name "" = the first line itself. */
static bool number_in(const char *path, const char *name, uint64_t *out)
{
    char line[256];
    bool found = false;
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        char *at = line + strlen(name), *end = at;
        if (strncmp(line, name, strlen(name)) != 0)
            continue;
        at += strspn(at, " \t");
        errno = 0;
        unsigned long long v = strtoull(at, &end, 10);
        found = *at >= '0' && *at <= '9' && end != at && !errno;
        *out = v;
    }
    if (f)
        fclose(f);
    return found;
}

/* "max" is no number: no limit. */
static uint64_t of_group(const char *dir)
{
    char path[PATH_BYTES + 32];
    uint64_t max, used, files = 0;
    snprintf(path, sizeof path, "%s/memory.max", dir);
    if (!number_in(path, "", &max))
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.current", dir);
    if (!number_in(path, "", &used))
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    if (number_in(path, "inactive_file ", &files))
        used -= MIN(used, files);
    return max - MIN(max, used);
}

/* The least of the group and those above it. Inside a container the path may be the host's and not
 * be there; its own group is then the root. */
static uint64_t of_groups(const struct freemem_files *f)
{
    char line[PATH_BYTES], dir[PATH_BYTES * 2];
    uint64_t least = UINT64_MAX;
    FILE *groups = fopen(f->groups, "re");
    bool found = false;
    while (groups && !found && fgets(line, sizeof line, groups))
        found = strncmp(line, "0::/", 4) == 0;
    if (groups)
        fclose(groups);
    line[strcspn(line, "\n")] = '\0';
    bool usable = found && !strstr(line, "/..");
    int n = snprintf(dir, sizeof dir, "%.4000s%.4000s", f->root, usable ? line + 3 : "");
    for (size_t root = strlen(f->root); n > 0 && found;) {
        least = MIN(least, of_group(dir));
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < root || strlen(dir) <= root)
            break;
        *slash = '\0';
    }
    return least;
}

uint64_t freemem_of(const struct freemem_files *f)
{
    uint64_t kib, machine = UINT64_MAX;
    if (number_in(f->meminfo, "MemAvailable:", &kib) && kib < UINT64_MAX / 1024)
        machine = kib * 1024;
    return MIN(machine, of_groups(f));
}

uint64_t freemem(void)
{
    const struct freemem_files f = {"/proc/meminfo", "/proc/self/cgroup", "/sys/fs/cgroup"};
    return freemem_of(&f);
}
