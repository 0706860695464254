/* CPU quotas from text that anybody may have written, and from trees of control groups. */
#define _GNU_SOURCE 1 /* sched_setaffinity, mkdtemp */
#include <criterion/criterion.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/quota.h"

Test(quota, time_per_period_is_rounded_up_to_whole_cpus)
{
    static const struct { const char *text; int cpus; } cases[] = {
        {"max 100000", 0},      {"100000 100000", 1}, {"100001 100000\n", 2},
        {"1000 100000", 1},     {"150000 100000", 2}, {"800000 100000\n", 8},
        {"-1 100000", 0},       {"max", 0},           {"1000000000000000 1", INT_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_assert_eq(quota_parse(cases[i].text), cases[i].cpus, "\"%s\"", cases[i].text);
}

Test(quota, anything_else_is_no_limit)
{
    static const char *const cases[] = {
        "", " ", "\n", "0 100000", "100000 0", "100000", "100000 ", " 100000 100000",
        "100000  100000", "100000 100000 1", "100000 100000\n1", "1e5 100000", "+100000 100000",
        "100000 -1", "0x10 1", "100000\t100000", "99999999999999999999999999 1",
        "1 99999999999999999999999999", "18446744073709551617 1", "nan inf", "100000 max", "1.5 1",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_assert_eq(quota_parse(cases[i]), 0, "\"%s\"", cases[i]);
}

static char root[64];

static const char *in_root(const char *path)
{
    static char full[4][256];
    static int at;
    char *p = full[at++ % 4];
    snprintf(p, sizeof full[0], "%s/%s", root, path);
    return p;
}
static void put(const char *path, const char *text)
{
    FILE *f = fopen(in_root(path), "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}
static void tree(void)
{
    snprintf(root, sizeof root, "/tmp/recurd-quota-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    mkdir(in_root("v1"), 0700);
    mkdir(in_root("v2"), 0700);
    mkdir(in_root("v2/a"), 0700);
    mkdir(in_root("v2/a/b"), 0700);
    mkdir(in_root("v1/a"), 0700);
}
static void cut(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}
static int groups(const char *text)
{
    put("groups", text);
    struct quota_files f = {in_root("groups"), in_root("v2"), in_root("v1")};
    return quota_groups(&f);
}

Test(quota, the_least_of_a_group_and_those_above_it_counts, .init = tree, .fini = cut)
{
    cr_assert_eq(groups("0::/a/b\n"), 0);
    put("v2/a/b/cpu.max", "max 100000\n");
    cr_assert_eq(groups("0::/a/b\n"), 0);
    put("v2/a/cpu.max", "250000 100000\n");
    cr_assert_eq(groups("0::/a/b\n"), 3);
    put("v2/a/b/cpu.max", "200000 100000\n");
    cr_assert_eq(groups("0::/a/b\n"), 2);
    cr_assert_eq(groups("0::/a\n"), 3);
    put("v2/cpu.max", "50000 100000\n");
    cr_assert_eq(groups("0::/a/b\n"), 1);
}

Test(quota, the_first_version_has_its_own_files, .init = tree, .fini = cut)
{
    put("v1/a/cpu.cfs_quota_us", "400000\n");
    cr_assert_eq(groups("3:cpu,cpuacct:/a\n"), 0, "a quota without its period");
    put("v1/a/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(groups("3:cpu,cpuacct:/a\n"), 4);
    cr_assert_eq(groups("3:cpuacct,cpu:/a\n9:memory:/a\n"), 4);
    cr_assert_eq(groups("3:cpuacct:/a\n4:cpuset:/a\n"), 0, "other controllers");
    put("v1/a/cpu.cfs_quota_us", "-1\n");
    cr_assert_eq(groups("3:cpu,cpuacct:/a\n"), 0);
}

Test(quota, a_path_of_the_host_means_the_root_inside_a_container, .init = tree, .fini = cut)
{
    put("v2/cpu.max", "300000 100000\n");
    cr_assert_eq(groups("0::/docker/1234567890abcdef\n"), 3);
    cr_assert_eq(groups("0::/../../../../etc\n"), 3);
}

Test(quota, a_damaged_list_of_groups_is_no_limit, .init = tree, .fini = cut)
{
    static char wide[9000];
    put("v2/cpu.max", "300000 100000\n");
    static const char *const texts[] = {"", "\n", ":", "::", "0::", "0:", "0::a", "cpu", ":cpu",
                                        ":cpu:", ":cpu:a", ",,,:,,,:/"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        cr_assert_eq(groups(texts[i]), 0, "\"%s\"", texts[i]);
    memset(wide, '/', sizeof wide - 1);
    memcpy(wide, "0::", 3);
    groups(wide); /* whatever it means, it ends */
    struct quota_files none = {in_root("missing"), in_root("v2"), in_root("v1")};
    cr_assert_eq(quota_groups(&none), 0);
}

Test(quota, a_pool_has_no_more_threads_than_its_mask_has_cpus)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    cpu_set_t all;
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    char why[128];
    cr_assert_eq(quota_cpus(why, sizeof why), 1);
    if (CPU_COUNT(&all) > 1)
        cr_assert_not_null(strstr(why, "1 of "));
    struct threads *t;
    struct err e = {0};
    cr_assert_eq(threads_open(&t, 0, &e), 0);
    cr_assert_eq(threads_count(t), 1);
    threads_close(t);
}
