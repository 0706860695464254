#include "tests/check/oclwgmma.h"

#include <string.h>

#include "base/limits.h"
#include "kernels/opencl/source.h"
#include "kernels/opencl/wgmma.h"

#define UNITS 132

static struct buf source;
static __typeof__(clCreateProgramWithBinary) *create;

/* A slice: products of 16 inputs one after the other, each as mma_emulated of mma.clh has it. */
static const char slices[] =
    "float slice(global const ushort *w, global const uint *x, const ulong *n, int o, int row,\n"
    "            int from, int to)\n"
    "{\n"
    "    float sum = 0.0f;\n"
    "    for (int k = from; k < to; k += 32)\n"
    "        for (int i = 0; i < 32; i++) {\n"
    "            int slot = i % 16;\n"
    "            int at = k + slot % 8 / 2 * 8 + i / 16 * 4 + slot / 8 * 2 + slot % 2;\n"
    "            uint pair = x[n[PACKED_AT] + pair_at(1, n[ROWS_P], row, at / 2 * 2)];\n"
    "            sum = fma(from_bf16(w[weight_at(LAYOUT_MMA, DTYPE_BF16, (ulong)o, (ulong)at,\n"
    "                                            n[COLS_P])]),\n"
    "                      from_bf16(at % 2 ? pair >> 16 : pair & 0xffffu), sum);\n"
    "        }\n"
    "    return sum;\n"
    "}\n";

/* Output o of a row, or one slice of it. */
static const char outputs[] =
    "void output(global float *arena, global float *scratch, const ulong *n,\n"
    "            global const ushort *w, global const float *bias, global const uint *x, int o,\n"
    "            int row, int part)\n"
    "{\n"
    "    ulong at = n[OUT_AT] + (ulong)row * n[OUT_STRIDE] + (ulong)o;\n"
    "    int inputs = (int)n[INPUTS], len = (int)n[SLICE_LEN];\n"
    "    if (n[PARTS] > 1) {\n"
    "        scratch[at + (ulong)part * n[PLANE]] =\n"
    "            slice(w, x, n, o, row, part * len, min((part + 1) * len, inputs));\n"
    "        return;\n"
    "    }\n"
    "    float y = slice(w, x, n, o, row, 0, min(len, inputs));\n"
    "    for (int k = len; k < inputs; k += len)\n"
    "        y += slice(w, x, n, o, row, k, min(k + len, inputs));\n"
    "    if (n[HAS_BIAS])\n"
    "        y += bias[o];\n"
    "    y = activate((int)n[ACT], y);\n"
    "    if (n[HAS_RES])\n"
    "        y += arena[n[RES_AT] + (ulong)row * n[RES_STRIDE] + (ulong)o];\n"
    "    arena[at] = y;\n"
    "}\n";

/* All of a launch, whose groups take numbers in turn. */
static const char body[] =
    "    int items = (int)(get_global_size(0) * get_global_size(1));\n"
    "    int item = (int)(get_global_id(1) * get_global_size(0) + get_global_id(0));\n"
    "    for (int k = 0; k < members; k++) {\n"
    "        ulong n[NUMBERS];\n"
    "        for (int i = 0; i < NUMBERS; i++)\n"
    "            n[i] = all.n[k][i];\n"
    "        int across = (int)(n[N_OUTPUTS] * n[PARTS]);\n"
    "        for (int i = item; i < across * counts[n[IS_LOGITS] ? 2 : 1]; i += items)\n"
    "            output(arena, scratch, n, w[k], bias[k], packed[k], i % across / (int)n[PARTS],\n"
    "                   i / across, i % (int)n[PARTS]);\n"
    "    }\n"
    "}\n";

static void write_kernel(struct buf *b, int rows)
{
    static const char *const types[] = {"const ushort", "const float", "const uint"};
    static const char *const names[] = {"w", "bias", "packed"};
    buf_fmt(b, "kernel void wgmma_%d(global float *arena, global float *scratch,\n"
               " global const int *counts, const int members, const struct records all", rows);
    for (int k = 0; k < OCL_WGMMA_MEMBERS; k++)
        for (int i = 0; i < 3; i++)
            buf_fmt(b, ", global %s *%s%d", types[i], names[i], k);
    buf_str(b, ")\n{\n");
    for (int i = 0; i < 3; i++) {
        buf_fmt(b, "    global %s *%s[] = {", types[i], names[i]);
        for (int k = 0; k < OCL_WGMMA_MEMBERS; k++)
            buf_fmt(b, "%s%s%d", k ? ", " : "", names[i], k);
        buf_str(b, "};\n");
    }
    buf_str(b, body);
}

static void write_source(struct buf *b)
{
    const struct ocl_wgmma *shapes;
    buf_init(b, MIB(1));
    ocl_source_begin(b);
    ocl_source_add(b, "mma.clh");
    buf_fmt(b, "enum { OUT_AT, OUT_STRIDE, RES_AT, RES_STRIDE, N_OUTPUTS, INPUTS, COLS_P,\n"
               "       SLICE_LEN, HAS_BIAS, HAS_RES, ACT, IS_LOGITS, ROWS_P, PACKED_AT, PARTS,\n"
               "       PLANE, NUMBERS };\n"
               "struct records { ulong n[%d][%d]; };\n", OCL_WGMMA_MEMBERS, OCL_WGMMA_NUMBERS);
    buf_str(b, slices);
    buf_str(b, outputs);
    for (int i = 0, n = ocl_wgmma_shapes(&shapes); i < n; i++)
        write_kernel(b, shapes[i].rows);
}

/* In place of the PTX, which is given as what a driver calls a binary. */
static cl_program CL_API_CALL create_model(cl_context c, cl_uint n, const cl_device_id *d,
                                           const size_t *len, const unsigned char **bin,
                                           cl_int *status, cl_int *rc)
{
    const char *text = source.p;
    if (strncmp((const char *)bin[0], ".version ", 9))
        return create(c, n, d, len, bin, status, rc);
    return ocl_api.clCreateProgramWithSource(c, 1, &text, NULL, rc);
}

void wgmma_model(struct ocl_device *d)
{
    write_source(&source);
    ASSERT(!source.failed);
    d->cache_dir[0] = '\0';
    create = ocl_api.clCreateProgramWithBinary;
    ocl_api.clCreateProgramWithBinary = create_model;
    d->info.units = UNITS;
}
