/* y = W x in bf16 for up to 8 * NT rows of x. Group: 16 outputs; warp: one slice of the inputs.
 * The weights stream through in 16-byte loads, UNROLL groups of 32 inputs in flight. PACKED: x
 * comes packed, otherwise (NT is 1 or 2) it is converted here, and one half of the UNROLL groups is
 * asked for while the other is used. OUT_PACKED: only products read the outputs, which are written
 * as these want them (pair_at of mma.clh), zeros past the end; out_stride is the room for rows. */
#if EMULATED
#undef UNROLL
#define UNROLL 1
#endif
#define ROUND (NT < 2 ? NT : 2) /* of NT, whose slices meet in local memory at once */
#define LOCAL_BYTES (4 * SLICES * (ROUND * 128 + (EMULATED ? 32 * 6 : 0)))
#define HALF ((UNROLL + 1) / 2)
#define FAST (!PACKED && !EMULATED && X_ALIGNED == 2)
/* n groups of weights from group g on; and their products, with x, which the compiler would read
 * one group after the other. */
#define ASK(a, g, n)                                                                               \
    {                                                                                              \
        UNROLLED for (int u = 0; u < (n); u++)                                                     \
        {                                                                                          \
            (a)[u][0] = load_stream(wp + ((g) + u) * 64);                                          \
            (a)[u][1] = load_stream(wp + ((g) + u) * 64 + 32);                                     \
        }                                                                                          \
    }
#define USE(a, g, n)                                                                               \
    {                                                                                              \
        float4 x_[n][NT][2];                                                                       \
        UNROLLED for (int u = 0; u < (n); u++) UNROLLED for (int t = 0; t < NT; t++)               \
        {                                                                                          \
            x_[u][t][0] = load_if(given[t], in[t] + ((g) + u) * 32);                               \
            x_[u][t][1] = load_if(given[t], in[t] + ((g) + u) * 32 + 4);                           \
        }                                                                                          \
        UNROLLED for (int u = 0; u < (n); u++) UNROLLED for (int t = 0; t < NT; t++)               \
        {                                                                                          \
            uint4 b_ = pack_eight(x_[u][t][0], x_[u][t][1]);                                       \
            MMA4(acc[t], (a)[u][0], b_.xy);                                                        \
            MMA4(acc[t], (a)[u][1], b_.zw);                                                        \
        }                                                                                          \
    }
__attribute__((reqd_work_group_size(32, SLICES, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const uint *packed, const ulong rows_p,
                   const ulong packed_at)
{
    LOCAL_1(float, part, SLICES * ROUND * 128);
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
#if !PACKED
    /* What is added to the sum this item ends with: there long before. */
    int mine = slice * 32 + lane, my_row = mine / 16, my_o = panel * 16 + mine % 16;
    bool ends = mine < ROUND * 128 && my_row < rows && my_o < outputs && SLICES >= 4 * ROUND;
    float my_bias = ends && has_bias ? bias[my_o] : 0.0f;
    float my_res = ends && has_res ? ROW(res, my_row)[my_o] : 0.0f;
#endif
#if PACKED
    global const uint2 *in = (global const uint2 *)(packed + packed_at) +
                             (ulong)g0 * 2u * rows_p * 4u + (ulong)lane;
#else
    bool given[NT];
    int k = lane % 4 * 8; /* of this lane's first input of a group */
    global const float *in[NT];
UNROLLED
    for (int t = 0; t < NT; t++) {
        given[t] = t * 8 + lane / 4 < rows;
        in[t] = ROW(x, given[t] ? t * 8 + lane / 4 : 0) + g0 * 32 + k;
    }
#endif
    /* Emulated products meet at barriers, so there both slices walk the same number of groups. */
#if FAST
    /* Without a value from the start they would live through all of a persistent kernel. */
    uint4 one[HALF][2], other[HALF][2];
UNROLLED
    for (int u = 0; u < 2 * HALF; u++)
        one[u / 2][u % 2] = other[u / 2][u % 2] = none;
    int whole = groups > 0 ? groups / HALF * HALF : 0;
    if (whole > 0)
        ASK(one, 0, HALF)
    if (whole > HALF)
        ASK(other, HALF, HALF)
    for (int g = 0; g < whole; g += 2 * HALF) {
        USE(one, g, HALF)
        if (g + 2 * HALF < whole)
            ASK(one, g + 2 * HALF, HALF)
        if (g + HALF < whole)
            USE(other, g + HALF, HALF)
        if (g + 3 * HALF < whole)
            ASK(other, g + 3 * HALF, HALF)
    }
#pragma unroll 1
    for (int g = whole; g < groups; g++) {
        ASK(one, g, 1)
        USE(one, g, 1)
    }
#else
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
UNROLLED
        for (int u = 0; u < UNROLL; u++) {
            if (!EMULATED && g + u >= groups)
                continue;
UNROLLED
            for (int t = 0; t < NT; t++) {
                int left = inputs - (g0 + g + u) * 32 - k; /* from this lane's first on */
                uint4 b = given[t] && g + u < groups
                              ? eight_bf16(in[t], (g + u) * 32, (g + u) * 32 + left, X_ALIGNED)
                              : none;
                MMA4(acc[t], a[u][0], b.xy);
                MMA4(acc[t], a[u][1], b.zw);
            }
        }
#endif
    }
#endif
UNROLLED
    for (int n0 = 0; n0 < NT; n0 += ROUND) {
        if (n0)
            barrier(CLK_LOCAL_MEM_FENCE);
UNROLLED
        for (int n = 0; n < ROUND; n++)
UNROLLED
            for (int i = 0; i < 4; i++) {
                int row = n * 8 + lane % 4 * 2 + i % 2, o = lane / 4 + i / 2 * 8;
                part[(slice * ROUND * 8 + row) * 16 + o] = acc[n0 + n][i];
            }
        barrier(CLK_LOCAL_MEM_FENCE);
#if OUT_PACKED
        global uint *to = (global uint *)arena + out_at;
#pragma unroll 1
        for (int i = slice * 32 + lane; i < ROUND * 64; i += SLICES * 32) {
            int row = n0 * 8 + i / 8, o = panel * 16 + i % 8 * 2;
            if (row >= rows)
                continue;
            float y[2];
UNROLLED
            for (int k = 0; k < 2; k++) {
                y[k] = part[i * 2 + k];
UNROLLED
                for (int s = 1; s < SLICES; s++)
                    if (s < slices)
                        y[k] += part[s * ROUND * 128 + i * 2 + k];
                if (has_bias)
                    y[k] += bias[min(o + k, outputs - 1)];
                y[k] = o + k < outputs ? activate(act, y[k]) : 0.0f;
            }
            to[pair_at(0, (ulong)out_stride, row, o)] = pair_bf16(y[0], y[1]);
            if (panel % 2 == 0 && panel * 16 + 16 >= outputs) /* the other half of 32 */
                to[pair_at(0, (ulong)out_stride, row, o + 16)] = 0;
        }
#else
#pragma unroll 1
        for (int i = slice * 32 + lane; i < ROUND * 128; i += SLICES * 32) {
            int row = n0 * 8 + i / 16, o = panel * 16 + i % 16;
            if (row >= rows || o >= outputs)
                continue;
            float y = part[i];
UNROLLED
            for (int s = 1; s < SLICES; s++)
                if (s < slices)
                    y += part[s * ROUND * 128 + i];
#if !PACKED && SLICES >= 4 * ROUND
            y = activate(act, has_bias ? y + my_bias : y);
            ROW(out, row)[o] = has_res ? y + my_res : y;
#else
            EPILOGUE(y, o, row);
#endif
        }
#endif
    }
}
#undef ROUND
#undef FAST
#undef HALF
#undef ASK
#undef USE
