/* y = W x in bf16 for up to 8 * NT rows of x. Group: 16 outputs; warp: one slice of the inputs.
 * The weights stream through in 16-byte loads, UNROLL groups of 32 inputs in flight. PACKED: x
 * comes from pack_rows.cl, otherwise it is converted here. */
#if EMULATED
#undef UNROLL
#define UNROLL 1
#endif
#define LOCAL_BYTES (4 * SLICES * (NT * 128 + (EMULATED ? 32 * 6 : 0)))
__attribute__((reqd_work_group_size(32, SLICES, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const uint *packed, const ulong rows_p,
                   const ulong packed_at)
{
    LOCAL_1(float, part, SLICES * NT * 128);
    MMA_LOCAL(SLICES)
    int lane = (int)get_local_id(0), slice = (int)get_local_id(1), panel = (int)get_group_id(0);
    int rows = counts[is_logits ? 2 : 1], all = (int)(cols_p / 32), g0 = slice * (slice_len / 32);
    int groups = min(slice_len / 32, (inputs + 31) / 32 - g0);
    global const uint4 *wp = w + ((ulong)panel * (ulong)all + (ulong)g0) * 64u + (ulong)lane;
    /* In a bundle, of all slices that a group has room for. */
    int slices = (inputs + slice_len - 1) / slice_len;
    uint4 none = (uint4)(0, 0, 0, 0);
    float acc[NT][4];
UNROLLED
    for (int n = 0; n < NT; n++)
UNROLLED
        for (int i = 0; i < 4; i++)
            acc[n][i] = 0.0f;
#if PACKED
    global const uint2 *in = (global const uint2 *)(packed + packed_at) +
                             (ulong)g0 * 2u * rows_p * 4u + (ulong)lane;
#else
    bool given = lane / 4 < rows;
    global const float *in = ROW(x, given ? lane / 4 : 0);
    int k = g0 * 32 + lane % 4 * 8;
#endif
    /* Emulated products meet at barriers, so there both slices walk the same number of groups. */
    for (int g = 0; g < (EMULATED ? slice_len / 32 : groups); g += UNROLL) {
        uint4 a[UNROLL][2];
UNROLLED
        for (int u = 0; u < UNROLL; u++) {
            a[u][0] = g + u < groups ? load_stream(wp + (g + u) * 64) : none;
            a[u][1] = g + u < groups ? load_stream(wp + (g + u) * 64 + 32) : none;
        }
#if PACKED
UNROLLED
        for (int u = 0; u < UNROLL; u++) {
            if (!EMULATED && g + u >= groups)
                continue;
UNROLLED
            for (int s = 0; s < 2; s++) {
                uint2 b[NT];
                ulong at = (ulong)(2 * (g + u) + s) * rows_p * 4u;
UNROLLED
                for (int n = 0; n < NT; n++)
                    b[n] = !EMULATED || g + u < groups ? in[at + (ulong)(n * 32)] : (uint2)(0, 0);
UNROLLED
                for (int n = 0; n < NT; n++)
                    MMA4(acc[n], a[u][s], b[n]);
            }
        }
#else
        uint4 b[UNROLL];
UNROLLED
        for (int u = 0; u < UNROLL; u++)
            b[u] = given && g + u < groups ? eight_bf16(in, k + (g + u) * 32, inputs, X_ALIGNED)
                                           : none;
UNROLLED
        for (int u = 0; u < UNROLL; u++) {
            if (!EMULATED && g + u >= groups)
                continue;
            MMA4(acc[0], a[u][0], b[u].xy);
            MMA4(acc[0], a[u][1], b[u].zw);
        }
#endif
    }
UNROLLED
    for (int n = 0; n < NT; n++)
UNROLLED
        for (int i = 0; i < 4; i++) {
            int row = n * 8 + lane % 4 * 2 + i % 2, o = lane / 4 + i / 2 * 8;
            part[(slice * NT * 8 + row) * 16 + o] = acc[n][i];
        }
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 1
    for (int i = slice * 32 + lane; i < NT * 128; i += SLICES * 32) {
        int row = i / 16, o = panel * 16 + i % 16;
        if (row >= rows || o >= outputs)
            continue;
        float y = part[i];
        for (int s = 1; s < slices; s++)
            y += part[s * NT * 128 + i];
        EPILOGUE(y, o, row);
    }
}
