/* Short causal depthwise convolution. Work-item: one channel of one sequence, in token order,
 * with the last SIZE-1 inputs in registers. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(mask), global float *slots,
                   const ulong slot_floats, const ulong section, global const float *w,
                   global const float *bias, global const int *cu, global const int *slot,
                   const int width)
{
    int c = (int)get_global_id(0), q = (int)get_global_id(1);
    if (c >= width)
        return;
    global float *tail = slots + (ulong)slot[q] * slot_floats + section + c;
    float taps[SIZE], past[SIZE];
    for (int i = 0; i < SIZE; i++)
        taps[i] = w[c * SIZE + i];
    for (int i = 0; i < SIZE - 1; i++)
        past[i] = tail[(ulong)i * (ulong)width];
    for (int t = cu[q]; t < cu[q + 1]; t++) {
#if HAS_MASK
        if (ROW(mask, t)[0] == 0.0f) { /* no token to this op */
            ROW(out, t)[c] = 0.0f;
            continue;
        }
#endif
        past[SIZE - 1] = ROW(x, t)[c];
        float acc = HAS_BIAS ? bias[c] : 0.0f;
        for (int i = 0; i < SIZE; i++)
            acc = fma(taps[i], past[i], acc);
        for (int i = 0; i < SIZE - 1; i++)
            past[i] = past[i + 1];
        ROW(out, t)[c] = activate(ACT, acc);
    }
    for (int i = 0; i < SIZE - 1; i++)
        tail[(ulong)i * (ulong)width] = past[i];
}
