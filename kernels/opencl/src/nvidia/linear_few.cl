/* y = W x in bf16 for up to 8 * NT rows of x. Group: 16 outputs; warp: one slice of the inputs.
 * The weights stream through in 16-byte loads, UNROLL groups of 32 inputs in flight. PACKED: x
 * comes from pack_rows.cl, otherwise it is converted here.
 *
 * Order of a sum: tensor-core products over the groups of a slice from 0, slices added in order;
 * linear_many.cl does the same. */
#define UNROLL 4
inline uint4 FN(convert)(global const float *in, int k, int inputs)
{
    float v[8];
#if X_ALIGNED
    if (k + 8 <= inputs) {
        float4 a = *(global const float4 *)(in + k), b = *(global const float4 *)(in + k + 4);
        return (uint4)(pair_bf16(a.x, a.y), pair_bf16(a.z, a.w), pair_bf16(b.x, b.y),
                       pair_bf16(b.z, b.w));
    }
#endif
    for (int i = 0; i < 8; i++)
        v[i] = k + i < inputs ? in[k + i] : 0.0f;
    return (uint4)(pair_bf16(v[0], v[1]), pair_bf16(v[2], v[3]), pair_bf16(v[4], v[5]),
                   pair_bf16(v[6], v[7]));
}

kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const uint4 *packed, const ulong rows_p,
                   local float *part)
{
    MMA_LOCAL(SLICES)
    int lane = (int)get_local_id(0), slice = (int)get_local_id(1), panel = (int)get_group_id(0);
    int rows = counts[is_logits ? 2 : 1], all = (int)(cols_p / 32), g0 = slice * (slice_len / 32);
    int groups = min(slice_len / 32, all - g0);
    global const uint4 *wp = w + ((ulong)panel * (ulong)all + (ulong)g0) * 64u + (ulong)lane;
    float acc[NT][4];
    uint4 b[NT];
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            acc[n][i] = 0.0f;
#if PACKED
#define ACTIVATIONS(g, n)                                                                          \
    (!EMULATED || (g) < groups ? in[(ulong)(g) * rows_p * 4u + (ulong)((n) * 32)] : (uint4)(0, 0, 0, 0))
    global const uint4 *in = packed + (ulong)g0 * rows_p * 4u + (ulong)lane;
#else
#define ACTIVATIONS(g, n) (given ? FN(convert)(in, k + (g) * 32, inputs) : (uint4)(0, 0, 0, 0))
    bool given = lane / 4 < rows;
    global const float *in = ROW(x, given ? lane / 4 : 0);
    int k = g0 * 32 + lane % 4 * 8;
#endif
#define GROUP(g, low, high)                                                                        \
    do {                                                                                           \
        _Pragma("unroll") for (int n = 0; n < NT; n++) b[n] = ACTIVATIONS(g, n);                   \
        _Pragma("unroll") for (int n = 0; n < NT; n++) MMA_FIRST(acc[n], low, high, b[n]);         \
        _Pragma("unroll") for (int n = 0; n < NT; n++) MMA_SECOND(acc[n], low, high, b[n]);        \
    } while (0)
    int g = 0;
#if !EMULATED
    for (; g + UNROLL <= groups; g += UNROLL) {
        uint4 low[UNROLL], high[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            low[u] = load_stream(wp + (g + u) * 64);
            high[u] = load_stream(wp + (g + u) * 64 + 32);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            GROUP(g + u, low[u], high[u]);
    }
#endif
    for (; g < (EMULATED ? slice_len / 32 : groups); g++) { /* emulation meets at barriers */
        uint4 none = (uint4)(0, 0, 0, 0);
        uint4 low = g < groups ? load_stream(wp + g * 64) : none;
        uint4 high = g < groups ? load_stream(wp + g * 64 + 32) : none;
        GROUP(g, low, high);
    }
#undef GROUP
#undef ACTIVATIONS
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int row = n * 8 + lane % 4 * 2 + i % 2, o = lane / 4 + i / 2 * 8;
            part[(slice * NT * 8 + row) * 16 + o] = acc[n][i];
        }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = slice * 32 + lane; i < NT * 128; i += SLICES * 32) {
        int row = i / 16, o = panel * 16 + i % 16;
        if (row >= rows || o >= outputs)
            continue;
        float y = part[i];
        for (int s = 1; s < SLICES; s++)
            y += part[s * NT * 128 + i];
        EPILOGUE(y, o, row);
    }
}
