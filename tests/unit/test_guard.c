/* Whether the library reads through our recv(): the check at start, and what it leaves behind. */
#include <criterion/criterion.h>
#include <dirent.h>

#include "base/mem.h"
#include "server/http/guard.h"

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

Test(guard, a_check_leaves_no_descriptor_open_however_it_ends)
{
    struct err e = {0};
    cr_assert_eq(guard_check(&e), 0, "%s", e.text);
    int before = descriptors();
    cr_assert_eq(guard_check(&e), 0, "%s", e.text);
    cr_assert_eq(descriptors(), before);
    mem_fail_at(1);
    cr_assert_eq(guard_check(&e), E_NOMEM);
    mem_fail_at(0);
    cr_assert_eq(descriptors(), before);
    err_clear(&e);
    cr_assert_eq(guard_check(&e), 0, "%s", e.text);
    cr_assert_eq(descriptors(), before);
}
