/* CPUs this process may keep busy: affinity and the quotas of control groups, both versions. More
 * threads than that only take each other's time: with a quota, the pool would stand still for the
 * rest of every period. What the files say is checked like any input. */
#define _GNU_SOURCE 1 /* sched_getaffinity */
#include "kernels/cpu/quota.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* Digits up to the end of a word; -1 when it is none, or above 10^15 (11 days in microseconds
 * are a thousandth of that). */
static int64_t number(const char **p)
{
    int64_t x = 0;
    const char *s = *p;
    if (*s < '0' || *s > '9')
        return -1;
    for (; *s >= '0' && *s <= '9'; s++) {
        x = x * 10 + (*s - '0');
        if (x > 1000000000000000)
            return -1;
    }
    *p = s;
    return *s == ' ' || *s == '\n' || *s == '\0' ? x : -1;
}

int quota_parse(const char *text)
{
    int64_t time = number(&text);
    if (time <= 0 || *text++ != ' ')
        return 0;
    int64_t period = number(&text);
    if (period <= 0 || (*text && strcmp(text, "\n")))
        return 0;
    return (int)MIN((time - 1) / period + 1, INT_MAX);
}

/* First line of dir/name without its end; empty when there is none. */
static void first_line(const char *dir, const char *name, char *out, int size)
{
    char path[PATH_BYTES + 32];
    FILE *f = NULL;
    out[0] = '\0';
    if (snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path)
        f = fopen(path, "re");
    if (f && fgets(out, size, f))
        out[strcspn(out, "\n")] = '\0';
    if (f)
        fclose(f);
}

/* What one group allows by its own files. */
static int of_group(const char *dir, bool unified)
{
    char text[128], time[48], period[48];
    if (unified) {
        first_line(dir, "cpu.max", text, sizeof text);
    } else {
        first_line(dir, "cpu.cfs_quota_us", time, sizeof time);
        first_line(dir, "cpu.cfs_period_us", period, sizeof period);
        snprintf(text, sizeof text, "%s %s", time, period);
    }
    return quota_parse(text);
}

/* The least that the group `path` under `root` and those above it allow. Inside a container the
 * path may be the host's and not be there; its own group is then the root. */
static int of_path(const char *root, const char *path, bool unified)
{
    char dir[PATH_BYTES];
    int least = 0;
    if (strstr(path, "/..") || snprintf(dir, sizeof dir, "%s%s", root, path) >= (int)sizeof dir)
        snprintf(dir, sizeof dir, "%s", root);
    for (size_t n = strlen(root);;) {
        int cpus = of_group(dir, unified);
        if (cpus > 0 && (least == 0 || cpus < least))
            least = cpus;
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < n)
            return least;
        *slash = '\0';
    }
}

/* Whether "cpu" is one of the comma-separated controllers. */
static bool has_cpu(const char *list)
{
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (n == 3 && !memcmp(p, "cpu", 3))
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

int quota_groups(const struct quota_files *f)
{
    char line[PATH_BYTES];
    int least = 0;
    FILE *in = fopen(f->groups, "re");
    while (in && fgets(line, sizeof line, in)) { /* "4:cpu,cpuacct:/path" or "0::/path" */
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path || path[1] != '/')
            continue;
        *path++ = '\0';
        bool unified = list[1] == '\0';
        if (!unified && !has_cpu(list + 1))
            continue;
        int cpus = of_path(unified ? f->unified : f->v1, path, unified);
        if (cpus > 0 && (least == 0 || cpus < least))
            least = cpus;
    }
    if (in)
        fclose(in);
    return least;
}

int quota_cpus(char *why, size_t size)
{
    static const struct quota_files files = {"/proc/self/cgroup", "/sys/fs/cgroup",
                                             "/sys/fs/cgroup/cpu"};
    cpu_set_t set;
    int online = (int)MAX(MIN(sysconf(_SC_NPROCESSORS_ONLN), INT_MAX), 1), n = online;
    if (sched_getaffinity(0, sizeof set, &set) == 0) /* fails with more CPUs than it can name */
        n = MAX(CPU_COUNT(&set), 1);
    int time = quota_groups(&files);
    bool limited = time > 0 && time < n;
    if (limited)
        n = time;
    if (why && size)
        why[0] = '\0';
    if (why && n < online)
        snprintf(why, size, ", %d of %d CPUs by %s", n, online,
                 limited ? "the control group's quota" : "the affinity mask");
    return n;
}
