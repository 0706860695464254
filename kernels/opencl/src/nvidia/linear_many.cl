/* y = W x in bf16 for many rows: 128 outputs x 32 * WARPS_R rows a group of WARPS_O x WARPS_R
 * warps. A warp holds 16 * PANELS outputs x 32 rows twice, as the running slice and as the total
 * of the slices before. 4 x 2 warps (32 x 32 each) make more groups of few rows; 2 x 4 (64 x 32
 * each, all 255 registers of a lane) read a third less local memory for a product. STAGES tiles of
 * 32 inputs are on their way through local memory; a lane loads its share of the next product
 * while the last one runs. Tiles lie in memory as the lanes read them: every access is contiguous
 * over a warp. OUT_PACKED: as in linear_few.cl. */
#define PANELS (8 / WARPS_O)
#define LANES (32 * WARPS_O * WARPS_R)
#define ROWS_TILE (32 * WARPS_R)
#define W_COPIES (512 / LANES)           /* of 16 bytes by every lane for a tile of weights */
#define X_COPIES (4 * ROWS_TILE / LANES) /* and for the rows */
#define STAGE (512 + 4 * ROWS_TILE) /* uint4: weights [8 panels][2 products], rows [2 products] */
#define STAGES (3072 / STAGE)       /* in 48 KiB: all the local memory a group may have */
#define PITCH 132 /* floats of a row on the way out: 4 more than 128 keep lanes in other banks */
#define BATCH 8
#define EACH(i, n) UNROLLED for (int i = 0; i < n; i++)
__attribute__((reqd_work_group_size(LANES, 1, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const uint4 *packed, const ulong rows_p,
                   const ulong packed_at)
{
    packed += packed_at / 4;
    local uint4 tile[STAGES * STAGE] __attribute__((aligned(128)));
    MMA_LOCAL(WARPS_O * WARPS_R)
    int id = (int)get_local_id(0), lane = id % 32;
    int wo = id / 32 / WARPS_R, wr = id / 32 % WARPS_R; /* this warp's outputs and rows */
    int p0 = (int)get_group_id(0) * 8, row0 = (int)get_group_id(1) * ROWS_TILE;
    int rows = counts[is_logits ? 2 : 1], n = (inputs + 31) / 32, panels = (outputs + 15) / 16;
    ulong panel = cols_p / 32 * 64; /* uint4 from panel to panel */
    float acc[PANELS][4][4], total[PANELS][4][4];
    EACH(i, PANELS) EACH(j, 4) EACH(k, 4) acc[i][j][k] = total[i][j][k] = 0.0f;
    /* Where this lane's next copies come from. Panels past the end repeat the last one; their
     * outputs are not stored. */
    uint wp[W_COPIES], xp[X_COPIES];
    EACH(c, W_COPIES)
        wp[c] = (uint)((ulong)min(p0 + (c * LANES + id) / 64, panels - 1) * panel) + id % 64;
    EACH(c, X_COPIES)
        xp[c] = (uint)((c * LANES + id) / (2 * ROWS_TILE) * rows_p * 2u) + (uint)row0 * 2u +
                (c * LANES + id) % (2 * ROWS_TILE);
    uint x_step = (uint)rows_p * 4u;
#define FETCH(s, at)                                                                               \
    do {                                                                                           \
        if ((s) < n) {                                                                             \
            EACH(c, W_COPIES) copy_async(tile + (at) + c * LANES + id, w + wp[c]);                 \
            EACH(c, X_COPIES) copy_async(tile + (at) + 512 + c * LANES + id, packed + xp[c]);      \
            EACH(c, W_COPIES) wp[c] += 64u;                                                        \
            EACH(c, X_COPIES) xp[c] += x_step;                                                     \
        }                                                                                          \
        COPY_COMMIT();                                                                             \
    } while (0)
#define LOAD(a, b, at, product)                                                                    \
    do {                                                                                           \
        local const uint4 *a_ = tile + (at) + wo * PANELS * 64 + (product) * 32 + lane;            \
        local const uint2 *b_ = (local const uint2 *)(tile + (at) + 512 +                          \
                                                      (product) * 2 * ROWS_TILE) + wr * 128 + lane;\
        EACH(i, PANELS) a[i] = a_[i * 64];                                                         \
        EACH(i, 4) b[i] = b_[i * 32];                                                              \
    } while (0)
#define PRODUCTS(a, b) EACH(i, PANELS) EACH(j, 4) MMA4(acc[i][j], a[i], b[j])
    for (int s = 0; s < STAGES; s++)
        FETCH(s, s * STAGE);
    COPY_WAIT(STAGES - 1);
    barrier(CLK_LOCAL_MEM_FENCE);
    uint4 a0[PANELS], a1[PANELS];
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
            EACH(i, PANELS) EACH(j, 4) EACH(k, 4)
            {
                total[i][j][k] = first ? acc[i][j][k] : total[i][j][k] + acc[i][j][k];
                acc[i][j][k] = 0.0f;
            }
            first = 0;
        }
    }
#undef FETCH
#undef LOAD
#undef PRODUCTS
    /* Out through local memory, 64 rows at a time, so that whole lines are written. A work-item has
     * one output; BATCH rows of it are on their way at once, or each would wait for the last. */
    local float *sums = (local float *)tile;
    int o = p0 * 16 + id % 128, out_rows = o < outputs ? rows : 0;
    COPY_WAIT(0);
    for (int part = 0; part < ROWS_TILE / 64; part++) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (wr / 2 == part)
            EACH(i, PANELS) EACH(j, 4) EACH(k, 4)
                sums[(wr % 2 * 32 + j * 8 + lane % 4 * 2 + k % 2) * PITCH + wo * PANELS * 16 +
                     i * 16 + lane / 4 + k / 2 * 8] = total[i][j][k];
        barrier(CLK_LOCAL_MEM_FENCE);
#if OUT_PACKED
        global uint *to = (global uint *)arena + out_at;
        int two = id % 64 * 2; /* outputs of the tile */
        for (int r = id / 64; r < 64; r += LANES / 64) {
            int row = row0 + part * 64 + r, at = p0 * 16 + two;
            if (row >= rows || at / 32 * 32 >= outputs)
                continue;
            float y[2];
            EACH(k, 2) y[k] = sums[r * PITCH + two + k];
            if (has_bias)
                EACH(k, 2) y[k] += bias[min(at + k, outputs - 1)];
            EACH(k, 2) y[k] = at + k < outputs ? activate(act, y[k]) : 0.0f;
            to[pair_at(0, (ulong)out_stride, row, at)] = pair_bf16(y[0], y[1]);
        }
#else
#define AT(u) (first + LANES / 128 * (u))
#define OUT_ROW(u) (row0 + part * 64 + AT(u))
#pragma unroll 1
        for (int first = id / 128; first < 64; first = AT(BATCH)) {
            float y[BATCH], r[BATCH];
            EACH(u, BATCH) y[u] = sums[AT(u) * PITCH + id % 128];
            if (has_bias)
                EACH(u, BATCH) y[u] += bias[min(o, outputs - 1)];
            if (has_res)
                EACH(u, BATCH) r[u] = OUT_ROW(u) < out_rows ? ROW(res, OUT_ROW(u))[o] : 0.0f;
            EACH(u, BATCH) y[u] = activate(act, y[u]);
            if (has_res)
                EACH(u, BATCH) y[u] += r[u];
            EACH(u, BATCH)
                if (OUT_ROW(u) < out_rows)
                    ROW(out, OUT_ROW(u))[o] = y[u];
        }
#undef AT
#undef OUT_ROW
#endif
    }
}
