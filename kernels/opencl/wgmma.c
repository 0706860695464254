/* Writing the kernel. A warp copies the rows of x, one product of 16 inputs after another, into a
 * ring of stages in local memory (bulk copies, an mbarrier each for "full" and "empty"). Two
 * warpgroups multiply: each has 64 outputs x all rows of the tile in registers, twice: the chain of
 * the running slice, and the total of the slices before. At a slice's end one adds while the other
 * multiplies. A warp's weights lie in memory as its lanes hold them (LAYOUT_MMA), read by nobody
 * else: they go straight into registers, half of `ahead` products at a time. (Through the ring
 * they would be copies of 512 bytes, at 60 ns each.) A group takes one tile after another; the
 * ring goes on. Clusters would share rows of x between groups, but OpenCL launches each alone.
 *
 * A slice is the chain of mma.clh from +0: wgmma and mma.sync agree to the bit on it. Local memory
 * stays below the 48 KiB that the driver allows. */
#include "kernels/opencl/wgmma.h"

#include "base/limits.h"
#include "kernels/plan.h"

#define GROUP_TILES 16 /* tiles of outputs that neighbouring groups share, while in the L2 cache */
#define BATCH 4        /* of 8 rows whose residuals are read at once */
#define FAR_BITS 5     /* log2 of: products before its use that a line is asked into the L2 cache */
#define FAR (1 << FAR_BITS)
#define WARPS 8        /* that multiply */
#define PANELS (OCL_WGMMA_OUTPUTS / 16)
/* Registers of a lane at the start, of those that multiply, of the others. */
#define REGISTERS 168
#define REGISTERS_MORE 240
#define REGISTERS_LESS 24

static const struct ocl_wgmma shapes[] = {{128, 11, 16}, {160, 9, 12}};

int ocl_wgmma_shapes(const struct ocl_wgmma **out)
{
    *out = shapes;
    return ARRAY_LEN(shapes);
}

static void header(struct buf *b, const struct ocl_wgmma *s)
{
    static const char *const params[] = {
        ".u64 .ptr .global .align 16 arena", ".u64 out_at", ".u32 out_stride", ".u64 res_at",
        ".u32 res_stride", ".u64 .ptr .global .align 16 w", ".u64 .ptr .global .align 4 bias",
        ".u64 .ptr .global .align 4 counts", ".u32 outputs", ".u32 inputs", ".u64 cols_p",
        ".u32 slice_len", ".u32 has_bias", ".u32 has_res", ".u32 act", ".u32 is_logits",
        ".u64 .ptr .global .align 16 packed", ".u64 rows_p", ".u32 parts", ".u64 plane",
    };
    buf_fmt(b, ".visible .entry wgmma_%d(\n", s->rows);
    for (size_t i = 0; i < ARRAY_LEN(params); i++)
        buf_fmt(b, " .param %s%s\n", params[i], i + 1 < ARRAY_LEN(params) ? "," : ")");
    buf_fmt(b, ".reqntid %d, 1, 1\n", OCL_WGMMA_LANES);
    buf_fmt(b, ".maxnreg %d\n{\n .shared .align 1024 .b8 ring[%d];\n", REGISTERS,
            s->stages * s->rows * 32);
    /* "Full" of every stage, then "empty" of every stage. */
    buf_fmt(b, " .shared .align 8 .b8 bars[%d];\n", s->stages * 16);
    buf_fmt(b, " .reg .f32 c<%d>, t<%d>, y<%d>, v<2>;\n .reg .b32 a<%d>;\n", s->rows / 2,
            s->rows / 2, BATCH * 4, s->ahead * 4);
    buf_str(b, " .reg .b64 desc, q<8>, from, to, res, panel, row_bytes;\n"
               " .reg .b32 r<16>, id, lane, warp, tile, tile_o, tile_r;\n"
               " .reg .b32 row, rows, steps, step, slice, fold, phase, at, full, last, low;\n"
               " .reg .b32 high, first, act_, o, part, skip;\n"
               " .reg .pred p, lead, later, more, far, bias_, res_, o0, o1, n0, n1, x;\n");
}

/* What all roles need, and the barriers. */
static void begin(struct buf *b, const struct ocl_wgmma *s)
{
    buf_str(b, " mov.u32 id, %tid.x;\n and.b32 lane, id, 31;\n shr.u32 warp, id, 5;\n"
               " mov.u32 r0, %nctaid.x;\n"
               " mov.u32 r2, %ctaid.x;\n mov.u32 r3, %ctaid.y;\n mad.lo.u32 tile, r3, r0, r2;\n");
    buf_str(b, " setp.ne.u32 p, id, 0;\n @p bra READY;\n");
    for (int i = 0; i < s->stages; i++)
        buf_fmt(b, " mbarrier.init.shared.b64 [bars+%d], 1;\n"
                   " mbarrier.init.shared.b64 [bars+%d], %d;\n", i * 8, (s->stages + i) * 8,
                WARPS);
    buf_str(b, " fence.mbarrier_init.release.cluster;\n fence.proxy.async;\nREADY:\n"
               " bar.sync 0;\n");
    buf_fmt(b, " setp.lt.u32 p, warp, %d;\n @p bra MULTIPLY;\n"
               " setmaxnreg.dec.sync.aligned.u32 %d;\n", WARPS, REGISTERS_LESS);
}

/* Which tile: GROUP_TILES tiles of outputs, then the next rows; with parts > 1 all tiles of a
 * slice, then the next slice. What it is found from is computed again for every tile: registers
 * are scarce. */
static void locate(struct buf *b, const struct ocl_wgmma *s, const char *done)
{
    buf_str(b, " ld.param.u32 r0, [is_logits];\n setp.ne.u32 p, r0, 0;\n selp.u32 r0, 8, 4, p;\n"
               " cvt.u64.u32 q0, r0;\n ld.param.u64 q1, [counts];\n cvta.to.global.u64 q1, q1;\n"
               " add.u64 q0, q0, q1;\n ld.volatile.global.u32 rows, [q0];\n");
    buf_fmt(b, " ld.param.u32 r0, [outputs];\n add.u32 r0, r0, %d;\n div.u32 r1, r0, %d;\n"
               " add.u32 r0, rows, %d;\n div.u32 r0, r0, %d;\n"
               " mul.lo.u32 r2, r0, r1;\n mul.lo.u32 r3, r0, %d;\n ld.param.u32 r8, [parts];\n"
               " mul.lo.u32 r9, r2, r8;\n setp.ge.u32 p, tile, r9;\n @p bra %s;\n",
            OCL_WGMMA_OUTPUTS - 1, OCL_WGMMA_OUTPUTS, s->rows - 1, s->rows, GROUP_TILES, done);
    buf_fmt(b, " div.u32 part, tile, r2;\n rem.u32 r2, tile, r2;\n"
               " div.u32 r4, r2, r3;\n rem.u32 r5, r2, r3;\n mul.lo.u32 r4, r4, %d;\n"
               " sub.u32 r6, r1, r4;\n min.u32 r6, r6, %d;\n rem.u32 r7, r5, r6;\n"
               " add.u32 tile_o, r4, r7;\n div.u32 tile_r, r5, r6;\n"
               " mul.lo.u32 row, tile_r, %d;\n mov.u32 r0, %%nctaid.x;\n"
               " mov.u32 r1, %%nctaid.y;\n mad.lo.u32 tile, r0, r1, tile;\n mov.u32 step, 0;\n",
            GROUP_TILES, GROUP_TILES, s->rows);
    /* The products: of the slice `part`, behind `skip` others, or all. */
    buf_str(b, " ld.param.u32 slice, [slice_len];\n shr.u32 slice, slice, 4;\n"
               " mul.lo.u32 skip, part, slice;\n ld.param.u32 steps, [inputs];\n"
               " add.u32 steps, steps, 31;\n shr.u32 steps, steps, 5;\n shl.b32 steps, steps, 1;\n"
               " sub.u32 steps, steps, skip;\n setp.gt.u32 p, r8, 1;\n"
               " @p min.u32 steps, steps, slice;\n");
}

/* One lane of the ninth warp: waits until a stage was used, and has it filled again. */
static void copy(struct buf *b, const struct ocl_wgmma *s)
{
    int bytes = s->rows * 32;
    buf_fmt(b, " setp.ne.u32 p, lane, 0;\n setp.ne.or.u32 p, warp, %d, p;\n @p bra END;\n"
               " mov.u32 at, 0;\n mov.u32 phase, 1;\nROWS:\n", WARPS);
    locate(b, s, "END");
    buf_fmt(b, " ld.param.u64 row_bytes, [rows_p];\n shl.b64 row_bytes, row_bytes, 5;\n"
               " ld.param.u64 from, [packed];\n cvta.to.global.u64 from, from;\n"
               " mul.wide.u32 q1, row, 32;\n add.u64 from, from, q1;\n"
               " cvt.u64.u32 q1, skip;\n mad.lo.u64 from, q1, row_bytes, from;\n"
               " shl.b64 to, row_bytes, %d;\n add.u64 to, to, from;\n"
               " and.b32 r0, tile_o, %d;\n setp.eq.u32 far, r0, 0;\n",
            FAR_BITS, GROUP_TILES - 1);
    buf_fmt(b, "COPY:\n mov.u32 r5, ring;\n mad.lo.u32 r4, at, %d, r5;\n mov.u32 r6, bars;\n"
               " mad.lo.u32 r5, at, 8, r6;\n"
               "VACANT:\n mbarrier.try_wait.parity.shared.b64 p, [r5+%d], phase;\n"
               " @!p bra VACANT;\n", bytes, s->stages * 8);
    buf_fmt(b, " mbarrier.arrive.expect_tx.shared.b64 _, [r5], %d;\n"
               " cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [r4], [from], "
               "%d, [r5];\n", bytes, bytes);
    buf_fmt(b, " add.u32 r7, step, %d;\n setp.lt.and.u32 p, r7, steps, far;\n"
               " @p cp.async.bulk.prefetch.L2.global [to], %d;\n"
               " add.u64 to, to, row_bytes;\n add.u64 from, from, row_bytes;\n"
               " add.u32 step, step, 1;\n add.u32 at, at, 1;\n setp.eq.u32 p, at, %d;\n"
               " @p mov.u32 at, 0;\n @p xor.b32 phase, phase, 1;\n"
               " setp.lt.u32 p, step, steps;\n @p bra COPY;\n bra ROWS;\n",
            FAR, bytes, s->stages);
}

/* The weights of ahead / 2 products, from product `step` + by on, into the registers of product u
 * and those behind it, where there are so many. They come at once, and long before they are used:
 * a wait for one load is a wait for all. */
static void load_weights(struct buf *b, const struct ocl_wgmma *s, int u, int by)
{
    for (int i = 0; i < s->ahead / 2; i++) {
        if (i % 2 == 0)
            buf_fmt(b, " add.u32 r0, step, %d;\n setp.lt.u32 more, r0, steps;\n", by + i);
        int a = (u + i) * 4;
        buf_fmt(b, " @more ld.global.nc.L1::no_allocate.v4.u32 {a%d,a%d,a%d,a%d}, [panel+%d];\n", a,
                a + 1, a + 2, a + 3, (by + i) * 512);
    }
}

/* The stage of the product before is free. */
static void release(struct buf *b, const char *when)
{
    buf_fmt(b, " @%s mbarrier.arrive.shared.b64 _, [last];\n", when);
}

/* The next stage of the ring; its matrix descriptor is {low, high}. */
static void advance(struct buf *b, const struct ocl_wgmma *s)
{
    buf_fmt(b, " add.u32 last, full, %d;\n add.u32 step, step, 1;\n add.u64 panel, panel, 512;\n"
               " add.u32 full, full, 8;\n add.u32 low, low, %d;\n setp.eq.u32 p, full, at;\n"
               " @p sub.u32 full, full, %d;\n @p sub.u32 low, low, %d;\n"
               " @p xor.b32 phase, phase, 1;\n",
            s->stages * 8, s->rows * 2, s->stages * 8, s->stages * s->rows * 2);
}

/* One product of 16 inputs. */
static void product(struct buf *b, const struct ocl_wgmma *s, int u)
{
    buf_fmt(b, "FULL%d:\n mbarrier.try_wait.parity.shared.b64 p, [full], phase;\n @!p bra FULL%d;\n"
               " mov.b64 desc, {low, high};\n wgmma.fence.sync.aligned;\n"
               " wgmma.mma_async.sync.aligned.m64n%dk16.f32.bf16.bf16 {", u, u, s->rows);
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, "%sc%d", i ? "," : "", i);
    buf_fmt(b, "}, {a%d,a%d,a%d,a%d}, desc, 1, 1, 1, 0;\n wgmma.commit_group.sync.aligned;\n"
               " wgmma.wait_group.sync.aligned 1;\n", u * 4, u * 4 + 1, u * 4 + 2, u * 4 + 3);
    /* The product before is done: its stage and its registers are free. */
    if (!u)
        buf_str(b, " setp.ne.and.u32 later, step, 0, lead;\n");
    release(b, u ? "lead" : "later");
    if (u % (s->ahead / 2) == 0)
        load_weights(b, s, u ? 0 : s->ahead / 2, s->ahead / 2);
    advance(b, s);
}

/* The end of a slice: its chain goes into the total. */
static void add_slice(struct buf *b, const struct ocl_wgmma *s, int u)
{
    buf_fmt(b, "FOLD%d:\n wgmma.wait_group.sync.aligned 0;\n setp.ne.u32 p, first, 0;\n"
               " @p bra FIRST%d;\n", u, u);
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, " add.ftz.f32 t%d, t%d, c%d;\n", i, i, i);
    buf_fmt(b, " bra ZERO%d;\nFIRST%d:\n mov.u32 first, 0;\n", u, u);
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, " mov.f32 t%d, c%d;\n", i, i);
    buf_fmt(b, "ZERO%d:\n", u);
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, " mov.f32 c%d, 0f00000000;\n", i);
    buf_fmt(b, " add.u32 fold, fold, slice;\n min.u32 fold, fold, steps;\n"
               " setp.lt.u32 p, step, steps;\n @p bra AFTER%d;\n bra SUMS;\n", u);
}

/* Where the warp's weights are, and the first of them. */
static void begin_weights(struct buf *b, const struct ocl_wgmma *s)
{
    buf_fmt(b, " mad.lo.u32 r1, tile_o, %d, warp;\n ld.param.u32 r0, [outputs];\n"
               " add.u32 r0, r0, 15;\n shr.u32 r0, r0, 4;\n sub.u32 r0, r0, 1;\n"
               " min.u32 r1, r1, r0;\n ld.param.u64 q0, [cols_p];\n shl.b64 q0, q0, 5;\n"
               " cvt.u64.u32 q1, r1;\n mul.lo.u64 q0, q0, q1;\n ld.param.u64 panel, [w];\n"
               " cvta.to.global.u64 panel, panel;\n add.u64 panel, panel, q0;\n"
               " mul.wide.u32 q1, lane, 16;\n add.u64 panel, panel, q1;\n"
               " mul.wide.u32 q1, skip, 512;\n add.u64 panel, panel, q1;\n", PANELS);
    load_weights(b, s, 0, 0);
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, " mov.f32 c%d, 0f00000000;\n", i);
}

static void multiply(struct buf *b, const struct ocl_wgmma *s)
{
    buf_fmt(b, "MULTIPLY:\n setmaxnreg.inc.sync.aligned.u32 %d;\n setp.eq.u32 lead, lane, 0;\n"
               " mov.u32 full, bars;\n add.u32 at, full, %d;\n mov.u32 phase, 0;\n",
            REGISTERS_MORE, s->stages * 8);
    /* A matrix descriptor: address, 128 bytes to the other 8 inputs, 256 to the next 8 rows. */
    buf_fmt(b, " mov.u32 low, ring;\n shr.u32 low, low, 4;\n or.b32 low, low, %d;\n"
               " mov.u32 high, %d;\n", (128 >> 4) << 16, 256 >> 4);
    buf_str(b, "TILE:\n");
    locate(b, s, "END");
    begin_weights(b, s);
    buf_fmt(b, " mov.u32 first, 1;\n min.u32 fold, slice, steps;\n"
               " setp.eq.u32 far, lane, 0;\n and.b32 r2, tile_r, 7;\n"
               " setp.eq.and.u32 far, r2, 0, far;\nBLOCK:\n"
               " add.u32 r0, step, %d;\n setp.lt.and.u32 p, r0, steps, far;\n"
               " @p cp.async.bulk.prefetch.L2.global [panel+%d], %d;\n",
            FAR + s->ahead, FAR * 512, s->ahead * 512);
    for (int u = 0; u < s->ahead; u++) {
        product(b, s, u);
        if (u % 2)
            buf_fmt(b, " setp.eq.u32 p, step, fold;\n @p bra FOLD%d;\nAFTER%d:\n", u, u);
    }
    buf_str(b, " bra BLOCK;\n");
    for (int u = 1; u < s->ahead; u += 2)
        add_slice(b, s, u);
    buf_str(b, "SUMS:\n");
    release(b, "lead");
}

/* Where row `row` of a view begins, at output o: into `to`; the bytes of a row into q`stride`. */
static void place(struct buf *b, const char *view, const char *to, int stride)
{
    buf_fmt(b, " ld.param.u32 r2, [%s_stride];\n mul.wide.u32 q%d, r2, 4;\n cvt.u64.u32 q0, row;\n"
               " mul.lo.u64 q0, q0, q%d;\n ld.param.u64 q1, [%s_at];\n shl.b64 q1, q1, 2;\n"
               " add.u64 q0, q0, q1;\n mul.wide.u32 q1, o, 4;\n add.u64 q0, q0, q1;\n"
               " ld.param.u64 %s, [arena];\n cvta.to.global.u64 %s, %s;\n add.u64 %s, %s, q0;\n",
            view, stride, stride, view, to, to, to, to, to);
}

/* Four sums of 8 rows j, of row i % 2 and output i / 2 each: residuals in, or results out. */
static void eight_rows(struct buf *b, int j, int y0, bool out)
{
    const char *at = out ? "to" : "res";
    buf_fmt(b, " add.u32 r0, row, %d;\n setp.lt.u32 n0, r0, rows;\n add.u32 r0, r0, 1;\n"
               " setp.lt.u32 n1, r0, rows;\n add.u64 q4, %s, q%d;\n", j * 8, at, out ? 2 : 3);
    for (int i = 0; i < 4; i++) {
        int y = y0 + i, sum = 4 * j + i;
        buf_fmt(b, " and.pred x, o%d, n%d;\n", i / 2, i % 2);
        if (!out) {
            buf_fmt(b, " and.pred x, x, res_;\n @x ld.global.f32 y%d, [%s+%d];\n", y,
                    i % 2 ? "q4" : at, i / 2 * 32);
            continue;
        }
        /* As activate() of common.clh: what is negative becomes +0, the rest stays. */
        buf_fmt(b, " @bias_ add.ftz.f32 t%d, t%d, v%d;\n setp.lt.ftz.f32 p, t%d, 0f00000000;\n"
                   " and.pred p, p, more;\n @p mov.f32 t%d, 0f00000000;\n"
                   " @later mul.ftz.f32 t%d, t%d, t%d;\n @res_ add.ftz.f32 t%d, t%d, y%d;\n"
                   " @x st.global.f32 [%s+%d], t%d;\n",
                sum, sum, i / 2, sum, sum, sum, sum, sum, sum, sum, y, i % 2 ? "q4" : at,
                i / 2 * 32, sum);
    }
    buf_fmt(b, " mad.lo.u64 %s, q%d, 8, %s;\n", at, out ? 2 : 3, at);
}

/* Sum t[4 j + 2 h + i] of a lane is that of output lane / 4 + 8 h, row 8 j + lane % 4 * 2 + i. */
static void store(struct buf *b, const struct ocl_wgmma *s)
{
    buf_fmt(b, " mul.lo.u32 o, tile_o, %d;\n shl.b32 r0, warp, 4;\n add.u32 o, o, r0;\n"
               " shr.u32 r0, lane, 2;\n add.u32 o, o, r0;\n ld.param.u32 r1, [outputs];\n"
               " setp.lt.u32 o0, o, r1;\n add.u32 r0, o, 8;\n setp.lt.u32 o1, r0, r1;\n"
               " and.b32 r0, lane, 3;\n shl.b32 r0, r0, 1;\n add.u32 row, row, r0;\n",
            OCL_WGMMA_OUTPUTS);
    place(b, "out", "to", 2);
    place(b, "res", "res", 3);
    buf_str(b, " cvt.u64.u32 q0, part;\n ld.param.u64 q1, [plane];\n mul.lo.u64 q0, q0, q1;\n"
               " shl.b64 q0, q0, 2;\n add.u64 to, to, q0;\n");
    buf_str(b, " ld.param.u32 r0, [has_res];\n setp.ne.u32 res_, r0, 0;\n"
               " ld.param.u32 r0, [has_bias];\n setp.ne.u32 bias_, r0, 0;\n"
               " ld.param.u64 q0, [bias];\n cvta.to.global.u64 q0, q0;\n mul.wide.u32 q1, o, 4;\n"
               " add.u64 q0, q0, q1;\n mov.f32 v0, 0f00000000;\n mov.f32 v1, 0f00000000;\n"
               " and.pred x, bias_, o0;\n @x ld.global.f32 v0, [q0];\n"
               " and.pred x, bias_, o1;\n @x ld.global.f32 v1, [q0+32];\n");
    buf_fmt(b, " ld.param.u32 act_, [act];\n setp.eq.u32 later, act_, %d;\n"
               " setp.eq.or.u32 more, act_, %d, later;\n", ACT_SQRELU, ACT_RELU);
    for (int j0 = 0; j0 < s->rows / 8; j0 += BATCH)
        for (int out = 0; out < 2; out++)
            for (int j = j0; j < MIN(j0 + BATCH, s->rows / 8); j++)
                eight_rows(b, j, (j - j0) * 4, out);
    buf_str(b, " bra TILE;\n");
}

static void write_kernel(struct buf *b, const struct ocl_wgmma *s)
{
    header(b, s);
    begin(b, s);
    copy(b, s);
    multiply(b, s);
    store(b, s);
    buf_str(b, "END:\n ret;\n}\n");
}

void ocl_wgmma_program(struct buf *b)
{
    buf_str(b, ".version 8.0\n.target sm_90a\n.address_size 64\n");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        write_kernel(b, &shapes[i]);
}
