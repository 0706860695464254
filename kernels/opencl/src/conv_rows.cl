/* Short causal convolution of many rows at once: work-item (c, t) makes one output. The sums are
 * those of conv.cl; conv_tail.cl then moves the state on. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), global const float *slots,
                   const ulong slot_floats, const ulong section, global const float *w,
                   global const float *bias, global const int *cu, global const int *slot,
                   global const int *row_seq, const int width)
{
    int c = (int)get_global_id(0), t = (int)get_global_id(1);
    if (c >= width)
        return;
    int q = row_seq[t], back = t - cu[q];
    global const float *tail = slots + (ulong)slot[q] * slot_floats + section + c;
    float acc = HAS_BIAS ? bias[c] : 0.0f;
    for (int i = 0; i < SIZE; i++) {
        int ago = SIZE - 1 - i; /* tokens before t; from the tail when before this step */
        float v = ago <= back ? ROW(x, t - ago)[c] : tail[(ulong)(i + back) * (ulong)width];
        acc = fma(w[c * SIZE + i], v, acc);
    }
    ROW(out, t)[c] = activate(ACT, acc);
}
