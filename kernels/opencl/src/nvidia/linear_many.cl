/* y = W x in bf16 for many rows: 128 outputs x 128 rows a group of 8 warps, each 64 x 32 of it;
 * STAGES tiles of 32 inputs on their way through local memory. Tiles lie in memory as the lanes
 * read them, so every access is one contiguous 512 bytes a warp. Order of a sum: linear_few.cl. */
#define TILE 1024 /* uint4 of a stage: 8 KiB of weights, then 8 KiB of activations */
#define PITCH 132 /* floats of a row on the way out: 4 more than 128 keep lanes in other banks */
__attribute__((reqd_work_group_size(256, 1, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const uint4 *packed, const ulong rows_p)
{
    local uint4 tile[STAGES * TILE] __attribute__((aligned(128)));
    MMA_LOCAL(8)
    int id = (int)get_local_id(0), warp = id / 32, lane = id % 32;
    int p0 = (int)get_group_id(0) * 8, row0 = (int)get_group_id(1) * 128;
    int rows = counts[is_logits ? 2 : 1], all = (int)(cols_p / 32), panels = (outputs + 15) / 16;
    int wo = warp / 4, wr = warp % 4; /* this warp's 64 outputs and 32 rows of the tile */
    float acc[4][4][4], total[4][4][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                acc[i][j][k] = total[i][j][k] = 0.0f;
    /* Panels past the end repeat the last one; their outputs are not stored. */
    global const uint4 *w0 = w + (ulong)min(p0 + id / 64, panels - 1) * (ulong)all * 64u + id % 64;
    global const uint4 *w1 =
        w + (ulong)min(p0 + id / 64 + 4, panels - 1) * (ulong)all * 64u + id % 64;
    global const uint4 *xp = packed + (ulong)row0 * 4u + (ulong)id;
#define FETCH(g)                                                                                   \
    do {                                                                                           \
        local uint4 *to_ = tile + (g) % STAGES * TILE + id;                                        \
        if ((g) < all) {                                                                           \
            copy_async(to_, w0 + (ulong)(g) * 64u);                                                \
            copy_async(to_ + 256, w1 + (ulong)(g) * 64u);                                          \
            copy_async(to_ + 512, xp + (ulong)(g) * rows_p * 4u);                                  \
            copy_async(to_ + 768, xp + (ulong)(g) * rows_p * 4u + 256u);                           \
        }                                                                                          \
        COPY_COMMIT();                                                                             \
    } while (0)
    for (int g = 0; g < STAGES - 1; g++)
        FETCH(g);
    int per = slice_len / 32, left = per, first = 1;
    for (int g = 0; g < all; g++) {
        COPY_WAIT(STAGES - 2);
        barrier(CLK_LOCAL_MEM_FENCE);
        FETCH(g + STAGES - 1);
        local const uint4 *a = tile + g % STAGES * TILE + wo * 256 + lane;
        local const uint4 *b = tile + g % STAGES * TILE + 512 + wr * 128 + lane;
        uint4 low[4], high[4], right[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            low[i] = a[i * 64];
            high[i] = a[i * 64 + 32];
            right[i] = b[i * 32];
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                MMA_FIRST(acc[i][j], low[i], high[i], right[j]);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                MMA_SECOND(acc[i][j], low[i], high[i], right[j]);
        if (--left == 0 || g == all - 1) {
            left = per;
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int k = 0; k < 4; k++) {
                        total[i][j][k] = first ? acc[i][j][k] : total[i][j][k] + acc[i][j][k];
                        acc[i][j][k] = 0.0f;
                    }
            first = 0;
        }
    }
#undef FETCH
    /* Out through local memory, 64 rows at a time, so that whole lines are written. */
    local float *sums = (local float *)tile;
    for (int half_ = 0; half_ < 2; half_++) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (wr / 2 == half_) {
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int k = 0; k < 4; k++)
                        sums[(wr % 2 * 32 + j * 8 + lane % 4 * 2 + k % 2) * PITCH + wo * 64 +
                             i * 16 + lane / 4 + k / 2 * 8] = total[i][j][k];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 1
        for (int i = id; i < 64 * 128; i += 256) {
            int o = p0 * 16 + i % 128, row = row0 + half_ * 64 + i / 128;
            if (o < outputs && row < rows)
                EPILOGUE(sums[i / 128 * PITCH + i % 128], o, row);
        }
    }
}
