/* The PTX that wgmma.c writes, as far as it can be read without its assembler: what it declares,
 * where it jumps, how much memory and how many registers it wants. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "kernels/opencl/wgmma.h"

#define LOCAL_BYTES 232384 /* of a group: 227 KiB, and what the driver takes of it */
#define REGISTERS 65536   /* of a multiprocessor */

static struct buf source;

static void write_program(void)
{
    buf_init(&source, MIB(16));
    ocl_wgmma_program(&source);
    cr_assert_not(source.failed);
}

static void free_program(void) { buf_free(&source); }

/* A copy of the kernel of a shape: from its .entry to the next. */
static char *kernel(const struct ocl_wgmma *s)
{
    char name[64];
    snprintf(name, sizeof name, ".visible .entry wgmma_%d(\n", s->rows);
    const char *from = strstr(source.p, name);
    cr_assert(from, "no kernel for %d rows", s->rows);
    cr_assert(!strstr(from + 1, name), "two kernels for %d rows", s->rows);
    const char *to = strstr(from + 1, ".visible .entry");
    return strndup(from, to ? (size_t)(to - from) : strlen(from));
}

Test(ocl_wgmma, every_jump_has_its_label, .init = write_program, .fini = free_program)
{
    const struct ocl_wgmma *shapes;
    int jumps = 0;
    for (int i = 0, n = ocl_wgmma_shapes(&shapes); i < n; i++) {
        char *all = kernel(&shapes[i]), label[32];
        for (const char *p = all; (p = strstr(p, "bra ")); p++, jumps++) {
            snprintf(label, sizeof label, "\n%.*s:\n", (int)strcspn(p + 4, ";"), p + 4);
            cr_assert(strstr(all, label), "%d rows: no label %s", shapes[i].rows, label);
        }
        free(all);
    }
    cr_assert_gt(jumps, 10);
}

Test(ocl_wgmma, every_shape_fits_a_multiprocessor, .init = write_program, .fini = free_program)
{
    const struct ocl_wgmma *shapes;
    for (int i = 0, n = ocl_wgmma_shapes(&shapes); i < n; i++) {
        const struct ocl_wgmma *s = &shapes[i];
        int most = 0, more = 0, less = 0, local = 0;
        char *from = kernel(s);
        for (const char *p = from; (p = strstr(p, ".shared .align ")); p++) {
            int align = 0, bytes = 0;
            if (sscanf(p, ".shared .align %d .b8 %*[a-z][%d]", &align, &bytes) == 2)
                local = (int)round_up((size_t)local, (size_t)align) + bytes;
        }
        cr_assert_gt(local, s->stages * (s->rows * 64 + 8192), "%d rows", s->rows);
        cr_assert_leq(local, LOCAL_BYTES, "%d rows", s->rows);
        /* Registers at the start; then four warps give some away, and eight take them. */
        cr_assert_eq(sscanf(strstr(from, ".maxnreg"), ".maxnreg %d", &most), 1);
        cr_assert_eq(sscanf(strstr(from, "setmaxnreg.inc"), "setmaxnreg.inc%*[^ ] %d", &more), 1);
        cr_assert_eq(sscanf(strstr(from, "setmaxnreg.dec"), "setmaxnreg.dec%*[^ ] %d", &less), 1);
        cr_assert_leq(most * OCL_WGMMA_LANES, REGISTERS, "%d rows", s->rows);
        cr_assert_leq(more * 256 + less * 128, most * OCL_WGMMA_LANES, "%d rows", s->rows);
        cr_assert_eq(more % 8 + less % 8, 0);
        cr_assert_eq(s->rows % 8, 0);
        cr_assert_geq(s->stages, 4, "two are used, one is next, one comes");
        free(from);
        cr_assert(i == 0 || s->rows > shapes[i - 1].rows, "narrow ones first");
    }
}
