/* A folder of a test's own, made before it and removed behind it:
 *   TestSuite(name, .init = make_dir, .fini = remove_dir); */
#ifndef RECURD_TEST_FOLDER_H
#define RECURD_TEST_FOLDER_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static char dir[] = "/tmp/recurd-test-XXXXXX";

static void make_dir(void)
{
    cr_assert_not_null(mkdtemp(dir));
}

static void remove_dir(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    cr_assert_eq(system(command), 0);
}

/* The path of a file in it; eight are good at a time. */
static inline const char *in_dir(const char *name)
{
    static char path[8][256];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

#endif
