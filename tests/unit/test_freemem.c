/* Free memory: the machine's, and what control groups leave of it. */
#include "base/freemem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/test_freemem.XXXXXX";

static void put(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f, "%s", path);
    fputs(text, f);
    fclose(f);
}

static void folder(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", root, name);
    cr_assert_eq(mkdir(path, 0700), 0);
}

static uint64_t ask(void)
{
    char meminfo[200], groups[200];
    snprintf(meminfo, sizeof meminfo, "%s/meminfo", root);
    snprintf(groups, sizeof groups, "%s/self", root);
    return freemem_of(&(struct freemem_files){meminfo, groups, root});
}

static void begin(void)
{
    cr_assert_not_null(mkdtemp(root));
    put("meminfo", "MemTotal: 99 kB\nMemAvailable:   2000 kB\n");
    put("self", "12:cpu:/x\n0::/a/b\n");
    folder("a");
    folder("a/b");
}

static void end(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

Test(freemem, the_machine_is_the_limit_where_no_group_has_one, .init = begin, .fini = end)
{
    cr_assert_eq(ask(), 2000 * 1024);
    put("a/b/memory.max", "max\n");
    put("a/b/memory.current", "5\n");
    cr_assert_eq(ask(), 2000 * 1024);
}

Test(freemem, the_tightest_group_above_counts_without_files_it_could_drop, .init = begin,
     .fini = end)
{
    put("a/b/memory.max", "900000\n");
    put("a/b/memory.current", "100000\n");
    cr_assert_eq(ask(), 800000);
    put("a/memory.max", "500000\n");
    put("a/memory.current", "450000\n");
    cr_assert_eq(ask(), 50000);
    put("a/memory.stat", "anon 1\ninactive_file 20000\nactive_file 7\n");
    cr_assert_eq(ask(), 70000);
    put("a/memory.current", "600000\n");
    put("a/memory.stat", "anon 1\n");
    cr_assert_eq(ask(), 0);
}

Test(freemem, a_group_that_is_not_there_is_the_root, .init = begin, .fini = end)
{
    put("memory.max", "700000\n");
    put("memory.current", "0\n");
    put("self", "0::/not/here\n");
    cr_assert_eq(ask(), 700000);
    put("self", "0::/../../outside\n");
    cr_assert_eq(ask(), 700000);
    put("self", "0::/\n");
    cr_assert_eq(ask(), 700000);
}

Test(freemem, nonsense_is_no_limit, .init = begin, .fini = end)
{
    static const char *const texts[] = {"", "x", "-5", "99999999999999999999999", "\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        put("a/b/memory.max", texts[i]);
        put("a/b/memory.current", "0\n");
        cr_assert_eq(ask(), 2000 * 1024, "\"%s\"", texts[i]);
    }
    put("meminfo", "MemAvailable: many\n");
    cr_assert_eq(ask(), UINT64_MAX);
}
