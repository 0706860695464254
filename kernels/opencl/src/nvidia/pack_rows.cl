/* Activations as bf16 for the tensor cores (pair_at of mma.clh), where nobody made them so;
 * inputs past the end are zeros. Work-item: 8 inputs of a row. CORES: a warp has 32 inputs of 8
 * rows, and writes whole lines; bias and act follow where x are bare sums (../../packed.h). */
kernel void KERNEL(global float *arena, VIEW(x), global uint *to, const int inputs,
                   const int eighths, const ulong rows_p, const ulong to_at,
                   global const int *counts, const int is_logits, global const float *bias,
                   const int has_bias, const int act)
{
    to += to_at;
#if CORES
    int lane = (int)get_local_id(0), row = (int)get_group_id(1) * 8 + lane / 4;
    int group = (int)get_group_id(0) * 2 + (int)get_local_id(1);
    if (group * 4 >= eighths || row >= counts[is_logits ? 2 : 1])
        return;
    int k = group * 32 + lane % 4 * 8;
    if (act == ACT_NONE && !has_bias) {
        store_eight(to, 1, rows_p, row, k, eight_bf16(ROW(x, row), k, inputs, X_ALIGNED));
        return;
    }
    float y[8];
    eight_floats(y, ROW(x, row), k, inputs, X_ALIGNED);
UNROLLED
    for (int i = 0; i < 8; i++) {
        if (has_bias)
            y[i] += bias[min(k + i, inputs - 1)];
        y[i] = k + i < inputs ? activate(act, y[i]) : 0.0f;
    }
    store_eight(to, 1, rows_p, row, k, pack_eight((float4)(y[0], y[1], y[2], y[3]),
                                                  (float4)(y[4], y[5], y[6], y[7])));
#else
    int i = (int)get_global_id(0), row = (int)get_global_id(1);
    if (i >= eighths)
        return;
    uint4 v = eight_bf16(ROW(x, row), i * 8, inputs, X_ALIGNED);
    ulong at = ((ulong)(i / 4 * 2) * rows_p + (ulong)row) * 4 + (ulong)(i % 4);
    global uint2 *pairs = (global uint2 *)to;
    pairs[at] = v.xy;
    pairs[at + rows_p * 4] = v.zw;
#endif
}
