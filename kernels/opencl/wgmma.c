/* Writing the kernel. A group makes one tile after another. Its warps have roles: one copies rows
 * of x, and one weights, into a ring of stages of 32 inputs in local memory (bulk copies, an
 * mbarrier each for "full" and "empty"); two warpgroups multiply; the others bring the sums to
 * where they belong, while the next tile is under way; those of a group's last tile all bring that
 * have multiplied. Whoever multiplies has 64 outputs x all rows of the tile in registers, twice:
 * the chain of the running slice, and the total of the slices before. At a slice's end one adds
 * while the other multiplies. A warp's weights lie in memory as
 * its lanes hold them (LAYOUT_MMA), so they go through local memory into registers.
 *
 * A slice is the chain of mma.clh from +0: wgmma and mma.sync agree to the bit on it.
 *
 * What bounds it is the second-level cache: at 8192 x 8192 and as many rows it gives each
 * multiprocessor 37 bytes a clock. Wider tiles ask less of it. Clusters would share rows of x
 * between groups, but OpenCL launches each alone. Local memory: the driver gives kernels in PTX all
 * that a multiprocessor has, those in OpenCL C 48 KiB.
 */
#include "kernels/opencl/wgmma.h"

#include "base/limits.h"
#include "kernels/plan.h"

#define GROUP_TILES 16 /* tiles of outputs that neighbouring groups share, while in the L2 cache */
#define FAR_BITS 5     /* log2 of: products before its use that a line is asked into the L2 cache */
#define FAR (1 << FAR_BITS)
#define PANELS (OCL_WGMMA_OUTPUTS / 16)
#define WEIGHTS (PANELS * 1024) /* bytes of a stage */
#define PITCH 132 /* floats of a row of sums in local memory: 4 more than outputs, for the banks */
/* Warps by their roles, in this order; the last two are STORERS. */
#define WARPS 8 /* that multiply */
#define COPIER WARPS
#define LOADER (WARPS + 1)
#define STORERS 2
#define ALL_STORERS (STORERS + WARPS) /* of a group's last tile: a multiple of STORERS */
#define BATCH 4 /* rows whose residuals a storer reads at once */
/* Registers of a lane at the start, of those that multiply, of the others. */
#define REGISTERS 168
#define REGISTERS_MORE 224
#define REGISTERS_LESS 48
#define RECORD (OCL_WGMMA_NUMBERS * 8) /* bytes of a member's */
#define OF(name) (OCL_WGMMA_##name * 8)
/* One lane goes on. The compiler knows that it is one: a copy in code that any of several might run
 * becomes a loop over them, which takes 60 ns. */
#define ELECT " elect.sync _|p, 0xffffffff;\n @!p bra END;\n"

static const struct ocl_wgmma shapes[] = {{32, 12}, {64, 10}, {128, 8}, {176, 7}, {192, 6}};

int ocl_wgmma_shapes(const struct ocl_wgmma **out)
{
    *out = shapes;
    return ARRAY_LEN(shapes);
}

static void header(struct buf *b, const struct ocl_wgmma *s)
{
    static const char *const shared[] = {".u64 .ptr .global .align 16 arena",
                                         ".u64 .ptr .global .align 16 scratch",
                                         ".u64 .ptr .global .align 4 counts", ".u32 members"};
    buf_fmt(b, ".visible .entry wgmma_%d(\n", s->rows);
    for (size_t i = 0; i < ARRAY_LEN(shared); i++)
        buf_fmt(b, " .param %s,\n", shared[i]);
    buf_fmt(b, " .param .align 8 .b8 records[%d]", OCL_WGMMA_MEMBERS * RECORD);
    for (int k = 0; k < OCL_WGMMA_MEMBERS; k++)
        buf_fmt(b, ",\n .param .u64 .ptr .global .align 16 w%d,\n"
                   " .param .u64 .ptr .global .align 4 bias%d,\n"
                   " .param .u64 .ptr .global .align 16 packed%d", k, k, k);
    buf_str(b, ")\n");
    buf_fmt(b, ".reqntid %d, 1, 1\n.maxnreg %d\n{\n", OCL_WGMMA_LANES, REGISTERS);
    buf_fmt(b, " .shared .align 1024 .b8 ring[%d];\n .shared .align 1024 .b8 weights[%d];\n"
               " .shared .align 16 .b8 sums[%d];\n", s->stages * s->rows * 64, s->stages * WEIGHTS,
            s->rows * PITCH * 4);
    /* Of every stage where a tile begins: its products of 16 inputs, and those of a slice; 0 where
     * no more tiles come. */
    buf_fmt(b, " .shared .align 8 .b8 begins[%d];\n", s->stages * 8);
    /* "Full" of every stage, "empty" of every stage, sums "there", sums "gone". */
    buf_fmt(b, " .shared .align 8 .b8 bars[%d];\n", s->stages * 16 + 16);
    buf_fmt(b, " .reg .f32 c<%d>, t<%d>, y<%d>, v<4>, z<4>;\n .reg .b32 a<24>;\n", s->rows / 2,
            s->rows / 2, BATCH * 4);
    buf_str(b, " .reg .b64 desc, q<16>, from, to, res, panel, row_bytes, rec;\n"
               " .reg .b32 r<8>, id, lane, warp, tile, tile_o, tile_r, tiles_o, tiles, band;\n"
               " .reg .b32 row, rows, steps, step, slice, fold, phase, at, full, last, before;\n"
               " .reg .b32 low, high, wa, first, act_, o, part, skip, turn, line, left, res_left;\n"
               " .reg .b32 sum, member, rows_r, all;\n"
               " .reg .pred p, lead, later, more, far, bias_, res_, square, packs, there, x;\n");
}

/* The group's first tile, rows and tiles along them. */
static void first_tile(struct buf *b, const struct ocl_wgmma *s)
{
    buf_fmt(b, " mov.u32 r0, %%nctaid.x;\n mov.u32 r2, %%ctaid.x;\n mov.u32 r3, %%ctaid.y;\n"
               " mad.lo.u32 tile, r3, r0, r2;\n ld.param.u32 r0, [records+%d];\n"
               " setp.ne.u32 p, r0, 0;\n selp.u32 r0, 8, 4, p;\n cvt.u64.u32 q0, r0;\n"
               " ld.param.u64 q1, [counts];\n cvta.to.global.u64 q1, q1;\n add.u64 q0, q0, q1;\n"
               " ld.global.u32 rows, [q0];\n", OF(IS_LOGITS));
    /* Tiles along the rows; of a band of GROUP_TILES x all rows. */
    buf_fmt(b, " add.u32 r0, rows, %d;\n div.u32 rows_r, r0, %d;\n mul.lo.u32 band, rows_r, %d;\n",
            s->rows - 1, s->rows, GROUP_TILES);
}

/* What all roles need, and the barriers. */
static void begin(struct buf *b, const struct ocl_wgmma *s)
{
    int n = s->stages;
    buf_str(b, " mov.u32 id, %tid.x;\n and.b32 lane, id, 31;\n shr.u32 warp, id, 5;\n"
               " setp.eq.u32 lead, lane, 0;\n setp.ne.u32 p, id, 0;\n @p bra READY;\n");
    for (int i = 0; i < n; i++)
        buf_fmt(b, " mbarrier.init.shared.b64 [bars+%d], 2;\n"
                   " mbarrier.init.shared.b64 [bars+%d], %d;\n", i * 8, (n + i) * 8, WARPS);
    buf_fmt(b, " mbarrier.init.shared.b64 [bars+%d], %d;\n"
               " mbarrier.init.shared.b64 [bars+%d], %d;\n", n * 16, WARPS * 32, n * 16 + 8,
            STORERS * 32);
    buf_fmt(b, " fence.mbarrier_init.release.cluster;\n fence.proxy.async;\nREADY:\n"
               " bar.sync 0;\n setp.lt.u32 p, warp, %d;\n @p bra MULTIPLY;\n"
               " setmaxnreg.dec.sync.aligned.u32 %d;\n", WARPS, REGISTERS_LESS);
    first_tile(b, s);
    buf_fmt(b, " setp.eq.u32 p, warp, %d;\n @p bra COPIER;\n setp.eq.u32 p, warp, %d;\n"
               " @p bra LOADER;\n bra STORER;\n", COPIER, LOADER);
}

/* A parameter of the tile's member. */
static void load(struct buf *b, const char *to, int number)
{
    buf_fmt(b, " ld.param.%s, [rec+%d];\n", to, number * 8);
}

/* Tiles of a member along its outputs, with all rows, and (r2) with all its parts. */
static void member_tiles(struct buf *b)
{
    load(b, "u32 tiles_o", OCL_WGMMA_N_OUTPUTS);
    load(b, "u32 r1", OCL_WGMMA_PARTS);
    buf_fmt(b, " add.u32 tiles_o, tiles_o, %d;\n div.u32 tiles_o, tiles_o, %d;\n"
               " mul.lo.u32 tiles, tiles_o, rows_r;\n mul.lo.u32 r2, tiles, r1;\n",
            OCL_WGMMA_OUTPUTS - 1, OCL_WGMMA_OUTPUTS);
}

/* To the label with the next member, if there is one. */
static void next_member(struct buf *b, const char *label)
{
    buf_fmt(b, " add.u32 member, member, 1;\n add.u64 rec, rec, %d;\n ld.param.u32 r1, [members];\n"
               " setp.lt.u32 p, member, r1;\n @p bra %s_NEXT;\n", RECORD, label);
}

/* Which tile: of the members one after the other; there GROUP_TILES tiles of outputs, then the next
 * rows; with parts > 1 all tiles of a slice, then the next slice. Its products: of the slice
 * `part`, behind `skip` others, or all. All roles find the same tiles in the same order. */
static void locate(struct buf *b, const struct ocl_wgmma *s, const char *done)
{
    buf_fmt(b, " mov.u64 rec, records;\n mov.u32 member, 0;\n mov.u32 r0, tile;\n%s_NEXT:\n", done);
    member_tiles(b);
    buf_fmt(b, " setp.lt.u32 p, r0, r2;\n @p bra %s_FOUND;\n sub.u32 r0, r0, r2;\n", done);
    next_member(b, done);
    buf_fmt(b, " bra %s;\n%s_FOUND:\n", done, done);
    buf_fmt(b, " div.u32 part, r0, tiles;\n mul.lo.u32 r2, part, tiles;\n sub.u32 r0, r0, r2;\n"
               " div.u32 r1, r0, band;\n mul.lo.u32 r2, r1, band;\n sub.u32 r0, r0, r2;\n"
               " mul.lo.u32 r1, r1, %d;\n sub.u32 r2, tiles_o, r1;\n min.u32 r2, r2, %d;\n"
               " div.u32 tile_r, r0, r2;\n mul.lo.u32 r3, tile_r, r2;\n sub.u32 r0, r0, r3;\n"
               " add.u32 tile_o, r1, r0;\n mul.lo.u32 row, tile_r, %d;\n mov.u32 r0, %%nctaid.x;\n"
               " mov.u32 r1, %%nctaid.y;\n mad.lo.u32 tile, r0, r1, tile;\n mov.u32 step, 0;\n",
            GROUP_TILES, GROUP_TILES, s->rows);
    load(b, "u32 slice", OCL_WGMMA_SLICE_LEN);
    load(b, "u32 steps", OCL_WGMMA_INPUTS);
    load(b, "u32 r0", OCL_WGMMA_PARTS);
    buf_str(b, " shr.u32 slice, slice, 4;\n mul.lo.u32 skip, part, slice;\n"
               " add.u32 steps, steps, 31;\n shr.u32 steps, steps, 5;\n shl.b32 steps, steps, 1;\n"
               " sub.u32 steps, steps, skip;\n setp.gt.u32 p, r0, 1;\n"
               " @p min.u32 steps, steps, slice;\n");
}

/* The tiles of all members. */
static void count_tiles(struct buf *b, const char *label)
{
    buf_fmt(b, " mov.u64 rec, records;\n mov.u32 member, 0;\n mov.u32 all, 0;\n%s_NEXT:\n", label);
    member_tiles(b);
    buf_str(b, " add.u32 all, all, r2;\n");
    next_member(b, label);
}

/* Memory of the tile's member. */
static void load_memory(struct buf *b, const char *to, const char *what)
{
    buf_fmt(b, " ld.param.u64 %s, [%s0];\n", to, what);
    for (int k = 1; k < OCL_WGMMA_MEMBERS; k++)
        buf_fmt(b, " setp.eq.u32 p, member, %d;\n @p ld.param.u64 %s, [%s%d];\n", k, to, what, k);
    buf_fmt(b, " cvta.to.global.u64 %s, %s;\n", to, to);
}

/* The barriers of stage `at` into r1, when its contents were used. */
static void vacant(struct buf *b, const struct ocl_wgmma *s, const char *label)
{
    buf_fmt(b, " mov.u32 r0, bars;\n mad.lo.u32 r1, at, 8, r0;\n"
               "%s:\n mbarrier.try_wait.parity.shared.b64 p, [r1+%d], phase;\n @!p bra %s;\n",
            label, s->stages * 8, label);
}

static void next_stage(struct buf *b, const struct ocl_wgmma *s, const char *again)
{
    buf_fmt(b, " add.u32 step, step, 2;\n add.u32 at, at, 1;\n setp.eq.u32 p, at, %d;\n"
               " @p mov.u32 at, 0;\n @p xor.b32 phase, phase, 1;\n"
               " setp.lt.u32 p, step, steps;\n @p bra %s;\n", s->stages, again);
}

static void copy_rows(struct buf *b, const struct ocl_wgmma *s)
{
    int bytes = s->rows * 32; /* of a product */
    buf_str(b, "COPIER:\n" ELECT " mov.u32 at, 0;\n mov.u32 phase, 1;\nCOPY_TILE:\n");
    locate(b, s, "COPIED");
    load(b, "u64 row_bytes", OCL_WGMMA_ROWS_P);
    load(b, "u64 q1", OCL_WGMMA_PACKED_AT);
    load_memory(b, "from", "packed");
    buf_fmt(b, " shl.b64 row_bytes, row_bytes, 5;\n shl.b64 q1, q1, 2;\n add.u64 from, from, q1;\n"
               " mul.wide.u32 q1, row, 32;\n add.u64 from, from, q1;\n cvt.u64.u32 q1, skip;\n"
               " mad.lo.u64 from, q1, row_bytes, from;\n shl.b64 to, row_bytes, %d;\n"
               " add.u64 to, to, from;\n and.b32 r0, tile_o, %d;\n setp.eq.u32 far, r0, 0;\n"
               " mov.u32 first, steps;\nCOPY:\n", FAR_BITS, GROUP_TILES - 1);
    vacant(b, s, "VACANT");
    buf_fmt(b, " mov.u32 r0, begins;\n mad.lo.u32 r0, at, 8, r0;\n"
               " st.shared.v2.u32 [r0], {first, slice};\n"
               " mov.u32 r0, ring;\n mad.lo.u32 r2, at, %d, r0;\n"
               " mbarrier.arrive.expect_tx.shared.b64 _, [r1], %d;\n", bytes * 2, bytes * 2);
    for (int k = 0; k < 2; k++)
        buf_fmt(b, " cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [r2], "
                   "[from], %d, [r1];\n add.u32 r2, r2, %d;\n add.u64 from, from, row_bytes;\n",
                bytes, bytes);
    buf_fmt(b, " add.u32 r0, step, %d;\n setp.lt.and.u32 p, r0, steps, far;\n @!p bra COPY_NEAR;\n",
            FAR);
    for (int k = 0; k < 2; k++)
        buf_fmt(b, " cp.async.bulk.prefetch.L2.global [to], %d;\n add.u64 to, to, row_bytes;\n",
                bytes);
    buf_str(b, "COPY_NEAR:\n");
    next_stage(b, s, "COPY");
    buf_str(b, " bra COPY_TILE;\nCOPIED:\n");
    vacant(b, s, "COPIES");
    buf_str(b, " mov.u32 r0, begins;\n mad.lo.u32 r0, at, 8, r0;\n mov.u32 r2, 0;\n"
               " st.shared.v2.u32 [r0], {r2, r2};\n mbarrier.arrive.shared.b64 _, [r1];\n"
               " bra END;\n");
}

/* Of every panel of 16 outputs 1024 bytes a stage; panels past the end repeat the last. */
static void load_weights(struct buf *b, const struct ocl_wgmma *s)
{
    buf_str(b, "LOADER:\n" ELECT " mov.u32 at, 0;\n mov.u32 phase, 1;\nLOAD_TILE:\n");
    locate(b, s, "LOADED");
    load(b, "u64 q0", OCL_WGMMA_COLS_P);
    load(b, "u32 r0", OCL_WGMMA_N_OUTPUTS);
    load_memory(b, "panel", "w");
    buf_str(b, " shl.b64 q0, q0, 5;\n mul.wide.u32 q1, skip, 512;\n add.u64 panel, panel, q1;\n"
               " add.u32 r0, r0, 15;\n shr.u32 r0, r0, 4;\n sub.u32 r0, r0, 1;\n");
    for (int i = 0; i < PANELS; i++)
        buf_fmt(b, " mad.lo.u32 r1, tile_o, %d, %d;\n min.u32 r1, r1, r0;\n cvt.u64.u32 q1, r1;\n"
                   " mad.lo.u64 q%d, q1, q0, panel;\n", PANELS, i, 4 + i);
    buf_str(b, " and.b32 r0, tile_r, 7;\n setp.eq.u32 far, r0, 0;\nLOAD:\n");
    vacant(b, s, "HOLLOW");
    buf_fmt(b, " mov.u32 r0, weights;\n mad.lo.u32 r2, at, %d, r0;\n"
               " mbarrier.arrive.expect_tx.shared.b64 _, [r1], %d;\n", WEIGHTS, WEIGHTS);
    for (int i = 0; i < PANELS; i++)
        buf_fmt(b, " cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [r2], "
                   "[q%d], 1024, [r1];\n add.u32 r2, r2, 1024;\n", 4 + i);
    /* Every fourth time what four stages use later. */
    buf_fmt(b, " add.u32 r0, step, %d;\n setp.le.and.u32 p, r0, steps, far;\n"
               " and.b32 r0, step, 7;\n setp.eq.and.u32 p, r0, 0, p;\n @!p bra LOAD_NEAR;\n",
            FAR + 8);
    for (int i = 0; i < PANELS; i++)
        buf_fmt(b, " cp.async.bulk.prefetch.L2.global [q%d+%d], 4096;\n", 4 + i, FAR * 512);
    buf_str(b, "LOAD_NEAR:\n");
    for (int i = 0; i < PANELS; i++)
        buf_fmt(b, " add.u64 q%d, q%d, 1024;\n", 4 + i, 4 + i);
    next_stage(b, s, "LOAD");
    buf_str(b, " bra LOAD_TILE;\nLOADED:\n");
    vacant(b, s, "LOADS");
    buf_str(b, " mbarrier.arrive.shared.b64 _, [r1];\n bra END;\n");
}

/* The next stage, when it is full: its weights into a third of the registers. */
static void take_weights(struct buf *b, const char *label, int third)
{
    buf_fmt(b, "%s%d:\n mbarrier.try_wait.parity.shared.b64 p, [full], phase;\n @!p bra %s%d;\n",
            label, third, label, third);
    for (int k = 0; k < 2; k++) {
        int a = third * 8 + k * 4;
        buf_fmt(b, " ld.shared.v4.u32 {a%d,a%d,a%d,a%d}, [wa+%d];\n", a, a + 1, a + 2, a + 3,
                k * 512);
    }
}

/* The products of the tile that begins at this stage. */
static void begin_tile(struct buf *b, const char *none)
{
    buf_fmt(b, " mov.u32 r0, bars;\n sub.u32 r0, full, r0;\n mov.u32 r1, begins;\n"
               " add.u32 r0, r0, r1;\n ld.shared.v2.u32 {steps, slice}, [r0];\n"
               " shfl.sync.idx.b32 steps, steps, 0, 0x1f, 0xffffffff;\n"
               " shfl.sync.idx.b32 slice, slice, 0, 0x1f, 0xffffffff;\n"
               " setp.eq.u32 p, steps, 0;\n @p bra %s;\n mov.u32 step, 0;\n mov.u32 first, 1;\n"
               " min.u32 fold, slice, steps;\n", none);
}

/* A stage: two products, while the weights of the next come into registers. The stage before is
 * done when only these two are left: `later`, whoever leads says so. */
static void products(struct buf *b, const struct ocl_wgmma *s, int third)
{
    int n = s->stages;
    buf_str(b, " wgmma.fence.sync.aligned;\n");
    for (int k = 0; k < 2; k++) {
        int a = third * 8 + k * 4;
        buf_fmt(b, " add.u32 r0, low, %d;\n mov.b64 desc, {r0, high};\n"
                   " wgmma.mma_async.sync.aligned.m64n%dk16.f32.bf16.bf16 {", k * s->rows * 2,
                s->rows);
        for (int i = 0; i < s->rows / 2; i++)
            buf_fmt(b, "%sc%d", i ? "," : "", i);
        buf_fmt(b, "}, {a%d,a%d,a%d,a%d}, desc, 1, 1, 1, 0;\n", a, a + 1, a + 2, a + 3);
    }
    buf_fmt(b, " wgmma.commit_group.sync.aligned;\n mov.u32 before, last;\n"
               " add.u32 last, full, %d;\n add.u32 step, step, 2;\n add.u32 full, full, 8;\n"
               " add.u32 low, low, %d;\n add.u32 wa, wa, %d;\n setp.eq.u32 p, full, at;\n"
               " @p sub.u32 full, full, %d;\n @p sub.u32 low, low, %d;\n"
               " @p sub.u32 wa, wa, %d;\n @p xor.b32 phase, phase, 1;\n",
            n * 8, s->rows * 4, WEIGHTS, n * 8, n * s->rows * 4, n * WEIGHTS);
    take_weights(b, "FULL", (third + 1) % 3);
    buf_fmt(b, " wgmma.wait_group.sync.aligned 1;\n"
               " @later mbarrier.arrive.shared.b64 _, [before];\n setp.eq.u32 later, lane, 0;\n"
               " setp.eq.u32 p, step, fold;\n @p bra FOLD%d;\nAFTER%d:\n", third, third);
}

/* Sum t[4 j + 2 h + i] of a lane is that of output lane / 4 + 8 h, row 8 j + lane % 4 * 2 + i: into
 * local memory, when the sums before are gone from there. */
static void leave_sums(struct buf *b, const struct ocl_wgmma *s, int third)
{
    buf_fmt(b, "GONE%d:\n mbarrier.try_wait.parity.shared.b64 p, [bars+%d], turn;\n"
               " @!p bra GONE%d;\n xor.b32 turn, turn, 1;\n", third, s->stages * 16 + 8, third);
    for (int j = 0; j < s->rows / 8; j++)
        for (int i = 0; i < 4; i++)
            buf_fmt(b, " st.shared.f32 [sum+%d], t%d;\n", ((j * 8 + i % 2) * PITCH + i / 2 * 8) * 4,
                    j * 4 + i);
    buf_fmt(b, " mbarrier.arrive.shared.b64 _, [bars+%d];\n", s->stages * 16);
}

/* The end of a slice: its chain goes into the total. The end of a tile. */
static void add_slice(struct buf *b, const struct ocl_wgmma *s, int third)
{
    buf_fmt(b, "FOLD%d:\n wgmma.wait_group.sync.aligned 0;\n"
               " @lead mbarrier.arrive.shared.b64 _, [last];\n setp.ne.u32 later, 0, 0;\n"
               " setp.ne.u32 p, first, 0;\n @p bra FIRST%d;\n", third, third);
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, " add.ftz.f32 t%d, t%d, c%d;\n", i, i, i);
    buf_fmt(b, " bra ZERO%d;\nFIRST%d:\n mov.u32 first, 0;\n", third, third);
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, " mov.f32 t%d, c%d;\n", i, i);
    buf_fmt(b, "ZERO%d:\n", third);
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, " mov.f32 c%d, 0f00000000;\n", i);
    buf_fmt(b, " add.u32 fold, fold, slice;\n min.u32 fold, fold, steps;\n"
               " setp.lt.u32 p, step, steps;\n @p bra AFTER%d;\n", third);
    leave_sums(b, s, third);
    begin_tile(b, "HELP");
    buf_fmt(b, " bra AFTER%d;\n", third);
}

static void multiply(struct buf *b, const struct ocl_wgmma *s)
{
    buf_fmt(b, "MULTIPLY:\n setmaxnreg.inc.sync.aligned.u32 %d;\n mov.u32 full, bars;\n"
               " add.u32 at, full, %d;\n mov.u32 phase, 0;\n mov.u32 turn, 1;\n"
               " mov.u32 last, full;\n",
            REGISTERS_MORE, s->stages * 8);
    /* A matrix descriptor: address, 128 bytes to the other 8 inputs, 256 to the next 8 rows. */
    buf_fmt(b, " mov.u32 low, ring;\n shr.u32 low, low, 4;\n or.b32 low, low, %d;\n"
               " mov.u32 high, %d;\n", (128 >> 4) << 16, 256 >> 4);
    buf_fmt(b, " mov.u32 r0, weights;\n mad.lo.u32 wa, id, 16, r0;\n"
               " mad.lo.u32 wa, warp, 512, wa;\n and.b32 r0, lane, 3;\n shr.u32 r1, lane, 2;\n"
               " mad.lo.u32 r1, warp, 16, r1;\n mad.lo.u32 r1, r0, %d, r1;\n"
               " mov.u32 r0, sums;\n mad.lo.u32 sum, r1, 4, r0;\n",
            PITCH * 2);
    take_weights(b, "BEGIN", 0);
    begin_tile(b, "END");
    for (int i = 0; i < s->rows / 2; i++)
        buf_fmt(b, " mov.f32 c%d, 0f00000000;\n", i);
    buf_str(b, " setp.ne.u32 later, 0, 0;\nSTAGE:\n");
    for (int third = 0; third < 3; third++)
        products(b, s, third);
    buf_str(b, " bra STAGE;\n");
    for (int third = 0; third < 3; third++) /* they differ in where the next weights are */
        add_slice(b, s, third);
}

/* Where row `row` of a view begins, at output o: onto `to`; the bytes of `apart` rows into
 * q`stride`. */
static void place(struct buf *b, int view, const char *to, int stride, int apart)
{
    load(b, "u32 r0", view + 1);
    load(b, "u64 q1", view);
    buf_fmt(b, " mul.wide.u32 q%d, r0, 4;\n cvt.u64.u32 q0, row;\n mul.lo.u64 q0, q0, q%d;\n"
               " shl.b64 q1, q1, 2;\n add.u64 q0, q0, q1;\n mul.wide.u32 q1, o, 4;\n"
               " add.u64 q0, q0, q1;\n cvta.to.global.u64 %s, %s;\n add.u64 %s, %s, q0;\n"
               " mul.lo.u64 q%d, q%d, %d;\n",
            stride, stride, to, to, to, to, stride, stride, apart);
}

/* What is beside the sums of outputs o, o + 32, o + 64 and o + 96, for whom the rows `line`,
 * line + apart … of the tile belong to. */
static void prepare_store(struct buf *b, const struct ocl_wgmma *s, int apart)
{
    buf_fmt(b, " sub.u32 r1, rows, row;\n min.u32 r1, r1, %d;\n"
               " sub.u32 left, r1, line;\n add.u32 row, row, line;\n shl.b32 o, tile_o, 7;\n"
               " add.u32 o, o, lane;\n", s->rows);
    load(b, "u32 r0", OCL_WGMMA_PARTS);
    buf_str(b, " ld.param.u64 to, [arena];\n mov.u64 res, to;\n setp.gt.u32 p, r0, 1;\n"
               " @p ld.param.u64 to, [scratch];\n");
    place(b, OCL_WGMMA_OUT_AT, "to", 2, apart);
    place(b, OCL_WGMMA_RES_AT, "res", 3, apart);
    load(b, "u64 q1", OCL_WGMMA_PLANE);
    buf_str(b, " cvt.u64.u32 q0, part;\n mul.lo.u64 q0, q0, q1;\n shl.b64 q0, q0, 2;\n"
               " add.u64 to, to, q0;\n");
    /* Outputs that are left, as seen from a lane; of residuals, too. */
    buf_fmt(b, " mov.u32 r0, sums;\n mad.lo.u32 sum, line, %d, r0;\n"
               " mad.lo.u32 sum, lane, 4, sum;\n", PITCH * 4);
    load(b, "u32 r0", OCL_WGMMA_N_OUTPUTS);
    load(b, "u32 r1", OCL_WGMMA_HAS_RES);
    load(b, "u32 r2", OCL_WGMMA_HAS_BIAS);
    load(b, "u32 r3", OCL_WGMMA_PACKS);
    load(b, "u32 act_", OCL_WGMMA_ACT);
    load_memory(b, "q0", "bias");
    buf_str(b, " sub.s32 at, r0, o;\n setp.ne.u32 res_, r1, 0;\n selp.b32 res_left, at, 0, res_;\n"
               " setp.ne.u32 bias_, r2, 0;\n setp.ne.u32 packs, r3, 0;\n mul.wide.u32 q1, o, 4;\n"
               " add.u64 q0, q0, q1;\n");
    for (int k = 0; k < 4; k++)
        buf_fmt(b, " mov.f32 v%d, 0f00000000;\n setp.gt.and.s32 x, at, %d, bias_;\n"
                   " @x ld.global.f32 v%d, [q0+%d];\n", k, k * 32, k, k * 128);
    buf_fmt(b, " setp.eq.u32 square, act_, %d;\n"
               " setp.eq.or.u32 more, act_, %d, square;\n", ACT_SQRELU, ACT_RELU);
}

/* The residuals of a storer's rows into the L2 cache: a lane asks for a line of 32 outputs. */
static void ask_residuals(struct buf *b)
{
    buf_fmt(b, " shr.u32 r0, lane, 2;\n and.b32 r1, lane, 3;\n mul.lo.u32 r2, r0, %d;\n"
               " cvt.u64.u32 q0, r0;\n mad.lo.u64 q0, q0, q3, res;\n shl.b32 r1, r1, 5;\n"
               " sub.s32 r0, r1, lane;\n mul.wide.s32 q1, r0, 4;\n add.u64 q0, q0, q1;\n"
               " add.s32 r0, at, lane;\n setp.gt.and.s32 x, r0, r1, res_;\n @!x bra ASKED;\n"
               " shl.b64 q1, q3, 3;\nASK:\n setp.ge.s32 p, r2, left;\n @p bra ASKED;\n"
               " prefetch.global.L2 [q0];\n add.u64 q0, q0, q1;\n add.u32 r2, r2, %d;\n bra ASK;\n"
               "ASKED:\n", STORERS, STORERS * 8);
}

/* A row of sums more. */
static void store_row(struct buf *b, int u, int apart, const char *label)
{
    buf_fmt(b, " setp.gt.s32 p, left, %d;\n @!p bra %s_DONE;\n", u * apart, label);
    for (int k = 0; k < 4; k++)
        buf_fmt(b, " ld.shared.f32 z%d, [sum+%d];\n", k, u * apart * PITCH * 4 + k * 128);
    for (int k = 0; k < 4; k++) {
        /* As activate() of common.clh: what is negative becomes +0, the rest stays. */
        buf_fmt(b, " @bias_ add.ftz.f32 z%d, z%d, v%d;\n setp.lt.ftz.f32 p, z%d, 0f00000000;\n"
                   " and.pred p, p, more;\n @p mov.f32 z%d, 0f00000000;\n"
                   " @square mul.ftz.f32 z%d, z%d, z%d;\n @res_ add.ftz.f32 z%d, z%d, y%d;\n"
                   " setp.gt.s32 x, at, %d;\n @x st.global.f32 [to+%d], z%d;\n", k, k, k, k, k, k,
                k, k, k, k, u * 4 + k, k * 32, k * 128, k);
    }
    buf_str(b, " add.u64 to, to, q2;\n");
}

/* Every row that is `apart` from the last: bias, activation, residual, and out. To label_DONE. */
static void store_rows(struct buf *b, int apart, const char *label)
{
    buf_fmt(b, "%s:\n", label);
    for (int u = 0; u < BATCH; u++) {
        for (int k = 0; k < 4; k++)
            buf_fmt(b, " setp.gt.s32 x, left, %d;\n setp.gt.and.s32 x, res_left, %d, x;\n"
                       " @x ld.global.f32 y%d, [res+%d];\n", u * apart, k * 32, u * 4 + k,
                    k * 128);
        buf_str(b, " add.u64 res, res, q3;\n");
    }
    for (int u = 0; u < BATCH; u++)
        store_row(b, u, apart, label);
    buf_fmt(b, " add.u32 sum, sum, %d;\n sub.s32 left, left, %d;\n bra %s;\n",
            BATCH * apart * PITCH * 4, BATCH * apart, label);
}

/* What prepare_store found, for a storer of packed rows: it takes every `apart` eight of them, a
 * lane 8 outputs of every 32 of one row. Those from `at` on are past the end, `o` of the tile's. */
static void prepare_packed(struct buf *b)
{
    load(b, "u64 q0", OCL_WGMMA_OUT_AT);
    load(b, "u32 r0", OCL_WGMMA_OUT_STRIDE);
    load_memory(b, "q5", "bias");
    buf_fmt(b, " ld.param.u64 to, [arena];\n cvta.to.global.u64 to, to;\n shl.b64 q0, q0, 2;\n"
               " add.u64 to, to, q0;\n mul.wide.u32 q2, r0, 32;\n mul.wide.u32 q0, tile_o, %d;\n"
               " mad.lo.u64 to, q0, q2, to;\n sub.u32 r0, row, line;\n shr.u32 r0, r0, 3;\n"
               " add.u32 r0, r0, line;\n mul.wide.u32 q0, r0, 256;\n add.u64 to, to, q0;\n"
               " mul.wide.u32 q0, lane, 4;\n add.u64 to, to, q0;\n", OCL_WGMMA_OUTPUTS / 16);
    buf_fmt(b, " shr.u32 r0, lane, 2;\n and.b32 r1, lane, 3;\n shl.b32 r2, line, 3;\n"
               " add.s32 r7, left, line;\n sub.s32 r7, r7, r2;\n sub.s32 left, r7, r0;\n"
               " add.u32 r2, r2, r0;\n mov.u32 r3, sums;\n mad.lo.u32 sum, r2, %d, r3;\n"
               " mad.lo.u32 sum, r1, 32, sum;\n shl.b32 r1, r1, 3;\n shl.b32 r2, tile_o, 7;\n"
               " add.u32 r3, r2, r1;\n mul.wide.u32 q0, r3, 4;\n add.u64 q5, q5, q0;\n", PITCH * 4);
    load(b, "u32 r0", OCL_WGMMA_N_OUTPUTS);
    buf_str(b, " sub.s32 o, r0, r2;\n sub.s32 at, o, r1;\n");
}

/* Four of a lane's outputs, from its number `col` on, as two pairs of product `col` / 4 (pair_at of
 * src/mma.clh) onto [q4]. */
static void store_pairs(struct buf *b, int col, const char *label)
{
    buf_fmt(b, " ld.shared.v4.f32 {z0,z1,z2,z3}, [sum+%d];\n @!bias_ bra %s_BARE%d;\n", col * 4,
            label, col);
    for (int i = 0; i < 4; i++)
        buf_fmt(b, " mov.f32 v%d, 0f00000000;\n setp.gt.s32 x, at, %d;\n"
                   " @x ld.global.f32 v%d, [q5+%d];\n add.ftz.f32 z%d, z%d, v%d;\n", i, col + i, i,
                (col + i) * 4, i, i, i);
    buf_fmt(b, "%s_BARE%d:\n", label, col);
    for (int i = 0; i < 4; i++)
        buf_fmt(b, " setp.lt.ftz.f32 p, z%d, 0f00000000;\n and.pred p, p, more;\n"
                   " @p mov.f32 z%d, 0f00000000;\n @square mul.ftz.f32 z%d, z%d, z%d;\n"
                   " setp.gt.s32 x, at, %d;\n selp.f32 z%d, z%d, 0f00000000, x;\n", i, i, i, i, i,
                col + i, i, i);
    buf_fmt(b, " setp.gt.and.s32 x, o, %d, there;\n cvt.rn.bf16x2.f32 r0, z1, z0;\n"
               " cvt.rn.bf16x2.f32 r1, z3, z2;\n @x st.global.u32 [q4], r0;\n"
               " @x st.global.u32 [q4+128], r1;\n add.u64 q4, q4, q2;\n", col / 32 * 32);
}

/* Eight rows at once, so that whole lines are written: bias, activation, and out. To label_DONE. */
static void store_packed(struct buf *b, int apart, const char *label)
{
    buf_fmt(b, "%s_PACKED:\n", label);
    prepare_packed(b);
    buf_fmt(b, "%s_EIGHT:\n setp.le.s32 p, r7, 0;\n @p bra %s_DONE;\n"
               " setp.gt.s32 there, left, 0;\n mov.u64 q4, to;\n", label, label);
    for (int k = 0; k < OCL_WGMMA_OUTPUTS / 16; k++)
        store_pairs(b, k / 2 * 32 + k % 2 * 4, label);
    buf_fmt(b, " add.u32 sum, sum, %d;\n add.u64 to, to, %d;\n sub.s32 r7, r7, %d;\n"
               " sub.s32 left, left, %d;\n bra %s_EIGHT;\n", apart * 8 * PITCH * 4, apart * 256,
            apart * 8, apart * 8, label);
}

/* A storer's share of a tile's sums. */
static void store_share(struct buf *b, int apart, const char *label)
{
    buf_fmt(b, " @packs bra %s_PACKED;\n", label);
    store_rows(b, apart, label);
    store_packed(b, apart, label);
    buf_fmt(b, "%s_DONE:\n", label);
}

/* A storer takes every STORERSth row of a tile; of the last one others take some. */
static void store(struct buf *b, const struct ocl_wgmma *s)
{
    buf_str(b, "STORER:\n mov.u32 phase, 0;\n");
    count_tiles(b, "COUNT");
    buf_str(b, "STORE_TILE:\n");
    locate(b, s, "END");
    buf_fmt(b, " sub.u32 line, warp, %d;\n", LOADER + 1);
    prepare_store(b, s, STORERS);
    ask_residuals(b);
    buf_fmt(b, "THERE:\n mbarrier.try_wait.parity.shared.b64 p, [bars+%d], phase;\n"
               " @!p bra THERE;\n xor.b32 phase, phase, 1;\n setp.ge.u32 p, tile, all;\n"
               " @p bra LAST;\n", s->stages * 16);
    store_share(b, STORERS, "STORE");
    buf_fmt(b, " mbarrier.arrive.shared.b64 _, [bars+%d];\n bra STORE_TILE;\nLAST:\n"
               " mul.lo.u64 q2, q2, %d;\n mul.lo.u64 q3, q3, %d;\n",
            s->stages * 16 + 8, ALL_STORERS / STORERS, ALL_STORERS / STORERS);
    store_share(b, ALL_STORERS, "STORE_LAST");
    buf_str(b, " bra END;\n");
}

/* Who has multiplied a group's last tile finds it again, and takes rows of it, too. */
static void help(struct buf *b, const struct ocl_wgmma *s)
{
    buf_str(b, "HELP:\n");
    first_tile(b, s);
    count_tiles(b, "COUNT_HELP");
    buf_fmt(b, " mov.u32 r0, %%nctaid.x;\n mov.u32 r1, %%nctaid.y;\n mul.lo.u32 r0, r0, r1;\n"
               " sub.u32 r1, all, tile;\n sub.u32 r1, r1, 1;\n div.u32 r1, r1, r0;\n"
               " mad.lo.u32 tile, r1, r0, tile;\n");
    locate(b, s, "HELPED");
    buf_fmt(b, " add.u32 line, warp, %d;\n", STORERS);
    prepare_store(b, s, ALL_STORERS);
    buf_fmt(b, "ALL_THERE:\n mbarrier.try_wait.parity.shared.b64 p, [bars+%d], turn;\n"
               " @!p bra ALL_THERE;\n", s->stages * 16);
    store_share(b, ALL_STORERS, "STORE_HELP");
    buf_str(b, "HELPED:\n bra END;\n");
}

static void write_kernel(struct buf *b, const struct ocl_wgmma *s)
{
    header(b, s);
    begin(b, s);
    copy_rows(b, s);
    load_weights(b, s);
    store(b, s);
    multiply(b, s);
    help(b, s);
    buf_str(b, "END:\n ret;\n}\n");
}

void ocl_wgmma_program(struct buf *b)
{
    buf_str(b, ".version 8.0\n.target sm_90a\n.address_size 64\n");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        write_kernel(b, &shapes[i]);
}
