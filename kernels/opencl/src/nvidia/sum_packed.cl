/* linear_sum.cl where only products read the outputs: as the tensor cores want them (pair_at of
 * mma.clh), zeros past the end. Work-item: 8 outputs of a row; warp: 32 of 8 rows, whose packed
 * numbers are whole lines. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const float *scratch, const ulong chains_at,
                   const int chains_stride, const ulong plane)
{
    int lane = (int)get_local_id(0), row = (int)get_group_id(1) * 8 + lane / 4;
    int warp = (int)get_group_id(0) * (int)get_local_size(1) + (int)get_local_id(1);
    int first = warp * 32 + lane % 4 * 8;
    if (first / 32 * 32 >= outputs || row >= counts[is_logits ? 2 : 1])
        return;
    global const float *from = scratch + chains_at + (ulong)row * (ulong)chains_stride;
    uint2 pairs[2];
    pairs[0] = pairs[1] = (uint2)(0, 0);
    _Pragma("unroll") for (int half_ = 0; half_ < 2; half_++)
    {
        int o = first + half_ * 4; /* of a chain there are multiples of 16 */
        if (o >= outputs)
            continue;
        float4 v[SLICES];
UNROLLED
        for (int s = 0; s < SLICES; s++)
            v[s] = *(global const float4 *)(from + (ulong)s * plane + (ulong)o);
        float4 sum = v[0];
UNROLLED
        for (int s = 1; s < SLICES; s++)
            sum += v[s];
        float y[4];
        y[0] = sum.x, y[1] = sum.y, y[2] = sum.z, y[3] = sum.w;
UNROLLED
        for (int i = 0; i < 4; i++) {
            if (has_bias)
                y[i] += bias[min(o + i, outputs - 1)];
            y[i] = o + i < outputs ? activate(act, y[i]) : 0.0f;
        }
        pairs[half_] = (uint2)(pair_bf16(y[0], y[1]), pair_bf16(y[2], y[3]));
    }
    store_eight((global uint *)arena + out_at, 1, (ulong)out_stride, row, first,
                (uint4)(pairs[0], pairs[1]));
}
