/* y = W x in bf16 for up to 8 * NT rows of x. Group: PANELS times 16 outputs, which share what is
 * read of x; warp: one slice of the inputs. The weights stream through in 16-byte loads, UNROLL
 * groups of 32 inputs in flight. PACKED: x comes from pack_rows.cl, otherwise it is converted
 * here. */
#if EMULATED
#undef UNROLL
#define UNROLL 1
#endif
#define EACH(i, n) UNROLLED for (int i = 0; i < n; i++)
__attribute__((reqd_work_group_size(32, SLICES, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const uint2 *packed, const ulong rows_p)
{
    local float part[SLICES * NT * 128];
    MMA_LOCAL(SLICES)
    int lane = (int)get_local_id(0), slice = (int)get_local_id(1);
    int panel = (int)get_group_id(0) * PANELS;
    int rows = counts[is_logits ? 2 : 1], all = (int)(cols_p / 32), g0 = slice * (slice_len / 32);
    int groups = min(slice_len / 32, (inputs + 31) / 32 - g0);
    global const uint4 *wp[PANELS]; /* past the end: the last one, not stored */
    uint4 none = (uint4)(0, 0, 0, 0);
    float acc[PANELS][NT][4];
    EACH(p, PANELS) {
        int from = min(panel + p, (outputs + 15) / 16 - 1);
        wp[p] = w + ((ulong)from * (ulong)all + (ulong)g0) * 64u + (ulong)lane;
    }
    EACH(p, PANELS) EACH(n, NT) EACH(i, 4) acc[p][n][i] = 0.0f;
#if PACKED
    global const uint2 *in = packed + (ulong)g0 * 2u * rows_p * 4u + (ulong)lane;
#else
    bool given = lane / 4 < rows;
    global const float *in = ROW(x, given ? lane / 4 : 0);
    int k = g0 * 32 + lane % 4 * 8;
#endif
    /* Emulated products meet at barriers, so there both slices walk the same number of groups. */
    for (int g = 0; g < (EMULATED ? slice_len / 32 : groups); g += UNROLL) {
        uint4 a[UNROLL][2][PANELS];
        EACH(u, UNROLL) EACH(p, PANELS) {
            a[u][0][p] = g + u < groups ? load_stream(wp[p] + (g + u) * 64) : none;
            a[u][1][p] = g + u < groups ? load_stream(wp[p] + (g + u) * 64 + 32) : none;
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
                EACH(n, NT)
                    b[n] = !EMULATED || g + u < groups ? in[at + (ulong)(n * 32)] : (uint2)(0, 0);
                EACH(p, PANELS) EACH(n, NT) MMA4(acc[p][n], a[u][s][p], b[n]);
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
            EACH(p, PANELS) MMA4(acc[p][0], a[u][0][p], b[u].xy);
            EACH(p, PANELS) MMA4(acc[p][0], a[u][1][p], b[u].zw);
        }
#endif
    }
    EACH(p, PANELS) {
        if (p)
            barrier(CLK_LOCAL_MEM_FENCE);
        EACH(n, NT) EACH(i, 4) {
            int row = n * 8 + lane % 4 * 2 + i % 2, o = lane / 4 + i / 2 * 8;
            part[(slice * NT * 8 + row) * 16 + o] = acc[p][n][i];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 1
        for (int i = slice * 32 + lane; i < NT * 128; i += SLICES * 32) {
            int row = i / 16, o = (panel + p) * 16 + i % 16;
            if (row >= rows || o >= outputs)
                continue;
            float y = part[i];
            for (int s = 1; s < SLICES; s++)
                y += part[s * NT * 128 + i];
            EPILOGUE(y, o, row);
        }
    }
}
#undef EACH
