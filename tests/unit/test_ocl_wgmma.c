/* The PTX that wgmma.c writes, as far as it can be read without its assembler: what it declares,
 * where it jumps, how much memory and how many registers it wants. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "kernels/opencl/wgmma.h"

#define LOCAL_BYTES 49152 /* what NVIDIA's driver allows a group */
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
        int ring = 0, bars = 0, most = 0;
        char *from = kernel(s);
        cr_assert_eq(sscanf(strstr(from, "ring["), "ring[%d]", &ring), 1);
        cr_assert_eq(sscanf(strstr(from, "bars["), "bars[%d]", &bars), 1);
        cr_assert_eq(sscanf(strstr(from, ".maxnreg"), ".maxnreg %d", &most), 1);
        cr_assert_leq(ring + bars, LOCAL_BYTES, "%d rows", s->rows);
        cr_assert_leq(most * OCL_WGMMA_LANES, REGISTERS, "%d rows", s->rows);
        cr_assert_eq(s->rows % 8, 0);
        cr_assert_eq(s->ahead % 4, 0, "halves that begin at even products");
        free(from);
        cr_assert(i == 0 || s->rows > shapes[i - 1].rows, "narrow ones first");
    }
}
