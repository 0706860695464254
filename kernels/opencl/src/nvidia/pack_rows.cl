/* Activations as bf16 for the tensor cores (pair_at of mma.clh), where nobody made them so;
 * inputs past the end are zeros. Work-item: 8 inputs of a row. CORES: a warp has 32 inputs of 8
 * rows, and writes whole lines. */
kernel void KERNEL(global float *arena, VIEW(x), global uint *to, const int inputs,
                   const int eighths, const ulong rows_p, const ulong to_at,
                   global const int *counts, const int is_logits)
{
    to += to_at;
#if CORES
    int lane = (int)get_local_id(0), row = (int)get_group_id(1) * 8 + lane / 4;
    int group = (int)get_group_id(0) * 2 + (int)get_local_id(1);
    if (group * 4 >= eighths || row >= counts[is_logits ? 2 : 1])
        return;
    uint4 v = eight_bf16(ROW(x, row), group * 32 + lane % 4 * 8, inputs, X_ALIGNED);
    store_eight(to, 1, rows_p, row, group * 32 + lane % 4 * 8, v);
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
