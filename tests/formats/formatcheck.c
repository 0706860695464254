/* formatcheck decode|panel|encode FORMAT N: the tables' side of test_formats.py. Blocks come in
 * on the standard input (encode: float32), N of them; values (encode: blocks) go out. panel: the
 * values take the way through a panel of 16 rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/host.h"

static int find(const char *name)
{
    for (int i = 0; i < DTYPES; i++)
        if (strcmp(dtype_name((enum dtype)i), name) == 0)
            return i;
    return -1;
}

static int fail(const char *what)
{
    fprintf(stderr, "formatcheck: %s\n", what);
    return 2;
}

/* Every block is a row of its own, 16 to a panel; rows are read back one by one. */
static void through_panel(enum dtype t, const char *blocks, int64_t n, float *out)
{
    struct host_weight w = {WEIGHT_MATRIX, t, n, formats[t].block, 0, NULL};
    struct weight shape = {WEIGHT_MATRIX, t, n, formats[t].block};
    ASSERT(pack_bytes(&shape, &w.bytes));
    w.data = mem_aligned(w.bytes);
    ASSERT(w.data);
    pack_rows(&w, 0, n, blocks, t);
    for (int64_t r = 0; r < n; r++)
        panel_row(&w, r, 0, w.cols, out + r * w.cols);
    mem_aligned_free(w.data, w.bytes);
}

int main(int argc, char **argv)
{
    long n = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    int t = argc == 4 ? find(argv[2]) : -1;
    if (n < 1 || n > 4000000 || t < 0)
        return fail("decode, panel or encode, a format and 1 to 4000000 blocks");
    bool encode = strcmp(argv[1], "encode") == 0;
    size_t count = (size_t)n * (size_t)formats[t].block;
    size_t bytes = (size_t)n * (size_t)formats[t].bytes;
    float *f = mem_array(count, sizeof *f);
    char *b = mem_array(bytes, 1);
    if (!f || !b)
        return fail("no memory");
    if (encode ? fread(f, sizeof *f, count, stdin) != count : fread(b, 1, bytes, stdin) != bytes)
        return fail("the input is shorter than so many blocks");
    if (encode && !format_encodes((enum dtype)t))
        return fail("the format has no encoder");
    if (encode)
        format_encode((enum dtype)t, f, (int64_t)count, b);
    else if (strcmp(argv[1], "panel") == 0)
        through_panel((enum dtype)t, b, n, f);
    else
        format_decode((enum dtype)t, b, (int64_t)count, f);
    size_t done = encode ? fwrite(b, 1, bytes, stdout) : fwrite(f, sizeof *f, count, stdout);
    if (done != (encode ? bytes : count) || fflush(stdout))
        return fail("the output could not be written");
    mem_free(f);
    mem_free(b);
    return 0;
}
