/* Activations as bf16 for the tensor cores: [products of 16 inputs][rows_p][4 lanes][2 pairs].
 * Work-item: 8 inputs of a row. Inputs past the end are zeros. */
kernel void KERNEL(global float *arena, VIEW(x), global uint2 *to, const int inputs,
                   const int eighths, const ulong rows_p)
{
    int i = (int)get_global_id(0), row = (int)get_global_id(1);
    if (i >= eighths)
        return;
    uint4 v = eight_bf16(ROW(x, row), i * 8, inputs, X_ALIGNED);
    ulong at = ((ulong)(i / 4 * 2) * rows_p + (ulong)row) * 4 + (ulong)(i % 4);
    to[at] = v.xy;
    to[at + rows_p * 4] = v.zw;
}
