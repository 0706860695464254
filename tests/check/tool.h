/* What the programs that check a plan on an OpenCL device have in common: each is one file, defines
 * TOOL (its name, for messages) before this, and ends with exit code 1 when `failures`. */
#ifndef RECURD_CHECK_TOOL_H
#define RECURD_CHECK_TOOL_H

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

static int failures;

/* Ends the program with e's text when rc is a code. */
static void must(int rc, const struct err *e)
{
    if (rc >= 0)
        return;
    fprintf(stderr, TOOL ": %s\n", e->text);
    exit(1);
}

static void fail(const char *what)
{
    printf("FAIL %s\n", what);
    failures++;
}

/* Memory for n floats, or of as many bytes; mem_free. */
static void *need(size_t n)
{
    struct err e = {0};
    void *p = mem_array(n + 1, sizeof(float));
    must(p ? 0 : err_set(&e, E_NOMEM, "no memory for %zu numbers", n), &e);
    return p;
}

#endif
