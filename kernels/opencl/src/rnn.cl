/* K3: h = f h + i per column. Work-item: one column of one sequence, in token order. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(f), VIEW(x), global float *slots,
                   const ulong slot_floats, const ulong section, global const int *cu,
                   global const int *slot, const int width)
{
    int c = (int)get_global_id(0), q = (int)get_global_id(1);
    if (c >= width)
        return;
    global float *state = slots + (ulong)slot[q] * slot_floats + section + c;
    float h = *state;
    for (int t = cu[q]; t < cu[q + 1]; t++) {
        h = fma(ROW(f, t)[c], h, ROW(x, t)[c]);
        ROW(out, t)[c] = h;
    }
    *state = h;
}
