/* Activations as bf16 for the tensor cores: [products of 16 inputs][rows_p][4 lanes][2 pairs].
 * Work-item: 8 inputs of a row. Inputs past the end are zeros. */
kernel void KERNEL(global float *arena, VIEW(x), global uint2 *to, const int inputs,
                   const int eighths, const ulong rows_p)
{
    int i = (int)get_global_id(0), row = (int)get_global_id(1);
    if (i >= eighths)
        return;
    global const float *in = ROW(x, row) + i * 8;
    float v[8];
    for (int k = 0; k < 8; k++)
        v[k] = i * 8 + k < inputs ? in[k] : 0.0f;
    ulong at = ((ulong)(i / 4 * 2) * rows_p + (ulong)row) * 4 + (ulong)(i % 4);
    to[at] = (uint2)(pair_bf16(v[0], v[1]), pair_bf16(v[2], v[3]));
    to[at + rows_p * 4] = (uint2)(pair_bf16(v[4], v[5]), pair_bf16(v[6], v[7]));
}
