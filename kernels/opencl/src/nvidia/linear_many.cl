/* y = W x in bf16 for many rows: 128 outputs x 64 rows a group of 8 warps, 32 x 32 a warp, so
 * that the running slice and the total fit 128 registers and two groups share a multiprocessor.
 * STAGES tiles of 32 inputs are on their way through local memory; a lane loads its share of the
 * next product while the last one runs. Tiles lie in memory as the lanes read them: every access
 * is contiguous over a warp. */
#define STAGES 4 /* of 12 KiB: all the local memory a group may have */
#define STAGE 768 /* uint4: 8 KiB of weights [8 panels][2 products], 4 KiB of rows */
#define PITCH 132 /* floats of a row on the way out: 4 more than 128 keep lanes in other banks */
__attribute__((reqd_work_group_size(256, 1, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const uint4 *packed, const ulong rows_p)
{
    local uint4 tile[STAGES * STAGE] __attribute__((aligned(128)));
    MMA_LOCAL(8)
    int id = (int)get_local_id(0), lane = id % 32;
    int wo = id / 64, wr = id / 32 % 2; /* this warp's 32 outputs and 32 rows */
    int p0 = (int)get_group_id(0) * 8, row0 = (int)get_group_id(1) * 64;
    int rows = counts[is_logits ? 2 : 1], n = (inputs + 31) / 32, panels = (outputs + 15) / 16;
    ulong panel = cols_p / 32 * 64; /* uint4 from panel to panel */
    float acc[2][4][4], total[2][4][4];
    UNROLLED
    for (int i = 0; i < 2; i++)
        UNROLLED
        for (int j = 0; j < 4; j++)
            UNROLLED
            for (int k = 0; k < 4; k++)
                acc[i][j][k] = total[i][j][k] = 0.0f;
    /* Panels past the end repeat the last one; their outputs are not stored. */
    global const uint4 *wp =
        w + (ulong)min(p0 + id / 64, panels - 1) * panel + (ulong)(id % 64);
    global const uint4 *xp =
        packed + (ulong)(id / 128) * rows_p * 2u + (ulong)row0 * 2u + (ulong)(id % 128);
    global const uint4 *wq =
        w + (ulong)min(p0 + 4 + id / 64, panels - 1) * panel + (ulong)(id % 64);
#define FETCH(s, at)                                                                               \
    do {                                                                                           \
        if ((s) < n) {                                                                            \
            copy_async(tile + (at) + id, wp + (ulong)(s) * 64u);                                   \
            copy_async(tile + (at) + 256 + id, wq + (ulong)(s) * 64u);                             \
            copy_async(tile + (at) + 512 + id, xp + (ulong)(s) * rows_p * 4u);                     \
        }                                                                                          \
        COPY_COMMIT();                                                                             \
    } while (0)
#define LOAD(a, b, at, product)                                                                    \
    do {                                                                                           \
        local const uint4 *a_ = tile + (at) + wo * 128 + (product) * 32 + lane;                    \
        local const uint2 *b_ =                                                                    \
            (local const uint2 *)(tile + (at) + 512 + (product) * 128) + wr * 128 + lane;          \
        UNROLLED for (int i = 0; i < 2; i++) a[i] = a_[i * 64];                                    \
        UNROLLED for (int i = 0; i < 4; i++) b[i] = b_[i * 32];                                    \
    } while (0)
#define PRODUCTS(a, b)                                                                             \
    do {                                                                                           \
        UNROLLED for (int i = 0; i < 2; i++)                                                       \
            UNROLLED for (int j = 0; j < 4; j++) MMA4(acc[i][j], a[i], b[j]);                      \
    } while (0)
    for (int s = 0; s < STAGES; s++)
        FETCH(s, s * STAGE);
    COPY_WAIT(STAGES - 1);
    barrier(CLK_LOCAL_MEM_FENCE);
    uint4 a0[2], a1[2];
    uint2 b0[4], b1[4];
    LOAD(a0, b0, 0, 0);
    int at = 0, left = slice_len / 32, first = 1;
    for (int s = 0; s < n; s++) {
        int next = at + STAGE < STAGES * STAGE ? at + STAGE : 0;
        LOAD(a1, b1, at, 1);
        PRODUCTS(a0, b0);
        COPY_WAIT(STAGES - 2);
        barrier(CLK_LOCAL_MEM_FENCE); /* tile s is in registers everywhere, tile s + 1 is here */
        FETCH(s + STAGES, at);
        LOAD(a0, b0, next, 0); /* past the end: an old tile, not used */
        PRODUCTS(a1, b1);
        at = next;
        if (--left == 0 || s == n - 1) {
            left = slice_len / 32;
            UNROLLED
            for (int i = 0; i < 2; i++)
                UNROLLED
                for (int j = 0; j < 4; j++)
                    UNROLLED
                    for (int k = 0; k < 4; k++) {
                        total[i][j][k] = first ? acc[i][j][k] : total[i][j][k] + acc[i][j][k];
                        acc[i][j][k] = 0.0f;
                    }
            first = 0;
        }
    }
#undef FETCH
#undef LOAD
#undef PRODUCTS
    /* Out through local memory, so that whole lines are written. */
    local float *sums = (local float *)tile;
    COPY_WAIT(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLLED
    for (int i = 0; i < 2; i++)
        UNROLLED
        for (int j = 0; j < 4; j++)
            UNROLLED
            for (int k = 0; k < 4; k++)
                sums[(wr * 32 + j * 8 + lane % 4 * 2 + k % 2) * PITCH + wo * 32 + i * 16 +
                     lane / 4 + k / 2 * 8] = total[i][j][k];
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 1
    for (int i = id; i < 64 * 128; i += 256) {
        int o = p0 * 16 + i % 128, row = row0 + i / 128;
        if (o < outputs && row < rows)
            EPILOGUE(sums[i / 128 * PITCH + i % 128], o, row);
    }
}
